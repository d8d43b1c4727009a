"""A trial that fails costs itself and nothing else, and every output says what is missing and why."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor

import core
from core import LossInputs, Output, RunError, Split, UserError, hookimpl, setting
from core.contract.store import Draft
from core.plugins import registry
from core.run import main
from plugins.outputs.report.as_csv import hypotheses_csv
from plugins.outputs.tables import header
from plugins.outputs.tables import table as rows_of_table
from tests.core.engine.test_execute import spawn, work
from tests.engine import Lab, ToyDot, ToyEncoder, ToyMatching, ToyVideos, registered_toys

ROOT = Path(__file__).parents[2]
TRIED: Counter[str] = Counter()
FAULTS = {
    "raise": r"ValueError: the loss is odd",
    "nan": r"the loss is not finite in epoch 1, step 1",
    "exit": r"sys\.exit\(0\) was called",
    "memory": r"MemoryError: no more of it",
    "gpu": r"OutOfMemoryError: CUDA out of memory",
}


class OddLoss(ToyMatching):
    """Fails in training or at construction, of one seed or of every one, unless it is mended."""

    name = "odd_loss"
    mended: ClassVar[bool] = False

    @dataclass(frozen=True)
    class Config(ToyMatching.Config):
        fault: str = setting("none", "how it fails", choices=("none", "construction", *FAULTS))
        seed: int = setting(-1, "the seed that fails; -1: every one")

    def __init__(self, config: Any):
        super().__init__(config)
        if config.fault == "construction":
            raise KeyError("constructed")

    def forward(self, inputs: LossInputs) -> Tensor:
        loss, fault = super().forward(inputs), self.config.fault
        if fault == "none" or self.mended or self.config.seed not in (-1, torch.initial_seed() // 1_000_003):
            return loss
        TRIED[fault] += 1
        if fault == "exit":
            sys.exit(0)
        if fault == "memory":
            raise MemoryError("no more of it")
        if fault == "gpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 PiB")
        if fault == "raise":
            raise ValueError("the loss is odd\nin more than one line")
        return loss * torch.nan


class OddDot(ToyDot):
    """Fails at one temperature in scoring; of a `level` that it cannot take at construction, by sys.exit."""

    name = "odd_dot"

    @dataclass(frozen=True)
    class Config(ToyDot.Config):
        start: str = setting("well", "how it starts", choices=("well", "exit", "raise"))

    def __init__(self, config: Any, shapes: Any):
        super().__init__(config, shapes)
        if config.start == "exit":
            sys.exit("I do not want to")
        if config.start == "raise":
            raise AttributeError("constructed\nin two lines")

    def score(self, text: Any, video: Any) -> Tensor:
        TRIED["score"] += 1
        return super().score(text, video) * (torch.nan if self.config.temperature == 13 else 1)

    def score_settings(self, text: Any, video: Any, configs: Any, *, lists: bool = False) -> list[Tensor]:
        if any(config.temperature == 7 for config in configs):
            raise ValueError("7 is unlucky")
        return super().score_settings(text, video, configs, lists=lists)


class OddVideos(ToyVideos):
    """Fails at construction or when it is read."""

    name = "odd_videos"

    @dataclass(frozen=True)
    class Config(ToyVideos.Config):
        fault: str = setting("none", "when it fails", choices=("none", "construction", "reading"))

    def __init__(self, config: Any):
        super().__init__(config)
        if config.fault == "construction":
            raise KeyError("constructed")

    def prepare(self, folder: Path) -> dict[str, Split]:
        if self.config.fault == "reading":
            raise KeyError("read")
        return super().prepare(folder)


class OddEncoder(ToyEncoder):
    """Cannot be constructed."""

    name = "odd_encoder"

    def __init__(self, config: Any):
        raise TypeError("constructed")


class OddOutput(Output):
    """Fails when a trial is finished: by what `fault` raises."""

    name = "odd_output"

    @staticmethod
    def fault(name: str) -> None:
        """Called with the name of a trial."""

    def trial_finished(self, trial: Any) -> None:
        type(self).fault(trial.name)


class OddPlugin:
    @hookimpl
    def register_datasets(self, register: Any) -> None:
        register(OddVideos)

    @hookimpl
    def register_encoders(self, register: Any) -> None:
        register(OddEncoder)

    @hookimpl
    def register_losses(self, register: Any) -> None:
        register(OddLoss)

    @hookimpl
    def register_interactions(self, register: Any) -> None:
        register(OddDot)

    @hookimpl
    def register_outputs(self, register: Any) -> None:
        register(OddOutput)


FAULT, SEED, WEIGHT = "model.losses.odd.fault", "model.losses.odd.seed", "model.losses.odd.weight"
SOUND: dict[str, Any] = {"light": {WEIGHT: 0.5}, "heavy": {WEIGHT: 2.0}}
CLAIMS = {
    "light_helps": {"better": "light", "than": "base"},
    "odd_helps": {"better": "odd", "than": "base"},
    "odd_is_as_good": {"no_worse": "odd", "than": "light", "margin": 5},
}


def variants(**more: Any) -> dict[str, Any]:
    """Changes of the laboratory's experiment: a baseline, two sound variants, and more."""
    return {
        "model.losses.odd": {"name": "odd_loss", "of": "linear"},
        "retrieve.rerank": None,
        "retrieve.first_stage": "linear",
        "evaluate": {"metrics": ["R1", "MnR"], "directions": ["t2v"]},
        "train.epochs": 1,
        "variants": {"base": {}, **SOUND, **more},
        "baseline": "base",
        "seeds": [0, 1, 2],
        "outputs": {"mlflow": None},
    }


