"""Features: named levels of tokens, one object a side. Un-normalised; normalising belongs to the interaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor


class LevelShape(NamedTuple):
    """Size of a level for one item: tokens (None where it varies or there is no token axis) and width D.

    >>> import core
    >>> core.LevelShape(tokens=49, width=512).width
    512
    """

    tokens: int | None
    width: int


@dataclass(frozen=True)
class Tokens:
    """One level of B items.

    values: [B, D], [B, N, D] or [B, T, N, D]. mask: bool, True = valid, over the token axes: [B, N], or [B, T]
    where all N tokens of a frame share its fate; None means that all are valid.

    >>> import core, torch
    >>> patches = core.Tokens(torch.ones(2, 3, 4, 8), mask=torch.tensor([[True, True, True], [True, False, False]]))
    >>> patches.flat().values.shape, patches.flat().mask.sum(1)
    (torch.Size([2, 12, 8]), tensor([12,  4]))
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
        return Tokens(values.reshape(len(values), tokens, values.shape[-1]), mask.reshape(len(values), tokens))

    def map(self, function: Callable[[Tensor], Tensor]) -> Tokens:
        """The function applied to values and to the mask."""
        return Tokens(function(self.values), None if self.mask is None else function(self.mask))

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        """`Tokens([2, 3, 8] float32 on cpu, mask [2, 3])`: no numbers."""
        return f"Tokens({', '.join(_described(self, len(self)))})"

    def _repr_html_(self) -> str:
        """The same as a table, for a notebook."""
        return _table([("values", self, len(self))])


