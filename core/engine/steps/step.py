"""What a step is, and where steps run."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

from ...contract.components import Encoder, Split
from ...contract.inputs import check_folder, special_file
from ...contract.settings import Spec, components_in
from ...contract.store import Draft, Entry, FileDigests, Store, digest
from ...errors import DataError
from ...plugins import defining_modules, package_version, registry, source_digest
from ..failures import plugin_faults_told

NUMBERS = {
    "decode": 1,
    "encode": 1,
    "fit": 2,
    "score": 1,
    "candidates": 1,
    "mine": 1,
    "fit_reranker": 1,
    "match": 1,
    "diagnose": 1,
    "index": 1,
    "efficiency": 1,
    "rank": 3,
    "evaluate": 4,
}
"""Raised when a step's own code changes what it computes."""


@dataclass(frozen=True, eq=False)
class Step:
    """One unit of computation whose output is stored.

    fields: plain data that it reads. inputs: steps whose output it reads. compute(workspace, members, drafts): fills
    a draft for each member of its group. payload: objects that `compute` needs, all determined by the fields.
    together: fields, and first parts of the names of inputs, in which members of a group, computed in one pass, may
    differ. covers: candidates a query that are wanted; not in the key, as a stored entry serves every smaller number
    and is extended for a larger one.
    """

    name: str
    fields: dict[str, Any]
    inputs: dict[str, Step]
    compute: Callable[[Workspace, list[Step], list[Draft]], None]
    label: str
    payload: Any = None
    together: tuple[str, ...] = ()
    covers: int | None = None

    @cached_property
    def key(self) -> str:
        return digest(self._identity(self.fields))

    @cached_property
    def group(self) -> str:
        """What steps that are computed in one pass have in common."""
        if not self.together:
            return self.key
        identity = self._identity({name: v for name, v in self.fields.items() if name not in self.together})
        alike = {name: key for name, key in identity["inputs"].items() if name.partition("/")[0] not in self.together}
        return digest(identity | {"inputs": alike})

    @cached_property
    def recipe(self) -> str:
        """The identity without the items and what becomes of faulty ones: entries of one recipe can share rows."""
        left_out = ("items", "on_unreadable")
        return digest(self._identity({name: v for name, v in self.fields.items() if name not in left_out}))

    def _identity(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        inputs = {name: step.key for name, step in self.inputs.items()}
        return {"step": self.name, "number": NUMBERS[self.name], "fields": fields, "inputs": inputs}

    def ready(self, store: Store) -> bool:
        """Whether the store has an output that serves."""
        if self.covers is None:
            return store.has(self.name, self.key)
        entry = store.peek(self.name, self.key)
        return entry is not None and entry.info["covers"] >= self.covers

    def walk(self) -> Iterator[Step]:
        """This step and all that it depends on, each object once, inputs first."""
        yield from self._walk(set())

    def _walk(self, seen: set[int]) -> Iterator[Step]:
        if id(self) not in seen:
            seen.add(id(self))
            for step in self.inputs.values():
                yield from step._walk(seen)
            yield self


@dataclass
class Workspace:
    """Where steps run: the store, the device, and data and encoders that several steps share."""

    store: Store
    device: torch.device
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    _splits: dict[str, dict[str, Split]] = field(default_factory=dict)
    _encoders: dict[str, Encoder] = field(default_factory=dict)
    weights: dict[Encoder, Any] = field(default_factory=dict)
    """Which weights an encoder holds now; nothing where a fit may have changed them."""
    _known: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once a process for each key."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    @cached_property
    def digests(self) -> FileDigests:
        self.store.claim()
        return FileDigests(self.store.root)

    def dataset_folder(self, spec: Spec) -> Path:
        source = source_of("dataset", spec)
        return self.store.root / "datasets" / f"{spec.name}-{digest([spec.resolved(), source])}"

    def is_prepared(self, spec: Spec) -> bool:
        """Whether reading the data set writes nothing."""
        with plugin_faults_told("data.dataset"):
            return registry().make("dataset", spec).ready(self.dataset_folder(spec))

    def splits(self, spec: Spec) -> dict[str, Split]:
        """The data set's splits; made on first use, by one process while the others wait."""
        key = digest(spec.resolved())
        if key not in self._splits:
            with plugin_faults_told("data.dataset"):
                self._splits[key] = self._prepared(spec)
        return self._splits[key]

    def _prepared(self, spec: Spec) -> dict[str, Split]:
        folder, dataset = self.dataset_folder(spec), registry().make("dataset", spec)
        self.store.claim()
        folder.mkdir(parents=True, exist_ok=True)
        with nullcontext() if dataset.ready(folder) else self.store.leases.wait_for("datasets", folder.name):
            return _named_once(dataset.prepare(folder))

    def encoder(self, spec: Spec) -> Encoder:
        """The encoder, its configuration read, its weights not yet."""
        key = digest(spec.resolved())
        if key not in self._encoders:
            _check_files(spec)
            self._encoders[key] = registry().make("encoder", spec)
        return self._encoders[key]

    def read(self, step: Step) -> Entry:
        return self.store.read(step.name, step.key)


def _check_files(spec: Spec) -> None:
    """Raises DataError for what an encoder cannot read of the folder that its settings name."""
    for name in sorted(registry().component("encoder", spec).located_by):
        path = Path(getattr(spec.fields, name, None) or "").expanduser()
        if wrong := special_file(path):
            raise DataError(f"encoder.{name}: {path}: {wrong}; expected a folder")
        if path.name and path.is_dir():
            check_folder(path)


def _named_once(splits: dict[str, Split]) -> dict[str, Split]:
    """The splits. Raises DataError where two texts or two videos of one have the same id."""
    for name, split in splits.items():
        ids = {"texts": [text.id for text in split.texts], "videos": [video.id for video in split.videos]}
        for kind, given in ids.items():
            first: dict[str, int] = {}
            for row, own in enumerate(given):
                if first.setdefault(own, row) != row:
                    rows = f"{first[own]} and {row}"
                    raise DataError(f"data.dataset: {kind} {rows} of `{name}` have the same id, `{own}`")
    return splits


def source_of(kind: str, spec: Spec, left_out: Collection[str] = ()) -> str:
    """Digest of the source that defines a component, and of those that its fields hold, however deep.

    left_out: fields of which nothing is read, or whose components the reader counts elsewhere.
    """
    own = source_digest(*defining_modules(registry().component(kind, spec)))
    inner = sources_in(spec.fields, left_out)
    return digest([own, *inner]) if inner else own


def sources_in(config: Any, left_out: Collection[str] = ()) -> list[str]:
    """`source_of` each component that the fields of a configuration hold."""
    return [source_of(kind, inner) for field, kind, inner in components_in(config) if field not in left_out]


@cache
def versions(*packages: str) -> Mapping[str, str]:
    """Versions of the packages whose arithmetic a step's output depends on."""
    return {package: package_version(package) for package in packages}


def arithmetic(device: torch.device) -> str:
    """The kind of arithmetic, not the device: where the encoder's precision is automatic, CUDA computes in bfloat16."""
    return "bfloat16" if device.type == "cuda" else "float32"
