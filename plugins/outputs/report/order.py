"""The order in which a report's tables show the rows of several data sets."""

from __future__ import annotations

from dataclasses import replace

from core.outputs import Result


def grouped(result: Result) -> Result:
    """The same with its rows under their baseline, which stands first, where there are several; else as it is."""
    if len(result.baselines) == 1:
        return result
    places = {row.name: place for place, row in enumerate(result.baselines)}
    groups = [places[result.baseline_of(row).name] for row in result.rows]
    order = sorted(range(len(groups)), key=lambda at: (groups[at], not result.rows[at].is_baseline))
    return replace(result, rows=[result.rows[at] for at in order])