ONE_SEED = variants(odd={FAULT: "nan", SEED: 1}) | {"hypotheses": CLAIMS}
HOLE = variants(odd={FAULT: "raise"}) | {"hypotheses": CLAIMS}


@contextmanager
def registered_odd() -> Iterator[None]:
    plugin = OddPlugin()
    registry().add_plugin(plugin, "odd-package", "1")
    TRIED.clear()
    try:
        yield
    finally:
        OddLoss.mended = False
        registry().remove_plugin(plugin, "odd-package")


@pytest.fixture
def odd(toys: None) -> Iterator[None]:
    with registered_odd():
        yield


def new_lab(folder: Path) -> Lab:
    return Lab(folder, {"train": 6, "val": 4, "test": 24})


@pytest.fixture
def wide(odd: None, undrawn: None, tmp_path: Path) -> Lab:
    return new_lab(tmp_path)


@pytest.fixture
def drawn(odd: None, tmp_path: Path) -> Lab:
    """The same, with its figures drawn."""
    return new_lab(tmp_path)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, str]]:
    """The table of the sound variants, run without any other."""
    with registered_toys(), registered_odd():
        lab = new_lab(tmp_path_factory.mktemp("alone"))
        assert command(lab, variants()) == 0
    return table(lab)


def command(lab: Lab, changes: dict[str, Any], *more: str) -> int:
    places = ["--store", str(lab.store), "--runs", str(lab.folder / "runs"), "--workers", "0", "--device", "cpu"]
    return main([str(lab.write(changes)), *places, *more])


def report(lab: Lab, name: str) -> str:
    return (lab.folder / "runs" / "lab" / name).read_text()


def table(lab: Lab) -> dict[tuple[str, str], dict[str, str]]:
    lines = csv.DictReader(io.StringIO(report(lab, "table.csv")))
    return {(line["variant"], line["metric"]): line for line in lines}


def written(lab: Lab) -> list[str]:
    """Files among the reports: what was registered comes before the first score."""
    return sorted(path.name for path in (lab.folder / "runs").rglob("*") if path.is_file())


def records(lab: Lab) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted((lab.store / "failures").glob("*.json"))]