class Features:
    """Levels by name for B items of one side. Immutable; index by row; `ids` name the rows.

    >>> import core, torch
    >>> features = core.Features({"frames": core.Tokens(torch.ones(3, 12, 8))}, ids=["a", "b", "c"])
    >>> features[1:].ids, features[1:].level("frames").values.shape
    (('b', 'c'), torch.Size([2, 12, 8]))
    """

    def __init__(self, levels: Mapping[str, Tokens], ids: Sequence[str] | None = None):
        sizes = {name: len(tokens) for name, tokens in levels.items()}
        if len(set(sizes.values())) > 1 or (ids is not None and sizes and len(ids) not in sizes.values()):
            raise ValueError(f"levels of different lengths: {sizes}, ids: {None if ids is None else len(ids)}")
        self._levels = dict(levels)
        self._rows: Tensor | None = None
        self.ids = None if ids is None else tuple(ids)

    @classmethod
    def of(cls, levels: Mapping[str, Tokens], ids: Sequence[str] | None = None) -> Self:
        features = cls.__new__(cls)
        Features.__init__(features, levels, ids)
        return features

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Parts with the same levels, one after another; ids are kept where every part has them."""
        levels = {name: _joined([part.structured(name) for part in parts]) for name in parts[0].names}
        named = all(part.ids is not None for part in parts)
        return cls.of(levels, [name for part in parts for name in part.ids or ()] if named else None)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._levels)

    @property
    def item_floats(self) -> int:
        """How many values one item has over all levels."""
        return sum(tokens.values.shape[1:].numel() for tokens in self._levels.values())

    def __len__(self) -> int:
        if self._rows is not None:
            return len(self._rows)
        for tokens in self._levels.values():
            return len(tokens)
        return len(self.ids or ())

    def __repr__(self) -> str:
        """`TextFeatures of 2 (a, b): sentence [2, 8] float32 on cpu`: no numbers, and nothing is read for it."""
        ids = [f"{name[:20]}…" if len(name) > 20 else name for name in (self.ids or ())[:3]]
        named = f" ({', '.join(ids)}{', …' if len(self.ids or ()) > 3 else ''})" if ids else ""
        levels = "; ".join(f"{name} {', '.join(_described(t, len(self)))}" for name, t in self._levels.items())
        return f"{type(self).__name__} of {len(self):,}{named}: {levels or 'no levels'}"

    def _repr_html_(self) -> str:
        """A row a level, for a notebook."""
        return _table([(name, tokens, len(self)) for name, tokens in self._levels.items()])

    def __contains__(self, name: object) -> bool:
        return name in self._levels

    def structured(self, name: str) -> Tokens:
        """The level as written, e.g. patches [B, T, N, D] with mask [B, T]. KeyError lists the levels there are."""
        tokens = self._known(name)
        return tokens if self._rows is None else tokens.map(lambda tensor: tensor[self._rows])

    def _known(self, name: str) -> Tokens:
        if name not in self._levels:
            raise KeyError(f"no level `{name}` among {', '.join(self._levels) or 'none'}")
        return self._levels[name]

    def level(self, name: str) -> Tokens:
        """The level as values [B, N, D] and mask [B, N]."""
        return self.structured(name).flat()

    def with_level(self, name: str, tokens: Tokens) -> Self:
        """A copy with one level written or replaced."""
        return self.of({**{level: self.structured(level) for level in self.names}, name: tokens}, self.ids)

    def beside(self, other: Features) -> Self:
        """A copy that has the levels of another as well, of the same rows."""
        both = {name: features.structured(name) for features in (self, other) for name in features.names}
        return self.of(both, self.ids or other.ids)

    def only(self, names: Iterable[str]) -> Self:
        """A copy that has just these levels."""
        chosen = {name: self._known(name) for name in names}
        if self._rows is None:
            return self.of(chosen, self.ids)
        return self.of(chosen).picked(self._rows, self.ids)

    def named(self, ids: Sequence[str]) -> Self:
        """A copy whose rows have these ids."""
        return self.of({name: self.structured(name) for name in self.names}, ids)

    def picked(self, rows: Tensor, ids: Sequence[str] | None = None) -> Self:
        """Some rows by index, under these ids, taken only as they are read: for levels mapped from a large file."""
        features = self.of(self._levels)
        features._rows = rows if self._rows is None else self._rows[rows]
        features.ids = None if ids is None else tuple(ids)
        return features

    def __getitem__(self, rows: Any) -> Self:
        """Rows by slice, index tensor or bool mask; a single row is `features[i:i+1]`."""
        ids = None
        if self.ids is not None:
            ids = self.ids[rows] if isinstance(rows, slice) else [self.ids[i] for i in _positions(rows)]
        if self._rows is not None:
            rows = self._rows[rows]
        return self.of({name: tokens.map(lambda t: t[rows]) for name, tokens in self._levels.items()}, ids)

    def batch(self, rows: Tensor, device: Any = "cpu", positions: Mapping[str, Tensor] | None = None) -> Self:
        """Some rows [N] by index, on a device and in float32 whatever they are stored in: what a training step reads.

        positions: those of a level's first token axis that are wanted, by level; all where it is not named. Nothing
        else is read, moved or cast. The levels are in main memory or mapped from a file. Raises IndexError where there
        is no such row.
        """
        at, wanted, levels = rows if self._rows is None else self._rows[rows], positions or {}, {}
        for name, tokens in self._levels.items():
            take = partial(gathered, rows=at, device=device, positions=wanted.get(name))
            levels[name] = Tokens(_float32(take(tokens.values)), None if tokens.mask is None else take(tokens.mask))
        return self.of(levels, None if self.ids is None else [self.ids[row] for row in rows.tolist()])

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Self:
        """Move to a device; `dtype` applies to values, never to masks."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=None if tensor.dtype == torch.bool else dtype)

        return self.of({name: self.structured(name).map(move) for name in self.names}, self.ids)


