"""A validation split that could not tell epochs apart is told after the run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from core.engine.foreseen import epoch_difference
from core.evidence.epochs import untold_epochs
from core.evidence.trials import Fit

SMALL, LARGE = 20, 2000


def fit(key: str, *validation: float, kept: int | None = None, on: tuple[str, int] | None = ("val", SMALL)) -> Fit:
    history = [{"epoch": n, "loss": 1.0, "validation": value} for n, value in enumerate(validation, 1)]
    best = kept or 1 + max(range(len(validation)), key=lambda index: validation[index])
    return Fit(key, 1.0, history, best, validated_on=on)


def rows(*fits: Fit, name: str = "train") -> list[Any]:
    return [SimpleNamespace(results=[SimpleNamespace(fits={name: fit})]) for fit in fits]


def told(*fits: Fit, primary: str = "t2v/R1", name: str = "train") -> list[str]:
    return untold_epochs(rows(*fits, name=name), primary)


def test_the_first_epoch_of_every_fit_on_a_small_split_is_told() -> None:
    fits = [fit(str(seed), 15.0, 15.0, 10.0) for seed in range(5)]
    assert told(*fits) == [
        "the first epoch was kept in all 5 fits: the validation split of 20 videos cannot tell epochs apart"
    ]


def test_a_fit_that_several_variants_share_counts_once() -> None:
    assert told(*[fit("a", 15.0, 10.0)] * 4) == [
        "the first epoch was kept in the one fit: the validation split of 20 videos cannot tell epochs apart"
    ]


def test_epochs_that_differ_by_less_than_the_split_could_show_are_told_whichever_was_kept() -> None:
    least = epoch_difference(SMALL)
    assert told(fit("a", 10.0, 15.0, 10.0), fit("b", 15.0, 10.0)) == [
        f"in both fits the epochs differ by less than the {least:.0f} points that the validation split of 20 videos "
        "could show: which of them was kept is luck"
    ]
    assert told(fit("a", 10.0, 15.0), fit("b", 5.0, 6.0 + least)) == [
        f"in 1 of 2 fits the epochs differ by less than the {least:.0f} points that the validation split of 20 videos "
        "could show: which of them was kept is luck"
    ]


def test_epochs_that_a_split_tells_apart_are_not_told() -> None:
    least = epoch_difference(LARGE)
    on = ("val", LARGE)
    assert told(fit("a", 10.0, 11.0 + least, 10.0, on=on), fit("b", 30.0, 29.0 - least, on=on)) == []


def test_where_every_fit_got_worse_the_split_is_not_blamed() -> None:
    fits = [fit(str(seed), 40.0, 10.0, on=("val", LARGE)) for seed in range(3)]
    assert told(*fits) == [
        "the first epoch was kept in all 3 fits: later ones did no better on the validation split of 2,000 videos"
    ]


def test_where_no_epoch_was_chosen_nothing_is_told() -> None:
    assert told(fit("a", 10.0), fit("b", 10.0, 10.0, on=None)) == []
    assert untold_epochs([SimpleNamespace(results=[SimpleNamespace(fits={"train": None})])], "t2v/R1") == []


def test_of_a_metric_that_is_no_recall_only_equal_epochs_are_told() -> None:
    assert told(fit("a", 5.0, 4.0, kept=2), primary="t2v/MnR") == []
    assert told(fit("a", 5.0, 5.0, kept=2), primary="t2v/MnR") == [
        "in the one fit the epochs differ by nothing on the validation split of 20 videos: which of them was kept is "
        "luck"
    ]


def test_fits_of_the_model_and_of_the_reranker_and_those_chosen_on_test_are_told_apart() -> None:
    assert told(fit("a", 5.0, 5.0), name="rerank") == [
        "the first epoch was kept in the one fit of the reranker: the validation split of 20 videos cannot tell epochs "
        "apart"
    ]
    assert len(told(fit("a", 5.0, 5.0), fit("b", 5.0, 5.0, on=("test", SMALL)))) == 2
