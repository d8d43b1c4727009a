"""The kinds of input that are mutated: sound files of each, and how the commands read them."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from .mutated import Target
from .world import EXPERIMENT, ROOT

CAPTIONS = [
    {"video": f"v{number}", "caption": f"a {colour} circle", "split": split, "id": f"id{number}", "tags": ["one"]}
    for number, (colour, split) in enumerate(
        [("red", "train"), ("blue", "train"), ("green", "train"), ("grey", "val"), ("pink", "test"), ("tan", "test")]
    )
]
PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c4944415478da63f8cfc0000003010100f70341430000000049454e44ae426082"
)
TEXTS, VIDEOS = tuple(f"t{n}" for n in range(8)), tuple(f"v{n}" for n in range(8))


def _scores() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)


def _saved(write: Callable[..., None], *values: Any, **named: Any) -> bytes:
    out = io.BytesIO()
    write(out, *values, **named)
    return out.getvalue()


def _lines(values: Any) -> bytes:
    return "".join(f"{value}\n" for value in values).encode()


# ---------------------------------------------------------------------------------------------------- experiments


def _experiment() -> Target:
    head = EXPERIMENT.replace("name: torture\n", "name: torture\nextends: base.yaml\nreferences: [msvd.yaml]\n", 1)
    base = "train: {warmup: 0.1}\nevaluate: {efficiency: false}\nretrieve: {rerank: {weights: {video: 0.1}}}\n"
    files = {"torture.yaml": head.encode(), "base.yaml": base.encode(), "msvd.yaml": _reference()}
    return Target(
        files | _clip_files("clip/", weights=False),
        ("torture.yaml", "torture.yaml", "torture.yaml", "base.yaml", "msvd.yaml"),
        lambda folder: _plan([]),
    )


def _plan(overrides: list[str]) -> None:
    import torch

    from core.contract.store import Store
    from core.engine.plan import read_plan
    from core.engine.steps.step import Workspace
    from core.experiment.config import read_document
    from core.experiment.variants import check_core

    check_core(read_document("torture.yaml", overrides))
    plan = read_plan("torture.yaml", overrides, Workspace(Store("store"), torch.device("cpu"), 0))
    names = [variant.name for variant in plan.variants]
    assert len(set(names)) == len(names) >= 1, f"variants {names}"
    assert all(isinstance(seed, int) for seed in plan.experiment.seeds), f"seeds {plan.experiment.seeds}"


def _claims() -> Target:
    """An experiment that tests a published statement."""
    claim = "claim: {text: It helps., source: A paper (2025), reported: 2.0 points, fairness: Both read both.}\n"
    files = {"torture.yaml": (EXPERIMENT + claim).encode()}
    return Target(files | _clip_files("clip/", weights=False), tuple(files), lambda folder: _plan([]))


def _override() -> Target:
    """The words of a command line, one a line; one is mutated."""
    words = (
        "train.epochs=3", "ablate[retrieve.rerank.top_k]=[1,5]", "seeds=[0,1,2]", "anonymous=true",
        "data.dataset.preset=easy", "baseline={retrieve.rerank: null}", "evaluate.metrics=[R1,MdR]",
        "model.interactions.frame.temperature=0.2",
    )  # fmt: skip

    def read(folder: Path) -> None:
        given = (folder / "words.txt").read_bytes().decode(errors="surrogateescape")
        _plan([word for word in given.split("\n") if word])

    files = {"torture.yaml": EXPERIMENT.encode(), "words.txt": _lines(words)}
    return Target(files | _clip_files("clip/", weights=False), ("words.txt",), read)


# --------------------------------------------------------------------------------------------- captions, references


def _captions(suffix: str) -> Target:
    if suffix == "jsonl":
        listed = _lines(json.dumps(row) for row in CAPTIONS)
    else:
        listed = _lines(
            [",".join(CAPTIONS[0]), *(",".join("".join(cell) for cell in row.values()) for row in CAPTIONS)]
        )

    def read(folder: Path) -> None:
        from core import create

        made = create("dataset", "folder", path=f"captions.{suffix}", texts=["tags"], test=0.2)
        splits = made.prepare(folder / "prepared")
        for name, split in splits.items():
            assert len({text.id for text in split.texts}) == len(split.texts), f"{name}: ids of texts repeat"
            assert len({video.id for video in split.videos}) == len(split.videos), f"{name}: ids of videos repeat"
            assert all(text.text.strip() for text in split.texts), f"{name}: an empty caption"
            assert all(0 <= text.video < len(split.videos) for text in split.texts), f"{name}: a caption of no video"

    videos = {f"v{number}/0.png": PICTURE for number in range(len(CAPTIONS))}
    return Target({f"captions.{suffix}": listed, **videos}, (f"captions.{suffix}",), read)


@cache
def _reference() -> bytes:
    return (ROOT / "experiments" / "references" / "msvd.yaml").read_bytes()


def _published() -> Target:
    def read(folder: Path) -> None:
        from core.experiment.published import load_published

        found = load_published("msvd.yaml")
        assert all(math.isfinite(value) for row in found.rows for value in row.values.values()), "a value not finite"

    return Target({"msvd.yaml": _reference()}, ("msvd.yaml",), read)


# ----------------------------------------------------------------------------------------------------------- scores


def _named_npz(values: np.ndarray) -> bytes:
    return _saved(np.savez, scores=values, text_ids=np.array(TEXTS), video_ids=np.array(VIDEOS))


def _named_safetensors(values: np.ndarray) -> bytes:
    from safetensors.numpy import save

    return save({"scores": values}, {"text_ids": json.dumps(TEXTS), "video_ids": json.dumps(VIDEOS)})


def _given(suffix: str) -> Target:
    values = _scores()
    written = {"npy": lambda found: _saved(np.save, found), "npz": _named_npz, "safetensors": _named_safetensors}
    content = written[suffix](values)
    files = {f"scores.{suffix}": content, "texts.txt": _lines(TEXTS), "videos.json": json.dumps(VIDEOS).encode()}
    named = suffix == "npy"

    def read(folder: Path) -> None:
        from core import create
        from core.contract.score_files import read_scores

        ids = ("texts.txt", "videos.json") if named else (None, None)
        found = read_scores(f"scores.{suffix}", *ids)
        assert np.isfinite(found.values).all(), "scores that are not finite"
        assert found.values.ndim == 2, f"shape {found.values.shape}"
        for own in (found.text_ids, found.video_ids):
            assert own is None or len(set(own)) == len(own), "ids repeat"
        create("interaction", "given_scores", file=f"scores.{suffix}", rows=ids[0], cols=ids[1])

    return Target(files, (f"scores.{suffix}",) * 2 + (("texts.txt", "videos.json") if named else ()), read)


def _compared(first: str, second: str, relevance: str = "", direction: str = "t2v") -> Target:
    """Two inputs of core.compare, and a file of relevance; the second input and the relevance are mutated."""
    values = _scores()
    ranks = [1, 2, 3, 1, 1, 4, 2, 1]
    run = [f"{text} Q0 {video} {n + 1} {8 - n}.5 tag" for text in TEXTS for n, video in enumerate(VIDEOS)]
    files = {
        "a.npy": _saved(np.save, values),
        "b.npy": _saved(np.save, values + np.eye(8, dtype=np.float32)),
        "a.npz": _named_npz(values),
        "b.npz": _named_npz(values + np.eye(8, dtype=np.float32)),
        "a.safetensors": _named_safetensors(values),
        "b.safetensors": _named_safetensors(values + np.eye(8, dtype=np.float32)),
        "a.txt": _lines(ranks),
        "b.txt": _lines(reversed(ranks)),
        "a.run": _lines(run),
        "b.run": _lines(run),
        "pairs.tsv": _lines(f"{text}\t{video}" for text, video in zip(TEXTS, VIDEOS, strict=True)),
        "qrels.txt": _lines(f"{text} 0 {video} 1" for text, video in zip(TEXTS, VIDEOS, strict=True)),
        "sparse.npz": _sparse(),
        "texts.txt": _lines(TEXTS),
        "videos.txt": _lines(VIDEOS),
    }

    def read(folder: Path) -> None:
        from core.compare import compare_inputs
        from core.compare.table import as_json

        rows, cols = (["texts.txt"], ["videos.txt"]) if first.endswith(".npy") else ([], [])
        how: dict[str, Any] = {"relevance": relevance or None, "direction": direction}
        found = compare_inputs([first, second], rows=rows, cols=cols, draws=100, **how)
        for line in found.lines:
            assert math.isfinite(line.value), f"a value of {line.value}"
            if line.comparison is not None and not math.isnan(line.comparison.p):
                assert 0 <= line.comparison.p <= 1, f"p = {line.comparison.p}"
        json.dumps(as_json(found), allow_nan=False)

    return Target(files, (second, *([relevance] if relevance else [])), read)


def _sparse() -> bytes:
    from scipy.sparse import coo_array, save_npz

    return _saved(save_npz, coo_array(np.eye(8, dtype=bool)))


# ----------------------------------------------------------------------------------------------------------- videos


def _video(name: str, write: Callable[[Path], None]) -> Target:
    """A file, or a folder of pictures, that frames are read from."""
    with TemporaryDirectory() as folder:
        write(Path(folder))
        files = {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}

    def read(folder: Path) -> None:
        from core.engine.video import Sampling, read_clip

        frames = read_clip(name, Sampling(num_frames=4, size=32, short_videos="pad")).frames
        assert (frames.dtype, frames.ndim, len(frames)) == (np.uint8, 4, 4), f"{frames.dtype} {frames.shape}"
        assert min(frames.shape[1:3]) == 32, f"{frames.shape}"

    return Target(files, tuple(files), read)


def _written_video(folder: Path) -> None:
    from tests.videos import numbered_frames, write_video

    write_video(folder / "video.mp4", numbered_frames(8), bf="0")


def _written_pictures(folder: Path) -> None:
    from PIL import Image

    from tests.videos import numbered_frames

    (folder / "video").mkdir()
    for number, frame in enumerate(numbered_frames(4)):
        Image.fromarray(frame).save(folder / "video" / f"{number}.{'png' if number % 2 else 'jpg'}")


# ------------------------------------------------------------------------------------------------------------- CLIP


def _clip_files(below: str = "", weights: bool = True) -> dict[str, bytes]:
    source = ROOT / "checkpoints" / "shapes-clip-small"
    suffixes = (".json", *((".safetensors",) if weights else ()))
    return {f"{below}{path.name}": path.read_bytes() for path in source.iterdir() if path.suffix in suffixes}


def _clip() -> Target:
    files = _clip_files()

    def read(folder: Path) -> None:
        import torch

        from core import create

        encoder = create("encoder", "clip", model=str(folder))
        encoder.fingerprint()
        tokens = encoder.prepare_texts(["a red circle"])
        encoder.prepare_frames(torch.zeros(1, 2, 48, 48, 3, dtype=torch.uint8))
        encoder.load(0)
        made = encoder.forward_text(tokens, ("sentence",)).level("sentence").values
        assert made.shape[-1] == encoder.shapes["sentence"].width, f"shape {list(made.shape)}"

    small = tuple(sorted(name for name in files if name.endswith(".json")))
    return Target(files, (*small, *small, "config.json", "model.safetensors"), read)


_MADE: dict[str, Callable[[], Target]] = {
    "experiment": _experiment,
    "override": _override,
    "claims": _claims,
    "captions_jsonl": lambda: _captions("jsonl"),
    "captions_csv": lambda: _captions("csv"),
    "published": _published,
    "scores_npy": lambda: _given("npy"),
    "scores_npz": lambda: _given("npz"),
    "scores_safetensors": lambda: _given("safetensors"),
    "video": lambda: _video("video.mp4", _written_video),
    "pictures": lambda: _video("video", _written_pictures),
    "compare_npy": lambda: _compared("a.npy", "b.npy", "pairs.tsv"),
    "compare_npz": lambda: _compared("a.npz", "b.npz"),
    "compare_safetensors": lambda: _compared("a.safetensors", "b.safetensors"),
    "compare_sparse": lambda: _compared("a.npy", "b.npy", "sparse.npz", "both"),
    "compare_ranks": lambda: _compared("a.txt", "b.txt"),
    "compare_runs": lambda: _compared("a.run", "b.run", "qrels.txt"),
    "clip": _clip,
}
NAMES = ("experiment",) * 5 + tuple(_MADE)
"""What a case draws from: experiments more often."""


@cache
def target(name: str) -> Target:
    return _MADE[name]()
