"""A tiny world for tests of the engine: colour videos, an encoder that reads colours, interactions that count.

A video is a folder of one-colour pictures and its captions name the colour, so that retrieval works, is exact and
takes milliseconds. `Lab` writes an experiment file and runs it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from core import (
    Dataset,
    Encoder,
    EncoderSettings,
    FeatureTransform,
    Interaction,
    Levels,
    LevelShape,
    Loss,
    LossInputs,
    Reranker,
    RerankerSettings,
    Shapes,
    Side,
    Split,
    Text,
    TextFeatures,
    Tokens,
    TrainedReranker,
    VideoFeatures,
    hookimpl,
    setting,
)
from core.contract.components import Video
from core.contract.keys import assign
from core.contract.store import Entry, Store
from core.engine.execute import execute
from core.engine.plan import Plan, PlannedTrial, add_trials, read_plan
from core.engine.steps.step import Workspace
from core.evidence.findings import Result, findings
from core.evidence.ledger import enter
from core.evidence.registration import register
from core.plugins import registry

COUNTS: Counter[str] = Counter()
"""What the toys were asked to do: videos and texts encoded, forward passes, pairs scored, losses taken."""

FRAMES, WIDTH = 3, 4


def write_videos(root: Path, counts: Mapping[str, int], frames: int = FRAMES, captions: int = 2, seed: int = 0) -> Path:
    """`counts` videos a split under `root`, and `captions.json`: {split: [[id, [caption, …]], …]}."""
    draws = np.random.default_rng(seed)
    listed: dict[str, list[Any]] = {}
    for split, count in counts.items():
        listed[split] = []
        for number in range(count):
            colours = draws.integers(0, 256, (frames, 3))
            write_pictures(root / split / f"v{number}", colours)
            said = [np.clip(colours.mean(0) + draws.normal(0, 30, 3), 0, 255).astype(int) for _ in range(captions)]
            listed[split].append([f"v{number}", [" ".join(map(str, colour)) for colour in said]])
    (root / "captions.json").write_text(json.dumps(listed))
    return root


def write_pictures(folder: Path, colours: np.ndarray) -> None:
    """A folder of one-colour pictures, of [T, 3] colours."""
    folder.mkdir(parents=True)
    for index, colour in enumerate(colours):
        Image.new("RGB", (4, 4), tuple(int(value) for value in colour)).save(folder / f"{index}.png")


class ToyVideos(Dataset):
    """What `write_videos` wrote."""

    name = "toy_videos"

    @dataclass(frozen=True)
    class Config:
        root: str = setting(doc="folder with captions.json")
        tags: bool = setting(False, "attach the first caption to each video as `tags`")

    @classmethod
    def video_texts(cls, config: Any) -> tuple[str, ...]:
        return ("tags",) if config.tags else ()

    def prepare(self, folder: Path) -> dict[str, Split]:
        root = Path(self.config.root)
        return {split: self._split(root / split, items) for split, items in _listed(root).items()}

    def _split(self, folder: Path, items: list[Any]) -> Split:
        videos = [Video(name, str(folder / name), {"tags": tuple(said[:1])}) for name, said in items]
        texts = [
            Text(f"{name}-{number}", caption, row)
            for row, (name, said) in enumerate(items)
            for number, caption in enumerate(said)
        ]
        return Split(tuple(videos), tuple(texts))


def _listed(root: Path) -> dict[str, list[Any]]:
    return json.loads((root / "captions.json").read_text())


class ToyEncoder(Encoder):
    """Colours through one linear layer: `sentence` [B, 4]; `frames` [B, T, 4] and `patches` [B, T, 2, 4]."""

    name = "toy_encoder"
    fail_after: int | None = None
    """Killed after so many batches of videos."""

    @dataclass(frozen=True)
    class Config(EncoderSettings):
        model: str = setting("here", "where its weights lie; means nothing")
        init: str = setting("given", "start weights", choices=("given", "random"))
        gain: float = setting(1.0, "a factor of the input")

    def __init__(self, config: Any):
        super().__init__(config)
        self.frame_size = 4
        self.shapes = {
            "sentence": LevelShape(None, WIDTH),
            "frames": LevelShape(None, WIDTH),
            "patches": LevelShape(2, WIDTH),
        }
        self.levels = Levels(("sentence",), ("frames", "patches"))
        self.layer = nn.Linear(3, WIDTH)

    def load(self, seed: int) -> None:
        COUNTS["load"] += 1
        generator = torch.Generator().manual_seed(seed if self.random_start else 0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.requires_grad_(self.config.trainable)

    def fingerprint(self) -> Any:
        return "toy weights"

    def prepare_texts(self, texts: Any) -> dict[str, Tensor]:
        return {"colour": torch.tensor([[float(word) for word in text.split()[:3]] for text in texts])}

    def prepare_frames(self, frames: Tensor) -> Tensor:
        return frames.movedim(-1, -3)

    def forward_text(self, tokens: dict[str, Tensor], levels: Iterable[str]) -> TextFeatures:
        COUNTS["texts"] += len(tokens["colour"])
        return TextFeatures(sentence=self._encode(tokens["colour"]))

    def forward_video(self, frames: Tensor, mask: Tensor, levels: Iterable[str]) -> VideoFeatures:
        COUNTS["videos"] += len(frames)
        COUNTS["batches"] += 1
        if self.fail_after is not None and COUNTS["batches"] > self.fail_after:
            raise KeyboardInterrupt("killed")
        values = self._encode(frames.float().mean((-1, -2)))
        patches = torch.stack([values, -values], dim=2) if "patches" in levels else None
        return VideoFeatures(frames=values, frame_mask=mask, patches=patches)

    def export(self, folder: Path) -> None:
        folder.mkdir()
        save_file(self.state_dict(), folder / "toy.safetensors")

    def _encode(self, colour: Tensor) -> Tensor:
        return self.layer((colour - 128) / 64 * self.config.gain)


class Doubled(FeatureTransform):
    """Writes `into` = level * factor, factor trained."""

    name = "toy_doubled"

    @dataclass(frozen=True)
    class Config:
        level: str = setting("frames", "read")
        into: str = setting("doubled", "written")
        shift: float = setting(0.0, "added")

    def __init__(self, config: Any, shapes: Shapes):
        super().__init__(config, shapes)
        self.factor = nn.Parameter(2 + torch.rand(shapes[config.level].width))

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(video=(config.level,))

    @classmethod
    def writes(cls, config: Any) -> Levels:
        return Levels(video=(config.into,))

    def written_shapes(self) -> dict[str, LevelShape]:
        return {self.config.into: self.shapes[self.config.level]}

    def video(self, features: VideoFeatures) -> VideoFeatures:
        tokens = features.structured(self.config.level)
        return features.with_level(
            self.config.into, Tokens(tokens.values * self.factor + self.config.shift, tokens.mask)
        )


class ToyDot(Interaction):
    """Cosine of the sentence with the mean of the valid tokens, over a temperature; no parameters."""

    name = "toy_dot"
    after_training = frozenset({"temperature"})
    diagnostics = ("spread",)

    @dataclass(frozen=True)
    class Config:
        level: str = setting("frames", "video level")
        temperature: float = setting(1.0, "divides the score", gt=0)
        power: float = setting(1.0, "of the score's size, its sign kept")

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(("sentence",), (config.level,))

    def text_side(self, text: TextFeatures) -> Side:
        COUNTS["text_sides"] += 1
        return {"vector": text.level("sentence").values[:, 0]}

    def video_side(self, video: VideoFeatures) -> Side:
        tokens = video.level(self.config.level)
        assert tokens.mask is not None
        weights = tokens.mask[..., None] / tokens.mask.sum(1).clamp(min=1)[:, None, None]
        return {"vector": (tokens.values * weights).sum(1)}

    def score(self, text: Side, video: Side) -> Tensor:
        COUNTS["pairs"] += len(text["vector"]) * len(video["vector"])
        scores = nn.functional.normalize(text["vector"], dim=-1) @ nn.functional.normalize(video["vector"], dim=-1).T
        return scores.sign() * scores.abs() ** self.config.power / self.config.temperature

    def diagnose(self, text: Side, video: Side) -> Side:
        return {"spread": (text["vector"] * video["vector"]).sum(-1).sigmoid()}


class ToyLinear(ToyDot):
    """The same after a trained matrix."""

    name = "toy_linear"

    def __init__(self, config: Any, shapes: Shapes):
        super().__init__(config, shapes)
        self.matrix = nn.Linear(shapes[config.level].width, shapes[config.level].width)

    def video_side(self, video: VideoFeatures) -> Side:
        return {"vector": self.matrix(super().video_side(video)["vector"])}


class ToyBroken(ToyDot):
    """NaN for one text."""

    name = "toy_broken"

    def score(self, text: Side, video: Side) -> Tensor:
        scores = super().score(text, video).clone()
        scores[min(1, len(scores) - 1)] = torch.nan
        return scores


class ToyListwise(Reranker):
    """A query's own first-stage scores without their mean; looks at the whole list."""

    name = "toy_listwise"
    pairwise = False

    @dataclass(frozen=True)
    class Config(RerankerSettings):
        pass

    def forward(self, text: TextFeatures, video: VideoFeatures, scores: Mapping[str, Tensor]) -> Tensor:
        return scores["first_stage"] - scores["first_stage"].mean()


