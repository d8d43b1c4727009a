"""The same command goes on: what is gone or damaged, however deep, is computed again, and only what is needed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.contract.features import Tokens
from core.contract.store import Entry, Store
from core.engine.resuming import load_resumed, save_resumed
from core.engine.steps import fit
from core.engine.steps import rows as steps_rows
from core.engine.steps.step import Inputs, Step
from core.engine.training import fit as train
from core.evidence.findings import findings
from core.evidence.registration import post_hoc
from core.store import main as store_command
from tests.engine import COUNTS, Lab, ToyEncoder, registered_toys

WHOLE = {
    "ablate": {"retrieve.rerank.top_k": [1, 2]},
    "seeds": [0, 1],
    "baseline": {"retrieve.rerank.top_k": 1},
    "hypotheses": {"helps": {"better": {"retrieve.rerank.top_k": 2}, "than": "baseline"}},
}


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with registered_toys():
        Lab(folder / "lab").run(WHOLE)
    shutil.copytree(folder / "lab", folder / "kept")
    return folder


@pytest.fixture
def whole(toys: None, whole_folder: Path) -> Lab:
    """A lab in which WHOLE was run, at the same place for every test: claims are of the place of their videos too."""
    shutil.rmtree(whole_folder / "lab")
    return Lab(shutil.copytree(whole_folder / "kept", whole_folder / "lab"))


def numbers(lab: Lab, changes: dict[str, Any]) -> list[Any]:
    """Every metric of every trial, and whether the claims are post hoc."""
    plan = lab.run(changes)
    rows = findings(plan).rows
    return [[row.name, [found.metrics for found in row.results]] for row in rows] + [sorted(post_hoc(plan))]


def prune(lab: Lab, *filters: str) -> None:
    assert store_command(["--store", str(lab.store), "--prune", "--yes", *filters]) == 0


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


# --------------------------------------------------------------------------------------- missing deeper down


@pytest.mark.parametrize(
    "steps", [("encode", "evaluate"), ("fit", "candidates"), ("encode", "fit", "rank"), ("score",)]
)
def test_a_run_after_pruning_some_steps_gives_the_same_table(whole: Lab, steps: tuple[str, ...]) -> None:
    before = numbers(whole, WHOLE)
    for step in steps:
        prune(whole, "--step", step)
    assert numbers(whole, WHOLE) == before
    assert numbers(whole, {**WHOLE, "retrieve.rerank.weights": {"linear": 1.0, "dot": 0.5}}) != before


def test_what_was_pruned_and_is_not_needed_is_not_computed_again(whole: Lab) -> None:
    before = numbers(whole, WHOLE)
    for step in ("encode", "fit", "candidates"):
        prune(whole, "--step", step)
    assert numbers(whole, WHOLE) == before
    assert COUNTS == {}
    assert whole.entries("fit") == []


DAMAGE: dict[str, Callable[[Path], None]] = {
    "flipped": flip,
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-1]) and None,
    "zeroed": lambda file: file.write_bytes(bytes(file.stat().st_size)) and None,
    "deleted": lambda file: file.unlink(),
}


EVERYWHERE = [(step, "flipped") for step in ("encode", "fit", "candidates", "rank", "evaluate")]


@pytest.mark.parametrize(("step", "damage"), [*EVERYWHERE, *(("score", damage) for damage in DAMAGE)])
def test_damage_at_any_depth_heals_with_the_same_command(
    whole: Lab, step: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything above the damaged step is gone, so that it is read."""
    above = {"encode": ("score", "fit"), "fit": ("candidates", "rank"), "score": ("rank",), "candidates": ("rank",)}
    before = numbers(whole, WHOLE)
    for entry in whole.entries(step):
        DAMAGE[damage](next(entry.folder.glob("*.safetensors")))
    for upper in (*above.get(step, ()), "evaluate"):
        if upper != step:
            prune(whole, "--step", upper)
    assert numbers(whole, WHOLE) == before
    assert "computed again, because" in capsys.readouterr().err
    assert numbers(whole, WHOLE) == before
    assert COUNTS == {}


# -------------------------------------------------------------------------------------------- unfinished work


