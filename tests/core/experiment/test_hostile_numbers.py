"""Numbers and counts of strangers: refused with key and limit before they cost anything."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from core import ConfigError
from core.contract.optimisation import RerankerTraining
from core.contract.settings import Checker
from core.experiment.config import Experiment
from core.measure.metrics import metric
from core.plugins import registry

from .hostile import TEXT, changed, fault, in_time, read


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("seeds", [2**64], "4,294,967,295"),
        ("seeds", [2**32], "4,294,967,295"),
        ("retrieve.rerank.top_k", 10**20, "10,000,000"),
        ("data.num_frames", 10**10, "10,000"),
        ("train.epochs", 10**20, "100,000"),
        ("train.learning_rate", 1e308, "1e+12"),
        ("model.losses.contrast.of", {"video": 1e300}, "1e+12"),
    ],
)
def test_an_absurd_number_is_refused_with_key_and_limit(tmp_path, key, value, limit):
    message = fault(tmp_path, changed({key: value}))
    assert f"{key}: must be at most {limit}, got" in message


@pytest.mark.parametrize("written", ["9" * 5000, "9" * 4000, "0x" + "f" * 100_000, "1:" * 50_000 + "1"])
def test_a_number_that_is_too_long_to_read_is_refused_at_its_key(tmp_path, written):
    assert "seeds[0]: a number of" in fault(tmp_path, f"{TEXT}seeds: [{written}]\n")
    assert "command line: train.epochs: a number of" in fault(tmp_path, TEXT, f"train.epochs={written}")


def fields_with_numbers() -> Iterator[tuple[str, type, str, Any]]:
    """Every field of the schema and of each component that holds a number."""
    parts = [("core", cls) for cls in (Experiment, RerankerTraining)]
    parts += [(f"{kind} {name}", item.component.Config) for (kind, name), item in registry().found.items()]
    waiting, seen = list(parts), set()
    while waiting:
        owner, cls = waiting.pop()
        for field in dataclasses.fields(cls):
            hint = typing.get_type_hints(cls)[field.name]
            inner = {hint, *typing.get_args(hint)}
            waiting += [(owner, found) for found in inner if dataclasses.is_dataclass(found) and found not in seen]
            if inner & {int, float}:
                yield owner, cls, field.name, hint
        seen.add(cls)


@pytest.mark.parametrize(
    "number", [10**20, -(10**20), 10**5000, 1e308, -1e308], ids=["20", "-20", "5000", "308", "-308"]
)
def test_no_field_with_a_number_takes_an_absurd_one(number):
    taken, checked = [], 0
    for owner, cls, name, hint in fields_with_numbers():
        is_list = typing.get_origin(hint) in (list, tuple)
        is_mapping = typing.get_origin(hint) is dict
        value = [number] if is_list else {"x": number} if is_mapping else number
        checker = Checker()
        rules = next(field for field in dataclasses.fields(cls) if field.name == name).metadata
        with in_time(1):
            checker.value(hint, value, name, rules)
        checked += 1
        if not checker.problems or len(str(checker.problems[0])) > 500:
            taken.append(f"{owner}: {name}")
    assert checked > 40
    assert not taken


@pytest.mark.parametrize("name", ["R99999999", "R" + "9" * 5000, "nDCG1000001"])
def test_a_cutoff_beyond_every_gallery_is_refused(name):
    with in_time(1), pytest.raises(ConfigError, match="k is at most 1,000,000"):
        metric(name)
    assert metric("R1000000").cutoff == 1_000_000


def test_variants_are_counted_before_they_are_made(tmp_path):
    grid = {"train.epochs": list(range(1, 400)), "train.batch_size": list(range(2, 401))}
    assert "ablate: describes 159,201 variants" in fault(tmp_path, changed({"ablate": grid}))
    assert "at most 10,000" in fault(tmp_path, changed({"ablate": {"first": grid, "second": {"train.epochs": [1]}}}))
    hand = {f"v{number}": {"train.epochs": number} for number in range(1, 10_002)}
    assert "variants: describes 10,001 variants" in fault(tmp_path, changed({"variants": hand}))


def test_trials_are_counted_before_they_are_made(tmp_path):
    swept = {"ablate": {"train.epochs": list(range(1, 102))}, "seeds": list(range(1000))}
    assert "seeds: 101,000 trials, variants times seeds; at most 100,000" in fault(tmp_path, changed(swept))


def test_a_list_of_20000_seeds_is_read(tmp_path):
    (variant,) = read(tmp_path, changed({"seeds": list(range(20_000))}))
    assert len(variant.experiment.seeds) == 20_000


@pytest.mark.parametrize("key", ["directions", "metrics"])
def test_nothing_to_measure_is_refused(tmp_path, key):
    assert f"evaluate.{key}: is empty" in fault(tmp_path, changed({f"evaluate.{key}": []}))
    assert f"evaluate.{key}: `" in fault(
        tmp_path, changed({f"evaluate.{key}": {"directions": ["t2v"], "metrics": ["R1"]}[key] * 2})
    )
