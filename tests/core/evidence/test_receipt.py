"""`registration.json`: what can be shown of a registration where the store cannot."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from core.evidence.findings import findings
from core.evidence.receipt import check_registered, receipt
from core.run import main
from tests.engine import Lab, registered_toys

pytestmark = pytest.mark.usefixtures("undrawn")

CLAIMS: dict[str, Any] = {
    "ablate": {"retrieve.rerank.top_k": [1, 2]},
    "baseline": {"retrieve.rerank.top_k": 1},
    "hypotheses": {"helps": {"better": {"retrieve.rerank.top_k": 2}, "than": "baseline"}},
    "outputs.mlflow": None,
}


def run(lab: Lab, *more: str, changes: dict[str, Any] | None = None, store: str = "store") -> int:
    file = lab.write(CLAIMS | (changes or {}))
    places = ["--store", str(lab.folder / store), "--runs", str(lab.folder / "runs"), "--device", "cpu"]
    return main([str(file), *places, "--workers", "0", *more])


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with registered_toys():
        lab = Lab(tmp_path_factory.mktemp("registered"))
        assert run(lab) == 0
    return lab.folder


@pytest.fixture
def kept(lab: Lab, run_folder: Path) -> str:
    """A run's registration, put away, in a laboratory that holds what the run left."""
    shutil.copytree(run_folder, lab.folder, dirs_exist_ok=True)
    return str(shutil.copy(lab.folder / "runs" / "lab" / "registration.json", lab.folder / "kept.json"))


def test_a_new_store_proves_nothing_and_the_file_that_was_put_away_does(
    lab: Lab, kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(lab.store)
    assert run(lab, "--registered", kept) == 0
    assert f"Registered: {kept} says the same" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hypotheses.helps.by": 5}, "claims: 1 of 1 registered are not there, not registered: helps: top_k=2"),
        ({"hypotheses": {}}, "claims: 1 of 1 registered are not there"),
        ({"seeds": [0, 1]}, "seeds: [0] was registered, the experiment has [0, 1]"),
        ({"evaluate.primary": "t2v/R5"}, "primary: t2v/R1 was registered, the experiment has t2v/R5"),
        ({"evaluate.correction": "benjamini_hochberg"}, "correction: holm was registered"),
        ({"ablate": {"retrieve.rerank.top_k": [1, 2, 3]}}, "family: not registered: top_k=3"),
        ({"name": "other"}, "experiment: lab was registered, the experiment has other"),
        ({"train.epochs": 3}, "family: 1 of 1 registered are not there, not registered: top_k=2"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_differs_from_the_file_is_refused_before_anything_is_scored(
    lab: Lab, kept: str, change: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lab, "--registered", kept, changes=change, store="fresh") == 2
    assert words in capsys.readouterr().err
    assert not (lab.folder / "fresh" / "ledger.jsonl").exists()
    assert not (lab.folder / "fresh" / "registrations.jsonl").exists()


def test_another_test_split_is_not_the_registered_one(lab: Lab, kept: str) -> None:
    listed = lab.videos / "captions.json"
    splits = json.loads(listed.read_text())
    listed.write_text(json.dumps(splits | {"test": splits["test"][:-1]}))
    with pytest.raises(ConfigError, match="splits: 1 of 1 registered are not there"):
        check_registered(lab.plan(CLAIMS), kept)


def test_names_of_variants_and_the_place_of_the_data_may_differ(lab: Lab, kept: str) -> None:
    lab.videos = lab.videos.rename(lab.folder / "moved")
    renamed = {"variants": {"one": {"retrieve.rerank.top_k": 1}, "two": {"retrieve.rerank.top_k": 2}}, "ablate": {}}
    claim = {"helps": {"better": "two", "than": "one"}}
    changes = CLAIMS | renamed | {"baseline": "one", "hypotheses": claim, "data.dataset.root": str(lab.videos)}
    assert "says the same" in check_registered(lab.plan(changes), kept)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"lab"', '"mine"'),
        lambda text: text[:100],
        lambda text: "[]",
        lambda text: json.dumps({"digest": "0"}),
    ],
    ids=["edited", "cut", "list", "empty"],
)
def test_a_file_that_was_touched_is_no_proof(lab: Lab, kept: str, damage: Any) -> None:
    file = lab.folder / "kept.json"
    file.write_text(damage(file.read_text()))
    with pytest.raises(ConfigError, match="--registered"):
        check_registered(lab.plan(CLAIMS), kept)


def test_a_file_that_is_not_there_is_named(lab: Lab) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.json.*--registered.*No such file"):
        check_registered(lab.plan(CLAIMS), "nowhere.json")


def test_the_file_is_there_before_the_first_score_and_says_what_came_late(lab: Lab) -> None:
    run(lab)
    late = {"hypotheses.more": {"better": {"retrieve.rerank.top_k": 2}, "than": "baseline", "by": 1}}
    run(lab, changes=late)
    told = json.loads((lab.folder / "runs" / "lab" / "registration.json").read_text())["in words"]["claims"]
    assert told == [
        "helps: top_k=2 is better than top_k=1 on t2v/R1",
        "more: top_k=2 is better than top_k=1 on t2v/R1, by 1 (post hoc)",
    ]


def test_an_anonymous_registration_tells_no_folder_and_no_commit(lab: Lab) -> None:
    run(lab, changes={"anonymous": True})
    text = (lab.folder / "runs" / "lab" / "registration.json").read_text()
    assert "commit" not in text
    assert str(lab.folder) not in text


def test_the_dry_run_checks_the_file_too(lab: Lab, kept: str) -> None:
    assert run(lab, "--dry-run", "--registered", kept) == 0
    assert run(lab, "--dry-run", "--registered", kept, changes={"seeds": [3]}) == 2


def test_two_plans_of_one_experiment_have_one_receipt(lab: Lab) -> None:
    lab.run(CLAIMS)
    assert receipt(lab.plan(CLAIMS)) == receipt(lab.plan(CLAIMS))


def test_a_receipt_says_under_which_digest_the_report_calls_it(lab: Lab) -> None:
    plan = lab.run({"retrieve.rerank": None})
    assert json.loads(receipt(plan))["registered as"] == findings(plan).registration
