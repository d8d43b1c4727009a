"""How often trials of a store were compared: each pair and metric is entered in the store's ledger, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .sources import Source, Stored


def entered(baseline: Source, others: Iterable[Source], metrics: Sequence[str], store: str) -> str | None:
    """Enter the comparisons of stored trials that were scored on test; a sentence on how many there were.

    None where there is none: val may be looked at freely, and of files nothing is known.
    """
    trials = [source for source in others if isinstance(source, Stored)]
    if not isinstance(baseline, Stored) or baseline.split != "test" or not trials:
        return None
    from ..evidence.ledger import enter_comparisons

    splits = sorted(baseline.content.union(*(trial.content for trial in trials))) or [""]
    pairs = [(baseline.entry.meta["key"], trial.entry.meta["key"]) for trial in trials]
    here = len(pairs) * len(metrics)
    try:
        count = enter_comparisons(Path(store), splits, pairs, metrics)
    except OSError as fault:
        return f"This comparison could not be entered in the ledger of {store}: {fault.strerror or fault}."
    told = f"This store saw {count:,} {'comparison' if count == 1 else 'different comparisons'} of trials on this split"
    if count == here:
        return f"{told}, all of them here: p is corrected for {here}."
    return f"{told}, {here} of them here: p is corrected for {here}, not for {count:,}."
