"""What data sets and encoders of one's own are called."""

from __future__ import annotations

from typing import Any

import pytest

from core import Spec
from core.contract.settings import Checker
from core.evidence.naming import named, named_as_written
from core.plugins import registry


def spec(kind: str, **values: Any) -> Spec:
    checker = Checker(registry().specify)
    built = registry().specify(kind, values, kind, checker)
    assert built is not None, checker.problems
    return built


@pytest.mark.parametrize(
    ("kind", "values", "name"),
    [
        ("dataset", {"name": "folder", "path": "my/captions.jsonl", "root": "my"}, "folder: my/captions.jsonl"),
        ("dataset", {"name": "shapes", "preset": "partial"}, "shapes"),
        ("encoder", {"name": "clip", "model": "openai/clip-vit-base-patch32"}, "clip: openai/clip-vit-base-patch32"),
        ("encoder", {"name": "clip", "init": "random", "vocabulary": ["a"]}, "clip"),
    ],
)
def test_a_component_is_named_with_what_tells_it_from_others(kind: str, values: dict[str, Any], name: str) -> None:
    assert named(spec(kind, **values)) == name


def test_what_else_a_file_says_stands_behind() -> None:
    written = {"name": "folder", "path": "my/captions.jsonl", "val": 0.2, "texts": ["tags"]}
    assert named_as_written(written) == "folder: my/captions.jsonl (val:0.2,texts:[tags])"
    assert named_as_written({"name": "shapes", "preset": "partial"}) == "shapes(preset:partial)"


def test_several_encoders_are_named_each() -> None:
    encoders = {"small": {"name": "clip", "model": "a"}, "large": {"name": "clip", "model": "b"}, "none": None}
    assert named_as_written(encoders) == "small = clip: a, large = clip: b"
