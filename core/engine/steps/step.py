"""What a step is, and where steps run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch

from ...contract.components import Encoder, Split
from ...contract.inputs import check_folder, special_file
from ...contract.processors import processors
from ...contract.settings import Spec, components_in
from ...contract.store import Draft, Entry, FileDigests, Store, digest
from ...errors import DataError
from ...plugins import defining_modules, package_version, registry, source_digest
from ..failures import plugin_faults_told

InputsOf_co = TypeVar("InputsOf_co", bound="Inputs", covariant=True)


@dataclass(frozen=True)
class Inputs:
    """What a step reads of other steps. Attributes of a subclass are a step, None, {name: step} or further Inputs.

    The flat name of an input, by which keys have it, is the attribute's with what is within: `first_stage/video` for
    `inputs.first_stage["video"]`. flat_names: another beginning than the attribute's own name; "" for none.
    """

    flat_names: ClassVar[Mapping[str, str]] = {}

    def flat(self, left_out: Collection[str] = ()) -> dict[str, Step]:
        """{flat name: step}; without those of the attributes left out."""
        names = [attribute.name for attribute in fields(self) if attribute.name not in left_out]
        parts = [(self.flat_names.get(name, name), getattr(self, name)) for name in names]
        return {name: step for start, part in parts for name, step in _flat(start, part)}

    @cached_property
    def _by_name(self) -> dict[str, Step]:
        return self.flat()

    def values(self) -> Collection[Step]:
        """Every step, in the order of the attributes."""
        return self._by_name.values()

    def __getitem__(self, name: str) -> Step:
        """The step of a flat name."""
        return self._by_name[name]


def _flat(name: str, part: Any) -> Iterator[tuple[str, Step]]:
    """(flat name, step) of a step, or of all that a mapping or further inputs hold."""
    if isinstance(part, Step):
        yield name, part
    elif part is not None:
        within = part.flat() if isinstance(part, Inputs) else part
        for inner, value in within.items():
            yield from _flat(f"{name}/{inner}" if name else inner, value)


@dataclass(frozen=True, eq=False)
class Step(Generic[InputsOf_co]):
    """One unit of computation whose output is stored.

    version: raised when the step's own code changes what it computes. fields: plain data that it reads. inputs: steps
    whose output it reads. compute(workspace, members, drafts): fills a draft for each member of its group. payload:
    objects that `compute` needs, all determined by the fields. varies_within_group: fields, and attributes of the
    inputs, in which members of a group, computed in one pass, may differ. top_k_stored: candidates a query that are
    wanted; not in the key, as a stored entry serves every smaller number and is extended for a larger one.
    """

    name: str
    version: int
    fields: dict[str, Any]
    inputs: InputsOf_co
    compute: Callable[[Workspace, list[Any], list[Draft]], None]
    label: str
    payload: Any = None
    varies_within_group: tuple[str, ...] = ()
    top_k_stored: int | None = None

    @cached_property
    def key(self) -> str:
        return self._digest(self.fields)

    @cached_property
    def group(self) -> str:
        """What steps that are computed in one pass have in common."""
        varies = self.varies_within_group
        return self._digest({k: v for k, v in self.fields.items() if k not in varies}, varies) if varies else self.key

    @cached_property
    def recipe(self) -> str:
        """The identity without the items and what becomes of faulty ones: entries of one recipe can share rows."""
        left_out = ("items", "on_unreadable")
        return self._digest({name: v for name, v in self.fields.items() if name not in left_out})

    def _digest(self, fields: Mapping[str, Any], inputs_left_out: Collection[str] = ()) -> str:
        inputs = {name: step.key for name, step in self.inputs.flat(inputs_left_out).items()}
        return digest({"step": self.name, "number": self.version, "fields": fields, "inputs": inputs})

    def ready(self, store: Store) -> bool:
        """Whether the store has an output that serves."""
        if self.top_k_stored is None:
            return store.has(self.name, self.key)
        entry = store.peek(self.name, self.key)
        return entry is not None and entry.info["covers"] >= self.top_k_stored

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
    workers: int = field(default_factory=processors)
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
        for kind, names in ids.items():
            first: dict[str, int] = {}
            for row, own in enumerate(names):
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