# ---------------------------------------------------------------------------------------------- the run


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_fails_in_one_variant_the_others_get_the_results_they_would_have_had(
    alone: dict[tuple[str, str], dict[str, str]], wide: Lab, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    assert command(wide, variants(odd={FAULT: fault})) == 1
    found = table(wide)
    of_family = ("p_corrected", "family", "outcome")
    for place, line in alone.items():
        kept = {name: value for name, value in found[place].items() if name not in of_family}
        assert kept == {name: value for name, value in line.items() if name not in of_family}
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "9 of 12 trials done, 3 failed"
    told = [line for line in printed if line.startswith("failed: ")]
    assert [line.split(": ")[1] for line in told] == [f"odd · seed {seed}" for seed in range(3)]
    where = "train: " if fault == "nan" else "train: loss `odd_loss` (odd-package, test_failures.py line "
    assert all(where in line for line in told)
    assert all(re.search(FAULTS[fault], line) for line in told)


def test_the_traceback_of_a_failed_trial_lies_where_the_last_lines_say(
    wide: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    command(wide, HOLE)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("failed: odd · seed 1"))
    told = json.loads(Path(line.partition("(traceback: ")[2].rstrip(")")).read_text())
    assert told["traceback"][0] == "Traceback (most recent call last):"
    assert told["traceback"][-2:] == ["ValueError: the loss is odd", "in more than one line"]
    assert (told["experiment"], told["trial"]) == ("lab", "odd · seed 1")


def test_what_failed_is_tried_once_a_run_and_again_by_the_same_command(wide: Lab) -> None:
    shared = variants(odd={FAULT: "raise"}, odd_too={FAULT: "raise", "evaluate.ties": "pessimistic"})
    assert command(wide, shared) == 1
    assert TRIED["raise"] == 3  # once a seed, for two variants
    assert len(records(wide)) == 6
    assert command(wide, shared) == 1
    assert TRIED["raise"] == 6
    OddLoss.mended = True
    assert command(wide, shared) == 0
    assert records(wide) == []
    assert " failed" not in report(wide, "report.md")


def test_a_record_goes_when_the_trial_succeeds_under_another_key(wide: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    command(wide, ONE_SEED)
    assert [record["trial"] for record in records(wide)] == ["odd · seed 1"]
    OddLoss.mended = True
    assert command(wide, ONE_SEED, "train.epochs=2") == 0
    assert records(wide) == []


def test_one_member_of_a_group_that_fails_costs_no_other_member(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    temperatures = variants() | {
        "model.interactions.dot.name": "odd_dot",
        "retrieve.first_stage": "dot",
        "model.losses.odd": None,
        "variants": None,
        "ablate": {"retrieve.settings.dot.temperature": [0.5, 7, 13, 2.0]},
        "baseline": {"retrieve.settings.dot.temperature": 0.5},
    }
    assert command(wide, temperatures) == 1
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "2 of 4 trials done, 2 failed"
    assert "temperature=7 · seeds: none: score dot: interaction `odd_dot` (odd-package, test_failures" in printed
    assert "temperature=13 · seeds: none: score dot: interaction `odd_dot` (odd-package): a score of query" in printed
    rows = table(wide)
    assert rows["temperature=2.0", "t2v/R1"]["outcome"] == "n.s."
    assert {rows[f"temperature={bad}", "t2v/R1"]["outcome"] for bad in (7, 13)} == {"failed"}


def test_a_fault_that_spares_no_trial_ends_with_that_one_message(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    every = variants() | {FAULT: "raise"}
    every["variants"] = {"base": {}, "other": {"evaluate.ties": "pessimistic"}}
    assert command(wide, every) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    error, traceback = shown.err.splitlines()
    assert error.startswith("error: train: loss `odd_loss` (odd-package, test_failures.py line ")
    assert error.endswith("ValueError: the loss is odd …")
    assert Path(traceback.removeprefix("Traceback: ")).is_file()
    assert TRIED["raise"] == 3  # one fit a seed
    assert written(wide) == ["registration.json"]


def test_different_faults_of_all_trials_are_all_told(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    every = variants(odd={FAULT: "memory"}) | {FAULT: "raise", "seeds": [0]}
    assert command(wide, every) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "error: 0 of 4 trials done, 4 failed:"
    assert [line.partition(" · ")[0].strip() for line in told[1:]] == ["base", "light", "heavy", "odd"]


def test_unreadable_videos_of_every_trial_are_one_message(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    for picture in (wide.videos / "test" / "v0").iterdir():
        picture.write_bytes(b"")
    assert command(wide, variants()) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("error: data.dataset: 1 video cannot be used:\n")
    assert shown.out == ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_store_that_cannot_be_written_ends_the_run_at_once_with_one_message(
    wide: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    tries = []

    def full(draft: Draft, *_: object) -> None:
        if draft.folder.parent.name == "fit":
            tries.append(draft.folder)
            raise OSError(number, os.strerror(number), str(draft.folder / "tensors.safetensors"))
        save(draft, *_)

    save = Draft.save
    monkeypatch.setattr(Draft, "save", full)
    assert command(wide, variants()) == 1
    shown = capsys.readouterr()
    assert len(tries) == 1
    assert shown.err.count("\n") == 1
    assert f"error: {wide.store}: the store cannot be written: " in shown.err
    assert "name another place (--store, --runs)" in shown.err
    assert written(wide) == ["registration.json"]
    assert records(wide) == []


FULL_DISK = {
    "python": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "safetensors": SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    "torch": RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
}
"""As they were raised on a disk that was really full."""


@pytest.mark.parametrize("fault", FULL_DISK.values(), ids=FULL_DISK)
def test_a_full_disk_is_known_by_what_each_library_says_of_it(
    wide: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    tries = []

    def full(*_: object) -> None:
        tries.append(1)
        raise fault

    monkeypatch.setattr(OddLoss, "after_step", full)
    assert command(wide, variants()) == 1
    assert len(tries) == 1
    assert f"error: {wide.store}: the store cannot be written: " in capsys.readouterr().err


def test_a_file_that_a_plugin_may_not_read_is_its_fault_and_not_the_stores(wide: Lab) -> None:
    def forbidden(self: OddLoss, inputs: LossInputs) -> Tensor:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/weights/of/mine")

    plain = OddLoss.forward
    OddLoss.forward = forbidden  # type: ignore[method-assign]
    try:
        with pytest.raises(RunError, match=r"loss `odd_loss`.*PermissionError"):
            wide.run(variants())
    finally:
        OddLoss.forward = plain  # type: ignore[method-assign]


def test_a_run_that_is_stopped_says_what_was_not_tried(
    wide: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(name: str) -> None:
        if name == "light · seed 1":
            raise KeyboardInterrupt

    monkeypatch.setattr(OddOutput, "fault", stop)
    changes = variants() | {"variants": {"base": {}, "odd": {FAULT: "nan"}, **SOUND}}
    assert command(wide, changes | {"outputs": {"mlflow": None, "odd_output": {}}}) == 130
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "5 of 12 trials done, 3 failed, 4 not tried"
    assert "stopped; what was computed is kept" in shown.err


def test_from_python_the_failed_trials_stand_in_the_result(wide: Lab) -> None:
    result = core.run_experiment(
        str(wide.write(ONE_SEED)), store=str(wide.store), runs=str(wide.folder / "runs"), workers=0, device="cpu"
    )
    assert [(one.name, one.failure.step) for one in result.failed] == [("odd · seed 1", "train [odd · seed 1]")]


def test_a_dry_run_says_what_failed_before(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    command(wide, ONE_SEED)
    capsys.readouterr()
    assert command(wide, ONE_SEED, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert printed.count("failed before") == 1
    assert "    odd · seed 1 failed before: train: the loss is not finite" in printed
    assert "odd  2 of 3 trials are in the store" in printed


def test_processes_that_share_the_work_leave_the_same_hole(wide: Lab) -> None:
    torch.set_num_threads(1)
    processes = [spawn(work, wide, str(wide.folder / f"process{number}"), ONE_SEED) for number in range(2)]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [record["trial"] for record in records(wide)] == ["odd · seed 1"]
    assert len(wide.entries("evaluate")) == 11
    assert not list((wide.store / "leases").glob("fit-*"))


# ---------------------------------------------------------------------------------------------- what is concluded


def test_a_variant_with_a_failed_seed_shows_what_is_done_and_is_not_compared(wide: Lab) -> None:
    result = wide.result(ONE_SEED)
    odd = next(row for row in result.rows if row.name == "odd")
    assert (odd.seeds, odd.outcome, odd.comparisons) == ([0, 2], "seed 1 failed: not compared", {})
    stored = [
        entry.json()["metrics"]["t2v/R1"] for entry in wide.entries("evaluate") if "[odd ·" in entry.info["label"]
    ]
    assert odd.mean("t2v/R1") == pytest.approx(sum(stored) / 2)
    cells = dict(zip(header(result), next(row for row in rows_of_table(result) if row[0] == "odd"), strict=True))
    assert cells["t2v/R1"].endswith("(2 of 3 seeds)")
    assert cells["outcome"] == "seed 1 failed: not compared"


def holm_with(p: list[float], lost: int) -> list[float]:
    """Holm's correction by hand, of p and of so many members with p = 1."""
    members = [*p, *[1.0] * lost]
    order = sorted(range(len(members)), key=lambda at: members[at])
    found, running = [0.0] * len(members), 0.0
    for place, at in enumerate(order):
        running = max(running, min(1.0, (len(members) - place) * members[at]))
        found[at] = running
    return found[: len(p)]


@pytest.mark.parametrize("changes", [ONE_SEED, HOLE], ids=["one seed", "every seed"])
def test_failures_shrink_no_family(wide: Lab, changes: dict[str, Any]) -> None:
    clear = changes | {"variants": changes["variants"] | {"light": {"retrieve.first_stage": "dot"}}}
    result = wide.result(clear)
    tested = [row.comparisons["t2v/R1"] for row in result.rows if row.comparisons]
    assert len(tested) == 2
    assert min(one.p for one in tested) < 0.2
    assert [one.p_corrected for one in tested] == pytest.approx(holm_with([one.p for one in tested], 1))
    assert {one.family for one in tested} == {3}
    decided = next(claim for claim in result.decisions if claim.hypothesis.name == "light_helps")
    assert decided.verdict.family == 3
    assert [decided.verdict.p_corrected] == pytest.approx(holm_with([decided.verdict.evidence.p], 2))


def test_a_hypothesis_that_needs_a_failed_trial_is_not_decided_and_says_which(wide: Lab) -> None:
    result = wide.result(ONE_SEED)
    for claim in result.decisions[1:]:
        assert claim.verdict.verdict == "not decided"
        assert claim.verdict.reason.startswith("trial failed (odd · seed 1: train: the loss is not finite")
    assert result.incomparable == []
    lines = list(csv.DictReader(io.StringIO(hypotheses_csv(result))))
    assert [line["verdict"] == "not decided" for line in lines[1:]] == [True, True]
    assert [(line["p"], line["p_corrected"], line["observed"]) for line in lines[1:]] == [("", "", "")] * 2


@pytest.mark.parametrize("seed", [1, -1], ids=["one seed", "every seed"])
def test_nothing_is_compared_with_a_baseline_that_failed(wide: Lab, seed: int) -> None:
    changes = variants(odd={FAULT: "raise", SEED: seed}) | {"baseline": "odd", "hypotheses": CLAIMS}
    changes["hypotheses"] = {"light": {"better": "light", "than": "heavy"}, "odd": {"better": "light", "than": "odd"}}
    assert command(wide, changes) == 1
    found = table(wide)
    outcomes = {name: line["outcome"] for (name, metric), line in found.items() if metric == "t2v/R1"}
    sound = dict.fromkeys(("base", "light", "heavy"), "baseline failed: not compared")
    assert outcomes == {**sound, "odd": "baseline, seed 1 failed" if seed == 1 else "baseline, seeds 0, 1, 2 failed"}
    assert not any(line["p"] for line in found.values())
    text = report(wide, "report.md")
    told = "seed 1 of odd failed" if seed == 1 else "seeds 0, 1, 2 of odd failed"
    assert f"Not compared, because {told} (train: loss `odd_loss`" in text
    assert "NOT DECIDED: odd: light is better than odd on t2v/R1 (trial failed (odd · seed " in text


# ---------------------------------------------------------------------------------------------- every output


GRID = HOLE | {
    "variants": None,
    "ablate": {WEIGHT: [0.5, 1.0], "train.learning_rate": [0.01, 0.02]},
    "baseline": {WEIGHT: 1.0, "train.learning_rate": 0.01},
    "hypotheses": {},
}


def test_every_file_of_the_report_shows_the_hole_and_why(drawn: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    command(drawn, HOLE)
    why = "the loss is odd"
    printed = capsys.readouterr().out
    for text in (printed, report(drawn, "report.md"), report(drawn, "report.html")):
        assert "9 of 12 trials done, 3 failed" in text
        assert why in text
        assert "NOT DECIDED" in text
    assert "| odd | failed |  |  |  | failed |  |" in report(drawn, "report.md")
    line = table(drawn)["odd", "t2v/R1"]
    assert (line["mean"], line["seeds"], line["values"], line["outcome"]) == ("", "0", "", "failed")
    latex = report(drawn, "table.tex")
    assert r"odd$^\S$ & --" in latex
    assert r"\multicolumn{3}{c}{failed}" in latex
    assert r"$^\S$\,Trials failed" in latex
    figures = {path.name for path in (drawn.folder / "runs" / "lab" / "figures").glob("*.svg")}
    assert {"differences.svg", "training_model.svg"} <= figures


def test_figures_leave_out_what_failed(wide: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from plugins.outputs.figures.figure import figures_of

    plain = OddLoss.forward

    def failing(self: OddLoss, inputs: LossInputs) -> Tensor:
        if self.config.weight == 0.5 and torch.initial_seed() // 1_000_003 == self.config.seed:
            raise ValueError("odd")
        return plain(self, inputs)

    monkeypatch.setattr(OddLoss, "forward", failing)
    for seed, shown in ((1, "seed 1 failed: not compared"), (-2, "n.s.")):
        result = wide.result(GRID | {SEED: seed, "seeds": [0, 1]})
        figures = figures_of(result)
        grid, curves = figures["grid"], figures.get("sweep_weight")
        assert grid.outcomes[0][0] == shown  # type: ignore[union-attr]
        assert (curves is None) == (seed == 1)


def test_a_sweep_is_drawn_without_the_value_that_failed(wide: Lab) -> None:
    from plugins.outputs.figures.curves import Curves

    changes = variants() | {"variants": None, FAULT: "none", "baseline": {WEIGHT: 0.5}}
    result = wide.result(
        changes | {"ablate": {WEIGHT: [0.5, 1.0, 2.0]}, "variants": {"odd": {FAULT: "nan", WEIGHT: 9}}}
    )
    figure = Curves.of(result, WEIGHT)
    assert figure is not None
    assert figure.at == (0.5, 1.0, 2.0)


def test_what_the_store_has_is_reported_again_with_its_holes(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ONE_SEED | {"ablate": {}}
    command(wide, changes)
    before = {name: report(wide, name) for name in ("report.md", "table.csv", "table.tex", "hypotheses.csv")}
    TRIED.clear()
    assert command(wide, changes, "--stored") == 0
    assert {name: report(wide, name) for name in before} == before
    assert not TRIED
    assert "11 of 12 trials done, 1 failed" in capsys.readouterr().out


def test_where_all_failed_there_is_nothing_to_report(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    every = variants() | {FAULT: "raise"}
    command(wide, every)
    capsys.readouterr()
    assert command(wide, every, "--stored") == 1
    assert "all of its 9 trials failed" in capsys.readouterr().err
    assert written(wide) == ["registration.json"]


# ---------------------------------------------------------------------------------------------- MLflow


def runs_of(lab: Lab) -> dict[str, Any]:
    """{name: run} of every run of the one experiment, but superseded ones."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{lab.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lab")
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    return {run.info.run_name: run for run in found if run.data.tags["role"] != "superseded"}


def parent_of(runs: dict[str, Any]) -> Any:
    return next(run for run in runs.values() if run.data.tags["role"] == "experiment")


def failure_text(lab: Lab, run: Any) -> str:
    place = run.info.artifact_uri.replace("mlflow-artifacts:/", "")
    return (lab.folder / "mlartifacts" / place.lstrip("/") / "failure.txt").read_text()


def test_mlflow_has_failed_trials_as_failed_runs_and_as_finished_ones_when_they_succeed(
    wide: Lab, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(wide.folder)
    database = shutil.copy(template, wide.folder / "mlflow.db")
    tracked = ONE_SEED | {"outputs": {"mlflow": {"uri": f"sqlite:///{database}"}}}
    for _ in range(2):  # writing again adds nothing
        assert command(wide, tracked) == 1
        runs = runs_of(wide)
        assert len(runs) == 1 + 12
        lost = runs["odd · seed 1"]
        assert (lost.info.status, lost.data.metrics) == ("FAILED", {})
        assert lost.data.tags["outcome"] == "failed"
        text = failure_text(wide, lost)
        assert "Traceback (most recent call last):" in text
        assert "the loss is not finite" in text
        assert runs["odd · seed 0"].info.status == "FINISHED"
        parent = parent_of(runs)
        assert parent.info.status == "FAILED"
        assert "11 of 12 trials done, 1 failed" in parent.data.tags["mlflow.note.content"]
        assert parent.data.tags["verdict/odd_helps"].startswith("not decided")
    assert command(wide, tracked, "--stored", "--only", "mlflow") == 0
    assert runs_of(wide)["odd · seed 1"].info.status == "FAILED"
    OddLoss.mended = True
    assert command(wide, tracked) == 0
    runs = runs_of(wide)
    assert len(runs) == 1 + 12
    again = runs["odd · seed 1"]
    assert again.info.run_id != lost.info.run_id
    assert again.info.status == parent_of(runs).info.status == "FINISHED"
    assert "t2v/R1" in again.data.metrics
    assert "failure" not in again.data.tags


# ---------------------------------------------------------------------------------------------- other plugins' faults


HOSTILE = "\x1b[2J\u202e no postgresql://bob:hunter2@db/x"


@pytest.mark.parametrize("fault", [ValueError(HOSTILE), UserError(HOSTILE)], ids=["exception", "message"])
def test_what_a_plugin_says_of_its_failure_neither_moves_the_cursor_nor_tells_a_password(
    drawn: Lab,
    template: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
) -> None:
    def odd(self: OddLoss, inputs: LossInputs) -> Tensor:
        if self.config.fault != "none":
            raise fault
        return ToyMatching.forward(self, inputs)

    def broken(name: str) -> None:
        raise fault

    monkeypatch.setattr(OddLoss, "forward", odd)
    monkeypatch.setattr(OddOutput, "fault", broken)
    database = shutil.copy(template, drawn.folder / "mlflow.db")
    outputs = {"mlflow": {"uri": f"sqlite:///{database}"}, "odd_output": {}}
    assert command(drawn, HOLE | {"outputs": outputs}) == 1
    shown = capsys.readouterr()
    kept = [file for place in ("runs", "store", "mlartifacts") for file in (drawn.folder / place).rglob("*")]
    texts = [file.read_bytes().decode(errors="replace") for file in kept if file.is_file()]
    assert r"\x1b[2J\u202e no postgresql://***@db/x" in shown.out
    assert r"\x1b[2J\u202e no postgresql://***@db/x" in shown.err
    for secret in ("\x1b[2J", "\u202e", "hunter2"):
        assert not any(secret in text for text in (shown.out, shown.err, *texts))
    assert "hunter2" not in database.read_bytes().decode(errors="replace")


def test_a_component_that_calls_exit_at_construction_is_named(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    changes = variants() | {"model.interactions.dot": {"name": "odd_dot", "start": "exit"}}
    assert command(wide, changes) == 1
    told = capsys.readouterr().err
    assert "interaction `odd_dot` (odd-package, test_failures.py line " in told
    assert "sys.exit('I do not want to') was called" in told


ODD_PLACE = r"\(odd-package, test_failures\.py line \d+\)"
AT_PLANNING = {
    "reading data": ({"name": "odd_videos", "fault": "reading"}, "dataset `odd_videos` {}: KeyError: 'read'"),
    "data": ({"name": "odd_videos", "fault": "construction"}, "dataset `odd_videos` {}: KeyError: 'constructed'"),
    "encoder": ({"name": "odd_encoder"}, "encoder `odd_encoder` {}: TypeError: constructed"),
    "interaction": ({"name": "odd_dot", "start": "raise"}, "interaction `odd_dot` {}: AttributeError: constructed …"),
}


@pytest.mark.parametrize("option", [[], ["--dry-run"], ["--check-videos"]], ids=["run", "dry run", "check videos"])
@pytest.mark.parametrize("fault", AT_PLANNING)
def test_a_component_that_fails_before_anything_runs_is_told_in_one_line(
    wide: Lab, capsys: pytest.CaptureFixture[str], fault: str, option: list[str]
) -> None:
    settings, told = AT_PLANNING[fault]
    key = {"encoder": "encoder", "interaction": "model.interactions.dot"}.get(fault, "data.dataset")
    settings = settings | ({"root": str(wide.videos)} if key == "data.dataset" else {})
    assert command(wide, variants(odd={"train.epochs": 2}) | {key: settings}, *option) == 1
    shown = capsys.readouterr()
    assert re.fullmatch(f"error: (data.dataset|.*yaml): {told.format(ODD_PLACE)}\n", shown.err)
    assert shown.out == ""
    assert written(wide) == []


def test_what_no_component_raised_before_anything_runs_is_not_taken_for_its_fault(
    wide: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(*_: Any) -> None:
        raise KeyError("ours")

    monkeypatch.setattr("core.engine.plan._trial", odd)
    with pytest.raises(KeyError, match="ours"):
        command(wide, variants())


def test_a_loss_that_cannot_be_constructed_costs_the_trials_that_train_with_it(
    wide: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(wide, variants(odd={FAULT: "construction"})) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "9 of 12 trials done, 3 failed"
    assert re.search(rf"failed: odd · seed 0: train: loss `odd_loss` {ODD_PLACE}: KeyError: 'constructed' ", shown.out)


def test_a_disk_that_is_full_while_data_are_made_is_no_fault_of_the_data_set(
    wide: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: OddVideos, folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "made"))

    monkeypatch.setattr(OddVideos, "prepare", full)
    data = {"name": "odd_videos", "root": str(wide.videos)}
    assert command(wide, variants() | {"data.dataset": data}) == 1
    told = capsys.readouterr().err
    assert "/made: the disk is full: free some space" in told
    assert "odd_videos` (" not in told


def installed(folder: Path, source: str) -> dict[str, str]:
    """The environment of a process that finds a plugin `oddity` with this source, and the toys."""
    (folder / "oddity.py").write_text(source)
    (folder / "toys_plugin.py").write_text("from tests.engine import ToyPlugin\nplugin = ToyPlugin()\n")
    told = folder / "oddity-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: oddity\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text("[retrieval_ablations]\noddity = oddity\ntoys = toys_plugin:plugin\n")
    return os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}


def run(lab: Lab, changes: dict[str, Any], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    places = ["--store", str(lab.store), "--runs", str(lab.folder / "runs"), "--workers", "0", "--device", "cpu"]
    words = [sys.executable, "-m", "core.run", str(lab.write(changes)), *places]
    return subprocess.run(words, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


PLAIN = {"retrieve.rerank": None, "outputs": {"mlflow": None}, "baseline": None}
ODDITY = """
import sys
from core import Interaction, hookimpl
from tests.engine import ToyDot

class Oddity(ToyDot):
    name = "oddity"
    def score(self, text, video):
        sys.exit(0)

@hookimpl
def register_interactions(register):
    register(Oddity)
"""


@pytest.mark.parametrize(
    "source",
    ["import sys\nsys.exit(0)", ODDITY.replace("    register(Oddity)", "    sys.exit(0)")],
    ids=["import", "hook"],
)
def test_a_plugin_that_calls_exit_when_it_is_loaded_is_left_out(tmp_path: Path, source: str) -> None:
    lab = Lab(tmp_path)
    environment = installed(tmp_path, source)
    done = run(lab, PLAIN, environment)
    assert (done.returncode, "Report: " in done.stdout) == (0, True), done.stderr
    assert (
        "warning: plugin oddity:oddity failed to load and is left out: SystemExit: sys.exit(0) was called"
        in done.stderr
    )
    done = run(lab, PLAIN | {"model.interactions.dot.name": "oddity"}, environment)
    assert done.returncode == 2
    assert "Plugin oddity:oddity failed to load: SystemExit: sys.exit(0) was called" in done.stderr


def test_a_plugin_that_calls_exit_in_a_step_fails_its_trial_in_a_process_of_its_own(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    changes = PLAIN | {
        "model.interactions.odd": {"name": "oddity"},
        "variants": {"sound": {}, "odd": {"retrieve.first_stage": "odd"}},
        "baseline": "sound",
        "model.losses": None,
        "model.interactions.linear": None,
    }
    done = run(lab, changes, installed(tmp_path, ODDITY))
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "1 of 2 trials done, 1 failed"
    assert "score odd: interaction `oddity` (oddity, oddity.py line 9): sys.exit(0) was called" in lines[-2]
    assert "Report: " in done.stdout
