"""What a scored split and an arm are recognised by, whatever they are called: by content, piece by piece.

The store keeps the pieces of each once: `splits/<digest>.json` has 8 hex digits of every text and video, and
`arms/<digest>.json` every value of a configuration.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contract.store import MISSING, digest, write_atomically
from ..contract.store.files import checked, read_text, with_check
from ..engine.plan import Plan
from ..experiment.selection import Variant, flat_configuration

SAME_SPLIT = 0.5
"""A split is one that was scored before if so much of its texts or of its videos stood in that one."""
NEAR = 0.01
"""Values that differ by less than this share of the larger are one value."""
WIDTH = 8


# ------------------------------------------------------------------------------------------------ splits


@dataclass(frozen=True)
class Content:
    """Digests of the texts of a split, without white space and case, and of its videos."""

    texts: frozenset[str]
    videos: frozenset[str]

    def share(self, other: Content) -> float:
        """How much of the texts, or of the videos if that is more, stands in another split."""
        sides = ((self.texts, other.texts), (self.videos, other.videos))
        return max(len(own & others) / len(own) if own else 0.0 for own, others in sides)


def scored(plan: Plan, variant: str) -> dict[str, str]:
    """Digests of the `texts` and the `videos` that a variant is scored on, by content, and of the `relevance` among
    them; whatever is read of them, and whatever encodes them."""
    trial = plan.trials_of(variant)[0]
    rank, split = next(iter(trial.ranks.values())), trial.split

    def content() -> dict[str, str]:
        return {"texts": digest([text.text for text in split.texts]), "videos": digest(_files(plan, variant))}

    return {"relevance": rank.fields["relevance"], **plan.workspace.once(("scored", id(split)), content)}


def split_scored(plan: Plan, variant: str) -> str:
    """Digest of a variant's scored videos and texts, and of what is relevant among them."""
    digests = scored(plan, variant)
    return digest([digests["relevance"], sorted({digests["texts"], digests["videos"]})])


def share_of(plan: Plan, variant: str, split: str) -> float:
    """How much of what a variant is scored on stands in the split of that digest: 1 for its own, 0 for one that the
    store knows nothing of."""
    own = split_scored(plan, variant)
    if own == split:
        return 1.0

    def share() -> float:
        other = known_content(plan.workspace.store.root, split)
        return content_scored(plan, variant).share(other) if other else 0.0

    return plan.workspace.once(("share", own, split), share)


def is_same_split(plan: Plan, variant: str, split: str) -> bool:
    """Whether a variant is scored on that split, or on one that shares half of its texts or videos with it."""
    return share_of(plan, variant, split) >= SAME_SPLIT


def content_scored(plan: Plan, variant: str) -> Content:
    """What a variant is scored on, one by one."""
    split = plan.trials_of(variant)[0].split

    def content() -> Content:
        texts = ("".join(text.text.casefold().split()) for text in split.texts)
        short = (hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:WIDTH] for text in texts)
        return Content(frozenset(short), frozenset(f[:WIDTH] for f in _files(plan, variant) if f != MISSING))

    return plan.workspace.once(("content", id(split)), content)


def _files(plan: Plan, variant: str) -> list[str]:
    split, workspace = plan.trials_of(variant)[0].split, plan.workspace
    paths = [video.path for video in split.videos]
    return workspace.once(("files", *paths), lambda: workspace.digests.of(paths))


def known_content(root: Path, split: str) -> Content | None:
    """What `keep` wrote of a split in the store at `root`, if anything that can be read."""
    values = _read(root, "splits", split)
    if values is None or not all(isinstance(values.get(side), str) for side in ("texts", "videos")):
        return None
    return Content(*(frozenset(_pieces(values[side])) for side in ("texts", "videos")))


def _pieces(text: str) -> Iterator[str]:
    return (text[at : at + WIDTH] for at in range(0, len(text), WIDTH))


# ------------------------------------------------------------------------------------------------ arms


def arm_of(plan: Plan, variant: Variant) -> str:
    """Digest of what a variant is, whatever it is called and whichever seeds it has."""
    return digest(values_of(plan, variant))


def values_of(plan: Plan, variant: Variant) -> dict[str, Any]:
    """{dotted key: value} of all that makes a variant a system of its own.

    How it is evaluated is no part of it, nor is training where nothing is trained, nor where the data lie: their
    content is recognised by itself.
    """
    _, values = plan.workspace.once(("arm", id(variant)), lambda: (variant, _values(plan, variant)))
    return values


def _values(plan: Plan, variant: Variant) -> dict[str, Any]:
    flat = flat_configuration(variant)
    if any(trial.seed is None for trial in plan.trials_of(variant)):
        flat = {key: value for key, value in flat.items() if not f"{key}.".startswith(("train.", "model.losses."))}
    return {k: v for k, v in flat.items() if not (k.startswith("data.dataset.") and _is_place(v))}


def _is_place(value: Any) -> bool:
    with suppress(OSError, ValueError):
        return isinstance(value, str) and ("/" in value or Path(value).exists())
    return False


def is_same_arm(plan: Plan, variant: Variant, arm: str, near: bool = True) -> bool:
    """Whether an arm is a variant, or, with `near`, differs from it in values by less than a per cent."""
    if arm == arm_of(plan, variant):
        return True
    other = _read(plan.workspace.store.root, "arms", arm) if near else None
    return other is not None and near_values(values_of(plan, variant), other)


def near_values(values: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two arms have the same keys, and under each the same value or numbers less than NEAR apart."""
    return values.keys() == other.keys() and all(_near(value, other[key]) for key, value in values.items())


def _near(value: Any, other: Any) -> bool:
    numbers = [number for number in (value, other) if isinstance(number, int | float) and not isinstance(number, bool)]
    if len(numbers) < 2:
        return bool(value == other)
    return value == other or abs(value - other) < NEAR * max(abs(value), abs(other))


# ------------------------------------------------------------------------------------------------ kept once


def keep(plan: Plan) -> None:
    """Have the pieces of every scored split and every arm of a plan in the store; one that is read-only goes without.

    A file that is there and damaged is written anew.
    """
    root = plan.workspace.store.root
    for variant in plan.variants:
        split, arm = split_scored(plan, variant.name), arm_of(plan, variant)
        if _read(root, "splits", split) is None:
            content = content_scored(plan, variant.name)
            _write(root, "splits", split, {s: "".join(sorted(getattr(content, s))) for s in ("texts", "videos")})
        if _read(root, "arms", arm) is None:
            _write(root, "arms", arm, values_of(plan, variant))


def _write(root: Path, folder: str, name: str, values: Mapping[str, Any]) -> None:
    place = root / folder
    with suppress(OSError):  # a store that is read-only goes without; of a full disk the next write tells
        place.mkdir(parents=True, exist_ok=True)
        write_atomically(place / f"{name}.json", with_check(json.loads(json.dumps(values))) + "\n")


def _read(root: Path, folder: str, name: str) -> dict[str, Any] | None:
    """What is kept under a name; None for nothing, or what is damaged."""
    with suppress(OSError, ValueError):
        return checked(read_text(root / folder / f"{name}.json"))
    return None
