"""Figures of a report: what each shows are the numbers of the result, worked out again with plain loops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import style
from matplotlib.figure import Figure as Page
from matplotlib.text import Annotation
from PIL import Image

from core.evidence.findings import Result
from core.measure.significance import paired_test
from plugins.outputs.axes import Axis
from plugins.outputs.figures.curves import Curves, sweeps
from plugins.outputs.figures.drawing import draw
from plugins.outputs.figures.figure import Figure, figures_of
from plugins.outputs.figures.forest import Forest
from plugins.outputs.figures.grid import Grid
from plugins.outputs.figures.intervals import drawn_interval
from plugins.outputs.figures.pareto import Pareto, paretos
from plugins.outputs.figures.rank_changes import RankChanges
from plugins.outputs.figures.style import COLOURS
from plugins.outputs.figures.training import Training, trainings
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
    figure = Forest.of(result)
    assert figure is not None
    assert figure.rows == tuple(row.name for row in result.rows if not row.is_baseline)
    base = stored(result, "t2v/R1", BASELINE).mean()
    for number, (k, temperature) in enumerate((k, t) for k in (1, 3, 24) for t in (0.5, 2.0)):
        assert figure.difference[number] == pytest.approx(
            stored(result, "t2v/R1", setting(k, temperature)).mean() - base
        )
        assert figure.low[number] <= figure.difference[number] <= figure.high[number]


def test_two_swept_axes_make_a_grid_without_the_baseline_that_has_neither(result: Result) -> None:
    figure = Grid.of(result)
    assert figure is not None
    assert (figure.rows.name, figure.columns.name) == ("top_k", "temperature")
    assert (figure.rows.values, figure.columns.values) == (("1", "3", "24"), ("0.5", "2.0"))
    for row, k in enumerate((1, 3, 24)):
        for column, temperature in enumerate((0.5, 2.0)):
            mean = stored(result, "t2v/R1", setting(k, temperature)).mean()
            assert figure.mean[row, column] == pytest.approx(mean)
            assert figure.difference[row, column] == pytest.approx(mean - stored(result, "t2v/R1", BASELINE).mean())


def test_each_swept_number_has_curves_with_the_baseline_beside_them(result: Result) -> None:
    found = sweeps(result)
    assert list(found) == ["top_k", "temperature"]
    depth, heat = found.values()
    assert (depth.at, depth.lines.name, depth.lines.values) == ((1, 3, 24), "temperature", ("0.5", "2.0"))
    assert (heat.at, heat.lines.name, heat.lines.values) == ((0.5, 2.0), "top_k", ("1", "3", "24"))
    assert np.array_equal(depth.mean, heat.mean.T)
    for figure in found.values():
        assert set(figure.baselines) == {result.baseline.name}
        mean, low, high = figure.baselines[result.baseline.name]
        assert mean == pytest.approx(stored(result, "t2v/R1", BASELINE).mean())
        assert low < mean < high


def test_axes_varied_one_at_a_time_make_no_grid(copied: Lab) -> None:
    changes = {"ablate": {}, "baseline": None, "hypotheses": {}, "one_at_a_time": EXPERIMENT["ablate"]}
    assert Grid.of(copied.result({**EXPERIMENT, **changes})) is None


def test_every_query_is_counted_once_where_its_ranks_put_it(result: Result) -> None:
    figure = RankChanges.of(result)
    assert figure is not None
    (k, temperature) = (float(part.partition("=")[2]) for part in figure.variant.split())
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
    size = len(figure.groups)
    assert list(figure.groups[: size - 1]) == names[: size - 1]
    assert figure.counts == pytest.approx(expected[:size, :size])
    assert expected.sum() == pytest.approx(figure.counts.sum()) == pytest.approx(48)
    assert (figure.gained, figure.lost) == (gained, lost)


def test_without_ranks_among_the_metrics_there_is_no_figure_of_them(copied: Lab) -> None:
    assert RankChanges.of(copied.result({**EXPERIMENT, "evaluate": {"metrics": ["R1"]}})) is None


def test_the_front_holds_what_no_other_variant_beats(result: Result) -> None:
    draws = np.random.default_rng(0)
    for row in result.rows:
        cost = float(draws.integers(1, 5))
        for found in row.results:
            found.__dict__["stored"] = {**found.stored, "costs": {"cost/latency_ms": cost, "cost/side_bytes": 8.0}}
    (figure,) = paretos(result).values()
    assert figure.against == "cost/latency_ms"
    for number in range(len(figure.rows)):
        beaten = False
        for other in range(len(figure.rows)):
            as_good = figure.cost[other] <= figure.cost[number] and figure.mean[other] >= figure.mean[number]
            differs = figure.cost[other] < figure.cost[number] or figure.mean[other] > figure.mean[number]
            beaten |= bool(as_good and differs)
        assert figure.front[number] == (not beaten)
        assert figure.mean[number] == pytest.approx(result.rows[number].mean("t2v/R1"))


def test_training_curves_are_the_stored_histories(copied: Lab) -> None:
    axes = {"train.learning_rate": [0.1, 0.001]}
    result = copied.result(
        {"train.keep": "best", "ablate": axes, "seeds": [0, 1], "retrieve": {"first_stage": "linear"}}
    )
    figure = trainings(result)["model"]
    assert figure.lines == ("learning_rate 0.1", "learning_rate 0.001")
    assert figure.loss.shape == figure.validation.shape == (2, 2, 2)
    for number, variant in enumerate(plan_of(result).variants):
        for seed, trial in enumerate(plan_of(result).trials_of(variant)):
            (fit,) = {step.key for step in trial.last.walk() if step.name == "fit"}
            history = json.loads((copied.store / "fit" / fit / "history.json").read_text())
            assert figure.loss[number, seed].tolist() == [record["loss"] for record in history]
            assert figure.validation[number, seed].tolist() == [record["validation"] for record in history]
            scores = [record["validation"] for record in history]
            assert figure.best[number, seed] == 1 + scores.index(max(scores))


def test_variants_of_one_training_share_a_line(result: Result) -> None:
    lines = trainings(result)["model"].lines
    assert len(lines) == len({*lines}) < len(result.rows)


def test_every_figure_is_drawn_the_same_twice_in_each_format(result: Result, tmp_path: Path) -> None:
    figures = figures_of(result)
    assert list(figures) == [
        "differences",
        "sweep_top_k",
        "sweep_temperature",
        "grid",
        "rank_changes",
        "training_model",
    ]
    files = [tmp_path / f"{name}{suffix}" for name in "ab" for suffix in (".svg", ".png", ".pdf")]
    for file in files:
        draw("", [figures["differences"]], [], file)
    for one, other in zip(files[:3], files[3:], strict=True):
        assert one.read_bytes() == other.read_bytes()
    for name, figure in figures.items():
        draw("", [figure], [], tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width > 700
        assert figure.caption


def test_letters_of_points_on_one_another_stand_side_by_side() -> None:
    cost, mean = np.array([1.0, 1.001, 5.0, 1.0, 5.0]), np.array([40.0, 40.01, 50.0, 50.0, 50.0])
    front = np.array([True, False, False, True, False])
    axes = Page().subplots()
    Pareto("a", "t2v/R1", "cost/latency_ms", tuple("vwxyz"), cost, mean, mean - 1, mean + 1, front).draw(axes)
    letters = {text.get_text(): text.xy for text in axes.texts if isinstance(text, Annotation)}
    assert letters == {"ab": (1.0, 40.0), "ce": (5.0, 50.0), "d": (1.0, 50.0)}


def test_figures_without_data_of_some_kind_are_drawn(tmp_path: Path) -> None:
    one = np.array([1.0, 2.0])
    pareto = Pareto("a", "t2v/R1", "cost/latency_ms", ("a", "b"), one, one, one - 1, one + 1, np.array([True, True]))
    ranks = RankChanges("a", "b", "t2v", ("1",), np.array([[5.0]]), 0, 0)
    unvalidated = Training(
        "model", "t2v/R1", ("",), np.ones((1, 1, 3)), np.full((1, 1, 3), np.nan), np.ones((1, 1), int)
    )
    figures: list[Figure] = [pareto, ranks, unvalidated]
    for number, figure in enumerate(figures):
        draw("", [figure], [], tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 5000


def inside(figure: Figure) -> bool:
    """Whether all texts of a figure lie within its page."""
    with style.context(["default", {"font.size": 9.0, "text.parse_math": False}]):
        page = Page(figsize=figure.size, layout="constrained")
        axes = page.subplots()
        figure.draw(axes)
        page.draw_without_rendering()
        box, whole = page.get_tightbbox(), page.bbox_inches
    return bool((box.min >= whole.min - 0.03).all() and (box.max <= whole.max + 0.03).all())


LONG = tuple(f"a setting whose name has {number:02} letters or more of sixty two" for number in range(26))


@pytest.mark.parametrize("count", [2, 16])
def test_long_names_stay_within_a_forest_and_a_front(count: int) -> None:
    values = np.arange(1.0, count + 1)
    names = LONG[:count]
    forest = Forest(LONG[0], "t2v/R1", names, values, values - 1, values + 1, ("better",) * count)
    front = np.ones(count, dtype=bool)
    pareto = Pareto((LONG[0],), "t2v/R1", "cost/latency_ms", names, values, values, values - 1, values + 1, front)
    assert inside(forest)
    assert inside(pareto)


def test_long_names_stay_within_curves_maps_and_trainings() -> None:
    ones = np.ones((7, 3))
    baselines = dict.fromkeys(LONG[:7], (1.0, 0.5, 1.5))
    lines = Axis("preset", LONG[:7])
    curves = Curves(
        "top_k", LONG[0], "t2v/R1", lines, (1, 5, 50), ones, ones - 1, ones + 1, baselines, tuple(baselines)
    )
    cells = np.ones((4, 16))
    columns = Axis("top_k", tuple(str(10 * number) for number in range(16)))
    outcomes = (("better",) * 16,) * 4
    grid = Grid(LONG[0], LONG[1], "t2v/R1", Axis("preset", LONG[:4]), columns, cells, cells, cells, cells, outcomes)
    moves = RankChanges(LONG[0], LONG[1], "t2v", ("1", "2-5", "6-10", "11+"), np.full((4, 4), 3.5), 3, 4)
    losses = np.ones((7, 2, 3))
    training = Training("model", "t2v/R1", LONG[:7], losses, losses, np.ones((7, 2), int))
    for figure in (curves, grid, moves, training):
        assert inside(figure)


def test_each_line_has_its_own_broken_baseline_named_below_it() -> None:
    ones = np.ones((2, 2))
    baselines = {"preset=a off": (1.0, 0.5, 1.5), "preset=b off": (2.0, 1.5, 2.5)}
    lines = Axis("preset", ("a", "b"))
    figure = Curves("top_k", "", "t2v/R1", lines, (1, 5), ones, ones - 1, ones + 1, baselines, tuple(baselines))
    axes = Page().subplots()
    figure.draw(axes)
    handles, labels = axes.get_legend_handles_labels()
    assert labels == ["a", "its baseline", "b", "its baseline"]
    assert [handle.get_color() for handle in handles] == [COLOURS[0], COLOURS[0], COLOURS[1], COLOURS[1]]
    assert handles[1].get_linestyle() != handles[3].get_linestyle()


def test_what_fractions_and_moves_within_a_group_mean_stands_below_the_changes_of_rank() -> None:
    whole = RankChanges("a", "b", "t2v", ("1", "2-5"), np.array([[3.0, 1.0], [2.0, 4.0]]), 4, 2)
    halves = RankChanges("a", "b", "t2v", ("1", "2-5"), np.array([[3.5, 0.5], [2.0, 4.0]]), 4, 2)
    assert "moves within one group" in whole.caption
    assert "fraction" not in whole.caption
    assert "a cell holds a fraction where the seeds" in halves.caption


def test_the_loss_is_told_from_the_metric_by_line_mark_and_place() -> None:
    losses = np.array([[[3.0, 2.0, 1.0]]])
    figure = Training("model", "t2v/R1", ("",), losses, 10 * losses, np.array([[1]]))
    page = Page()
    figure.draw(page.subplots())
    metric, loss = page.axes
    assert metric.lines[0].get_linestyle() != loss.lines[0].get_linestyle()
    assert (metric.lines[0].get_markerfacecolor(), loss.lines[0].get_markerfacecolor()) == (COLOURS[0], "white")
    lowest = (min(metric.lines[0].get_ydata()) - metric.get_ylim()[0]) / np.ptp(metric.get_ylim())
    highest = (max(loss.lines[0].get_ydata()) - loss.get_ylim()[0]) / np.ptp(loss.get_ylim())
    assert highest < 0.5 < lowest
    assert "dotted" in figure.caption


def test_an_interval_that_few_videos_leave_open_is_drawn_without_ends() -> None:
    found = paired_test(np.array([[100.0, 0.0, 100.0]]), trained=False)
    assert np.isinf([found.low, found.high]).all()
    difference, low, high = drawn_interval(found)
    assert (difference, np.isnan(low), np.isnan(high)) == (found.difference, True, True)
    wide = paired_test(np.tile([100.0, 0.0, -100.0, 0.0], (1, 50)), trained=False)
    assert drawn_interval(wide) == (wide.difference, wide.low, wide.high)
