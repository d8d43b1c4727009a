"""What no report and no MLflow store may tell."""

from __future__ import annotations

import html
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from core.privacy import hidden_password, hiding


def plan(anonymous: bool, **values: Any) -> Any:
    """As much of a plan as hiding reads."""
    experiment = {"anonymous": anonymous, **values}
    return SimpleNamespace(
        experiment=SimpleNamespace(**experiment),
        document=SimpleNamespace(file="/home/müller/work & co/depth.yaml", origins={"seeds": "command line"}),
        variants=[SimpleNamespace(experiment=experiment)],
        workspace=SimpleNamespace(store=SimpleNamespace(root=Path("/scratch/müller/store"))),
    )


def test_passwords_are_hidden_whoever_asks() -> None:
    for hide in (hidden_password, hiding(plan(anonymous=False)), hiding(plan(anonymous=True))):
        assert hide("at postgresql+psycopg2://me:pass@host/db:") == "at postgresql+psycopg2://me:***@host/db:"
        assert hide("https://me:p@ss@host/x") == "https://me:***@host/x"
        assert hide("http://127.0.0.1:5000/a@b") == "http://127.0.0.1:5000/a@b"


def test_folders_are_told_unless_the_experiment_is_anonymous() -> None:
    text = "python -m core.run '/home/müller/work & co/depth.yaml' --store /scratch/müller/store"
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
