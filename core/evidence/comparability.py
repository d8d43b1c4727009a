"""Which variants may not be compared: those that rank other texts or videos, or play by other rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..engine.plan import Plan
from ..experiment.config import Experiment
from ..measure.metrics import COSTS
from .recognition import scored
from .results import Refusal, Row


def refusal(plan: Plan, row: Row, other: Row, metric: str) -> Refusal | None:
    """Why two rows are not compared on a metric, or on one of `COSTS`; None where they may be."""
    return next(_refusals(plan, row, other, metric), None)


def _refusals(plan: Plan, row: Row, other: Row, metric: str) -> Iterator[Refusal]:
    split, other_split = (arm.variant.experiment.evaluate.split for arm in (row, other))
    if split != other_split:
        yield _setting("split", split, other_split)
    if not (row.whole and other.whole):
        yield from _rules(row, other, metric)
        yield _failed(row, other)
        return
    yield from _items(plan, row, other, "videos" if metric.startswith("v2t/") else "texts")
    yield from _rules(row, other, metric)


def _rules(row: Row, other: Row, metric: str) -> Iterator[Refusal]:
    """Rules of the comparison that the arms do not share; costs know none."""
    if metric in COSTS:
        return
    yield from _selected(row, other)
    ties, other_ties = (arm.variant.experiment.evaluate.ties for arm in (row, other))
    if ties != other_ties:
        yield _setting("ties", ties, other_ties)


def _failed(row: Row, other: Row) -> Refusal:
    """An arm lacks trials: arms are compared on the same seeds, and on all that were registered."""
    if not other.whole:
        told = f"{other.failed_seeds} of {{1}} failed" if other.failed_seeds else "{1} failed"
        return Refusal("baseline failed", f"{told} ({_quoted(other)})", failed=True)
    told = f"{row.failed_seeds} of {{0}} failed" if row.failed_seeds else "{0} failed"
    return Refusal(f"{row.failed_seeds} failed" if row.results else "failed", f"{told} ({_quoted(row)})", failed=True)


def _quoted(row: Row) -> str:
    """Why its first trial failed, within a pattern of `str.format`."""
    return str(row.failed[0].failure).replace("{", "{{").replace("}", "}}")


def _setting(name: str, value: str, other: str) -> Refusal:
    return Refusal(f"other {name}", f"evaluate.{name} is {value} in {{0}} and {other} in {{1}}")


def _selected(row: Row, other: Row) -> Iterator[Refusal]:
    """An arm whose weights are those that did best on the test split."""
    why = "(train.select_on: test)"
    if row.selected_on_test and other.selected_on_test:
        yield Refusal("selected on test", f"the weights of {{0}} and of {{1}} were selected on test {why}")
    elif row.selected_on_test:
        yield Refusal("selected on test", f"the weights of {{0}} were selected on test {why}, those of {{1}} were not")
    elif other.selected_on_test:
        reason = f"the weights of {{1}} were selected on test {why}, those of {{0}} were not"
        yield Refusal("baseline selected on test", reason)


def _items(plan: Plan, row: Row, other: Row, queries: str) -> Iterator[Refusal]:
    """Other texts or videos, by id and by content, or others that answer them."""
    ids, others = row.results[0].items, other.results[0].items
    content, other_content = scored(plan, row.name), scored(plan, other.name)
    keys = " and ".join(_differing(*(arm.variant.experiment for arm in (row, other))))
    for side in sorted(("texts", "videos"), key=lambda side: side != queries):
        label = "other queries" if side == queries else "other gallery"
        if ids[side] != others[side]:
            yield Refusal(label, f"{{0}} ranks {_told(side, ids[side], others[side])} in {{1}} ({keys})")
        if content[side] != other_content[side]:
            yield Refusal(label, f"the {side} of {{0}} bear the ids of those of {{1}} and are others ({keys})")
    if content["relevance"] != other_content["relevance"]:
        yield Refusal("other relevance", f"other videos answer the texts of {{0}} than those of {{1}} ({keys})")


def _told(side: str, mine: Sequence[str], others: Sequence[str]) -> str:
    """`40 texts, of which 32 are among the 48`; the same in another order says so."""
    shared = len(set(mine) & set(others))
    if shared == len(mine) == len(others):
        return f"its {len(mine):,} {side} in another order than they stand"
    return f"{len(mine):,} {side}, of which {shared:,} are among the {len(others):,}"


def _differing(experiment: Experiment, other: Experiment) -> list[str]:
    """Keys that say what is ranked and are not the same in both."""
    data, other_data = experiment.data, other.data
    names = [name for name in ("dataset", "on_unreadable") if getattr(data, name) != getattr(other_data, name)]
    return [f"data.{name}" for name in names] or ["data.dataset"]
