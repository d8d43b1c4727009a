"""Every built-in component keeps the contract of its kind: by default, and as the configurations below have it.

A new component is checked without being named here, unless it cannot be built from its defaults.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core import LevelShape
from core.plugins import DISTRIBUTION, registry
from core.testing import check_component
from core.testing.description import configured
from core.testing.inputs import sample

ROOT = Path(__file__).parents[2]
COMPONENTS = {key: held.component for key, held in registry().found.items() if held.package == DISTRIBUTION}

NO_DEFAULTS = {
    ("dataset", "folder"),
    ("dataset", "shapes"),
    ("encoder", "clip"),
    ("interaction", "given_scores"),
    ("output", "export"),
    ("reranker", "crosstvr"),
    ("reranker", "vedje"),
}
"""Components that need a file or weights, or that are large by default; all are checked in another configuration."""

SMALL = {"width": 16, "heads": 2, "layers": 1}
SELECTOR = {"name": "token_selector", "keep": 4}

RANDOM_CLIP = {
    "init": "random",
    "vocabulary": ["a", "red", "circle", "moves", "left", "two", "dogs"],
    "architecture": {
        "vision": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                   "image_size": 32, "patch_size": 16},
        "text": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
        "projection_dim": 24,
    },
}  # fmt: skip

WIDE = {"frames": LevelShape(20, 8), "sentence": LevelShape(None, 8)}
"""More tokens than the width: where a component chooses its way by that, the other way."""

CONFIGURATIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("interaction", "mean_pooling", {"text_projection": True}),
    ("interaction", "mean_pooling", {"level": "patches", "text_level": "words"}),
    ("interaction", "mean_pooling", {"level": "video"}),
    ("interaction", "mean_pooling", {"ignore_mask": True}),
    ("interaction", "tib", {"level": "temporal", "gate": "frames"}),
    ("interaction", "tib", {"level": "temporal", "gate": "frames", "gate_by": "own_caption"}),
    ("interaction", "tib", {"level": "patches", "temperature": 0.01}),
    ("interaction", "tib", {"gate_by": "own_caption", "shapes": WIDE}),
    ("interaction", "tib", {"unit_vectors": False, "temperature": 1.0}),
    ("interaction", "tib", {"ignore_mask": True}),
    ("interaction", "weighted_similarity", {"mix": True}),
    ("interaction", "weighted_similarity", {"level": "patches", "text_level": "words"}),
    ("interaction", "weighted_similarity", {"ignore_mask": True}),
    ("interaction", "learnable_queries", {"share": False, "level": "patches", "text_level": "sentence"}),
    ("interaction", "learnable_queries", {"ignore_mask": True}),
    ("feature_transform", "temporal_transformer", {"into": "temporal"}),
    ("feature_transform", "temporal_transformer", {"level": "patches", "max_frames": 90}),
    ("feature_transform", "token_selector", {"into": "salient", "keep": 3, "over": "video"}),
    ("feature_transform", "token_selector", {"method": "straight_through", "activation": "softmax"}),
    ("feature_transform", "token_selector", {"method": "hard", "keep": 4}),
    ("feature_transform", "token_selector", {"context": None, "keep": 4}),
    ("loss", "info_nce", {"of": {"video": 0.5, "frame": 0.5}, "relevance": "diagonal"}),
    ("loss", "pearson", {"of": ["video", "frame"], "off_diagonal": 0.1}),
    ("reranker", "score_fusion", {"weights": {"video": 0.5, "frame": 1.0}}),
    ("reranker", "crosstvr", SMALL),
    ("reranker", "crosstvr", {**SMALL, "share": False, "frame_pool": "time_mean", "class_level": None}),
    ("reranker", "crosstvr", {**SMALL, "levels": "frame"}),
    ("reranker", "crosstvr", {**SMALL, "levels": "video"}),
    ("reranker", "crosstvr", {**SMALL, "frame_selector": SELECTOR, "video_selector": SELECTOR}),
    ("reranker", "vedje", SMALL),
    ("reranker", "vedje", {**SMALL, "class_level": None, "tokens": 2}),
    ("score_transform", "dual_softmax", {"at_once": 1, "each": True}),
    ("score_transform", "inverted_softmax", {"temperature": 0.1}),
    ("score_transform", "qb_norm", {"top_k": 2, "hits": 3}),
    ("output", "export", {"folder": "no/such/folder"}),
    ("encoder", "clip", RANDOM_CLIP),
    ("encoder", "clip", {"model": str(ROOT / "checkpoints" / "shapes-clip")}),
    ("dataset", "shapes", {"train_videos": 3, "val_videos": 0, "test_videos": 2, "resolution": 32}),
]  # fmt: skip


def named(case: tuple[str, str, dict[str, Any]]) -> str:
    shown = ", ".join(str(key) for key in case[2])
    return f"{case[1]} {shown}" if shown else case[1]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors are quicker on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("key", sorted(set(COMPONENTS) - NO_DEFAULTS), ids=" ".join)
def test_every_component_keeps_its_contract_by_default(key: tuple[str, str]) -> None:
    check_component(COMPONENTS[key], auxiliary=auxiliary(*key))


@pytest.mark.parametrize("case", CONFIGURATIONS, ids=named)
def test_components_keep_their_contract_in_other_configurations(case: tuple[str, str, dict[str, Any]]) -> None:
    kind, name, fields = case
    check_component(COMPONENTS[kind, name], auxiliary=auxiliary(kind, name, fields), **fields)


def auxiliary(kind: str, name: str, fields: Mapping[str, Any] | None = None) -> dict[str, tuple[int, ...]]:
    """For a loss the shapes of the tensors that it needs, from the interaction that provides them."""
    loss = COMPONENTS[kind, name]
    needed = loss.needs(configured(loss, fields or {})) if kind == "loss" else frozenset()  # type: ignore[attr-defined]
    interactions = [c for key, c in COMPONENTS.items() if key[0] == "interaction" and key not in NO_DEFAULTS]
    for cls in interactions:
        if needed and needed <= cls.provides(cls.Config()):  # type: ignore[attr-defined]
            made = sample(cls.reads(cls.Config()))  # type: ignore[attr-defined]
            part = cls(cls.Config(), made.shapes)  # type: ignore[call-arg]
            _, given = part.match(part.text_side(made.text[:5]), part.video_side(made.video[:5]))  # type: ignore[attr-defined]
            return {key: tuple(tensor.shape[1:]) for key, tensor in given.items()}
    return {}


def test_a_list_of_files_keeps_the_contract_of_data_sets(tmp_path: Path) -> None:
    rows = []
    for name in "abcdefghij":
        (tmp_path / f"{name}.mp4").touch()
        rows += [{"video": f"{name}.mp4", "caption": f"{word} {name}", "tags": word} for word in ("one", "two")]
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    check_component(COMPONENTS["dataset", "folder"], path=str(path), texts=("tags",))


def test_given_scores_keep_the_contract_of_interactions(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "scores.npz",
        scores=np.random.default_rng(0).normal(size=(5, 6)),
        text_ids=[f"text{row}" for row in range(5)],
        video_ids=[f"video{row}" for row in range(6)],
    )
    check_component(COMPONENTS["interaction", "given_scores"], file=str(tmp_path / "scores.npz"))


def test_what_has_no_defaults_is_checked_below() -> None:
    above = {("dataset", "folder"), ("interaction", "given_scores")}
    listed = {(kind, name) for kind, name, _ in CONFIGURATIONS} | above
    assert listed >= NO_DEFAULTS
    assert listed <= set(COMPONENTS)
