"""A fast share of tests/torture, and that its own judgement is right. `nox -s torture` runs the whole."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.torture import crowd, damage, full_disk, kills, mutated
from tests.torture.campaign import Campaign, attempt, campaign, pattern
from tests.torture.faults import Fault, compiler
from tests.torture.targets import NAMES, target
from tests.torture.verdict import Verdict
from tests.torture.world import Outcome

pytestmark = pytest.mark.skipif(compiler() is None or os.name != "posix", reason="needs a C compiler")


@pytest.fixture(scope="module")
def made_in() -> Iterator[Campaign]:
    """A world whose reports have their figures as SVG alone: a run there takes a third less. With fewer files to write,
    an attempt is not the one of the same number in the whole campaign."""
    with campaign({"plugins.outputs.figures.files.FORMATS": [".svg"]}) as made:
        yield made


def ended_well(verdict: Verdict) -> None:
    assert verdict.good, f"{verdict.kind} {verdict.seed}: {verdict.tried}: {verdict.result}: {verdict.detail}"


# ------------------------------------------------------------------------------------------------ the fast share


@pytest.mark.parametrize("seed", [3])
def test_a_killed_run_loses_nothing(made_in: Campaign, seed: int) -> None:
    ended_well(attempt(made_in, "kills", seed, kills.kill))


@pytest.mark.parametrize("seed", [0])
def test_a_damaged_file_costs_one_message_at_most(made_in: Campaign, seed: int) -> None:
    ended_well(attempt(made_in, "damage", seed, damage.damage))


@pytest.mark.parametrize("seed", [0])
def test_a_disk_that_fails_costs_one_message_and_no_result(made_in: Campaign, seed: int) -> None:
    ended_well(attempt(made_in, "disk", seed, full_disk.fail))


@pytest.mark.parametrize(("seed", "count"), [(0, 25), pytest.param(25, 175, marks=pytest.mark.slow)])
def test_a_mutated_input_file_is_read_or_refused_in_words(seed: int, count: int) -> None:
    verdicts = list(mutated.read_all(seed, count))
    assert len(verdicts) == count
    for verdict in verdicts:
        ended_well(verdict)


# ---------------------------------------------------------------------------------------------------- the long share


@pytest.mark.slow
def test_a_run_killed_at_mlflows_first_write_is_whole_after_the_next(made_in: Campaign) -> None:
    made_in.world.restore("fresh")
    made_in.judge.look()
    killed = made_in.world.run(Fault(1, "mlflow.db", ("write",), signal=signal.SIGKILL))
    assert killed.status == -signal.SIGKILL
    assert not (made_in.world.cwd / "mlartifacts").exists()
    assert made_in.judge.judge([killed], sent=True) == ("survived", "")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_of_which_two_are_killed_ends_with_the_right_results(made_in: Campaign, seed: int) -> None:
    ended_well(attempt(made_in, "crowd", seed, crowd.crowd))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_file_system_too_small_for_the_run_costs_one_message(made_in: Campaign, seed: int) -> None:
    ended_well(attempt(made_in, "small_disk", seed, full_disk.small_disk))


# ------------------------------------------------------------------------- the judge sees what it is there to see


def test_an_undisturbed_run_is_judged_right(made_in: Campaign) -> None:
    made_in.world.restore("done")
    made_in.judge.look()
    assert made_in.judge.judge([made_in.world.run()]) == ("survived", "")


def judged(made_in: Campaign, ended: Outcome) -> tuple[str, str]:
    """Of a finished world and what one run of it is said to have been."""
    return made_in.judge.judge([ended], run=lambda: ended)


def outcome(status: int = 0, stderr: str = "", **more: object) -> Outcome:
    return Outcome(status, "", stderr, 1.0, **more)  # type: ignore[arg-type]


@pytest.fixture
def done(made_in: Campaign) -> Path:
    made_in.world.restore("done")
    made_in.judge.look()
    return made_in.world.cwd


def test_a_number_that_is_another_is_wrong(made_in: Campaign, done: Path) -> None:
    table = done / "runs" / "torture" / "table.csv"
    table.write_text(table.read_text().replace("t2v/R1,", "t2v/R1,9", 1))
    result, detail = judged(made_in, outcome())
    assert (result, "table.csv" in detail) == ("wrong", True)


def test_a_run_of_mlflow_that_is_gone_is_lost(made_in: Campaign, done: Path) -> None:
    (done / "mlflow.db").unlink()
    assert judged(made_in, outcome())[0] == "lost"


def test_a_file_beside_the_named_folders_is_outside(made_in: Campaign, done: Path) -> None:
    (done.parent / "home" / ".cache").mkdir()
    assert judged(made_in, outcome())[0] == "outside"


def test_a_file_of_the_users_own_that_was_written_through_is_outside(made_in: Campaign, done: Path) -> None:
    (done.parent / "victims" / "own.txt").write_text("")
    assert judged(made_in, outcome())[0] == "outside"


def test_ends_that_nobody_wants_are_told_apart(made_in: Campaign, done: Path) -> None:
    trace = 'Traceback (most recent call last):\n  File "/x/core/run.py", line 1, in main\nKeyError: 1\n'
    assert judged(made_in, outcome(1, trace))[0] == "traceback"
    assert judged(made_in, outcome(-11))[0] == "crash"
    assert judged(made_in, outcome(1, "no word of what"))[0] == "crash"
    assert judged(made_in, outcome(1, "error: for ever"))[0] == "stuck"
    assert judged(made_in, outcome(hung=True))[0] == "hang"
    assert judged(made_in, outcome(orphans=["a worker"]))[0] == "orphan"


def test_one_message_and_then_the_right_result_is_a_message_and_two_are_not(made_in: Campaign, done: Path) -> None:
    ends = [outcome(1, "error: set aside; run again"), outcome()]
    assert made_in.judge.judge(ends[:1], run=lambda: ends[1])[0] == "message"
    left = [outcome(1, "error: again"), outcome()]
    assert made_in.judge.judge([ends[0]], run=lambda: left.pop(0))[0] == "again"


def test_a_command_that_waits_for_ever_is_ended_and_told_where_it_hangs(made_in: Campaign) -> None:
    world = made_in.world
    world.restore("done")
    shutil.rmtree(world.cwd / "store" / "evaluate")
    lease = world.cwd / "store" / "leases" / f"datasets-{next((world.cwd / 'store' / 'datasets').iterdir()).name}"
    lease.write_text("elsewhere 1")
    os.utime(lease, (4e9, 4e9))
    shutil.rmtree(world.cwd / "store" / "datasets")
    ended = world.finish(world.start(), quiet=2)
    assert ended.hung
    assert "leases.py" in ended.stacks


def test_a_fault_meets_the_operation_that_it_names(made_in: Campaign) -> None:
    made_in.world.restore("done")
    shutil.rmtree(made_in.world.cwd / "store" / "evaluate")
    ended = made_in.world.run(Fault(1, "store/evaluate/draft-*/result.json", ("open",), errno=28))
    assert ended.status != 0
    assert "result.json" in ended.stderr
    assert "the disk is full" in ended.stderr


def test_a_pattern_fits_the_path_that_it_was_made_of() -> None:
    assert pattern("store/fit/draft-0123456789abcdef-47-0a1b2c3d/.tmpaB_9xQ") == "store/fit/draft-*-*/.tmp*"
    assert pattern("store/leases/.draft-4711-99999999") == "store/leases/.draft-*"
    assert pattern("runs/torture/.table.csv.4711") == "runs/torture/.table.csv.*"
    assert (
        pattern("store/datasets/shapes-0123456789abcdef/test/test-00001.mp4")
        == "store/datasets/shapes-*/test/test-*.mp4"
    )


def test_a_kill_can_meet_every_phase_of_a_run(made_in: Campaign) -> None:
    met = {kills.site_of(made_in, Random(f"kills {n}"), 9).match.split("/")[0] for n in range(300)}
    assert {"store", "runs", "mlflow.db", "mlartifacts", ".mlflow.db.making-*"} <= met


def test_an_attempt_is_repeated_by_its_number(made_in: Campaign) -> None:
    first, again, other = (kills.site_of(made_in, Random(f"kills {n}"), 9) for n in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_the_sound_files_that_are_mutated_are_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = target(name)
    for file, content in chosen.files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    chosen.read(tmp_path)
