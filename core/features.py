"""Features: named levels of tokens, one object a side. Un-normalised; normalising belongs to the interaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor


class LevelShape(NamedTuple):
    """Size of a level for one item: tokens (None where it varies or there is no token axis) and width D."""

    tokens: int | None
    width: int


@dataclass(frozen=True)
class Tokens:
    """One level of B items.

    values: [B, D], [B, N, D] or [B, T, N, D]. mask: bool, True = valid, over the token axes: [B, N], or [B, T]
    where all N tokens of a frame share its fate; None means that all are valid.
    """

    values: Tensor
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if self.mask is not None:
            axes = tuple(self.values.shape[:-1])
            if self.mask.dtype != torch.bool or tuple(self.mask.shape) not in (axes, axes[:2]):
                raise ValueError(f"mask {self.mask.dtype} {tuple(self.mask.shape)} does not fit values {axes}")

    def flat(self) -> Tokens:
        """The same tokens as values [B, N, D] and mask [B, N], whatever the axes were."""
        values, mask = self.values, self.mask
        if values.ndim == 2:
            values = values[:, None]
        tokens = values.shape[1:-1].numel()
        if mask is None:
            mask = torch.ones(values.shape[:-1], dtype=torch.bool, device=values.device)
        elif values.ndim == 4 and mask.ndim == 2:
            mask = mask[:, :, None].expand(values.shape[:-1])
        return Tokens(values.reshape(len(values), tokens, -1), mask.reshape(len(values), tokens))

    def map(self, function: Any) -> Tokens:
        return Tokens(function(self.values), None if self.mask is None else function(self.mask))

    def __len__(self) -> int:
        return len(self.values)


class Features:
    """Levels by name for B items of one side. Immutable; index by row; `ids` name the rows."""

    def __init__(self, levels: Mapping[str, Tokens], ids: Sequence[str] | None = None):
        sizes = {name: len(tokens) for name, tokens in levels.items()}
        if len(set(sizes.values())) > 1 or (ids is not None and sizes and len(ids) not in sizes.values()):
            raise ValueError(f"levels of different lengths: {sizes}, ids: {None if ids is None else len(ids)}")
        self._levels = dict(levels)
        self.ids = None if ids is None else tuple(ids)

    @classmethod
    def of(cls, levels: Mapping[str, Tokens], ids: Sequence[str] | None = None) -> Self:
        made = cls.__new__(cls)
        Features.__init__(made, levels, ids)
        return made

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Parts with the same levels, one after another; ids are kept where every part has them."""
        levels = {}
        for name in parts[0].names:
            tokens = [part.structured(name) for part in parts]
            masks = [token.mask for token in tokens if token.mask is not None]
            levels[name] = Tokens(torch.cat([token.values for token in tokens]), torch.cat(masks) if masks else None)
        named = all(part.ids is not None for part in parts)
        return cls.of(levels, [name for part in parts for name in part.ids or ()] if named else None)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._levels)

    def __len__(self) -> int:
        for tokens in self._levels.values():
            return len(tokens)
        return len(self.ids or ())

    def __contains__(self, name: object) -> bool:
        return name in self._levels

    def structured(self, name: str) -> Tokens:
        """The level as written, e.g. patches [B, T, N, D] with mask [B, T]. KeyError lists the levels there are."""
        if name not in self._levels:
            raise KeyError(f"no level `{name}` among {', '.join(self._levels) or 'none'}")
        return self._levels[name]

    def level(self, name: str) -> Tokens:
        """The level as values [B, N, D] and mask [B, N]."""
        return self.structured(name).flat()

    def with_level(self, name: str, tokens: Tokens) -> Self:
        """A copy with one level written or replaced."""
        return self.of({**self._levels, name: tokens}, self.ids)

    def only(self, names: Iterable[str]) -> Self:
        """A copy that has just these levels."""
        return self.of({name: self.structured(name) for name in names}, self.ids)

    def named(self, ids: Sequence[str]) -> Self:
        """A copy whose rows have these ids."""
        return self.of(self._levels, ids)

    def __getitem__(self, rows: Any) -> Self:
        """Rows by slice, index tensor or bool mask; a single row is `features[i:i+1]`."""
        ids = None
        if self.ids is not None:
            ids = self.ids[rows] if isinstance(rows, slice) else [self.ids[i] for i in _positions(rows)]
        return self.of({name: tokens.map(lambda t: t[rows]) for name, tokens in self._levels.items()}, ids)

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Self:
        """Move to a device; `dtype` applies to values, never to masks."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=None if tensor.dtype == torch.bool else dtype)

        return self.of({name: tokens.map(move) for name, tokens in self._levels.items()}, self.ids)


def _positions(rows: Any) -> list[int]:
    index = torch.as_tensor(rows)
    return (index.nonzero().flatten() if index.dtype == torch.bool else index).tolist()


class TextFeatures(Features):
    """Text side: `sentence` [B, D], `words` [B, L, D] with `word_mask` [B, L], and any further level in `more`."""

    def __init__(
        self,
        sentence: Tensor | None = None,
        words: Tensor | None = None,
        word_mask: Tensor | None = None,
        more: Mapping[str, Tokens] | None = None,
        ids: Sequence[str] | None = None,
    ):
        levels = dict(more or {})
        if sentence is not None:
            levels["sentence"] = Tokens(sentence)
        if words is not None:
            levels["words"] = Tokens(words, word_mask)
        super().__init__(levels, ids)


class VideoFeatures(Features):
    """Video side: `frames` [B, T, D] with `frame_mask` [B, T], `patches` [B, T, N, D] (the frame's mask), `video`
    [B, D] for encoders that give only that, and any further level in `more`."""

    def __init__(
        self,
        frames: Tensor | None = None,
        frame_mask: Tensor | None = None,
        patches: Tensor | None = None,
        video: Tensor | None = None,
        more: Mapping[str, Tokens] | None = None,
        ids: Sequence[str] | None = None,
    ):
        levels = dict(more or {})
        if frames is not None:
            levels["frames"] = Tokens(frames, frame_mask)
        if patches is not None:
            levels["patches"] = Tokens(patches, frame_mask)
        if video is not None:
            levels["video"] = Tokens(video)
        super().__init__(levels, ids)
