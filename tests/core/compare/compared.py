"""Made-up scores, files of them and stored trials, for tests of `core.compare`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.contract.store import Store

N = 200
KEYS = ("0123456789abcdef", "fedcba9876543210")
ROOT = Path(__file__).parents[3]


def similarities(rng: np.random.Generator, texts: int = N, videos: int = N, noise: float = 3.0) -> np.ndarray:
    """Cosine-like scores in which text i describes video i modulo `videos`."""
    video = rng.normal(size=(videos, 32))
    text = video[np.arange(texts) % videos] + noise * rng.normal(size=(texts, 32))
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (text, video)]
    return 0.1 + 0.35 * unit[0] @ unit[1].T


@pytest.fixture
def scores() -> tuple[np.ndarray, np.ndarray]:
    """A baseline and a system whose scores resemble it and are better."""
    rng = np.random.default_rng(5)
    first = similarities(rng)
    return first, first + 0.01 * rng.normal(size=first.shape) + 0.03 * np.eye(N)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(**matrices: np.ndarray) -> list[str]:
    for name, matrix in matrices.items():
        np.save(f"{name}.npy", matrix)
    return [f"{name}.npy" for name in matrices]


def lines(name: str, *words: object) -> str:
    Path(name).write_text("".join(f"{word}\n" for word in words))
    return name


def ranks(matrix: np.ndarray) -> np.ndarray:
    """Rank of the diagonal in each row, no ties."""
    return np.array([1 + sum(one > row[at] for one in row) for at, row in enumerate(matrix)])


def told(compared: object) -> str:
    return " ".join([*compared.doubts, *compared.warnings, *compared.assumptions, *compared.remarks])  # type: ignore[attr-defined]


def many_captions(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A dump [30, 4, 30] padded with -inf, video i having 1 + i % 4 captions; and each caption's video."""
    own = np.repeat(np.arange(30), 1 + np.arange(30) % 4)
    flat = similarities(rng, 30 * 4, 30)[:120].reshape(4, 30, 30)
    dump = np.full((30, 4, 30), -np.inf)
    for video in range(30):
        for caption in range(1 + video % 4):
            dump[video, caption] = flat[caption, video]
    return dump, own


def put_trial(
    store: Store,
    key: str,
    hits: np.ndarray,
    order: np.ndarray,
    transforms: dict | None = None,
    *,
    select_on: str = "val",
    seed: str = " · seed 0",
    **fields: str,
) -> None:
    """The result of a trial over texts t0, t1, … and as many videos, in this order."""
    with store.write("evaluate", key, {"ties": "expected", "split": "test"} | fields) as draft:
        clusters = torch.arange(hits.size)
        draft.save({"t2v/R1": 100.0 * torch.from_numpy(hits[order]).double(), "t2v/clusters": clusters})
        draft.json({"texts": [f"t{i}" for i in order], "videos": [f"v{i}" for i in range(hits.size)]}, "items.json")
        train = {"keep": "best", "select_on": select_on}
        draft.json({"experiment": {"retrieve": {"transforms": transforms or {}}, "train": train}}, "trial.json")
        draft.info["label"] = f"evaluate [top_k=5{seed}]"
