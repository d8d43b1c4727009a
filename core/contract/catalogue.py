"""What `python -m core.plugins` prints: every component in a line, or all that there is to know of one."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import shutil
import sys
import textwrap
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import UserError, nearest
from .components import KINDS, Component, Levels
from .escaping import plain_line
from .fields import FieldWords, as_yaml, default_of, fields_in_words, is_needed, plural
from .optimisation import RerankerTraining
from .settings import Checker, Mixture, section_of

if TYPE_CHECKING:
    from ..plugins import Registered, Registry

PLACES = {
    "dataset": ("data", "dataset"),
    "encoder": ("encoder",),
    "feature_transform": ("model", "transforms", ""),
    "interaction": ("model", "interactions", ""),
    "loss": ("model", "losses", ""),
    "reranker": ("retrieve", "rerank"),
    "score_transform": ("retrieve", "transforms", ""),
    "output": ("outputs", ""),
}
"""The keys that a file has a component of each kind under; "" is a name of one's own."""

FACTS = {
    "inner_product": "a score is one dot product of two vectors",
    "contrastive": "trains scores to rank",
    "needs_bank": "takes the scores that the train split's texts or videos give the gallery",
    "by_default": "there without being named; null leaves it out",
}
"""What attributes of a class say of it where they are true."""


def width() -> int | None:
    """Columns of the terminal, or of COLUMNS; None where what is printed goes elsewhere: its lines stay whole."""
    if os.environ.get("COLUMNS", "").isdigit() or sys.stdout.isatty():
        return max(40, shutil.get_terminal_size().columns)
    return None


def wrapped(first: str, text: str, indent: int) -> str:
    """`first`, then the text from column `indent` on; broken between words, where lines have an end."""
    start = plain_line(first).ljust(indent)
    columns = width()
    if columns is None:
        return start + plain_line(text)
    lines = textwrap.wrap(plain_line(text), max(20, columns - indent), break_long_words=False, break_on_hyphens=False)
    return start + ("\n" + " " * indent).join(lines)


# ------------------------------------------------------------------------------------------------ the list


def listing(components: Registry, own: str) -> Iterator[str]:
    """Every component in a line, by kind, with its package where that is not `own`; and what failed to load."""
    longest = max((len(name) for _, name in components.found), default=0)
    for kind in KINDS:
        yield plural(kind).replace("_", " ")
        for (of_kind, name), item in sorted(components.found.items()):
            if of_kind == kind:
                origin = "" if item.package == own else f" ({item.package} {item.version})"
                yield wrapped(f"  {name}", f"{first_sentence(item.component)}{origin}", longest + 4)
    for plugin, reason in components.failed.items():
        yield plain_line(f"failed to load: {plugin}: {reason}")
    yield "All of one, with its fields and an example: python -m core.plugins show NAME"