class ToyMatching(Loss):
    """Binary cross-entropy of the scores against the relevance; remembers the batches it saw."""

    name = "toy_matching"
    seen: ClassVar[list[LossInputs]] = []

    def forward(self, inputs: LossInputs) -> Tensor:
        self.seen.append(inputs)
        scores = inputs.mixed(self.config.of)
        return F.binary_cross_entropy_with_logits(scores, inputs.relevance.to(scores))


class ToyMatcher(TrainedReranker):
    """A trained bilinear form of sentence and mean frame."""

    name = "toy_matcher"

    def __init__(self, config: Any, shapes: Shapes):
        super().__init__(config, shapes)
        self.matrix = nn.Linear(WIDTH, WIDTH)

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(("sentence",), ("frames",))

    def text_side(self, text: TextFeatures) -> Side:
        return {"vector": self.matrix(text.level("sentence").values[:, 0])}

    def video_side(self, video: VideoFeatures) -> Side:
        COUNTS["matcher_videos"] += len(video)
        return {"vector": video.level("frames").values.mean(1)}

    def score_pairs(self, text: Side, video: Side, scores: Mapping[str, Tensor]) -> Tensor:
        COUNTS["matched"] += len(text["vector"])
        return (text["vector"] * video["vector"]).sum(-1)


