"""The experiment file: its typed schema, reading it (extends, overrides, interpolation) and checking it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ConfigError, Problem
from .settings import Checker, Mixture, Spec, join, setting


@dataclass(frozen=True)
class Data:
    dataset: Spec = setting(doc="where videos and texts come from", kind="dataset")
    num_frames: int = setting(12, "frames decoded of each video", ge=1)
    sampler: str = setting("uniform", "which frames: a sampler of core/video.py")
    frame_order: str = setting("normal", "a diagnostic", choices=("normal", "shuffled", "reversed"))
    on_unreadable: str = setting("fail", "a video that cannot be read", choices=("fail", "skip"))
    short_videos: str = setting("fail", "fewer frames than num_frames: refuse, or mask", choices=("fail", "pad"))


@dataclass(frozen=True)
class LogitScale:
    init: float = setting(14.2857, "factor of the scores inside losses, at the start", gt=0)
    max: float = setting(100.0, "its upper limit", gt=0)


@dataclass(frozen=True)
class Model:
    interactions: dict[str, Spec] = setting(doc="named interactions", kind="interaction")
    transforms: dict[str, Spec] = setting(factory=dict, doc="named feature transforms, in order", kind="feature_transform")
    losses: dict[str, Spec] = setting(factory=dict, doc="named losses", kind="loss")
    logit_scale: LogitScale = setting(LogitScale(), "the one scale of all losses")


@dataclass(frozen=True)
class Train:
    epochs: int = setting(10, "passes over the training pairs", ge=1)
    batch_size: int = setting(128, "pairs a step", ge=2)
    learning_rate: float = setting(1e-4, "peak of AdamW's rate", gt=0)
    encoder_learning_rate: float | None = setting(None, "peak for a trainable encoder; null: learning_rate", gt=0)
    weight_decay: float = setting(0.2, "of matrices; vectors and scalars have none", ge=0)
    warmup: float = setting(0.1, "share of the steps with a rising rate; then a cosine to zero", ge=0, le=1)
    clip_norm: float = setting(1.0, "limit of the gradient's norm", gt=0)
    keep: str = setting("best", "the weights kept: best on the validation split, or last", choices=("best", "last"))
    num_frames: int | None = setting(None, "frames drawn of the decoded ones at each step; null: all", ge=1)
    sampler: str = setting("uniform", "how they are drawn", choices=("uniform", "random"))


@dataclass(frozen=True)
class Retrieve:
    first_stage: Mixture = setting(doc="the interaction, or mixture, that ranks the whole gallery")
    rerank: Spec | None = setting(None, "what gives candidates new scores; null: one stage", kind="reranker")
    settings: dict[str, dict[str, Any]] = setting(factory=dict, doc="{interaction: {field: value}} after training")
    transforms: dict[str, Spec] = setting(factory=dict, doc="on the first stage's matrix", kind="score_transform")


@dataclass(frozen=True)
class Evaluate:
    directions: tuple[str, ...] = setting(("t2v", "v2t"), "what is asked for", choices=("t2v", "v2t"))
    metrics: tuple[str, ...] = setting(("R1", "R5", "R10", "MdR", "MnR", "MRR"), "columns of the table")
    primary: str = setting("t2v/R1", "the metric that decides")
    split: str = setting("test", "scored split", choices=("test", "val"))
    ties: str = setting("expected", "policy for equal scores", choices=("expected", "optimistic", "pessimistic"))


@dataclass(frozen=True)
class Tracking:
    enabled: bool = setting(True, "write to MLflow")
    uri: str | None = setting(None, "tracking store; null: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db here")


@dataclass(frozen=True)
class Experiment:
    """One resolved configuration. The last seven fields design the comparison; no step reads them."""

    name: str = setting(doc="names the report's folder and the MLflow experiment")
    data: Data = setting(doc="videos and texts")
    encoder: dict[str, Spec] = setting(doc="the encoder, or named encoders", kind="encoder")
    model: Model = setting(doc="transforms, interactions, losses")
    retrieve: Retrieve = setting(doc="first stage and re-ranking")
    train: Train = setting(Train(), "the training loop")
    evaluate: Evaluate = setting(Evaluate(), "metrics")
    tracking: Tracking = setting(Tracking(), "MLflow")
    export: str | None = setting(None, "folder that the encoder of the first trial is written to")
    seeds: tuple[int, ...] = setting((0,), "one trial of each variant a seed", ge=0)
    ablate: dict[str, Any] = setting(factory=dict, doc="{key: [values]}, a grid; or named grids")
    one_at_a_time: dict[str, Any] = setting(factory=dict, doc="{key: [values]}, each axis by itself")
    variants: dict[str, Any] = setting(factory=dict, doc="{name: {key: value}}")
    baseline: Any = setting(None, "a variant's name, or assignments that select one")
    hypotheses: dict[str, Any] = setting(factory=dict, doc="claims, written before the run")


DESIGN = ("ablate", "one_at_a_time", "variants", "baseline", "seeds")
"""Keys that a file replaces whole when it extends another: merged grids would multiply unasked."""


@dataclass
class Document:
    """An experiment file as read: plain values with `${…}` still in them, and who wrote which key."""

    file: str
    values: dict[str, Any]
    origins: dict[str, str] = field(default_factory=dict)

    def origin(self, key: str) -> str:
        """The file, or 'command line', that wrote `key` or the nearest key above it."""
        parts = split_key(key, lenient=True)
        for end in range(len(parts), 0, -1):
            known = self.origins.get(dotted(parts[:end]))
            if known:
                return known
        return self.file

    def blame(self, problems: Iterable[Problem]) -> list[Problem]:
        return [Problem(p.key, p.message, p.file or self.origin(p.key)) for p in problems]


def read_document(path: str, overrides: Iterable[str] = ()) -> Document:
    """Read an experiment file with what it extends, then apply `key=value` overrides of the command line.

    Raises ConfigError for a missing file, YAML faults, keys that are not texts, circular extends.
    """
    document = _read_chain(_locate(path, None), ())
    for override in overrides:
        _override(document, override)
    return document


def _locate(name: str, beside: Path | None) -> Path:
    package, _, inside = name.partition(":")
    if inside and re.fullmatch(r"[A-Za-z_][\w.]*", package) and len(package) > 1:
        from importlib.resources import files

        try:
            return Path(str(files(package) / inside))
        except ModuleNotFoundError:
            raise ConfigError(Problem("", f"no installed package `{package}`", name)) from None
    tried = [Path(name)] if beside is None else [beside.parent / name, Path(name)]
    for path in tried:
        if path.is_file():
            return path
    where = "" if beside is None else f"; named by `extends` in {beside}"
    raise ConfigError(Problem("", f"no such file (looked at {', '.join(map(str, tried))}{where})", name))


def _read_chain(path: Path, above: tuple[Path, ...]) -> Document:
    if path.resolve() in above:
        raise ConfigError(Problem("extends", "the files extend each other in a circle", str(path)))
    values = _read_yaml(path)
    parent = values.pop("extends", None)
    own = Document(str(path), values, {key: str(path) for key in _leaves(values)})
    if parent is None:
        return own
    if not isinstance(parent, str):
        raise ConfigError(Problem("extends", f"expected a file name, got {parent!r}", str(path)))
    base = _read_chain(_locate(parent, path), (*above, path.resolve()))
    return Document(str(path), _merge(base.values, values), {**base.origins, **own.origins})


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        loaded = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as fault:
        raise ConfigError(Problem("", f"cannot be read as YAML: {fault}", str(path))) from None
    if not isinstance(loaded, dict):
        raise ConfigError(Problem("", "an experiment file is a mapping of sections", str(path)))
    _refuse_odd_keys(loaded, str(path))
    return loaded


def _refuse_odd_keys(values: Any, file: str, key: str = "") -> None:
    if isinstance(values, list):
        for index, item in enumerate(values):
            _refuse_odd_keys(item, file, f"{key}[{index}]")
    if isinstance(values, dict):
        for name, item in values.items():
            if not isinstance(name, str):
                hint = " (YAML reads on, off, yes, no, y, n as true and false: quote it)" if isinstance(name, bool) else ""
                raise ConfigError(Problem(join(key, name), f"a key must be a text, not {name!r}{hint}", file))
            _refuse_odd_keys(item, file, join(key, name))


def _leaves(values: Mapping[str, Any], key: str = "") -> Iterable[str]:
    for name, item in values.items():
        yield join(key, name)
        if isinstance(item, Mapping):
            yield from _leaves(item, join(key, name))


def _merge(base: Any, over: Any, key: str = "") -> Any:
    """Mappings merge, all else replaces; so does a component of another name, and the keys of DESIGN."""
    both = isinstance(base, dict) and isinstance(over, dict)
    if not both or key in DESIGN or over.get("name", base.get("name")) != base.get("name") and key:
        return copy.deepcopy(over)
    merged = dict(base)
    for name, value in over.items():
        merged[name] = _merge(base.get(name), value, join(key, name))
    return merged


# ------------------------------------------------------------------------------------------------ keys and values


def split_key(key: str, lenient: bool = False) -> list[str]:
    """`ablate[retrieve.rerank.top_k].x` -> ["ablate", "retrieve.rerank.top_k", "x"]."""
    parts = re.findall(r"\[([^\]]*)\]|([^.\[\]]+)", key)
    if not lenient and (not parts or re.sub(r"\[[^\]]*\]|[^.\[\]]+", "", key).strip(".")):
        raise ConfigError(Problem(key, "not a key; write section.field, or section[a.dotted.name]"))
    return [bracketed or bare for bracketed, bare in parts]


def dotted(parts: Iterable[str]) -> str:
    key = ""
    for part in parts:
        key = join(key, part)
    return key


def assign(values: dict[str, Any], key: str, value: Any) -> None:
    """Set one key in place. The value replaces what was there, whole; mappings on the way are made where missing.

    Raises ConfigError where something on the way is null or no mapping.
    """
    *way, last = split_key(key)
    place = values
    for index, part in enumerate(way):
        inner = place.get(part, {})
        if not isinstance(inner, dict):
            found = "null" if inner is None else f"{inner!r}"
            raise ConfigError(Problem(key, f"cannot be set, because {dotted(way[: index + 1])} is {found}"))
        place[part] = inner
        place = inner
    place[last] = copy.deepcopy(value)


def _override(document: Document, text: str) -> None:
    import yaml
    from omegaconf import OmegaConf

    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(Problem(text, "expected key=value", "command line"))
    try:
        parsed = OmegaConf.to_container(OmegaConf.create({"value": yaml.safe_load(value)}), resolve=False)["value"]  # type: ignore[index,call-overload]
    except yaml.YAMLError as fault:
        raise ConfigError(Problem(key, f"the value is not YAML: {fault}", "command line")) from None
    if isinstance(parsed, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", parsed):
        parsed = float(parsed)
    try:
        assign(document.values, key, parsed)
    except ConfigError as fault:
        raise ConfigError([Problem(p.key, p.message, "command line") for p in fault.problems]) from None
    document.origins[dotted(split_key(key))] = "command line"


def resolve(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with every `${…}` replaced. Raises ConfigError for one that points nowhere."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        resolved = OmegaConf.to_container(OmegaConf.create(dict(values)), resolve=True)
    except OmegaConfBaseException as fault:
        key = str(getattr(fault, "full_key", "") or "")
        raise ConfigError(Problem(key, str(fault).split("\n")[0])) from None
    return resolved  # type: ignore[return-value]


def check(values: Mapping[str, Any], components: Callable[..., Any] | None) -> tuple[Experiment | None, list[Problem]]:
    """The typed experiment of resolved values, and every fault found. `components` None: core schema only."""
    checker = Checker(components)
    values = {key: value for key, value in values.items() if value is not None or key in ("baseline", "export")}
    given = values.get("encoder")
    if isinstance(given, Mapping) and "name" in given:
        values["encoder"] = {"": given}
    experiment = checker.build(Experiment, values, "")
    problems = [Problem(re.sub(r"^encoder\.(?=\.|$)", "encoder", p.key).replace("..", "."), p.message) for p in checker.problems]
    return experiment, problems
