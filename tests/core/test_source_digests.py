"""Which stored results an edit of a component's source makes stale: those of the steps that run it, however deep it is
held, and no others."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core import Interaction, Spec, UserError, hookimpl, setting
from core.contract.components import KINDS
from core.contract.settings import components_in
from core.contract.store import digest
from core.engine.plan import Plan
from core.engine.steps.step import Step, source_of
from core.plugins import defining_modules, registry, source_digest
from tests.engine import Lab, ToyDot, keys

PART = """
from dataclasses import dataclass
from core import ScoreTransform, Spec, setting
from plugins.rerankers.score_fusion import ScoreFusion
from tests.engine import Doubled, ToyDot, ToyEncoder, ToyLinear, ToyMatcher, ToyMatching

@dataclass(frozen=True)
class Deep:
    inside: Spec | None = setting(None, "a part", kind="feature_transform")
    more: "list[Deep]" = setting(factory=list, doc="further in")

class Part({base}):
    name = "{name}"

    @dataclass(frozen=True, kw_only=True)
    class Config({base}.Config):
        one: Spec | None = setting(None, "a part", kind="{kind}")
        named: dict[str, Spec] = setting(factory=dict, doc="parts", kind="{kind}")
        deep: Deep = setting(Deep(), "parts further in")
"""
BASES = {
    "encoder": ("ToyEncoder",),
    "feature_transform": ("Doubled",),
    "interaction": ("ToyDot", "ToyLinear"),
    "loss": ("ToyMatching",),
    "reranker": ("ScoreFusion", "ToyMatcher"),
    "score_transform": ("ScoreTransform",),
}
PARTS = {
    f"{kind}_{base.lower()}_{n}": (kind, base) for kind, bases in BASES.items() for base in bases for n in range(2)
}
"""{name of a component, and of its module: its kind, its base}"""
NEEDED: dict[str, dict[str, Any]] = {
    "ToyMatching": {"of": "linear"},
    "ScoreFusion": {"weights": {"linear": 1.0}},
    "ToyMatcher": {"train": {"losses": {}}},
}


def forget(package: str) -> None:
    source_digest.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a package with a module for each of PARTS, all registered."""
    folder = tmp_path / "toy_parts"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name, (kind, base) in PARTS.items():
        (folder / f"{name}.py").write_text(PART.format(name=name, kind=kind, base=base))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    plugin = Offered({name: importlib.import_module(f"toy_parts.{name}").Part for name in PARTS})
    registry().add_plugin(plugin, "parts", "1")
    yield folder
    registry().remove_plugin(plugin, "parts")
    forget("toy_parts")


class Offered:
    """A plugin of some components, of any kind."""

    def __init__(self, components: Mapping[str, Any]):
        self.components = components

    def _register(self, register: Any, kind: str) -> None:
        for component in self.components.values():
            if component.kind == kind:
                register(component)


for _kind in KINDS:
    _hook = f"register_{'losses' if _kind == 'loss' else _kind + 's'}"

    def _offer(self: Offered, register: Any, kind: str = _kind) -> None:
        self._register(register, kind)

    setattr(Offered, _hook, hookimpl(_offer))


def edit(file: Path) -> None:
    file.write_text(file.read_text() + "\n# changed\n")
    source_digest.cache_clear()


# ------------------------------------------------------------------------------------------------ compositions


