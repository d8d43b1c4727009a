"""What no report and no MLflow store may tell."""

from __future__ import annotations

import base64
import html
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.contract.addresses import hidden_addresses
from core.contract.escaping import markdown
from core.evidence.hiding import hidden_in, hiding
from tests.engine import Lab


def plan(anonymous: bool, uri: str | None = None, written: dict[str, str] | None = None, **values: Any) -> Any:
    """As much of a plan as hiding reads."""
    experiment = {"anonymous": anonymous, **values}
    return SimpleNamespace(
        experiment=SimpleNamespace(**experiment, outputs={"mlflow": {"uri": uri}}),
        document=SimpleNamespace(
            file="/data/müller/work & co/depth.yaml", origins={"seeds": "command line"}, written=written or {}
        ),
        variants=[SimpleNamespace(experiment=experiment)],
        workspace=SimpleNamespace(store=SimpleNamespace(root=Path("/scratch/müller/store"))),
    )


def test_passwords_are_hidden_whoever_asks() -> None:
    for hide in (hidden_addresses, hiding(plan(anonymous=False)), hiding(plan(anonymous=True))):
        assert hide("at postgresql+psycopg2://me:pass@host/db:") == "at postgresql+psycopg2://***@host/db:"
        assert hide("https://me:p@ss@host/x") == "https://***@host/x"
        assert hide("https://t0ken@host/x") == "https://***@host/x"
        assert hide("x=https://host/?a=b&password=pass") == "x=https://host/?a=b&password=***"
        assert hide("http://127.0.0.1:5000/a@b") == "http://127.0.0.1:5000/a@b"


@pytest.mark.parametrize("anonymous", [False, True])
def test_the_address_of_the_experiment_is_known_however_it_is_written(anonymous: bool) -> None:
    uri = "http://me:a \"b'<c/d@host:5000"
    hide = hiding(plan(anonymous=anonymous, uri=uri))
    for written in (uri, json.dumps(uri), html.escape(uri), markdown(uri)):
        assert hide(f"x={written}").strip('"').removeprefix("x=").strip('"') == "http://***@host:5000"


@pytest.mark.parametrize("anonymous", [False, True])
@pytest.mark.parametrize("password", ["pa ss", "1 2", "p'a\"ss", "p@ ss", "ss\n"])
def test_any_address_of_the_experiment_is_closed_where_its_password_holds_what_ends_a_word(
    anonymous: bool, password: str
) -> None:
    address = f"postgresql://me:{password}@host/db"
    hide = hiding(plan(anonymous=anonymous, data={"dataset": {"source": [address, "https://example.org/a b@c"]}}))
    for written in (address, json.dumps(address), html.escape(address), markdown(address)):
        assert hide(f"x={written}").strip('"').removeprefix("x=").strip('"') == "postgresql://***@host/db"
    setting = f"postgresql://host/db?password={password}"
    hide = hiding(plan(anonymous=anonymous, source=setting))
    shown = "postgresql://***" if "@" in password else "postgresql://host/db?***"
    assert hide(f"at {setting}: closed") == f"at {shown}: closed"
    assert hide("https://example.org/a b@c") == "https://example.org/a b@c"


def test_folders_are_told_unless_the_experiment_is_anonymous() -> None:
    text = "python -m core.run '/data/müller/work & co/depth.yaml' --store /scratch/müller/store"
    assert hiding(plan(anonymous=False))(text) == text
    assert hiding(plan(anonymous=True))(text) == "python -m core.run '…/depth.yaml' --store …/store"


def test_of_a_path_below_a_known_folder_the_last_part_is_kept() -> None:
    hide = hiding(plan(anonymous=True, data={"dataset": {"folder": "/data/müller/msrvtt"}}))
    assert hide("/data/müller/msrvtt/videos/v1.mp4: broken; /data/müller/msrvtt/") == "…/v1.mp4: broken; …/msrvtt"
    assert hide(f"{Path.home()}/a/b.txt and {Path.cwd()}/c") == "…/b.txt and …/c"


