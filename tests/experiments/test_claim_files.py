"""Every file under experiments/claims states a published claim and tests it by a design fixed before the run."""

from pathlib import Path

import pytest
import torch

from core.contract.store import Store
from core.engine.plan import read_plan
from core.engine.steps.step import Workspace

FILES = sorted((Path(__file__).parents[2] / "experiments" / "claims").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_a_claim_is_stated_and_tested(file: Path, tmp_path: Path) -> None:
    plan = read_plan(str(file), [], Workspace(Store(tmp_path), torch.device("cpu"), 0))
    experiment = plan.experiment
    assert experiment.name == f"claim_{file.stem}"
    assert experiment.claim is not None
    assert experiment.claim.fairness
    assert plan.hypotheses
    assert len(experiment.seeds) >= 5
    assert all(variant.experiment.evaluate.split == "test" for variant in plan.variants)
    assert all(variant.experiment.train.select_on == "val" for variant in plan.variants)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_its_header_says_question_command_time_and_expectation(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert [word for word in ("Question", "Command", "Time", "Expect") if f"# {word}:" in "\n".join(lines)] == [
        "Question",
        "Command",
        "Time",
        "Expect",
    ]
    assert f"experiments/claims/{file.name}" in "\n".join(lines)
