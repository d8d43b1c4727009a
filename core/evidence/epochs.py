"""Whether the validation split could tell the epochs of a training apart: what to beware of where it could not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..engine.foreseen import epoch_difference
from ..errors import counted
from ..measure.metrics import metric
from .results import Row
from .trials import Fit

WHAT = {"train": "", "rerank": " of the reranker"}
SPLITS = {"val": "validation", "test": "test"}


def untold_epochs(rows: Iterable[Row], primary: str) -> list[str]:
    """Sentences on trainings whose best epoch was kept: where that was the first in all of them, and where the epochs
    differ by less than the validation split could show. A training of one epoch chose nothing."""
    groups: dict[tuple[str, str, int], dict[str, Fit]] = {}
    for trial in (trial for row in rows for trial in row.results):
        for name, fit in trial.fits.items():
            if fit is not None and fit.validated_on is not None and len(_validations(fit)) > 1:
                groups.setdefault((name, *fit.validated_on), {})[fit.key] = fit
    lines = []
    for (name, split, videos), fits in groups.items():
        where = f"the {SPLITS[split]} split of {counted(videos, 'video')}"
        lines.append(_told(list(fits.values()), WHAT[name], where, _shown(videos, primary)))
    return [line for line in lines if line]


def _shown(videos: int, primary: str) -> float:
    """The least difference of the primary metric that says something; of what is no recall any difference does."""
    return epoch_difference(videos) if metric(primary).family == "R" else 0.0


def _validations(fit: Fit) -> list[float]:
    """The primary metric by epoch."""
    return [record["validation"] for record in fit.history if "validation" in record]


def _told(fits: Sequence[Fit], what: str, split: str, shown: float) -> str:
    """What to say of the fits that were chosen on one split; "" where nothing is."""
    spans = [max(values) - min(values) for values in map(_validations, fits)]
    alike = sum(span < shown or span == 0 for span in spans)
    among = {1: "in the one fit", 2: "in both fits"}.get(len(fits), f"in all {len(fits)} fits") + what
    if all(fit.best_epoch == fit.history[0]["epoch"] for fit in fits):
        reason = f"{split} cannot tell epochs apart" if alike == len(fits) else f"later ones did no better on {split}"
        return f"the first epoch was kept {among}: {reason}"
    if not alike:
        return ""
    if alike < len(fits):
        among = f"in {alike} of {len(fits)} fits{what}"
    least = f"by less than the {shown:.0f} points that {split} could show" if shown else f"by nothing on {split}"
    return f"{among} the epochs differ {least}: which of them was kept is luck"