class Draws:
    """Random compositions of PARTS, as an experiment file has them."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)

    def part(self, kind: str, depth: int = 0, base: str | None = None) -> dict[str, Any]:
        name = self.random.choice([n for n, (k, b) in PARTS.items() if k == kind and base in (None, b)])
        made: dict[str, Any] = {"name": name, **NEEDED.get(PARTS[name][1], {})}
        if depth < 2:
            if self.maybe():
                made["one"] = self.part(kind, depth + 1)
            if self.maybe():
                made["named"] = {key: self.part(kind, depth + 1) for key in "xy"[: self.random.randint(1, 2)]}
            if self.maybe():
                made["deep"] = self.deep(depth + 1)
        return made

    def deep(self, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {"inside": self.part("feature_transform", depth)} if self.maybe() else {}
        return made | ({"more": [self.deep(depth + 1) for _ in range(2)]} if depth < 3 and self.maybe() else {})

    def maybe(self) -> bool:
        return self.random.random() < 0.4

    def composition(self) -> dict[str, Any]:
        level = self.random.choice(["frames", "doubled"])
        trained = self.random.random() < 0.5
        rerank = self.part("reranker", base="ToyMatcher" if trained else "ScoreFusion")
        if trained:
            rerank["train"] = {"losses": {"match": {**self.part("loss"), "of": "rerank"}}, "pool": 2}
        return {
            "encoder": {**self.part("encoder"), "trainable": self.maybe()},
            "model.transforms": {"double": self.part("feature_transform")},
            "model.interactions": {
                "dot": self.part("interaction", base="ToyDot"),
                "linear": {**self.part("interaction", base="ToyLinear"), "level": level},
            },
            "model.losses": {"contrast": self.part("loss")},
            "retrieve.first_stage": self.random.choice([["dot"], ["dot", "linear"]]),
            "retrieve.transforms": {"scale": self.part("score_transform")} if self.maybe() else {},
            "retrieve.rerank": rerank,
            "evaluate.efficiency": self.maybe(),
        }


def names_in(value: Any) -> set[str]:
    """Every `name` in a piece of an experiment file."""
    if isinstance(value, list):
        return {name for item in value for name in names_in(item)}
    if not isinstance(value, dict):
        return set()
    return ({value["name"]} if "name" in value else set()) | names_in(list(value.values()))


def runs(step: Step, name: str, values: dict[str, Any]) -> bool:
    """Whether a step calls a component, by itself: not only what it reads depends on it."""
    rerank, first, model = values["retrieve.rerank"], values["retrieve.first_stage"], values["model.interactions"]
    told, trained = {key: value for key, value in rerank.items() if key != "train"}, "train" in rerank
    called = {
        interaction
        for interaction, given in model.items()
        if name in names_in(given) or (given.get("level") == "doubled" and name in names_in(values["model.transforms"]))
    }
    scored = name in names_in(values["retrieve.transforms"])
    reranked = name in names_in(told)
    in_retrieval = {*first, *rerank.get("weights", {})}
    return {
        "encode": name in names_in(values["encoder"]),
        "decode": name in names_in(values["encoder"]),
        "fit": "linear" in called or name in names_in([values["model.losses"], values["encoder"]]),
        "score": getattr(step.payload, "interaction", "") in called,
        "candidates": getattr(step.payload, "interaction", "") in called or scored,
        "mine": bool(called & set(first)),
        "fit_reranker": reranked or scored or (trained and name in names_in(rerank["train"])),
        "match": reranked or scored,
        "rank": reranked or scored,
        "efficiency": bool(called & in_retrieval) or reranked or scored,
        "evaluate": False,
    }[step.name]


def stale(plan: Plan, name: str, values: dict[str, Any]) -> list[bool]:
    """Of each step, whether it calls a component or reads from one that does."""
    found: dict[str, bool] = {}
    for step in plan.steps.values():
        found[step.key] = runs(step, name, values) or any(found[needed.key] for needed in step.inputs.values())
    return list(found.values())


@pytest.mark.parametrize("seed", range(8))
def test_an_edit_of_any_component_makes_the_steps_that_depend_on_it_stale_and_no_others(
    lab: Lab, parts: Path, seed: int
) -> None:
    draws = Draws(seed)
    values = draws.composition()
    held = sorted(names_in(list(values.values())))
    others = sorted(set(PARTS) - set(held))
    plan = lab.plan(values)
    for name in [*draws.random.sample(held, min(4, len(held))), *others[:1]]:
        wanted = stale(plan, name, values)
        edit(parts / f"{name}.py")
        after = lab.plan(values)
        pairs = zip(plan.steps.items(), after.steps.items(), strict=True)
        new = [step.label for ((_, key), step), ((_, other), _) in pairs if key != other]
        assert new == [step.label for step, is_stale in zip(plan.steps.values(), wanted, strict=True) if is_stale], name
        plan = after


# ------------------------------------------------------------------------------------------------ what is held


@dataclass(frozen=True)
class Stage:
    part: Spec | None = setting(None, "a part", kind="loss")


@dataclass(frozen=True)
class Holder:
    direct: Spec | None = setting(None, "a part", kind="feature_transform")
    listed: Any = setting(factory=list, doc="parts", kind="feature_transform")
    stages: Any = setting(factory=dict, doc="further in")


class Holding(ToyDot):
    """An interaction whose score may be given another part after training."""

    name = "toy_holding"
    after_training = frozenset({"scale"})

    @dataclass(frozen=True, kw_only=True)
    class Config(ToyDot.Config):
        scale: Spec = setting(doc="a part", kind="feature_transform")


def transform(number: int) -> Spec:
    return Spec(f"feature_transform_doubled_{number}", None)


def own(name: str) -> str:
    """Digest of its module and of that of its base."""
    return source_digest(f"toy_parts.{name}", "tests.engine")


@pytest.mark.parametrize(
    "fields",
    [
        {"listed": [transform(1)]},
        {"listed": (transform(1),)},
        {"stages": {"a": [Holder(listed={"b": transform(1)})]}},
        {"stages": Holder(direct=Spec("feature_transform_doubled_0", Holder(direct=transform(1))))},
    ],
    ids=["list", "tuple", "mapping in a dataclass in a list in a mapping", "component in a component"],
)
def test_a_component_is_found_wherever_a_configuration_holds_it(parts: Path, fields: dict[str, Any]) -> None:
    spec = Spec("interaction_toydot_0", Holder(**fields))
    before = source_of("interaction", spec)
    edit(parts / "feature_transform_doubled_1.py")
    assert source_of("interaction", spec) != before


def test_a_component_has_the_kind_of_the_field_that_holds_it() -> None:
    config = Holder(transform(0), {"a": Spec("b", None)}, [Stage(Spec("c", None))])
    found = [(field, kind, spec.name) for field, kind, spec in components_in(config)]
    assert found == [
        ("direct", "feature_transform", "feature_transform_doubled_0"),
        ("listed", "feature_transform", "b"),
        ("stages", "loss", "c"),
    ]


def test_a_component_in_a_field_without_a_kind_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"test_source_digests\.Holder\.stages: holds the component `feature_transf"):
        list(components_in(Holder(stages=[transform(0)])))


def test_stores_stay_valid_where_components_hold_none_or_hold_them_directly(parts: Path) -> None:
    """The forms of digest that results were stored under."""
    inner = own("feature_transform_doubled_0")
    assert source_of("interaction", Spec("interaction_toydot_0", Holder())) == own("interaction_toydot_0")
    held = Spec("interaction_toydot_0", Holder(transform(0)))
    assert source_of("interaction", held) == digest([own("interaction_toydot_0"), inner])


def test_stores_stay_valid_of_rerankers_whose_losses_only_their_fit_reads(lab: Lab, parts: Path) -> None:
    values = Draws(0).composition() | {"evaluate.efficiency": True}
    losses = {"match": {"name": "loss_toymatching_0", "of": "rerank"}}
    values["retrieve.rerank"] = {"name": "reranker_toymatcher_0", "train": {"losses": losses, "pool": 2}}
    ranked = [s for s in lab.plan(values).steps.values() if s.name in ("rank", "match", "efficiency", "fit_reranker")]
    assert {step.name for step in ranked} == {"rank", "match", "efficiency", "fit_reranker"}
    assert {step.fields["source"] for step in ranked} == {own("reranker_toymatcher_0")}


def test_a_part_that_is_swapped_after_training_is_the_one_that_counts(lab: Lab, parts: Path) -> None:
    plugin = Offered({"holding": Holding})
    registry().add_plugin(plugin, "holding", "1")
    changes = {
        "model.interactions": {
            "dot": {"name": "toy_holding", "scale": {"name": "feature_transform_doubled_0"}},
            "linear": {"name": "toy_linear"},
        },
        "retrieve.settings": {"dot": {"scale": {"name": "feature_transform_doubled_1"}}},
    }
    try:
        before = lab.plan(changes)
        edit(parts / "feature_transform_doubled_0.py")
        assert keys(lab.plan(changes), "score") == keys(before, "score")
        edit(parts / "feature_transform_doubled_1.py")
        assert keys(lab.plan(changes), "score").isdisjoint(keys(before, "score"))
    finally:
        registry().remove_plugin(plugin, "holding")


# ------------------------------------------------------------------------------------------------ what is imported


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two packages that offer no plugins: toy_plugin, whose component has a base in toy_helper."""
    files = {
        "toy_helper/__init__.py": "",
        "toy_helper/bases.py": "from core import Interaction\nfrom . import sums\nclass Base(Interaction): ...",
        "toy_helper/sums.py": "",
        "toy_helper/other.py": "",
        "toy_plugin/__init__.py": "",
        "toy_plugin/part.py": "from toy_helper.bases import Base\nclass Part(Base): name = 'part'",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    source_digest.cache_clear()
    yield tmp_path
    forget("toy_helper")
    forget("toy_plugin")


@pytest.mark.parametrize(
    ("file", "new"),
    [
        ("toy_plugin/part.py", True),
        ("toy_helper/bases.py", True),
        ("toy_helper/sums.py", True),
        ("toy_helper/other.py", False),
    ],
)
def test_the_code_of_a_base_in_a_package_without_plugins_counts(helper: Path, file: str, new: bool) -> None:
    part: type[Interaction] = importlib.import_module("toy_plugin.part").Part
    before = source_digest(*defining_modules(part))
    edit(helper / file)
    assert (source_digest(*defining_modules(part)) != before) == new


@pytest.mark.parametrize("held", registry().found.values(), ids=lambda held: held.component.name)
def test_bases_in_core_torch_and_the_standard_library_do_not_count(held: Any) -> None:
    tops = {module.split(".")[0] for module in defining_modules(held.component)}
    assert tops == {held.component.__module__.split(".")[0]}


IMPORTS = [
    "import toy_helper.sums as s",
    "def late():\n    from . import sums",
    "def late():\n    from .sums import total",
    "import importlib\nsums = importlib.import_module('toy_helper.sums')",
    "from importlib import import_module\nsums = import_module('.sums', __package__)",
    "import importlib\nsums = importlib.import_module(name='toy_helper.sums')",
    "sums = __import__('toy_helper.sums')",
    "from toy_helper import *\nfrom toy_helper.sums import *",
]


@pytest.mark.parametrize("statement", IMPORTS)
def test_a_module_counts_in_whatever_way_it_is_imported(helper: Path, statement: str) -> None:
    (helper / "toy_helper/other.py").write_text(statement)
    before = source_digest("toy_helper.other")
    edit(helper / "toy_helper/sums.py")
    assert source_digest("toy_helper.other") != before


def test_a_module_that_cannot_be_imported_here_does_not_stop_a_run(helper: Path) -> None:
    """One that a function imports only where a package is installed, say."""
    (helper / "toy_helper/sums.py").write_text("undefined")
    (helper / "toy_helper/other.py").write_text("def late():\n    from .sums import total")
    before = source_digest("toy_helper.other")
    assert "toy_helper.sums" not in sys.modules
    edit(helper / "toy_helper/sums.py")
    assert source_digest("toy_helper.other") != before
