"""Bring inputs into one order of texts and videos: by their ids, else as they stand, which is reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .sources import Scores, Values

Ids = tuple[str, ...] | None


@dataclass
class Common:
    """Score matrices [texts, videos] by name, all in one order; `own` [texts] where a dump told each text's video."""

    values: dict[str, NDArray[Any]]
    text_ids: Ids
    video_ids: Ids
    own: NDArray[np.int64] | None
    assumptions: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    """Why the diagonal of some inputs means nothing, each a sentence."""

    @property
    def shape(self) -> tuple[int, int]:
        return next(iter(self.values.values())).shape


def bring_together(inputs: dict[str, Scores], judged: Mapping[str, Sequence[str]]) -> Common:
    """All matrices with rows and columns in the order of the first that has ids.

    judged: items {side: ids} that are in the gallery although incomplete runs need not list them.

    Raises DataError for other texts, other videos, other shapes.
    """
    plain = [source.given for source in inputs.values() if source.given.own is None]
    all_have_ids = all(scores.text_ids is not None and scores.video_ids is not None for scores in plain)
    assumptions = [] if all_have_ids else ["Rows are taken to be the texts, columns the videos."]
    ids = [_common_ids(inputs, side, judged.get(side, ()), assumptions) for side in ("text", "video")]
    values: dict[str, NDArray[Any]] = {}
    owns: dict[str, NDArray[np.int64]] = {}
    orders: dict[str, tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]] = {}
    for name, source in inputs.items():
        scores = source.given
        rows = _order(name, "texts", scores.text_ids, ids[0], source.partial == "text")
        columns = _order(name, "videos", scores.video_ids, ids[1], source.partial == "video")
        values[name] = _taken(_taken(scores.values, rows, 0), columns, 1)
        orders[name] = (rows, columns)
        if scores.own is not None:
            videos = scores.own if rows is None else scores.own[rows]
            # argsort inverts a permutation: from the input's columns to the common ones
            owns[name] = videos if columns is None else np.argsort(columns)[videos]
    first = next(iter(values))
    for name, matrix in values.items():
        if matrix.shape != values[first].shape:
            turned = " (it fits when transposed)" if matrix.T.shape == values[first].shape else ""
            raise DataError(
                f"{name} is {list(matrix.shape)}, {first} {list(values[first].shape)}{turned}: both must be scores "
                "[texts, videos] of the same texts and videos"
            )
    own = next(iter(owns.values())) if owns else None
    for name, other in owns.items():
        if own is not None and not np.array_equal(own, other):
            raise DataError(f"{next(iter(owns))} and {name} hold different numbers of captions for the same videos")
    diagonal = np.arange(len(values[first]))
    moved = [f"{name} is a run, which has no diagonal" for name, source in inputs.items() if source.run]
    for name, order in orders.items():
        down, across = (diagonal if places is None else places for places in order)
        if not np.array_equal(down, across) and not inputs[name].run:
            moved.append(f"the diagonal of {name} pairs other ids than that of {first}")
    return Common(values, ids[0], ids[1], own, assumptions, moved)


def _common_ids(inputs: dict[str, Scores], side: str, judged: Sequence[str], assumptions: list[str]) -> Ids:
    """The ids of one side that all are ordered by; those of incomplete runs are put together."""
    held = {name: getattr(source.given, f"{side}_ids") for name, source in inputs.items()}
    nameless = [name for name, ids in held.items() if ids is None]
    whole = [ids for name, ids in held.items() if ids is not None and inputs[name].partial != side]
    if nameless and len(inputs) > 1:
        of = f"{', '.join(nameless)}: no {side} ids" if len(nameless) < len(inputs) else f"No {side} ids"
        place = "row" if side == "text" else "column"
        assumptions.append(f"{of}: {place} i is taken to be the same {side} everywhere.")
    if whole:
        return whole[0]
    return tuple(dict.fromkeys(item for ids in (*held.values(), judged) if ids for item in ids)) or None


def _order(name: str, kind: str, mine: Ids, common: Ids, partial: bool) -> NDArray[np.int64] | None:
    """Which row (column) of an input each of the common ids is, -1 for one that a partial run does not list."""
    if mine is None or common is None or mine == common:
        return None
    if not (partial and set(mine) <= set(common)):
        refuse_other_ids(name, kind, mine, common)
    place = {item: row for row, item in enumerate(mine)}
    return np.array([place.get(item, -1) for item in common])


def refuse_other_ids(name: str, kind: str, mine: Sequence[str], others: Sequence[str]) -> None:
    """Raise DataError where two inputs do not rank the same queries or search the same gallery."""
    more, fewer = set(mine) - set(others), set(others) - set(mine)
    if more or fewer:
        sides = ((more, "only there"), (fewer, "only in the others"))
        told = ", ".join(f"{len(ids):,} {words} ({_first_three(ids)})" for ids, words in sides if ids)
        raise DataError(f"{name}: its {kind} are others: {told}. Different {kind} are not compared")


def _first_three(ids: set[str]) -> str:
    return ", ".join(sorted(ids)[:3]) + (", …" if len(ids) > 3 else "")


def _taken(values: NDArray[Any], order: NDArray[np.int64] | None, axis: int) -> NDArray[Any]:
    """Rows or columns in another order; a row or column of zeros, below every listed place, where the order says -1."""
    if order is None:
        return values
    taken = np.take(values, order, axis=axis)
    # np.take read -1 as the last row or column
    if axis == 0:
        taken[order < 0] = 0
    else:
        taken[:, order < 0] = 0
    return taken


def by_same_id(common: Common) -> bool:
    """Whether texts and videos carry the same ids, so that a text's video is the one of its own id."""
    return (
        common.text_ids is not None and common.video_ids is not None and set(common.text_ids) == set(common.video_ids)
    )


def in_one_order(inputs: dict[str, Values]) -> tuple[dict[str, NDArray[np.float64]], Values, list[str]]:
    """(values by name, all in one order; the one whose order it is; names of those without ids).

    Raises DataError for other queries and other galleries.
    """
    named = next((name for name, values in inputs.items() if values.queries is not None), next(iter(inputs)))
    first = inputs[named]
    searched = {name: values.gallery for name, values in inputs.items() if values.gallery is not None}
    for name, gallery in searched.items():
        refuse_other_ids(name, "items of the gallery", sorted(gallery), sorted(next(iter(searched.values()))))
    ordered, nameless = {}, []
    for name, values in inputs.items():
        if values.values.size != first.values.size:
            raise DataError(
                f"{name} has {values.values.size:,} queries and {named} {first.values.size:,}: not compared"
            )
        ordered[name] = values.values
        if values.queries is not None and first.queries is not None:
            refuse_other_ids(name, "queries", values.queries, first.queries)
            place = {query: row for row, query in enumerate(values.queries)}
            ordered[name] = values.values[[place[query] for query in first.queries]]
        else:
            nameless.append(name)
    return ordered, first, nameless
