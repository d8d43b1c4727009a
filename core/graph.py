"""The steps of one trial: which fields each reads, which steps it needs. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from .components import Encoder, Levels, Split
from .config import Experiment
from .errors import ConfigError, DataError, Problem
from .features import LevelShape
from .model import has_parameters, levels_of, transforms_for
from .plugins import registry
from .settings import Checker, Spec, plain
from .steps import encoding, fitting, retrieval
from .steps.encoding import TextSource, VideoSource
from .steps.fitting import FitSource
from .steps.retrieval import ScoreSource
from .steps.split import split_digest
from .steps.step import Step, Workspace, arithmetic, source_of, versions
from .store import digest
from .video import Sampling


class TrialGraph:
    """Builds the steps of one variant with one seed. `evaluate` is the last; the others hang from it."""

    def __init__(self, workspace: Workspace, experiment: Experiment, seed: int, label: str = ""):
        self.workspace, self.experiment, self.seed, self.label = workspace, experiment, seed, label
        self.encoders: dict[str, Encoder] = {n: workspace.encoder(s) for n, s in experiment.encoder.items()}
        self.main = next(iter(self.encoders.values()))
        self._scores: dict[str, Step] = {}

    @cached_property
    def splits(self) -> dict[str, Split]:
        return self.workspace.splits(self.experiment.data.dataset)

    def split(self, name: str) -> Split:
        if name not in self.splits:
            have = ", ".join(self.splits) or "none"
            raise DataError(f"data.dataset: there is no `{name}` split, and the experiment needs one; there is: {have}")
        return self.splits[name]

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
        key = ("encode", digest(plain(self.experiment.data)), encoder, seed, fit and fit.key, split, side, level)

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
        read = {k: v for k, v in plain(encoder.config).items() if k not in encoder.located_by and k != "trainable"}
        return {
            "encoder": encoder.name,
            "settings": read,
            "weights": self.workspace.once(("fingerprint", encoder), encoder.fingerprint),
            "source": source_of("encoder", Spec(encoder.name, None)),
            "versions": versions("torch", "transformers"),
            "arithmetic": arithmetic(self.workspace.device),
        } | ({"seed": self.seed} if encoder.random_start and not encoder.config.trainable else {})

    def _encode_text(self, split: str, level: str, encoder: Encoder, fit: Step | None) -> Step:
        texts = tuple(text.text for text in self.split(split).texts)
        fields = self._encoder_fields(encoder) | {"level": level, "items": self._texts(split)}
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
        fields = self._encoder_fields(encoder) | {"items": digest([texts, groups]), "grouped": True}
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
        } | ({"on_unreadable": "skip"} if source.on_unreadable == "skip" else {})

    def decode(self, split: str) -> Step:
        """The main encoder's frames of a split, kept because a trained encoder reads them more than once."""
        key = ("decode", digest(plain(self.experiment.data)), self.main, split)

        def make() -> Step:
            source = self._video_source(split, self.main)
            fields = self._encoder_fields(self.main) | self._decode_fields(source)
            return Step("decode", fields, {}, encoding.decode, f"decode {split} videos", source)

        return self.workspace.once(key, make)

    def _encode_video(self, split: str, level: str, encoder: Encoder, fit: Step | None) -> Step:
        source = self._video_source(split, encoder)
        fields = self._encoder_fields(encoder) | {"level": level} | self._decode_fields(source)
        inputs = {"fit": fit, "decode": self.decode(split)} if fit else {}
        return Step("encode", fields, inputs, encoding.encode_video, f"encode {split} videos", source, ("level",))

    # ---------------------------------------------------------------------------------------------- fit

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """Interactions that a loss names, in the model's order."""
        named = {name for spec in self.experiment.model.losses.values() for name in spec.fields.of}
        return tuple(name for name in self.experiment.model.interactions if name in named)

    def parametric(self, name: str) -> set[tuple[str, str]]:
        """(kind, name) of what has parameters among an interaction and the transforms that it depends on."""
        model = self.experiment.model
        transforms, _ = transforms_for(model.transforms, levels_of({name: model.interactions[name]}))
        specs = [[key, spec.resolved()] for key, spec in transforms.items()]
        key = ("parametric", name, digest([specs, model.interactions[name].resolved(), plain(self.shapes)]))
        return self.workspace.once(key, lambda: self._with_parameters(name, transforms))

    def _with_parameters(self, name: str, transforms: Mapping[str, Spec]) -> set[tuple[str, str]]:
        spec = self.experiment.model.interactions[name]
        known, found = dict(self.shapes), set()
        for key, transform in transforms.items():
            if has_parameters("feature_transform", transform, known):
                found.add(("transforms", key))
            with torch.device("meta"):
                known |= registry().make("feature_transform", transform, known).written_shapes()
        return found | ({("interactions", name)} if has_parameters("interaction", spec, known) else set())

    @cached_property
    def fitted_parts(self) -> set[tuple[str, str]]:
        """What a fit gives weights to."""
        return {part for name in self.trained for part in self.parametric(name)}

    @cached_property
    def fit(self) -> Step | None:
        """The fit, or None where nothing has parameters to train."""
        if not self.fitted_parts and not (self.main.config.trainable and self.trained):
            return None
        experiment, best = self.experiment, self.experiment.train.keep == "best"
        splits = ["train", "val"] if best else ["train"]
        fields = self._fit_fields() | {"relevance": {name: self._relevance(name) for name in splits}}
        if best:
            fields |= {"primary": experiment.evaluate.primary, "selection": self.selection}
        if self.main.config.trainable:
            fields["texts"] = {name: self._texts(name) for name in splits}
        inputs = {f"{name}/{key}": step for name in splits for key, step in self._fit_inputs(name).items()}
        val = self.split("val") if best else None
        source = FitSource(
            experiment, self.trained, self.shapes, self.main, self.split("train"), val, self.selection, self.seed
        )
        return Step("fit", fields, inputs, fitting.fit, f"train {self.label}".strip(), source)

    def _fit_fields(self) -> dict[str, Any]:
        """Lists, not mappings: order decides which numbers each part draws at the start."""
        model, train = self.experiment.model, plain(self.experiment.train)
        if train["num_frames"] is None:
            del train["sampler"]
        if not self.main.config.trainable:
            del train["encoder_learning_rate"]
        interactions = {name: model.interactions[name] for name in self.trained}
        transforms, _ = transforms_for(model.transforms, levels_of(interactions))
        return {
            "transforms": [[n, s.resolved(), source_of("feature_transform", s)] for n, s in transforms.items()],
            "interactions": [[n, s.resolved(), source_of("interaction", s)] for n, s in interactions.items()],
            "losses": [[n, s.resolved(), source_of("loss", s)] for n, s in model.losses.items()],
            "logit_scale": plain(model.logit_scale),
            "encoder": self._encoder_fields(self.main),
            "train": train,
            "seed": self.seed,
            "versions": versions("torch"),
            "arithmetic": arithmetic(self.workspace.device),
        }

    def _fit_inputs(self, split: str) -> dict[str, Step]:
        """Levels; where the encoder is trained, pixels in the place of its own (the captions enter as a field)."""
        model = self.experiment.model
        _, raw = transforms_for(model.transforms, levels_of({name: model.interactions[name] for name in self.trained}))
        if not self.main.config.trainable:
            return self.encode(split, raw) | self._skipping(split, raw)
        attached = set(raw.video) & set(self._video_texts)
        if attached:
            reason = f"training reads `{min(attached)}`, texts of the data set: their level needs a frozen encoder"
            raise ConfigError(Problem("encoder.trainable", reason))
        others = Levels(*(tuple(n for n in names if self._owner(n)[0] is not self.main) for names in raw))
        return {"video/pixels": self.decode(split), **self.encode(split, others)}

    @property
    def selection(self) -> dict[str, float]:
        """The mixture that is validated: that of the first contrastive loss, else of the first loss."""
        losses = list(self.experiment.model.losses.values())
        contrastive = [spec for spec in losses if registry().component("loss", spec).contrastive]
        return dict((contrastive or losses)[0].fields.of)

    # ---------------------------------------------------------------------------------------------- retrieval

    def _scored(self, name: str) -> tuple[dict[str, Any], dict[str, Step], ScoreSource]:
        """Fields, inputs and payload that any scoring of one interaction has, with settings after training."""
        experiment = self.experiment
        spec = experiment.model.interactions[name]
        cls = registry().component("interaction", spec)
        config = self._after_training(name)
        values = {"name": spec.name, **plain(config)}
        transforms, raw = transforms_for(experiment.model.transforms, levels_of({name: Spec(spec.name, config)}))
        own = self.parametric(name)
        fit = self.fit if self.main.config.trainable or own else None
        fields = {
            "interaction": {key: value for key, value in values.items() if key not in cls.after_training},
            "settings": {key: value for key, value in values.items() if key in cls.after_training},
            "source": source_of("interaction", spec),
            "transforms": [[s.resolved(), source_of("feature_transform", s)] for s in transforms.values()],
            "weights": [n for n in transforms if ("transforms", n) in own] + [name] * (("interactions", name) in own),
            "versions": versions("torch"),
            "arithmetic": arithmetic(self.workspace.device),
        }
        inputs = self.encode(experiment.evaluate.split, raw) | self._skipping(experiment.evaluate.split, raw)
        split = self.split(experiment.evaluate.split)
        source = ScoreSource(experiment, name, config, self.shapes, split)
        return fields, inputs | ({"fit": fit} if fit else {}), source

    def _after_training(self, name: str) -> Any:
        """An interaction's configuration with `retrieve.settings`."""
        fields, changed = self.experiment.model.interactions[name].fields, self.experiment.retrieve.settings.get(name)
        if not changed:
            return fields
        checker = Checker(registry().specify)
        config = checker.build(type(fields), plain(fields) | changed, f"retrieve.settings.{name}")
        if config is None:
            raise ConfigError(checker.problems)
        return config

    def score(self, name: str) -> Step:
        if name not in self._scores:
            fields, inputs, source = self._scored(name)
            label = f"score {name} {self.label}".strip()
            self._scores[name] = Step("score", fields, inputs, retrieval.score, label, source, ("settings",))
        return self._scores[name]

    def _ranking(self, direction: str) -> tuple[dict[str, Any], dict[str, Step]]:
        retrieve = self.experiment.retrieve
        fields = {
            "direction": direction,
            "first_stage": dict(retrieve.first_stage),
            "score_transforms": [[s.resolved(), source_of("score_transform", s)] for s in retrieve.transforms.values()],
        }
        return fields, {f"first_stage/{name}": self.score(name) for name in retrieve.first_stage}

    def candidates(self, name: str, direction: str, top_k: int) -> Step:
        fields, inputs, source = self._scored(name)
        ranking, stages = self._ranking(direction)
        split = self.split(self.experiment.evaluate.split)
        gallery = len(split.videos if direction == "t2v" else split.texts)
        return Step(
            "candidates",
            fields | ranking,
            inputs | stages,
            retrieval.candidates,
            f"re-score {name} {direction} {self.label}".strip(),
            replace(source, direction=direction),
            ("settings",),
            min(top_k, gallery),
        )

    def rank(self, direction: str) -> Step:
        experiment = self.experiment
        split = self.split(experiment.evaluate.split)
        fields, inputs = self._ranking(direction)
        fields["relevance"] = self._relevance(experiment.evaluate.split)
        levels = Levels()
        spec = experiment.retrieve.rerank
        if spec is not None:
            cls = registry().component("reranker", spec)
            fields |= {"rerank": spec.resolved(), "source": source_of("reranker", spec)}
            wanted = [name for name in cls.interactions(spec.fields) if name != "first_stage"]
            inputs |= {f"candidates/{n}": self.candidates(n, direction, spec.fields.top_k) for n in wanted}
            levels = cls.reads(spec.fields)
        stage = next(iter(inputs.values()))
        inputs |= {name: s for name, s in stage.inputs.items() if name.startswith(retrieval.FEATURES)}
        inputs |= self.encode(experiment.evaluate.split, levels)
        source = ScoreSource(experiment, "", None, self.shapes, split, direction)
        return Step("rank", fields, inputs, retrieval.rank, f"rank {direction} {self.label}".strip(), source)

    @cached_property
    def evaluate(self) -> Step:
        """The trial's last step."""
        settings = self.experiment.evaluate
        names = dict.fromkeys([*settings.metrics, settings.primary.partition("/")[2]])
        fields: dict[str, Any] = {"metrics": list(names), "ties": settings.ties, "split": settings.split}
        fields["directions"] = list(dict.fromkeys([*settings.directions, settings.primary.partition("/")[0]]))
        inputs = {direction: self.rank(direction) for direction in fields["directions"]}
        split = self.split(settings.split)
        source = ScoreSource(self.experiment, "", None, self.shapes, split, seed=self.seed)
        return Step("evaluate", fields, inputs, retrieval.evaluate, f"evaluate {self.label}".strip(), source)