class ToyPlugin:
    """Registers the toys."""

    @hookimpl
    def register_datasets(self, register: Any) -> None:
        register(ToyVideos)

    @hookimpl
    def register_encoders(self, register: Any) -> None:
        register(ToyEncoder)

    @hookimpl
    def register_feature_transforms(self, register: Any) -> None:
        register(Doubled)

    @hookimpl
    def register_interactions(self, register: Any) -> None:
        for component in (ToyDot, ToyLinear, ToyBroken):
            register(component)

    @hookimpl
    def register_rerankers(self, register: Any) -> None:
        register(ToyListwise)
        register(ToyMatcher)

    @hookimpl
    def register_losses(self, register: Any) -> None:
        register(ToyMatching)


def without_log(printed: str) -> str:
    """What a command told on standard error, without the lines that say how far it was."""
    return re.sub(r"^\d\d:\d\d:\d\d .*\n", "", printed, flags=re.MULTILINE)


class Lab:
    """A folder of toy videos, a store, and the experiment that tests vary by dotted keys."""

    def __init__(self, folder: Path, counts: Mapping[str, int] | None = None):
        self.folder = folder
        self.videos = folder / "videos"
        if not self.videos.exists():
            write_videos(self.videos, counts or {"train": 6, "val": 4, "test": 5})
        self.store = folder / "store"
        self.values: dict[str, Any] = {
            "name": "lab",
            "data": {"dataset": {"name": "toy_videos", "root": str(self.videos)}, "num_frames": FRAMES},
            "encoder": {"name": "toy_encoder"},
            "model": {
                "interactions": {"dot": {"name": "toy_dot"}, "linear": {"name": "toy_linear"}},
                "losses": {"contrast": {"name": "info_nce", "of": "linear"}},
            },
            "train": {"epochs": 2, "batch_size": 4, "learning_rate": 0.01, "keep": "last"},
            "retrieve": {
                "first_stage": "dot",
                "rerank": {"name": "score_fusion", "weights": {"linear": 1.0}, "top_k": 2},
            },
            "evaluate": {"metrics": ["R1", "R5", "MnR"]},
        }

    def write(self, changes: Mapping[str, Any] | None = None) -> Path:
        """The experiment file, with `{dotted key: value}` changed."""
        values = json.loads(json.dumps(self.values))
        for key, value in (changes or {}).items():
            assign(values, key, value)
        file = self.folder / "experiment.yaml"
        file.write_text(yaml.safe_dump(values, sort_keys=False))
        return file

    def workspace(self) -> Workspace:
        return Workspace(Store(self.store), torch.device("cpu"), workers=0)

    def plan(self, changes: Mapping[str, Any] | None = None) -> Plan:
        """A plan as a new process would make it."""
        made = read_plan(str(self.write(changes)), [], self.workspace())
        add_trials(made)
        return made

    def run(self, changes: Mapping[str, Any] | None = None) -> Plan:
        """The same, with hypotheses registered and every trial computed."""
        COUNTS.clear()
        made = self.plan(changes)
        register(made)
        self.finished: list[PlannedTrial] = []

        def finished(trial: PlannedTrial) -> None:
            enter(made, trial)
            self.finished.append(trial)

        execute(made, finished)
        return made

    def result(self, changes: Mapping[str, Any] | None = None) -> Result:
        return findings(self.run(changes))

    def new(self, changes: Mapping[str, Any] | None = None) -> set[str]:
        """Names of the steps that a run would compute; `encode` and `decode` with what they read."""
        return {named(step) for step in self.plan(changes).new_steps()}

    def entries(self, step: str) -> list[Entry]:
        return [entry for entry in Store(self.store).entries() if entry.meta["step"] == step]


