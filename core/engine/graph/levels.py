"""Decode and encode: the steps that give levels, and which fields each reads."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ...contract.components import Encoder, Levels, Split
from ...contract.features import LevelShape
from ...contract.settings import Spec, plain
from ...contract.store import digest
from ...errors import DataError
from ...experiment.config import Experiment
from ...plugins import registry
from ..model import levels_of, transforms_for
from ..steps import encoding
from ..steps.encoding import TextSource, VideoSource
from ..steps.split import split_digest
from ..steps.step import Step, Workspace, arithmetic, source_of, versions
from ..video import Sampling

SKIPPED = "skip those whose file is at fault"
"""Another value than the setting's: earlier versions also skipped, and stored so, what a killed reader had."""


class LevelGraph:
    """Steps that read the data set and give levels of a split."""

    def __init__(self, workspace: Workspace, experiment: Experiment, seed: int, label: str = ""):
        self.workspace, self.experiment, self.seed, self.label = workspace, experiment, seed, label
        self.encoders: dict[str, Encoder] = {n: workspace.encoder(s) for n, s in experiment.encoder.items()}
        self.main = next(iter(self.encoders.values()))

    @cached_property
    def fit(self) -> Step | None:
        """The step that trains the model and, where it is trainable, the encoder."""
        raise NotImplementedError

    @cached_property
    def splits(self) -> dict[str, Split]:
        return self.workspace.splits(self.experiment.data.dataset)

    def split(self, name: str) -> Split:
        if name not in self.splits:
            have = ", ".join(self.splits) or "none"
            raise DataError(f"data.dataset: there is no `{name}` split, and the experiment needs one; there is: {have}")
        return self.splits[name]

    @cached_property
    def _data(self) -> str:
        return digest(plain(self.experiment.data))

    @cached_property
    def _dataset(self) -> str:
        return digest(self.experiment.data.dataset.resolved())

    def _relevance(self, split: str) -> str:
        key = ("relevance", self._dataset, split)
        return self.workspace.once(key, lambda: split_digest(self.split(split)))

    def _texts(self, split: str) -> str:
        key = ("texts", self._dataset, split)
        return self.workspace.once(key, lambda: digest([text.text for text in self.split(split).texts]))

    # ---------------------------------------------------------------------------------------------- levels

    @cached_property
    def shapes(self) -> dict[str, LevelShape]:
        """Shapes of every level that the encoders write; further encoders' levels bear their name as a prefix."""
        shapes: dict[str, LevelShape] = {}
        frames = self.experiment.data.num_frames
        for name, encoder in self.encoders.items():
            prefix = "" if encoder is self.main else f"{name}."
            for level, shape in encoder.shapes.items():
                tokens = shape.tokens
                if level in encoder.levels.video and level != "video":
                    tokens = frames * (shape.tokens or 1)
                shapes[prefix + level] = LevelShape(tokens, shape.width)
        for level in self._video_texts:
            shapes.setdefault(level, LevelShape(None, self.main.shapes["sentence"].width))
        return shapes

    @property
    def _video_texts(self) -> tuple[str, ...]:
        dataset = self.experiment.data.dataset
        return registry().component("dataset", dataset).video_texts(dataset.fields)

    @cached_property
    def levels(self) -> Levels:
        """Names of all levels that can be read before any transform."""
        text, video = [], list(self._video_texts)
        for name, encoder in self.encoders.items():
            prefix = "" if encoder is self.main else f"{name}."
            text += [prefix + level for level in encoder.levels.text]
            video += [prefix + level for level in encoder.levels.video]
        return Levels(tuple(text), tuple(video))

    def _owner(self, level: str) -> tuple[Encoder, str]:
        prefix, _, inner = level.rpartition(".")
        if prefix in self.encoders and prefix:
            return self.encoders[prefix], inner
        return self.main, level

    # ---------------------------------------------------------------------------------------------- encode

    def encode(self, split: str, levels: Levels) -> dict[str, Step]:
        """Steps `text/<level>` and `video/<level>` of a split, after the fit where it trains their encoder."""
        sides = [("text", level) for level in levels.text] + [("video", level) for level in levels.video]
        return {f"{side}/{level}": self._encode(split, side, level) for side, level in sides}

    def _encode(self, split: str, side: str, level: str) -> Step:
        """One step object for all trials that share it: to digest every item of a split takes time."""
        encoder, inner = self._owner(level)
        fit = self.fit if encoder.config.trainable else None
        seed = self.seed if encoder.random_start else None
        key = ("encode", self._data, encoder, seed, fit and fit.key, split, side, level)

        def make() -> Step:
            if side == "text":
                return self._encode_text(split, inner, encoder, fit)
            if level in self._video_texts:
                return self._encode_video_texts(split, inner, encoder, fit)
            return self._encode_video(split, inner, encoder, fit)

        return self.workspace.once(key, make)

    def _skipping(self, split: str, levels: Levels) -> dict[str, Step]:
        """Where unreadable videos are skipped, what reads no decoded level must leave out the same ones: the step
        `skip/<level>` says which."""
        model, attached = self.experiment.model, set(self._video_texts)
        if self.experiment.data.on_unreadable != "skip" or set(levels.video) - attached:
            return {}
        _, read = transforms_for(model.transforms, levels_of(model.interactions))
        decoded = [level for level in read.video if level not in attached]
        return {f"skip/{level}": self._encode(split, "video", level) for level in decoded[:1]}

    def _encoder_fields(self, encoder: Encoder) -> dict[str, Any]:
        left_out = {*encoder.located_by, "trainable", "stored"}
        read = {name: value for name, value in plain(encoder.config).items() if name not in left_out}
        return {
            "encoder": encoder.name,
            "settings": read,
            "weights": self.workspace.once(("fingerprint", encoder), encoder.fingerprint),
            "source": source_of("encoder", Spec(encoder.name, encoder.config)),
            "versions": versions("torch", "transformers"),
            "arithmetic": arithmetic(self.workspace.device),
        } | ({"seed": self.seed} if encoder.random_start and not encoder.config.trainable else {})

    def _encode_text(self, split: str, level: str, encoder: Encoder, fit: Step | None) -> Step:
        texts = tuple(text.text for text in self.split(split).texts)
        fields = self._encoder_fields(encoder) | {"level": level, "items": self._texts(split)} | _stored(encoder)
        inputs = {"fit": fit} if fit else {}
        source = TextSource(texts, encoder, self.seed)
        return Step("encode", fields, inputs, encoding.encode_text, f"encode {split} texts", source, ("level",))

    def _encode_video_texts(self, split: str, level: str, encoder: Encoder, fit: Step | None) -> Step:
        groups: list[tuple[int, ...]] = []
        texts: list[str] = []
        for video in self.split(split).videos:
            own = video.texts.get(level, ())
            groups.append(tuple(range(len(texts), len(texts) + len(own))))
            texts.extend(own)
        fields = self._encoder_fields(encoder) | {"items": digest([texts, groups]), "grouped": True} | _stored(encoder)
        source = TextSource(tuple(texts), encoder, self.seed, tuple(groups))
        inputs = {"fit": fit} if fit else {}
        return Step("encode", fields, inputs, encoding.encode_video_texts, f"encode {split} {level}", source)

    def _video_source(self, split: str, encoder: Encoder) -> VideoSource:
        data = self.experiment.data
        paths = [video.path for video in self.split(split).videos]
        return VideoSource(
            paths=tuple(paths),
            items=tuple(self.workspace.once(("files", *paths), lambda: self.workspace.digests.of(paths))),
            sampling=Sampling(data.num_frames, data.sampler, encoder.frame_size, data.short_videos),
            frame_order=data.frame_order,
            encoder=encoder,
            seed=self.seed,
            on_unreadable=data.on_unreadable,
        )

    def _decode_fields(self, source: VideoSource) -> dict[str, Any]:
        return {
            "sampling": plain(source.sampling),
            "frame_order": source.frame_order,
            "items": digest(source.items),
            "reader": versions("decord"),
        } | ({"on_unreadable": SKIPPED} if source.on_unreadable == "skip" else {})

    def decode(self, split: str) -> Step:
        """The main encoder's frames of a split, kept because a trained encoder reads them more than once."""
        key = ("decode", self._data, self.main, split)

        def make() -> Step:
            source = self._video_source(split, self.main)
            fields = self._encoder_fields(self.main) | self._decode_fields(source)
            return Step("decode", fields, {}, encoding.decode, f"decode {split} videos", source)

        return self.workspace.once(key, make)

    def _encode_video(self, split: str, level: str, encoder: Encoder, fit: Step | None) -> Step:
        source = self._video_source(split, encoder)
        fields = self._encoder_fields(encoder) | {"level": level} | self._decode_fields(source) | _stored(encoder)
        inputs = {"fit": fit, "decode": self.decode(split)} if fit else {}
        return Step("encode", fields, inputs, encoding.encode_video, f"encode {split} videos", source, ("level",))


def _stored(encoder: Encoder) -> dict[str, Any]:
    """The field of the levels' own precision; pixels and weights do not depend on it."""
    return {} if encoder.config.stored == "float32" else {"stored": encoder.config.stored}