def test_paths_are_found_as_json_html_and_latex_write_them() -> None:
    path = "/data/mü_ll&er/msr_vtt"
    hide = hiding(plan(anonymous=True, data=[path]))
    latex = path.replace("_", r"\_").replace("&", r"\&")
    for written in (path, json.dumps(path), html.escape(path), latex):
        hidden = hide(f"x {written} y")
        assert "data" not in hidden
        assert "ll" not in hidden
        assert hidden.startswith("x ")
        assert hidden.endswith(" y")


def test_what_only_looks_like_a_path_stays() -> None:
    hide = hiding(plan(anonymous=True, data="/data/x"))
    for text in ("t2v/R1", "https://example.org/data/x", "<td>/</td>", "a/data/x"):
        assert hide(text) == text


def test_relative_paths_that_lead_up_and_the_home_are_hidden_like_absolute_ones() -> None:
    hide = hiding(plan(anonymous=True, data={"path": "../../jane.doe/list.csv", "root": "~/films"}))
    assert hide("path=../../jane.doe/list.csv root: ~/films") == "path=…/list.csv root: …/films"
    assert hide(f"in {Path.home()}/films/a.mp4, {Path.home()}") == "in …/a.mp4, ~"


def test_a_path_is_hidden_as_its_file_writes_it_and_as_it_is_read_under_one_name() -> None:
    written = {"../../jane.doe/list.csv": "/data/jane.doe/list.csv", "../joe/list.csv": "joe/list.csv"}
    hide = hiding(plan(anonymous=True, written=written, data={"path": "/data/jane.doe/list.csv"}))
    assert hide("path: ../../jane.doe/list.csv\n/data/jane.doe/list.csv") == "path: …/list.csv\n…/list.csv"
    assert hide("path: ../joe/list.csv") == "path: …2/list.csv"


def test_the_name_of_a_data_set_or_an_encoder_of_ones_own_tells_no_folder() -> None:
    hide = hiding(plan(anonymous=True, data={"path": "/data/jane doe/list.csv"}, encoder={"model": "../jane/clip"}))
    assert (
        hide("Test split of folder: /data/jane doe/list.csv: 7 videos.")
        == "Test split of folder: …/list.csv: 7 videos."
    )
    assert hide("clip: ../jane/clip (precision:float32)") == "clip: …/clip (precision:float32)"


def test_paths_that_end_alike_stay_apart() -> None:
    hide = hiding(plan(anonymous=True, data=["/data/jane/list.csv", "/data/joe/list.csv", "/data/jane/other.csv"]))
    assert hide("/data/jane/list.csv /data/joe/list.csv /data/jane/other.csv") == "…/list.csv …2/list.csv …/other.csv"


def test_paths_below_any_folder_of_this_machine_are_hidden_even_where_no_configuration_names_them(
    tmp_path: Path,
) -> None:
    hide = hiding(plan(anonymous=True))
    assert hide(f"query\n{tmp_path}/jane/v1.mp4-0,1") == "query\n…/v1.mp4-0,1"
    assert (
        hide(f"sqlite:///{tmp_path}/m.db file://{tmp_path}/x (path:{tmp_path}/y)")
        == "sqlite:///…/m.db file://…/x (path:…/y)"
    )


def test_pictures_within_a_page_stay_as_they_are() -> None:
    picture = base64.b64encode(random.Random(0).randbytes(1_000_000)).decode()
    page = f'<img src="data:image/jpeg;base64,{picture}">'
    began = time.perf_counter()
    assert hiding(plan(anonymous=True))(page) == page
    assert hidden_addresses(page) == page
    assert time.perf_counter() - began < 2


def test_texts_are_hidden_wherever_a_value_holds_them() -> None:
    @dataclass(frozen=True)
    class Panel:
        rows: tuple[str, ...]
        mean: float

    hide = hiding(plan(anonymous=True, data="/data/jane/x"))
    found = hidden_in([Panel(("a=/data/jane/x",), 0.5), {"/data/jane/x": None}], hide)
    assert found == [Panel(("a=…/x",), 0.5), {"…/x": None}]


def test_a_stored_trial_says_what_was_computed_and_not_where_it_is_told(done: Lab) -> None:
    stored = [json.loads(path.read_text())["experiment"] for path in done.folder.rglob("trial.json")]
    assert stored
    for experiment in stored:
        assert {"name", "data", "model", "retrieve", "evaluate"} <= experiment.keys()
        assert not {"outputs", "anonymous", "references", "claim"} & experiment.keys()