def entry_of(lab: Lab, level: str) -> Entry:
    return next(entry for entry in lab.entries("encode") if entry.meta["fields"]["level"] == level)


def killed_while_encoding(lab: Lab, monkeypatch: pytest.MonkeyPatch, after: int) -> Path:
    """The draft of video levels that a process left which died after some forward passes."""
    forward, calls = ToyEncoder.forward_video, []

    def dying(self: ToyEncoder, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return forward(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(ToyEncoder, "forward_video", dying)
        patched.setattr("core.engine.steps.decode.VIDEOS", 1)
        with pytest.raises(KeyboardInterrupt):
            lab.run({"retrieve.rerank": None})
    return next(path.parent for path in lab.store.glob("encode/draft-*/tensors.safetensors"))


def test_rows_that_a_killed_process_wrote_are_gone_on_with(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_while_encoding(lab, monkeypatch, after=3)
    lab.run({"retrieve.rerank": None})
    assert COUNTS["videos"] == 5 - 3


@pytest.mark.parametrize("name", ["tensors.safetensors", "resume-rows.safetensors", "items.json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_draft_never_gives_a_wrong_row(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, name: str, damage: str
) -> None:
    lab.run({"retrieve.rerank": None})
    right = {entry.meta["key"]: entry.tensors()["values"].clone() for entry in lab.entries("encode")}
    shutil.rmtree(lab.store)
    DAMAGE[damage](killed_while_encoding(lab, monkeypatch, after=3) / name)
    lab.run({"retrieve.rerank": None})
    found = {entry.meta["key"]: entry.tensors()["values"] for entry in lab.entries("encode")}
    torch.testing.assert_close(found, right)


def test_rows_of_another_draft_with_mixed_up_items_are_not_taken(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.run({"retrieve.rerank": None})
    right = {entry.meta["key"]: entry.tensors()["values"].clone() for entry in lab.entries("encode")}
    shutil.rmtree(lab.store)
    draft = killed_while_encoding(lab, monkeypatch, after=3)
    items = json.loads((draft / "items.json").read_text())
    (draft / "items.json").write_text(json.dumps([*items[1:], items[0]]))
    draft.rename(draft.with_name("draft-0123456789abcdef"))
    lab.run({"retrieve.rerank": None})
    torch.testing.assert_close({entry.meta["key"]: entry.tensors()["values"] for entry in lab.entries("encode")}, right)


@pytest.mark.parametrize("damage", [*DAMAGE, "empty", "a folder", "of another version"])
def test_a_torn_training_state_starts_the_fit_anew_and_says_so(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"train.epochs": 3}
    lab.run(changes)
    before = lab.entries("fit")[0].tensors()
    for step in ("fit", "evaluate", "rank", "candidates"):
        prune(lab, "--step", step)

    def stopped(trainee: Any, settings: Any, *rest: Any) -> Any:
        train(trainee, settings, *rest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fit, "train", stopped)
        with pytest.raises(KeyboardInterrupt):
            lab.run(changes)
    (state,) = lab.store.glob("fit/draft-*/resume.pt")
    if damage in DAMAGE:
        DAMAGE[damage](state)
    elif damage == "empty":
        state.write_bytes(b"")
    elif damage == "a folder":
        state.unlink()
        (state / "inside").mkdir(parents=True)
    else:
        torch.save({"epoch": 3}, state)
    lab.run(changes)
    assert ("training starts anew" in capsys.readouterr().err) == (damage not in ("deleted", "a folder"))
    after = lab.entries("fit")[0].tensors()
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())


def test_a_training_state_is_read_back_as_it_was(tmp_path: Path) -> None:
    state = {"weights": {"a": torch.randn(3, 2)}, "history": [{"loss": 1.5}], "epoch": 2}
    save_resumed(tmp_path / "resume.pt", state)
    found = load_resumed(tmp_path / "resume.pt")
    assert found is not None
    assert torch.equal(found["weights"]["a"], state["weights"]["a"])  # type: ignore[index]
    assert (found["history"], found["epoch"]) == ([{"loss": 1.5}], 2)
    assert [path.name for path in tmp_path.iterdir()] == ["resume.pt"]


# --------------------------------------------------------------------------------------- claims and the ledger


def test_a_torn_registration_does_not_mark_its_claim_post_hoc(lab: Lab) -> None:
    """As a kill in the middle of writing leaves it: nothing was scored yet."""
    lab.plan(WHOLE)
    file = lab.store / "registrations.jsonl"
    file.write_text('{"experiment": "lab", "hypothesis": "abc", "cla')
    plan = lab.run(WHOLE)
    assert post_hoc(plan) == set()
    assert post_hoc(lab.plan(WHOLE)) == set()


def test_a_torn_ledger_neither_loses_a_scoring_nor_stops_the_run(whole: Lab) -> None:
    plan = whole.run(WHOLE)
    file = whole.store / "ledger.jsonl"
    file.write_text(file.read_text()[:-20])
    again = whole.run(WHOLE)
    claim = findings(again).decisions[0]
    assert (claim.times_scored, claim.post_hoc) == (len(plan.trials), False)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["registrations.jsonl", "registrations.copy.jsonl", "ledger.jsonl"])
def test_a_damaged_registration_or_ledger_changes_no_mark_and_no_count(whole: Lab, name: str, damage: str) -> None:
    result = findings(whole.run(WHOLE))
    late = {
        **WHOLE,
        "hypotheses": {
            **WHOLE["hypotheses"],
            "late": {"better": {"retrieve.rerank.top_k": 1}, "than": {"retrieve.rerank.top_k": 2}},
        },
    }
    before = [(claim.post_hoc, claim.times_scored) for claim in findings(whole.run(late)).decisions]
    assert [post_hoc for post_hoc, _ in before] == [False, True]
    DAMAGE[damage](whole.store / name)
    assert [(claim.post_hoc, claim.times_scored) for claim in findings(whole.run(late)).decisions] == before
    assert [claim.post_hoc for claim in result.decisions] == [False]


@pytest.mark.parametrize("line", ["{}", '{"experiment": "lab"}', "[1]", "null"])
@pytest.mark.parametrize("name", ["registrations.jsonl", "ledger.jsonl", "digests.jsonl"])
def test_a_strange_line_is_left_out(whole: Lab, name: str, line: str) -> None:
    before = numbers(whole, WHOLE)
    with (whole.store / name).open("a") as handle:
        handle.write(line + "\n")
    assert numbers(whole, WHOLE) == before


def test_a_finished_store_that_is_read_only_is_read(whole: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    before = numbers(whole, WHOLE)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    for name in (
        "core.contract.store.files.locked",
        "core.contract.store.leases.locked",
        "core.contract.store.mark.write_atomically",
    ):
        monkeypatch.setattr(name, refuse)
    monkeypatch.setattr("os.access", lambda *_: False)
    (whole.store / "digests.jsonl").unlink()
    assert numbers(whole, WHOLE) == before
    assert Store(whole.store).remains() == []


def test_another_process_that_finishes_while_its_rows_are_copied_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, values = Store(tmp_path / "store"), torch.arange(8.0).reshape(2, 4)
    theirs, mine = (
        Step("encode", 1, {"items": items}, Inputs(), lambda *_: None, "encode") for items in (["a"], ["a", "b"])
    )
    their_write, read_rows = store.write("encode", theirs.key, theirs.fields), steps_rows._draft_rows
    draft = their_write.__enter__()
    steps_rows.RowFile(store, theirs, draft, ["one", "two"]).put([0, 1], Tokens(values, None))
    draft.info["skipped"] = {}

    def rows_before_it_is_finished(folder: Path) -> Any:
        found = read_rows(folder)
        if theirs.key in folder.name:
            their_write.__exit__(None, None, None)
        return found

    monkeypatch.setattr(steps_rows, "_draft_rows", rows_before_it_is_finished)
    with store.write("encode", mine.key, mine.fields) as draft:
        rows = steps_rows.RowFile(store, mine, draft, ["one", "two", "three"])
        assert rows.done == {0, 1}
        assert torch.equal(rows.tensors["values"][:2], values)
        draft.info["skipped"] = {}
