"""Outputs are handed what was found, each by itself: what one raises costs no trial and no other output."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

import core
from core import ConfigError, Output, Problem, UserError, setting
from core.compare import compare_inputs
from core.engine.plan import add_trials, read_plan
from core.evidence.ground import file_version
from core.evidence.receipt import RECEIPT
from core.outputs import Outputs
from core.run import main
from tests.core.experiments import plugged, plugin_of
from tests.engine import COUNTS, Lab, registered_toys

PACKAGE = "toy-package"
HERE = Path(__file__).name


class Recording(Output):
    """Remembers what it was told, writes a file, and tells its lines."""

    name = "recording"
    told: ClassVar[list[tuple[str, str]]] = []
    lines: ClassVar[tuple[str, ...]] = ()

    @dataclass(frozen=True)
    class Config:
        label: str = setting("first", "stands before what it was told")

    def started(self, plan: Any) -> None:
        self.told.append((self.config.label, "started"))

    def trial_finished(self, trial: Any) -> None:
        assert trial.metrics
        self.told.append((self.config.label, trial.name))

    def finished(self, result: Any, folder: Path) -> tuple[str, ...]:
        self.told.append((self.config.label, "finished"))
        (folder / f"{self.config.label}.txt").write_text(result.name)
        return self.lines


class Broken(Output):
    """Raises at one moment."""

    name = "broken"
    faults: ClassVar[dict[str, Callable[[], Any]]] = {
        "config": lambda: (_ for _ in ()).throw(ConfigError(Problem("at", "is no good moment"))),
        "value": lambda: (_ for _ in ()).throw(ValueError("it broke\nin two lines")),
        "exit": lambda: sys.exit(0),
        "full": lambda: (_ for _ in ()).throw(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/far/away")),
    }

    @dataclass(frozen=True)
    class Config:
        at: str = setting(doc="when", choices=("built", "started", "trial_finished", "finished", "telling"))
        fault: str = setting("value", "what", choices=("config", "value", "exit", "full"))

    def __init__(self, config: Any):
        super().__init__(config)
        self._reached("built")

    def _reached(self, at: str) -> None:
        if self.config.at == at:
            self.faults[self.config.fault]()

    def started(self, plan: Any) -> None:
        self._reached("started")

    def trial_finished(self, trial: Any) -> None:
        self._reached("trial_finished")

    def finished(self, result: Any, folder: Path) -> Iterator[str]:
        self._reached("finished")
        return self._lines()

    def _lines(self) -> Iterator[str]:
        yield "a line"
        self._reached("telling")


class Naming(Output):
    """Knows one trial by the id of a run."""

    name = "naming"
    known: ClassVar[dict[str, str]] = {}

    def trial_of(self, text: str) -> str | None:
        return self.known.get(text)


class Needy(Output):
    """Cannot be made without settings."""

    name = "needy"

    @dataclass(frozen=True)
    class Config:
        place: str = setting(doc="where to")

    def trial_of(self, text: str) -> str | None:
        raise AssertionError("asked, though nobody said where")


@pytest.fixture(autouse=True)
def toy_outputs() -> Iterator[None]:
    def register_outputs(register: Callable[[type], None]) -> None:
        for output in (Recording, Broken, Naming, Needy):
            register(output)

    with plugged(plugin_of(register_outputs=register_outputs), PACKAGE):
        yield
    Recording.told.clear()
    Naming.known.clear()


QUIET: dict[str, Any] = {"terminal": None, "figures": None, "pictures": None, "mlflow": None}
"""Built-in outputs but the report."""
SEEDS = (0, 1, 2)
EXPERIMENT: dict[str, Any] = {
    "retrieve": {"first_stage": "linear"},
    "train.epochs": 1,
    "seeds": list(SEEDS),
    "evaluate": {"metrics": ["R1"], "directions": ["t2v"]},
}
TRIALS = [f"as written · seed {seed}" for seed in SEEDS]
ALL = ["started", *TRIALS, "finished"]


def changed(**outputs: Any) -> dict[str, Any]:
    return EXPERIMENT | {"outputs": QUIET | outputs}


def command(lab: Lab, changes: dict[str, Any], *more: str) -> int:
    places = ["--store", str(lab.store), "--runs", str(lab.folder / "runs"), "--workers", "0", "--device", "cpu"]
    return main([str(lab.write(changes)), *more, *places])


def told(label: str = "first") -> list[str]:
    return [what for who, what in Recording.told if who == label]


def errors(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("error: ")]


def report(lab: Lab) -> Path:
    return lab.folder / "runs" / "lab" / "report.html"


# ------------------------------------------------------------------------------------------------ before the run


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("config", r"outputs\.mine\.at: is no good moment"),
        ("value", rf"outputs\.mine: output `broken` \({PACKAGE}, {HERE} line \d+\): ValueError: it broke"),
        ("exit", rf"outputs\.mine: output `broken` \({PACKAGE}, {HERE} line \d+\): sys\.exit\(0\) was called"),
    ],
)
def test_an_output_that_cannot_be_built_ends_the_command_before_anything_runs(
    lab: Lab, capsys: pytest.CaptureFixture[str], fault: str, said: str
) -> None:
    broken = {"name": "broken", "at": "built", "fault": fault}
    assert command(lab, changed(recording={}, mine=broken, other=broken)) == 2
    problems = capsys.readouterr().err
    assert re.search(rf"{lab.folder / 'experiment.yaml'}: {said}", problems)
    assert ": outputs.other" in problems  # all faults together
    assert not lab.entries("encode")
    assert not (lab.folder / "runs").exists()
    assert Recording.told == []


def test_settings_of_an_output_are_checked_like_those_of_any_component(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(lab, changed(recording={"lable": "x"}, needy={}, strange={"name": "recrding"})) == 2
    problems = capsys.readouterr().err
    file = lab.folder / "experiment.yaml"
    assert f"{file}: outputs.recording.lable: unknown key. Did you mean `label`?" in problems
    assert f"{file}: outputs.needy.place: is needed and missing (where to)" in problems
    assert f"{file}: outputs.strange.name: no output named `recrding`. Did you mean `recording`?" in problems


def test_an_output_that_is_there_by_default_and_lacks_a_setting_is_told_its_key(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Needy, "by_default", True)
    assert command(lab, changed()) == 2
    assert "experiment.yaml: outputs.needy.place: is needed and missing (where to)" in capsys.readouterr().err
    assert command(lab, changed(needy=None), "--dry-run") == 0


def test_the_outputs_of_every_file_are_checked_before_the_first_is_run(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    second = lab.folder / "second.yaml"
    second.write_text(lab.write(changed(broken={"at": "built", "fault": "config"})).read_text())
    assert command(lab, changed(recording={}), str(second)) == 2
    assert f"{second}: outputs.broken.at: is no good moment" in capsys.readouterr().err
    assert Recording.told == []


# ------------------------------------------------------------------------------------------------ by itself


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("value", r"output `broken` \(toy-package, test_outputs\.py line \d+\): ValueError: it broke …"),
        ("exit", r"output `broken` \(toy-package, test_outputs\.py line \d+\): sys\.exit\(0\) was called"),
        ("full", r"/far/away: the disk is full: .*same command resumes"),
    ],
)
def test_what_an_output_raises_costs_no_trial_and_no_other_output_and_is_told_once(
    lab: Lab, capsys: pytest.CaptureFixture[str], fault: str, said: str
) -> None:
    moments = ("started", "trial_finished", "finished", "telling")
    outputs = {"recording": {}} | {at: {"name": "broken", "at": at, "fault": fault} for at in moments}
    outputs["last"] = {"name": "recording", "label": "last"}
    assert command(lab, changed(**outputs)) == 1
    assert len(lab.entries("evaluate")) == len(TRIALS)
    assert told("first") == told("last") == ALL
    assert report(lab).is_file()
    assert (report(lab).parent / "last.txt").is_file()
    printed = capsys.readouterr()
    for at, error in zip(moments, errors(printed.err), strict=True):
        times = r" \(3 times\)" if at == "trial_finished" else ""
        assert re.fullmatch(rf"error: output `{at}` \(toy-package\): {said}{times}", error)
    assert printed.out.splitlines().count("a line") == 2  # of those two that did not fail in the end


def test_from_python_a_fault_of_an_output_is_a_warning(lab: Lab) -> None:
    file = str(lab.write(changed(broken={"at": "trial_finished"}, recording={})))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = core.run_experiment(file, store=str(lab.store), runs=str(lab.folder / "runs"), workers=0, device="cpu")
    (warning,) = [one for one in caught if one.category is RuntimeWarning]
    assert re.fullmatch(rf"output `broken` \({PACKAGE}\): .*ValueError: it broke … \(3 times\)", str(warning.message))
    assert result.failed == []
    assert told() == ALL


def test_when_every_place_fails_at_once_all_trials_are_stored_and_each_fault_is_named(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(Recording, "finished", lambda self, result, folder: self.told.append(("first", "finished")))
    (lab.folder / "runs").write_text("a file in the place of the folder")
    outputs = {"terminal": None, "mlflow": {"uri": "http://127.0.0.1:9"}, "broken": {"at": "finished"}, "recording": {}}
    assert command(lab, EXPERIMENT | {"outputs": outputs}) == 1
    assert len(lab.entries("evaluate")) == len(TRIALS)
    assert told() == ALL
    stderr = capsys.readouterr().err
    names = [line.removeprefix("error: ").partition(": ")[0] for line in errors(stderr)]
    built_in = [f"output `{name}` (retrieval-ablations)" for name in ("figures", "report", "mlflow")]
    assert {*names} - {"output `pictures` (retrieval-ablations)"} == {
        "registration.json",
        *built_in,
        f"output `broken` ({PACKAGE})",
    }
    assert len(names) == len({*names})
    assert f"{lab.folder / 'runs' / 'lab'}: a file stands where a folder is needed" in stderr
    assert "MLflow at http://127.0.0.1:9 could not be written" in stderr
    assert "No result is lost" in stderr
    assert "--stored --only mlflow" in stderr
    (lab.folder / "runs").unlink()
    Recording.told.clear()
    assert command(lab, changed(recording={}), "--stored") == 0
    assert told() == ALL
    assert report(lab).is_file()


# ------------------------------------------------------------------------------------------------ from the store


@pytest.fixture(scope="module")
def ran_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with registered_toys():
        made = Lab(tmp_path_factory.mktemp("ran"))
        made.run(EXPERIMENT)
    return made.folder


@pytest.fixture
def ran(toys: None, ran_folder: Path, tmp_path: Path) -> Lab:
    """A lab in which the experiment was computed, and nothing was put out."""
    return Lab(shutil.copytree(ran_folder, tmp_path / "lab"))


def test_stored_computes_nothing_and_tells_every_output_all_of_it_again(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.run(EXPERIMENT)
    COUNTS.clear()
    before = sorted(lab.store.rglob("*"))
    monkeypatch.setattr(Recording, "lines", ("where it is",))
    assert command(lab, changed(recording={}), "--stored") == 0
    assert told() == ALL
    assert not COUNTS
    assert sorted(lab.store.rglob("*")) == before
    printed = capsys.readouterr().out
    assert "where it is\n" in printed
    assert f"Report: {report(lab)}" in printed
    first = (report(lab).parent / RECEIPT).read_bytes()
    assert command(lab, changed(recording={}), "--stored") == 0
    assert (report(lab).parent / RECEIPT).read_bytes() == first


def test_only_restricts_to_some_outputs_in_their_own_order(ran: Lab) -> None:
    outputs = {"recording": {}, "last": {"name": "recording", "label": "last"}, "broken": {"at": "started"}}
    assert command(ran, changed(**outputs), "--stored", "--only", "last,recording") == 0
    assert [who for who, what in Recording.told if what == "finished"] == ["first", "last"]
    assert not report(ran).exists()
    Recording.told.clear()
    assert command(ran, changed(**outputs), "--stored", "--only", "last") == 0
    assert (told("first"), told("last")) == ([], ALL)


def test_only_an_output_that_is_not_there_is_an_error_with_the_nearest(
    ran: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(ran, changed(recording={}), "--stored", "--only", "recrding,report") == 2
    said = capsys.readouterr().err
    assert "command line: --only: there is no output `recrding`. Did you mean `recording`?" in said
    assert command(ran, changed(recording={}), "--stored", "--only", "mlflow") == 2  # it is left out
    assert "there is no output `mlflow`" in capsys.readouterr().err
    assert Recording.told == []


def test_only_without_stored_is_refused(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(lab, changed(recording={}), "--only", "recording") == 2
    assert "--only: chooses among the outputs that write again: add --stored" in capsys.readouterr().err
    assert not lab.store.exists()


def test_stored_says_what_is_missing_and_how_to_compute_it(ran: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(ran, changed(recording={}) | {"seeds": [*SEEDS, 7, 8]}, "--stored") == 1
    said = capsys.readouterr().err
    assert "2 of its 5 trials are missing (as written · seed 7, …); compute them by: python -m core.run " in said
    assert Recording.told == []
    assert not (ran.folder / "runs").exists()


def test_stored_is_held_against_a_registration_like_a_run(ran: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(ran, changed(), "--stored") == 0
    place = report(ran).parent / RECEIPT
    other = ran.folder / "other.json"
    other.write_text(place.read_text().replace("lab", "another"))
    assert command(ran, changed(recording={}), "--stored", "--registered", str(place)) == 0
    Recording.told.clear()
    capsys.readouterr()
    assert command(ran, changed(recording={}), "--stored", "--registered", str(other)) != 0
    assert str(other) in capsys.readouterr().err
    assert Recording.told == []


# ------------------------------------------------------------------------------------------------ in the file


def keys_of(lab: Lab, changes: dict[str, Any]) -> list[str]:
    plan = read_plan(str(lab.write(changes)), [], lab.workspace())
    return list(Outputs(plan, lab.folder / "runs")._outputs)


def test_null_leaves_an_output_out_and_a_mapping_without_a_name_means_the_one_of_its_key(lab: Lab) -> None:
    def built_in(*names: str) -> list[str]:
        return [f"output `{name}` (retrieval-ablations)" for name in names]

    default = ["terminal", "figures", "pictures", "report", "mlflow"]
    assert keys_of(lab, {}) == built_in(*default)
    assert keys_of(lab, {"outputs": {"report": None}}) == built_in(*(name for name in default if name != "report"))
    outputs = {"recording": {}, "mlflow": {"uri": "sqlite:///x.db"}, "second": {"name": "mlflow"}}
    assert keys_of(lab, {"outputs": outputs}) == [
        *built_in(*default),
        f"output `recording` ({PACKAGE})",
        *built_in("second"),
    ]
    plan = read_plan(str(lab.write({"outputs": outputs})), [], lab.workspace())
    assert plan.experiment.outputs["mlflow"].fields.uri == "sqlite:///x.db"  # type: ignore[union-attr]


def test_leaving_out_an_output_that_is_not_there_is_an_error_with_the_nearest(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(lab, EXPERIMENT | {"outputs": {"reprt": None}}) == 2
    said = capsys.readouterr().err
    assert "experiment.yaml: outputs.reprt: there is no such output. Did you mean `report`?" in said
    assert not lab.entries("encode")


def test_outputs_are_in_no_key_no_stored_trial_no_version_and_no_registration(lab: Lab) -> None:
    def traces(changes: dict[str, Any]) -> tuple[Any, ...]:
        assert command(lab, changes) == 0
        plan = read_plan(str(lab.write(changes)), [], lab.workspace())
        add_trials(plan)
        stored = {entry.folder.name: (entry.folder / "trial.json").read_text() for entry in lab.entries("evaluate")}
        registered = (report(lab).parent / RECEIPT).read_text()
        return sorted(plan.steps), [trial.last.key for trial in plan.trials], stored, file_version(plan), registered

    first, second = traces(changed()), traces(changed(recording={"label": "last"}, report=None))
    assert first == second
    assert not [text for text in first[2].values() if "outputs" in json.loads(text)["experiment"]]
    assert '"outputs"' not in first[4]
    assert told("last") == ALL
    assert len(first[2]) == len(TRIALS)


@pytest.mark.parametrize(("key", "instead"), [("tracking", "mlflow: {uri: …}"), ("export", "export: {folder: …}")])
def test_a_key_of_an_earlier_version_is_one_error_that_says_what_to_write(
    lab: Lab, capsys: pytest.CaptureFixture[str], key: str, instead: str
) -> None:
    written = {"tracking": {"enabled": False, "uri": "x"}, "export": "model"}[key]
    words = {"tracking": "tracking.uri=x", "export": "export=model"}[key]
    for changes, more in ((EXPERIMENT | {key: written}, ()), (EXPERIMENT, (words,))):
        assert command(lab, changes, *more) == 2
        (error,) = capsys.readouterr().err.splitlines()
        place = "command line" if more else str(lab.folder / "experiment.yaml")
        assert error.startswith(f"error: {place}: {key}: is an output now: `outputs: {{{instead}}}`")


# ------------------------------------------------------------------------------------------------ lines


def test_what_is_no_letter_in_a_line_of_an_output_is_printed_visibly_and_colours_stay(
    ran: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ("\x1b[1;31mred\x1b[0m", "up\x1b[2Aand \x1b]0;title\x07 b\rc\nd \u202e", "plain")
    monkeypatch.setattr(Recording, "lines", lines)
    assert command(ran, changed(recording={}), "--stored", "--only", "recording") == 0
    red, hostile, plain = capsys.readouterr().out.splitlines()
    assert (red, plain) == ("\x1b[1;31mred\x1b[0m", "plain")
    assert hostile == r"up\x1b[2Aand \x1b]0;title\x07 b\x0dc\x0ad \u202e"


# ------------------------------------------------------------------------------------------------ named trials


RUN = "0123456789abcdef" * 2


def test_compare_finds_a_trial_by_what_an_output_calls_it_though_another_cannot_tell(
    ran: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran.folder)  # without a database of MLflow
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    first, second = (trial.last.key for trial in ran.plan(EXPERIMENT).trials[:2])
    Naming.known[RUN] = first
    found, expected = (compare_inputs([one, second], store=str(ran.store)) for one in (RUN, first))
    assert [line.value for line in found.lines] == [line.value for line in expected.lines]


def test_a_name_that_no_output_knows_is_an_error_of_the_one_that_could_not_tell(
    ran: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran.folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match=f"{RUN}: no MLflow database at "):
        compare_inputs([RUN, "f" * 32], store=str(ran.store))
