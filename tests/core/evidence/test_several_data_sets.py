"""A grid over data sets has a baseline on each, and every variant is compared with the one on its own data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.engine.execute import execute
from core.engine.plan import Plan
from core.errors import ConfigError
from core.evidence.departures import changed_settings, dropped_variants
from core.evidence.findings import findings
from core.evidence.ledger import enter
from core.evidence.receipt import check_registered, receipt
from core.evidence.registration import register
from core.evidence.results import Result
from plugins.outputs.figures.curves import Curves
from plugins.outputs.figures.forest import Forest
from plugins.outputs.figures.rank_changes import RankChanges
from plugins.outputs.report.as_latex import latex
from plugins.outputs.tables import table
from tests.engine import Lab, write_videos

TOP_K = "retrieve.rerank.top_k"
ROOT = "data.dataset.root"


@pytest.fixture
def changes(lab: Lab) -> dict[str, Any]:
    """K over two data sets, re-ranking off beside them; other numbers of videos."""
    write_videos(lab.folder / "few", {"train": 6, "val": 4, "test": 12}, seed=1)
    write_videos(lab.folder / "many", {"train": 6, "val": 4, "test": 20}, seed=2)
    return {
        "variants": {},
        "ablate": {ROOT: [str(lab.folder / "few"), str(lab.folder / "many")], TOP_K: [1, 2, 5]},
        "baseline": {"retrieve.rerank": None},
        "seeds": [0],
        "hypotheses": {"helps": {"better": {TOP_K: 5}, "than": "baseline"}},
    }


def scored(plan: Plan) -> Result:
    register(plan)
    execute(plan, lambda trial: enter(plan, trial))
    return findings(plan)


def place(result: Result, row: Any) -> str:
    return Path(str(row.variant.value(ROOT))).name


def test_each_data_set_has_its_baseline_and_nothing_is_compared_across(lab: Lab, changes: dict[str, Any]) -> None:
    result = scored(lab.plan(changes))
    assert [place(result, row) for row in result.baselines] == ["few", "many"]
    assert result.refusals == {}
    for row in (row for row in result.rows if not row.is_baseline):
        baseline = result.baseline_of(row)
        assert place(result, baseline) == place(result, row)
        wanted = (row.per_query(result.primary) - baseline.per_query(result.primary)).mean()
        assert row.comparisons[result.primary].difference == pytest.approx(wanted)
        assert row.comparisons[result.primary].family == 6
    assert result.size == "12 videos, 24 texts and 20 videos, 40 texts"
    assert [len(cells) for cells in table(result)] == [len(table(result)[0])] * 8


def test_a_claim_against_the_baseline_is_decided_on_each_data_set(lab: Lab, changes: dict[str, Any]) -> None:
    result = scored(lab.plan(changes))
    assert len(result.decisions) == 2
    for decision in result.decisions:
        mine, other = decision.hypothesis.arms
        assert mine.value(ROOT) == other.value(ROOT)
        assert other.is_baseline


def test_figures_and_tables_name_the_baseline_of_each(lab: Lab, changes: dict[str, Any]) -> None:
    result = scored(lab.plan(changes))
    curves, forest, moves = Curves.of(result), Forest.of(result), RankChanges.of(result)
    assert curves is not None
    assert forest is not None
    assert moves is not None
    assert list(curves.baselines) == [row.name for row in result.baselines]
    assert list(curves.baseline_of) == list(curves.baselines)
    for row in result.baselines:
        assert curves.baselines[row.name][0] == pytest.approx(np.mean(row.values(result.primary)))
    assert forest.baseline == "the baseline on the same data"
    queries = {"few": 24, "many": 40}
    assert np.sum(moves.counts) == pytest.approx(next(n for name, n in queries.items() if f"/{name} " in moves.variant))
    first = latex(result).partition(r"\bottomrule")[0]
    assert first.count("baseline") >= 2


def test_a_baseline_that_selects_one_on_each_data_set_is_no_ambiguity(lab: Lab, changes: dict[str, Any]) -> None:
    plan = lab.plan({**changes, "baseline": {TOP_K: 1}, "hypotheses": {}})
    assert [variant.value(TOP_K) for variant in plan.baselines] == [1, 1]
    with pytest.raises(ConfigError, match="selects 6 variants, not one"):
        lab.plan({**changes, "baseline": {"retrieve.rerank.name": "score_fusion"}, "hypotheses": {}})


def test_a_variant_dropped_on_the_second_data_set_and_a_changed_baseline_there_are_seen(
    lab: Lab, changes: dict[str, Any]
) -> None:
    first = lab.plan(changes)
    scored(first)
    fewer = lab.plan({**changes, "ablate": {**changes["ablate"], TOP_K: [1, 2]}, "hypotheses": {}})
    assert len(dropped_variants(fewer)) == 2
    assert changed_settings(fewer) == []
    moved = lab.plan({**changes, "baseline": {TOP_K: 1}, "hypotheses": {}})
    (told,) = changed_settings(moved)
    assert told.startswith("the baseline was registered as ")


def test_the_receipt_holds_both_baselines(lab: Lab, changes: dict[str, Any], tmp_path: Path) -> None:
    plan = lab.plan(changes)
    file = tmp_path / "registration.json"
    file.write_text(receipt(plan))
    check_registered(plan, str(file))
    with pytest.raises(ConfigError, match="baseline"):
        check_registered(lab.plan({**changes, "baseline": {TOP_K: 1}}), str(file))
