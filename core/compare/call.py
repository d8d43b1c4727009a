"""The inputs of a call: which ids belong to which, what they are called, what is wrong whatever the files hold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from ..errors import ConfigError, Problem, nearest
from ..measure.metrics import DEFAULT_METRICS, DIRECTIONS, metric
from .sources import Source, Stored

METRICS = (*DEFAULT_METRICS, "RSum", "mAP", "nDCG10")
"""Examples of what can be compared; R and nDCG take any cutoff."""


def refuse_call(
    inputs: Sequence[str], rows: Sequence[str], cols: Sequence[str], name: str, directions: int, draws: int, seed: int
) -> None:
    """Raise ConfigError for what no file could put right; nothing is opened."""
    _refuse_metric(name)
    if len(inputs) < 2:
        raise _fault("", "needs two inputs at least: the baseline, and what is compared with it")
    for option, files in (("--rows", rows), ("--cols", cols)):
        if len(files) not in (0, 1, len(inputs)):
            raise _fault(option, f"give it once for all inputs, or once for each of the {len(inputs)}")
    if seed < 0:
        raise _fault("--seed", f"0 or more, not {seed}")
    family = (len(inputs) - 1) * directions
    if draws < 20 * family:
        of = "no p" if family == 1 else f"no p of {family} comparisons, corrected for each other,"
        raise _fault("--draws", f"{draws} are too few: {of} could be below .05; {20 * family} at least")


def _refuse_metric(name: str) -> None:
    direction, slash, short = name.partition("/")
    if direction == "cost":
        raise _fault("--metric", f"{name} is a cost, which no query has a value of its own for: the report shows it")
    if slash and direction in DIRECTIONS:
        raise _fault("--metric", f"write {short}, and the direction as --direction {direction}")
    try:
        is_known = not slash and metric(name).family != "diagnostic"
    except ConfigError:
        is_known = False
    if not is_known:
        raise _fault("--metric", f"unknown metric `{name}`.{nearest(name, METRICS)}")


def refuse_same(inputs: Sequence[str], sources: Sequence[Source]) -> None:
    """Raise ConfigError where two inputs are one file or one trial, however they are written."""
    identities = [
        ("trial", source.entry.meta["key"]) if isinstance(source, Stored) else ("file", str(Path(text).resolve()))
        for text, source in zip(inputs, sources, strict=True)
    ]
    for (first, identity), (second, other) in combinations(zip(inputs, identities, strict=True), 2):
        if identity == other:
            both = f"{first} is given twice" if first == second else f"{first} and {second} are the same {identity[0]}"
            raise _fault("", f"{both}: it has no difference from itself")


def refuse_output(file: str, read: Sequence[str]) -> None:
    """Raise ConfigError where --json could not be written, or would replace a file that is read."""
    path = Path(file)
    if path.resolve() in [Path(source).resolve() for source in read]:
        raise _fault("--json", f"{file} is read by this call; name another file")
    if path.is_dir():
        raise _fault("--json", f"{file} is a folder; name a file")
    if not path.parent.is_dir():
        raise _fault("--json", f"{file}: there is no folder {path.parent}")


def each_file(files: Sequence[str], inputs: Sequence[str]) -> list[str | None]:
    """The file of ids of each input, of an option that is given once for all or once for each."""
    if not files:
        return [None] * len(inputs)
    return [*files] if len(files) > 1 else [files[0]] * len(inputs)


def shown_names(inputs: Sequence[str], sources: Sequence[Source]) -> list[str]:
    """What a trial calls itself; of a path the last part, or all of it where two are the same."""
    short = [
        source.name if isinstance(source, Stored) else Path(text).name
        for text, source in zip(inputs, sources, strict=True)
    ]
    return [text if short.count(name) > 1 else name for text, name in zip(inputs, short, strict=True)]


def _fault(option: str, message: str) -> ConfigError:
    return ConfigError(Problem(option, message))
