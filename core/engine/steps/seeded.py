"""What the steps of one variant with one seed share: its data, encoders and levels, and which parts are trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from ...contract.components import Encoder, Levels, Split
from ...contract.features import LevelShape
from ...contract.settings import Checker, Spec, plain
from ...contract.store import digest
from ...errors import ConfigError, DataError
from ...experiment.config import Experiment
from ...plugins import registry
from ..model import Outline, levels_of, outline, transforms_for
from .split import RetrievalSource, split_digest
from .step import Workspace

Asked = ParamSpec("Asked")
Built = TypeVar("Built")


class SeededVariant:
    """One variant with one seed, of which the functions `<step>_step` make steps. Nothing is computed here.

    main: the first encoder, the only one that may be trained. built: steps that `once_a_trial` has made.
    """

    def __init__(self, workspace: Workspace, experiment: Experiment, seed: int, label: str = ""):
        self.workspace, self.experiment, self.seed, self.label = workspace, experiment, seed, label
        self.encoders: dict[str, Encoder] = {n: workspace.encoder(s) for n, s in experiment.encoder.items()}
        self.main = next(iter(self.encoders.values()))
        self.built: dict[Any, Any] = {}

    def labelled(self, what: str) -> str:
        """A step's log label: what it does, and for which trial."""
        return f"{what} {self.label}".strip()

    # ---------------------------------------------------------------------------------------------- data

    @cached_property
    def splits(self) -> dict[str, Split]:
        return self.workspace.splits(self.experiment.data.dataset)

    def split(self, name: str) -> Split:
        if name not in self.splits:
            have = ", ".join(self.splits) or "none"
            raise DataError(f"data.dataset: there is no `{name}` split, and the experiment needs one; there is: {have}")
        return self.splits[name]

    @property
    def scored_split(self) -> str:
        """The split that is evaluated."""
        return self.experiment.evaluate.split

    def gallery(self, direction: str) -> int:
        """How many items of the scored split are searched in a direction."""
        split = self.split(self.scored_split)
        return len(split.videos if direction == "t2v" else split.texts)

    def source(self, direction: str = "t2v") -> RetrievalSource:
        """What a step reads beside its inputs that searches the scored split in a direction."""
        split = self.split(self.scored_split)
        return RetrievalSource(
            experiment=self.experiment, shapes=self.shapes, split=split, direction=direction, seed=self.seed
        )

    @cached_property
    def data(self) -> str:
        """Digest of the data set's section."""
        return digest(plain(self.experiment.data))

    @cached_property
    def _dataset(self) -> str:
        return digest(self.experiment.data.dataset.resolved())

    def relevance(self, split: str) -> str:
        """Digest of what is relevant in a split."""
        key = ("relevance", self._dataset, split)
        return self.workspace.once(key, lambda: split_digest(self.split(split)))

    def texts(self, split: str) -> str:
        """Digest of a split's captions."""
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
        for level in self.video_texts:
            shapes.setdefault(level, LevelShape(None, self.main.shapes["sentence"].width))
        return shapes

    @property
    def video_texts(self) -> tuple[str, ...]:
        """Levels of texts that the data set attaches to its videos."""
        dataset = self.experiment.data.dataset
        return registry().component("dataset", dataset).video_texts(dataset.fields)

    @cached_property
    def levels(self) -> Levels:
        """Names of all levels that can be read before any transform."""
        text, video = [], list(self.video_texts)
        for name, encoder in self.encoders.items():
            prefix = "" if encoder is self.main else f"{name}."
            text += [prefix + level for level in encoder.levels.text]
            video += [prefix + level for level in encoder.levels.video]
        return Levels(tuple(text), tuple(video))

    def owner(self, level: str) -> tuple[Encoder, str]:
        """The encoder that writes a level, and what it calls it."""
        prefix, _, inner = level.rpartition(".")
        if prefix in self.encoders and prefix:
            return self.encoders[prefix], inner
        return self.main, level

    # ---------------------------------------------------------------------------------------------- parts

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """Interactions that a loss names, in the model's order."""
        named = {name for spec in self.experiment.model.losses.values() for name in spec.fields.of}
        return tuple(name for name in self.experiment.model.interactions if name in named)

    def outline(self, kind: str, spec: Spec, shapes: dict[str, LevelShape]) -> Outline:
        """`core.engine.model.outline`, made once for all variants that share it."""
        key = ("outline", kind, digest([spec.resolved(), plain(shapes)]))
        return self.workspace.once(key, lambda: outline(kind, spec, shapes))

    def parametric(self, name: str) -> set[tuple[str, str]]:
        """(kind, name) of what has parameters among an interaction and the transforms that it depends on."""
        return self._parametric[name]

    @cached_property
    def _parametric(self) -> dict[str, set[tuple[str, str]]]:
        return {name: self._with_parameters(name) for name in self.experiment.model.interactions}

    def _with_parameters(self, name: str) -> set[tuple[str, str]]:
        model = self.experiment.model
        transforms, _ = transforms_for(model.transforms, levels_of({name: model.interactions[name]}))
        shapes, parts = dict(self.shapes), set()
        for key, transform in transforms.items():
            outlined = self.outline("feature_transform", transform, shapes)
            shapes |= outlined.writes
            parts |= {("transforms", key)} if outlined.parametric else set()
        own = self.outline("interaction", model.interactions[name], shapes)
        return parts | ({("interactions", name)} if own.parametric else set())

    @cached_property
    def fitted_parts(self) -> set[tuple[str, str]]:
        """What a fit gives weights to."""
        return {part for name in self.trained for part in self.parametric(name)}

    def after_training(self, name: str) -> Any:
        """An interaction's configuration with `retrieve.settings`."""
        fields, changed = self.experiment.model.interactions[name].fields, self.experiment.retrieve.settings.get(name)
        if not changed:
            return fields
        checker = Checker(registry().specify)
        config = checker.build(type(fields), plain(fields) | changed, f"retrieve.settings.{name}")
        if config is None:
            raise ConfigError(checker.problems)
        return config


def once_a_trial(
    build: Callable[Concatenate[SeededVariant, Asked], Built],
) -> Callable[Concatenate[SeededVariant, Asked], Built]:
    """Have a function make its step once for each trial and what else it is asked with."""

    @wraps(build)
    def asked(trial: SeededVariant, *args: Asked.args, **kwargs: Asked.kwargs) -> Built:
        key = (build, args, tuple(kwargs.items()))
        if key not in trial.built:
            trial.built[key] = build(trial, *args, **kwargs)
        return trial.built[key]

    return asked
