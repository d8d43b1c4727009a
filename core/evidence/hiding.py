"""What a report and MLflow must not tell: passwords never; the person's folders where an experiment is `anonymous`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import reduce
from html import escape, unescape
from pathlib import Path
from typing import Any

from ..contract.addresses import SCHEME, hidden_addresses, is_cut_short, with_safe
from ..contract.settings import plain
from ..engine.plan import Plan

Hide = Callable[[str], str]


def hiding(plan: Plan) -> Hide:
    """What every text about a plan goes through before it is written.

    User, password and token of every address are hidden. Where the experiment is `anonymous`, so are folders: of a path
    only the last part is kept, `…/videos`, numbered where two paths of the configuration end alike, `…2/videos`. Known
    are every absolute path that begins with a folder of this machine, and of the configuration and its files every path
    that is absolute or leads up (`../`), whether written plainly or as JSON, HTML and LaTeX escape it. The home is `~`.
    """
    addresses = _addresses(plan)

    def closed(text: str) -> str:
        return hidden_addresses(reduce(with_safe, addresses, text))

    if not plan.experiment.anonymous:
        return closed
    paths = _private_paths(plan)
    told = _told({path: plan.document.written.get(path, path) for path in paths})
    part = r"[/\\]+[^/\\\s\"'`<>|&:;,)\]}]+"
    whole = "|".join(spelling for path in sorted(paths, key=len, reverse=True) for spelling in _spellings(path))
    begun = r"(?:(?<![\w/.+])|(?<=sqlite:///)|(?<=file://))"  # not within a word, a URL, base64
    begins = "|".join(re.escape(name) for name in os.listdir("/"))
    pattern = re.compile(rf"{begun}(?:(?:{whole})(?:{part})*|/(?:{begins})(?:{part})+)/?")

    def hidden(match: re.Match[str]) -> str:
        path = _plain(match[0]).rstrip("/")
        return told.get(path) or f"…/{path.rpartition('/')[2]}"

    return lambda text: pattern.sub(hidden, closed(text))


def _addresses(plan: Plan) -> list[str]:
    """Addresses that outputs may use, of their settings and of the environment, and others whose end none can see."""
    addresses = [text for text in (*_texts(plain(plan.experiment.outputs)), *os.environ.values()) if SCHEME.match(text)]
    return list(dict.fromkeys([*addresses, *filter(is_cut_short, _configured(plan))]))


def hidden_in(value: Any, hide: Hide) -> Any:
    """Dataclasses, mappings and sequences with every text in them hidden, but for private fields; others as they are.

    An object that reads texts only when they are asked for has a `hidden_by(hide)` of its own.
    """
    if isinstance(value, str):
        return hide(value)
    if hasattr(value, "hidden_by"):
        return value.hidden_by(hide)
    if isinstance(value, Mapping):
        return {hidden_in(key, hide): hidden_in(item, hide) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(hidden_in(item, hide) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        told = [item.name for item in fields(value) if item.init and not item.name.startswith("_")]
        return replace(value, **{name: hidden_in(getattr(value, name), hide) for name in told})
    return value


def _private_paths(plan: Plan) -> list[str]:
    """Paths that name the person or the machine: those of the configuration in its order, then home, cwd, store."""
    texts = (*_configured(plan), *plan.document.written, plan.document.file, *plan.document.origins.values())
    written = filter(_names_a_place, texts)
    folders = [Path.home(), Path.cwd(), plan.workspace.store.root.resolve()]
    paths = [spelled for text in written for spelled in (text.rstrip("/"), str(Path(text).expanduser()))]
    return list(dict.fromkeys([*paths, *(str(path) for path in folders if len(path.parts) > 1)]))


def _configured(plan: Plan) -> list[str]:
    """Every text of the configuration, once."""
    texts = (text for variant in plan.variants for text in _texts(plain(variant.experiment)))
    return list(dict.fromkeys(texts))


def _names_a_place(text: str) -> bool:
    return (text.startswith(("/", "~/")) and len(text) > 2) or ".." in text.split("/")


def _told(paths: Mapping[str, str]) -> dict[str, str]:
    """What stands for each of these paths, {as it is written: from the working directory}."""
    told, places = {}, dict[str, list[str]]()
    for path, from_here in paths.items():
        place, last = str(Path(from_here).expanduser()), path.rpartition("/")[2]
        alike = places.setdefault(last, [])
        if place not in alike:
            alike.append(place)
        number = alike.index(place) + 1
        told[path] = f"…{number if number > 1 else ''}/{last}"
    return told | {str(Path.home()): "~"}


def _texts(value: Any) -> Iterator[str]:
    """Every text in nested values."""
    if isinstance(value, str):
        yield value
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    for part in parts:
        yield from _texts(part)


def _spellings(path: str) -> set[str]:
    """Patterns of a path as plain text, JSON and HTML write it; LaTeX puts a backslash before some characters."""
    latex = "".join(rf"\\?{re.escape(character)}" for character in path)
    return {latex, re.escape(json.dumps(path)[1:-1]), re.escape(escape(path))}


def _plain(written: str) -> str:
    """A path as one would type it, from any of its `_spellings`."""
    decoded = re.sub(r"\\u([0-9a-f]{4})", lambda code: chr(int(code[1], 16)), written)
    return unescape(decoded.replace("\\", ""))
