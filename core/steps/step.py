"""What a step is, and where steps run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..components import Encoder, Split
from ..plugins import registry, source_digest
from ..settings import Spec
from ..store import Draft, Entry, FileDigests, Store, digest

NUMBERS = {"decode": 1, "encode": 1, "fit": 1, "score": 1, "candidates": 1, "rank": 1, "evaluate": 1}
"""Raised when a step's own code changes what it computes."""


@dataclass(frozen=True, eq=False)
class Step:
    """One unit of computation whose output is stored.

    fields: plain data that it reads. inputs: steps whose output it reads. compute(workspace, members, drafts): fills
    a draft for each member of its group. payload: objects that `compute` needs, all determined by the fields.
    together: fields in which members of a group, computed in one pass, may differ. covers: candidates a query that
    are wanted; not in the key, as a stored entry serves every smaller number and is extended for a larger one.
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
        return digest(self._identity({name: v for name, v in self.fields.items() if name not in self.together}))

    @cached_property
    def recipe(self) -> str:
        """The identity without the items: entries of one recipe can share rows."""
        return digest(self._identity({name: v for name, v in self.fields.items() if name != "items"}))

    def _identity(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        inputs = {name: step.key for name, step in self.inputs.items()}
        return {"step": self.name, "number": NUMBERS[self.name], "fields": fields, "inputs": inputs}

    def ready(self, store: Store) -> bool:
        if not store.has(self.name, self.key):
            return False
        return self.covers is None or store.read(self.name, self.key).info["covers"] >= self.covers

    def walk(self) -> Iterator[Step]:
        """This step and all that it depends on, inputs first (with repetition)."""
        for step in self.inputs.values():
            yield from step.walk()
        yield self


@dataclass
class Workspace:
    """Where steps run: the store, the device, and data and encoders that several steps share."""

    store: Store
    device: torch.device
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    _splits: dict[str, dict[str, Split]] = field(default_factory=dict)
    _encoders: dict[str, Encoder] = field(default_factory=dict)
    _files: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def digests(self) -> FileDigests:
        return FileDigests(self.store.root)

    def dataset_folder(self, spec: Spec) -> Path:
        source = source_of("dataset", spec)
        return self.store.root / "datasets" / f"{spec.name}-{digest([spec.resolved(), source])}"

    def is_prepared(self, spec: Spec) -> bool:
        """Whether reading the data set writes nothing."""
        return registry().make("dataset", spec).ready(self.dataset_folder(spec))

    def splits(self, spec: Spec) -> dict[str, Split]:
        """The data set's splits; made on first use."""
        key = digest(spec.resolved())
        if key not in self._splits:
            folder = self.dataset_folder(spec)
            folder.mkdir(parents=True, exist_ok=True)
            self._splits[key] = registry().make("dataset", spec).prepare(folder)
        return self._splits[key]

    def encoder(self, spec: Spec) -> Encoder:
        """The encoder, its configuration read, its weights not yet."""
        key = digest(spec.resolved())
        if key not in self._encoders:
            self._encoders[key] = registry().make("encoder", spec)
        return self._encoders[key]

    def file_digests(self, paths: list[str]) -> list[str]:
        """Content digests of files, taken once a process."""
        key = "\n".join(paths)
        if key not in self._files:
            self._files[key] = self.digests.of(paths)
        return self._files[key]

    def read(self, step: Step) -> Entry:
        return self.store.read(step.name, step.key)


def source_of(kind: str, spec: Spec) -> str:
    """Digest of the source that defines a component."""
    return source_digest(registry().component(kind, spec).__module__)
