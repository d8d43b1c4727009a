"""Panels of a report: what each shows are the numbers of the result, worked out again with plain loops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from PIL import Image

from core.evidence.findings import Result
from core.measure.significance import paired_test
from plugins.outputs.figures.drawing import draw
from plugins.outputs.figures.rows import draw_pareto
from plugins.outputs.panels import (
    Panel,
    Pareto,
    RankChanges,
    Training,
    forest,
    grid,
    panels,
    paretos,
    rank_changes,
    sweeps,
    trainings,
)
from plugins.outputs.panels.lines import drawn_interval
from tests.engine import Lab, plan_of

from .reported import EXPERIMENT, TEMPERATURE

pytestmark = pytest.mark.filterwarnings("error:constrained_layout not applied")


def stored(result: Result, name: str, settings: dict[str, Any]) -> np.ndarray:
    """[seeds, queries] of a metric for the one variant with these settings, read from the store without findings."""
    plan = plan_of(result)
    (variant,) = [v for v in plan.variants if all(v.value(key) == value for key, value in settings.items())]
    entries = [plan.workspace.store.read("evaluate", trial.last.key) for trial in plan.trials_of(variant)]
    return np.stack([entry.tensors()[name].numpy() for entry in entries]).astype(np.float64)


def setting(k: int, temperature: float) -> dict[str, Any]:
    return {"retrieve.rerank.top_k": k, TEMPERATURE: temperature}


BASELINE = {"retrieve.rerank": None}


def test_the_forest_has_the_difference_and_interval_of_every_compared_row(result: Result) -> None:
    panel = forest(result)
    assert panel is not None
    assert panel.rows == tuple(row.name for row in result.rows if not row.is_baseline)
    base = stored(result, "t2v/R1", BASELINE).mean()
    for number, (k, temperature) in enumerate((k, t) for k in (1, 3, 24) for t in (0.5, 2.0)):
        assert panel.difference[number] == pytest.approx(
            stored(result, "t2v/R1", setting(k, temperature)).mean() - base
        )
        assert panel.low[number] <= panel.difference[number] <= panel.high[number]


def test_two_swept_axes_make_a_grid_without_the_baseline_that_has_neither(result: Result) -> None:
    panel = grid(result)
    assert panel is not None
    assert (panel.rows.name, panel.columns.name) == ("top_k", "temperature")
    assert (panel.rows.values, panel.columns.values) == (("1", "3", "24"), ("0.5", "2.0"))
    for row, k in enumerate((1, 3, 24)):
        for column, temperature in enumerate((0.5, 2.0)):
            mean = stored(result, "t2v/R1", setting(k, temperature)).mean()
            assert panel.mean[row, column] == pytest.approx(mean)
            assert panel.difference[row, column] == pytest.approx(mean - stored(result, "t2v/R1", BASELINE).mean())


def test_each_swept_number_has_curves_with_the_baseline_beside_them(result: Result) -> None:
    found = sweeps(result)
    assert list(found) == ["top_k", "temperature"]
    depth, heat = found.values()
    assert (depth.at, depth.lines.name, depth.lines.values) == ((1, 3, 24), "temperature", ("0.5", "2.0"))
    assert (heat.at, heat.lines.name, heat.lines.values) == ((0.5, 2.0), "top_k", ("1", "3", "24"))
    assert np.array_equal(depth.mean, heat.mean.T)
    for panel in found.values():
        assert panel.baseline is not None
        mean, low, high = panel.baseline
        assert mean == pytest.approx(stored(result, "t2v/R1", BASELINE).mean())
        assert low < mean < high


def test_axes_varied_one_at_a_time_make_no_grid(copied: Lab) -> None:
    changes = {"ablate": {}, "baseline": None, "hypotheses": {}, "one_at_a_time": EXPERIMENT["ablate"]}
    assert grid(copied.result({**EXPERIMENT, **changes})) is None


def test_every_query_is_counted_once_where_its_ranks_put_it(result: Result) -> None:
    panel = rank_changes(result)
    assert panel is not None
    (k, temperature) = (float(part.partition("=")[2]) for part in panel.variant.split())
    before = stored(result, "t2v/MnR", BASELINE)
    after = stored(result, "t2v/MnR", setting(int(k), temperature))
    bounds = [(1, 1), (2, 5), (6, 10), (11, 50)]
    names = ["1", "2-5", "6-10", "11+"]
    expected = np.zeros((4, 4))
    gained = lost = 0
    seeds = len(after)
    before = np.repeat(before, seeds // len(before), axis=0)
    for query in range(after.shape[1]):
        for one, other in zip(before[:, query], after[:, query], strict=True):
            row, column = ([low <= int(rank) <= high for low, high in bounds].index(True) for rank in (one, other))
            expected[row, column] += 1 / seeds
        change = before[:, query].mean() - after[:, query].mean()
        gained, lost = gained + (change > 1e-9), lost + (change < -1e-9)
    size = len(panel.groups)
    assert list(panel.groups[: size - 1]) == names[: size - 1]
    assert panel.counts == pytest.approx(expected[:size, :size])
    assert expected.sum() == pytest.approx(panel.counts.sum()) == pytest.approx(48)
    assert (panel.gained, panel.lost) == (gained, lost)


def test_without_ranks_among_the_metrics_there_is_no_panel_of_them(copied: Lab) -> None:
    assert rank_changes(copied.result({**EXPERIMENT, "evaluate": {"metrics": ["R1"]}})) is None


def test_the_front_holds_what_no_other_variant_beats(result: Result) -> None:
    draws = np.random.default_rng(0)
    for row in result.rows:
        cost = float(draws.integers(1, 5))
        for found in row.results:
            found.__dict__["stored"] = {**found.stored, "costs": {"cost/latency_ms": cost, "cost/side_bytes": 8.0}}
    (panel,) = paretos(result).values()
    assert panel.against == "cost/latency_ms"
    for number in range(len(panel.rows)):
        beaten = False
        for other in range(len(panel.rows)):
            as_good = panel.cost[other] <= panel.cost[number] and panel.mean[other] >= panel.mean[number]
            differs = panel.cost[other] < panel.cost[number] or panel.mean[other] > panel.mean[number]
            beaten |= bool(as_good and differs)
        assert panel.front[number] == (not beaten)
        assert panel.mean[number] == pytest.approx(result.rows[number].mean("t2v/R1"))


def test_training_curves_are_the_stored_histories(copied: Lab) -> None:
    axes = {"train.learning_rate": [0.1, 0.001]}
    result = copied.result(
        {"train.keep": "best", "ablate": axes, "seeds": [0, 1], "retrieve": {"first_stage": "linear"}}
    )
    panel = trainings(result)["model"]
    assert panel.lines == ("learning_rate 0.1", "learning_rate 0.001")
    assert panel.loss.shape == panel.validation.shape == (2, 2, 2)
    for number, variant in enumerate(plan_of(result).variants):
        for seed, trial in enumerate(plan_of(result).trials_of(variant)):
            (fit,) = {step.key for step in trial.last.walk() if step.name == "fit"}
            history = json.loads((copied.store / "fit" / fit / "history.json").read_text())
            assert panel.loss[number, seed].tolist() == [record["loss"] for record in history]
            assert panel.validation[number, seed].tolist() == [record["validation"] for record in history]
            scores = [record["validation"] for record in history]
            assert panel.best[number, seed] == 1 + scores.index(max(scores))


def test_variants_of_one_training_share_a_line(result: Result) -> None:
    lines = trainings(result)["model"].lines
    assert len(lines) == len({*lines}) < len(result.rows)


def test_every_panel_is_drawn_the_same_twice_in_each_format(result: Result, tmp_path: Path) -> None:
    made = panels(result)
    assert list(made) == ["differences", "sweep_top_k", "sweep_temperature", "grid", "rank_changes", "training_model"]
    (differences,) = [panel for name, panel in made.items() if name == "differences"]
    files = [tmp_path / f"{name}{suffix}" for name in "ab" for suffix in (".svg", ".png", ".pdf")]
    for file in files:
        draw("", [differences], [], file)
    for one, other in zip(files[:3], files[3:], strict=True):
        assert one.read_bytes() == other.read_bytes()
    for name, panel in made.items():
        draw("", [panel], [], tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width > 700
        assert panel.caption


def test_letters_of_points_on_one_another_stand_side_by_side() -> None:
    cost, mean = np.array([1.0, 1.001, 5.0, 1.0, 5.0]), np.array([40.0, 40.01, 50.0, 50.0, 50.0])
    front = np.array([True, False, False, True, False])
    axes = Figure().subplots()
    draw_pareto(axes, Pareto("a", "t2v/R1", "cost/latency_ms", tuple("vwxyz"), cost, mean, mean - 1, mean + 1, front))
    letters = {text.get_text(): text.xy for text in axes.texts if isinstance(text, Annotation)}
    assert letters == {"ab": (1.0, 40.0), "ce": (5.0, 50.0), "d": (1.0, 50.0)}


def test_panels_without_data_of_some_kind_are_drawn(tmp_path: Path) -> None:
    one = np.array([1.0, 2.0])
    pareto = Pareto("a", "t2v/R1", "cost/latency_ms", ("a", "b"), one, one, one - 1, one + 1, np.array([True, True]))
    ranks = RankChanges("a", "b", "t2v", ("1",), np.array([[5.0]]), 0, 0)
    unvalidated = Training(
        "model", "t2v/R1", ("",), np.ones((1, 1, 3)), np.full((1, 1, 3), np.nan), np.ones((1, 1), int)
    )
    made: list[Panel] = [pareto, ranks, unvalidated]
    for number, panel in enumerate(made):
        draw("", [panel], [], tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 5000


def test_an_interval_that_few_videos_leave_open_is_drawn_without_ends() -> None:
    found = paired_test(np.array([[100.0, 0.0, 100.0]]), trained=False)
    assert np.isinf([found.low, found.high]).all()
    difference, low, high = drawn_interval(found)
    assert (difference, np.isnan(low), np.isnan(high)) == (found.difference, True, True)
    wide = paired_test(np.tile([100.0, 0.0, -100.0, 0.0], (1, 50)), trained=False)
    assert drawn_interval(wide) == (wide.difference, wide.low, wide.high)