def gathered(tensor: Tensor, rows: Tensor, device: Any, positions: Tensor | None = None) -> Tensor:
    """tensor[rows], or tensor[rows][:, positions], of a tensor in main memory: copied once, and then to the device. One
    that is on a device already is copied there.

    A GPU copies while the program goes on; torch hands the memory out again when the copy is done.
    """
    shape = (len(rows), *tensor.shape[1:])
    if positions is not None:
        rows = (rows[:, None] * tensor.shape[1] + positions).flatten()
        tensor, shape = tensor.flatten(0, 1), (shape[0], len(positions), *shape[2:])
    if tensor.device.type != "cpu":
        return tensor.index_select(0, rows.to(tensor.device)).view(shape).to(device)
    pinned = torch.device(device).type == "cuda"
    room = torch.empty(shape, dtype=tensor.dtype, pin_memory=True) if pinned else _room(shape, tensor.dtype)
    torch.index_select(tensor, 0, rows, out=room.view(len(rows), *tensor.shape[1:]))
    return room.to(device, non_blocking=pinned)


def _float32(values: Tensor) -> Tensor:
    if values.dtype == torch.float32 or not values.is_floating_point():
        return values
    if values.device.type != "cpu":
        return values.float()
    return _room(values.shape, torch.float32).copy_(values)


def _room(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Uninitialised memory from numpy, which asks for huge pages: fresh memory in small ones takes several times as
    long to touch as rows take to be copied into it. At multiples of 64 bytes, as torch's own."""
    size = torch.Size(shape).numel() * dtype.itemsize
    memory = torch.from_numpy(np.empty(size + 64, np.uint8))
    start = -memory.data_ptr() % 64
    return memory[start : start + size].view(dtype).view(shape)


def _joined(parts: Sequence[Tokens]) -> Tokens:
    """Tokens one after another; where only some parts have a mask, all tokens of the others are valid."""
    values = torch.cat([part.values for part in parts])
    shapes = [part.mask.shape[1:] for part in parts if part.mask is not None]
    if not shapes:
        return Tokens(values)
    masks = [
        part.values.new_ones((len(part), *shapes[0]), dtype=torch.bool) if part.mask is None else part.mask
        for part in parts
    ]
    return Tokens(values, torch.cat(masks))


def _described(tokens: Tokens, rows: int) -> list[str]:
    """`[2, 3, 8] float32 on cpu` and, where there is one, `mask [2, 3]`, of as many rows."""
    values, mask = tokens.values, tokens.mask
    told = f"{[rows, *values.shape[1:]]} {str(values.dtype).removeprefix('torch.')} on {values.device}"
    return [told] if mask is None else [told, f"mask {[rows, *mask.shape[1:]]}"]


def _table(levels: Iterable[tuple[str, Tokens, int]]) -> str:
    """Rows of (name, tokens, number of items) as HTML."""
    lines = [(name, *_described(tokens, rows), "all valid")[:3] for name, tokens, rows in levels]
    cells = ["".join(f"<td>{escape(cell)}</td>" for cell in line) for line in lines]
    head = "<tr><th>level</th><th>values</th><th>mask</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{''.join(f'<tr>{row}</tr>' for row in cells)}</tbody></table>"


def _positions(rows: Any) -> list[int]:
    index = torch.as_tensor(rows)
    return (index.nonzero().flatten() if index.dtype == torch.bool else index).tolist()


class TextFeatures(Features):
    """Text side: `sentence` [B, D], `words` [B, L, D] with `word_mask` [B, L], and any further level in `more`.

    >>> import core, torch
    >>> text = core.TextFeatures(sentence=torch.ones(2, 8), words=torch.ones(2, 5, 8))
    >>> text.names, text.level("sentence").values.shape
    (('sentence', 'words'), torch.Size([2, 1, 8]))
    """

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
    [B, D] for encoders that give only that, and any further level in `more`.

    >>> import core, torch
    >>> video = core.VideoFeatures(frames=torch.ones(1, 3, 8), frame_mask=torch.tensor([[True, True, False]]))
    >>> video.level("frames").mask
    tensor([[ True,  True, False]])
    """

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
