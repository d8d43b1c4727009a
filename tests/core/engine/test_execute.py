import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.contract.store import Busy
from core.engine import execute as execute_module
from core.engine.execute import ensure, execute
from core.engine.steps import fit
from core.engine.training import fit as train
from tests.engine import COUNTS, Lab, ToyEncoder

SWEEP = {"ablate": {"retrieve.rerank.top_k": [1, 2]}, "seeds": [0, 1]}


def test_every_trial_is_finished_once_when_its_result_is_there(lab: Lab) -> None:
    plan = lab.plan(SWEEP)
    seen = []

    def finished(trial: Any) -> None:
        assert plan.workspace.store.has("evaluate", trial.last.key)
        seen.append(trial.name)

    execute(plan, finished)
    assert seen == [trial.name for trial in plan.trials]
    execute(plan, finished)
    assert len(seen) == 8


def test_each_step_is_computed_once(lab: Lab) -> None:
    plan = lab.run(SWEEP)
    stored = Counter((e.meta["step"], e.meta["key"]) for e in plan.workspace.store.entries())
    assert set(stored) == set(plan.steps)


def test_a_step_done_by_another_process_meanwhile_is_not_done_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = lab.plan({"retrieve.rerank": None})
    step = next(step for step in plan.steps.values() if step.label == "encode test videos")
    store = plan.workspace.store
    hold = store.leases.hold

    def late_lease(name: str, key: str) -> Any:
        """Just before we get the lease, another process finishes."""
        monkeypatch.setattr(store.leases, "hold", hold)
        ensure(lab.plan({"retrieve.rerank": None}), step)
        return hold(name, key)

    monkeypatch.setattr(store.leases, "hold", late_lease)
    ensure(plan, step)
    assert COUNTS["videos"] == 5


def test_a_trial_that_waits_for_another_process_is_put_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = lab.plan(SWEEP)
    waits = []
    fits = [step for step in plan.steps.values() if step.name == "fit"]
    held = plan.workspace.store.leases.hold("fit", fits[0].key)
    held.__enter__()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        held.__exit__(None, None, None)

    monkeypatch.setattr(execute_module.time, "sleep", wait)
    done: list[Any] = []
    execute(plan, done.append)
    assert [trial.seed for trial in done] == [1, 1, 0, 0]
    assert len(waits) == 1


def test_one_member_of_a_group_that_is_held_makes_the_group_busy_and_lets_the_others_go(lab: Lab) -> None:
    plan = lab.plan({"retrieve.rerank": None, "ablate": {"retrieve.settings.dot.temperature": [0.5, 1.0]}})
    first, second = (step for step in plan.steps.values() if step.name == "score")
    store = plan.workspace.store
    for needed in first.inputs.values():
        ensure(plan, needed)
    with store.leases.hold("score", second.key):
        with pytest.raises(Busy):
            ensure(plan, first)
        with store.leases.hold("score", first.key):
            pass
    ensure(plan, first)
    assert store.has("score", second.key)


def test_a_kill_in_mid_training_goes_on_to_the_same_bits(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"train.epochs": 3, "train.keep": "best"}
    lab.run(changes)
    (whole,) = lab.entries("fit")
    before = whole.tensors()
    epochs = []

    class Killed(KeyboardInterrupt):
        pass

    def dying(trainee: Any, settings: Any, seed: int, validate: Any, *rest: Any) -> Any:
        def counted() -> float:
            epochs.append(1)
            if len(epochs) == 2:
                raise Killed
            return validate()

        return train(trainee, settings, seed, counted, *rest)

    for name in ("fit", "evaluate", "rank", "candidates"):
        for entry in lab.entries(name):
            lab.workspace().store.remove(entry.folder)
    monkeypatch.setattr(fit, "train", dying)
    with pytest.raises(Killed):
        lab.run(changes)
    assert lab.entries("fit") == []
    lab.run(changes)
    (again,) = lab.entries("fit")
    assert len(epochs) == 1 + 1 + 2
    assert all(torch.equal(before[name], tensor) for name, tensor in again.tensors().items())
    assert set(again.meta["files"]) == {"tensors.safetensors", "history.json"}


# ---------------------------------------------------------------------------------------------- several processes


def work(lab: Lab, folder: str, changes: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    lab.folder = Path(folder)
    lab.folder.mkdir(exist_ok=True)
    lab.run(changes)
    (lab.folder / "counts").write_text(repr(dict(COUNTS)))


def spawn(target: Callable[..., None], *arguments: Any) -> Any:
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    return process


def test_processes_with_one_plan_share_the_work_and_make_one_set_of_entries(lab: Lab) -> None:
    torch.set_num_threads(1)
    folders = [str(lab.folder / f"process{number}") for number in range(2)]
    processes = [spawn(work, lab, folder, SWEEP) for folder in folders]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert lab.new(SWEEP) == set()
    counts = sum((Counter(eval((Path(folder) / "counts").read_text())) for folder in folders), Counter())
    assert (counts["videos"], counts["texts"]) == (11, 22)
    assert not list((lab.store / "leases").glob("fit-*"))
    assert lab.workspace().store.remains() == []


def hang(lab: Lab, ready: str) -> None:
    def forward(self: Any, *arguments: Any) -> None:
        Path(ready).touch()
        time.sleep(60)

    ToyEncoder.forward_video = forward  # type: ignore[assignment,method-assign]
    lab.run()


def test_what_a_killed_process_held_is_taken_over(lab: Lab) -> None:
    ready = lab.folder / "ready"
    process = spawn(hang, lab, str(ready))
    limit = time.monotonic() + 30
    while not ready.exists() and time.monotonic() < limit:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list((lab.store / "leases").glob("encode-*"))
    lab.run()
    assert lab.new() == set()


def test_a_generated_data_set_is_made_by_one_process_while_the_others_wait(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.engine import ToyVideos

    at_once, most = [], []
    prepare = ToyVideos.prepare

    def slow(self: ToyVideos, folder: Path) -> Any:
        at_once.append(1)
        most.append(len(at_once))
        time.sleep(0.1)
        at_once.pop()
        (folder / "made").touch()
        return prepare(self, folder)

    monkeypatch.setattr(ToyVideos, "prepare", slow)
    monkeypatch.setattr(ToyVideos, "ready", lambda self, folder: (folder / "made").exists(), raising=False)
    spec = lab.plan().experiment.data.dataset
    (lab.workspace().dataset_folder(spec) / "made").unlink()
    threads = [threading.Thread(target=lambda: lab.workspace().splits(spec)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