def named(step: Any) -> str:
    return step.label.split(" [")[0] if step.name in ("encode", "decode") else step.name


def keys(plan: Plan, step: str) -> set[str]:
    """Keys of a plan's steps of one name."""
    return {key for name, key in plan.steps if name == step}


@contextmanager
def registered_toys() -> Iterator[None]:
    """The toys registered; what they counted and how they fail forgotten afterwards."""
    plugin = ToyPlugin()
    registry().add_plugin(plugin, "toys", "1")
    COUNTS.clear()
    try:
        yield
    finally:
        ToyEncoder.fail_after = None
        ToyMatching.seen.clear()
        registry().remove_plugin(plugin, "toys")


@pytest.fixture
def toys() -> Iterator[None]:
    with registered_toys():
        yield


@pytest.fixture
def lab(toys: None, tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports get empty files in place of figures, to draw which takes most of the time of a small run."""

    def draw(title: str, panels: object, notes: object, *files: Path) -> None:
        for file in files:
            file.touch()

    monkeypatch.setattr("plugins.outputs.figures.files.draw", draw)


@pytest.fixture(scope="session")
def done_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with registered_toys():
        made = Lab(tmp_path_factory.mktemp("done"))
        made.run()
    return made.folder


@pytest.fixture
def done(toys: None, done_folder: Path, tmp_path: Path) -> Lab:
    """A lab whose experiment was run once."""
    return Lab(shutil.copytree(done_folder, tmp_path / "lab"))


def plan_of(result: Result) -> Plan:
    """The plan that a result was read by."""
    return result._known_plan
