"""What a component says of itself: name, docstring, fields."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from typing import Any

from ..contract.components import KINDS, Component, Reranker, TrainedReranker
from ..contract.settings import Checker, Mixture, plain
from ..errors import ConfigError, UserError
from ..plugins import registry
from .contract import Faults


def kind_of(component: Any) -> str:
    """The kind of a component class. Raises UserError for what is none."""
    for kind, base in KINDS.items():
        if isinstance(component, type) and issubclass(component, base):
            return kind
    raise UserError(f"check_component takes the class of a component, not {component!r}")


def configured(cls: type[Component], fields: Mapping[str, Any]) -> Any:
    """The configuration that an experiment file with these fields would give. Raises ConfigError.

    Fields that must be given and are not: a mixture names one interaction, a mapping of components is empty.
    """
    checker = _checker()
    config = checker.build(cls.Config, {**_stand_ins(cls, cls.Config), **fields}, f"{cls.kind} {cls.name}")
    if checker.problems:
        raise ConfigError(checker.problems)
    return config


def _checker() -> Checker:
    return Checker(lambda *arguments: registry().specify(*arguments))


def _stand_ins(cls: type[Component], config: type) -> dict[str, Any]:
    hints = typing.get_type_hints(config)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        hint = hints[field.name]
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING:
            continue
        if hint == Mixture:
            values[field.name] = {"first_stage": 1.0, "one": 0.5} if issubclass(cls, Reranker) else {"one": 1.0}
        elif typing.get_origin(hint) is dict:
            values[field.name] = {}
        elif dataclasses.is_dataclass(hint):
            values[field.name] = _stand_ins(cls, typing.cast(type, hint))
    if issubclass(cls, TrainedReranker) and config is cls.Config:
        values["alpha"] = 1.0  # null is chosen in the fit
    return values


def it_has_a_name(cls: type[Component]) -> Faults:
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        yield f"`name` is {name!r}", "Give what YAML will say: lower case, digits and underscores"


def it_has_a_docstring(cls: type[Component]) -> Faults:
    if not (cls.__dict__.get("__doc__") or "").strip():
        yield "the class has none", "Say what it computes, in which shapes, and its source (paper, equation)"


def its_config_is_a_dataclass(cls: type[Component]) -> Faults:
    base = KINDS[cls.kind].Config
    above = f" that extends {base.__name__}" if dataclasses.fields(base) else ""
    if not dataclasses.is_dataclass(cls.Config) or (above and not issubclass(cls.Config, base)):
        yield f"Config is {cls.Config!r}", f"Make it a frozen dataclass{above}"
        return
    try:
        typing.get_type_hints(cls.Config)
    except NameError as error:
        yield f"a type of Config cannot be read: {error}", "Name types that its module imports when it runs"


def its_fields_are_described(cls: type[Component]) -> Faults:
    hints = typing.get_type_hints(cls.Config)
    for field in dataclasses.fields(cls.Config):
        doc = field.metadata.get("doc", "")
        if not doc or "\n" in doc:
            yield f"field `{field.name}` has no doc line", f'Write {field.name} = setting(default, "what it is")'
        if field.default is dataclasses.MISSING:
            continue
        checker = _checker()
        checker.value(hints[field.name], plain(field.default), field.name, field.metadata)
        for problem in checker.problems:
            yield f"the default of `{field.name}` is refused: {problem.message}", "Change the default, type or limits"


def its_fields_after_training_exist(cls: type[Component]) -> Faults:
    fields = {field.name for field in dataclasses.fields(cls.Config)}
    for name in sorted(cls.after_training - fields):
        yield f"`after_training` names `{name}`", f"Config has {', '.join(sorted(fields)) or 'no fields'}"


FIRST = (its_config_is_a_dataclass,)
CHECKS = (it_has_a_name, it_has_a_docstring, its_fields_are_described, its_fields_after_training_exist)