def first_sentence(component: type[Component]) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = " ".join((inspect.getdoc(component) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[^.][.!?]) (?=[A-Z`\"(])", paragraph, maxsplit=1)[0]


# ------------------------------------------------------------------------------------------------ one component


def description(components: Registry, name: str) -> Iterator[str]:
    """All of each component of a name: its docstring, fields, levels, source, an example. Raises UserError."""
    items = [(kind, item) for (kind, of_name), item in sorted(components.found.items()) if of_name == name]
    if not items:
        names = {of_name for _, of_name in components.found}
        raise UserError(f"there is no component named `{name}`.{nearest(name, names)}")
    for kind, item in items:
        yield "\n\n".join(filter(None, _parts(components, kind, item)))


def _parts(components: Registry, kind: str, item: Registered) -> Iterator[str]:
    component = item.component
    place = f"in {component.__module__}"
    yield plain_line(f"{component.name}: {kind.replace('_', ' ')} of {item.package} {item.version}, {place}")
    yield inspect.getdoc(component) or "It has no description."
    yield _source(component)
    yield _section("Fields", ((field.key, _told(field)) for field in fields_in_words(component.Config)))
    values = example(components, kind, component)
    yield _section("Facts", _facts(component, _config(components, kind, values)))
    yield f"In a file:\n\n{in_a_file(kind, values)}"


def _source(component: type[Component]) -> str:
    """The source that the module names, where the class names none."""
    if "Source: " in (inspect.getdoc(component) or ""):
        return ""
    paragraphs = (inspect.getdoc(inspect.getmodule(component)) or "").split("\n\n")
    return next((paragraph for paragraph in paragraphs if paragraph.startswith("Source: ")), "")


def _section(title: str, rows: Iterator[tuple[str, str]]) -> str:
    """A title and lines of two columns; nothing without lines."""
    lines = [(name, text) for name, text in rows if text]
    longest = max((len(name) for name, _ in lines), default=0)
    return "\n".join([title, *(wrapped(f"  {name}", text, longest + 4) for name, text in lines)]) if lines else ""


def _told(field: FieldWords) -> str:
    """`a number = 0.1 (more than 0): what it is`"""
    default = "" if field.default == "" else ", must be given" if field.default is None else f" = {field.default}"
    limits = f" ({field.limits})" if field.limits else ""
    return f"{field.type}{default}{limits}" + (f": {field.doc}" if field.doc else "")


def _facts(component: Any, config: Any) -> Iterator[tuple[str, str]]:
    """Levels read and written, auxiliary tensors provided and needed, of a configuration; what may change later."""
    for words in ("reads", "writes", "provides", "needs"):
        method = getattr(component, words, None)
        names = method(config) if method and config is not None else ()
        if isinstance(names, Levels):
            sides = {"text": names.text, "video": names.video}
            yield words, "; ".join(f"{side}: {', '.join(levels)}" for side, levels in sides.items() if levels)
        else:
            yield words, ", ".join(sorted(names))
    yield "measures", ", ".join(getattr(component, "diagnostics", ()))
    yield "after training", ", ".join(sorted(component.after_training))
    yield "besides", "; ".join(words for attribute, words in FACTS.items() if getattr(component, attribute, False))


# ------------------------------------------------------------------------------------------------ examples


def example(components: Registry, kind: str, component: type[Component], of: str = "video") -> dict[str, Any]:
    """A component as a file names it: the fields that must be given, and the first number. of: an interaction."""
    config = component.Config
    values = {"name": component.name, **_needed(components, config, of)}
    hints = typing.get_type_hints(config)
    numbers = [
        field for field in dataclasses.fields(config) if not is_needed(field) and hints[field.name] in (int, float)
    ]
    if "model" in hints and kind == "encoder":
        values["model"] = "path/to/model"
    elif len(values) == 1 and numbers:
        values[numbers[0].name] = default_of(numbers[0])
    return values


def _needed(components: Registry, cls: type, of: str) -> dict[str, Any]:
    """A value for each field of a dataclass that must be given."""
    hints = typing.get_type_hints(cls)
    needed = [field for field in dataclasses.fields(cls) if is_needed(field)]
    return {field.name: _value(components, field, hints[field.name], of) for field in needed}


def _value(components: Registry, field: dataclasses.Field[Any], hint: Any, of: str) -> Any:
    rules = field.metadata
    if rules.get("kind"):
        name, item = next(
            (name, item) for (kind, name), item in sorted(components.found.items()) if kind == rules["kind"]
        )
        inner = example(components, rules["kind"], item.component, of)
        return {name: inner} if typing.get_origin(hint) is dict else inner
    if section := section_of(hint):
        return _needed(components, section, "rerank" if section is RerankerTraining else of)
    if rules.get("choices"):
        return rules["choices"][0]
    if hint == Mixture:
        return {of: 1.0}
    if hint in (int, float):
        return hint(rules.get("ge") or rules.get("le") or 1)
    if hint is bool:
        return False
    return f"path/to/{field.name}" if hint is str else []


def _config(components: Registry, kind: str, values: dict[str, Any]) -> Any:
    """The checked fields of an example; None where it does not pass."""
    spec = components.specify(kind, values, "", Checker(components.specify))
    return None if spec is None else spec.fields


def in_a_file(kind: str, values: dict[str, Any]) -> str:
    """A component below the keys that a file has it under, as YAML."""
    text = as_yaml(values)
    for depth, key in reversed(list(enumerate(PLACES[kind]))):
        separator = " " if text.startswith("{") else "\n"
        text = f"{'  ' * depth}{key or values['name']}:{separator}{text}"
    return text
