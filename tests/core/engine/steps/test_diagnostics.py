"""Diagnostics: measured on each text with its own video, named in a hypothesis."""

import pytest
import torch

from core.errors import ConfigError
from tests.engine import Lab

from .outputs import output


def test_a_diagnostic_is_measured_on_each_text_with_its_own_video(lab: Lab) -> None:
    plan = lab.run({"evaluate.diagnostics": ["dot.spread"], "retrieve.rerank": None})
    entry = plan.workspace.read(plan.trials[0].last)
    values = entry.tensors()["t2v/dot.spread"]
    texts = output(plan, "encode test texts").tensors()["values"]
    videos = output(plan, "encode test videos").tensors()["values"]
    wanted = [100 * torch.sigmoid(texts[row] @ videos[row // 2].mean(0)) for row in range(10)]
    torch.testing.assert_close(values.float(), torch.stack(wanted))
    assert entry.json()["metrics"]["t2v/dot.spread"] == pytest.approx(values.mean().item())


def test_a_diagnostic_decides_a_hypothesis_of_lower_or_higher(lab: Lab) -> None:
    changes = {
        "evaluate.diagnostics": ["dot.spread"],
        "evaluate.directions": ["t2v"],
        "variants": {"one": {}, "other": {"encoder.gain": 3.0}},
        "baseline": "one",
        "hypotheses": {"grows": {"higher": "other", "than": "one", "metric": "t2v/dot.spread"}},
    }
    result = lab.result(changes)
    (claim,) = result.decisions
    rows = {row.name: row for row in result.rows}
    gained = rows["other"].mean("t2v/dot.spread") - rows["one"].mean("t2v/dot.spread")
    assert claim.verdict.evidence.observed == pytest.approx(gained)
    assert "higher than one on t2v/dot.spread" in str(claim.hypothesis)
    fall = {"falls": {"lower": "other", "than": "one", "metric": "t2v/dot.spread"}}
    (claim,) = lab.result({**changes, "hypotheses": fall}).decisions
    assert claim.verdict.evidence.observed == pytest.approx(-gained)
    with pytest.raises(ConfigError, match=r"`better` does not suit `t2v/dot.spread`; say higher or lower"):
        lab.plan({**changes, "hypotheses": {"grows": {"better": "other", "than": "one", "metric": "t2v/dot.spread"}}})
    with pytest.raises(ConfigError, match="`lower` does not suit `t2v/R1`"):
        lab.plan({**changes, "hypotheses": {"grows": {"lower": "other", "than": "one"}}})


def test_a_diagnostic_that_nothing_measures_is_refused(lab: Lab) -> None:
    with pytest.raises(ConfigError, match="`toy_dot` measures spread, not `entropy`"):
        lab.plan({"evaluate.diagnostics": ["dot.entropy"]})
    with pytest.raises(ConfigError, match=r"evaluate.diagnostics: no interaction named `dott`.*dot"):
        lab.plan({"evaluate.diagnostics": ["dott.spread"]})
