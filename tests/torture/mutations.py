"""A sound file made a little unsound: bytes, lines, words, or a value inside JSON, YAML or CSV."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import yaml

NASTY_WORDS = (
    "", "null", "~", "true", "no", "on", "0", "-1", "-0", "1e999", "-1e999", ".nan", ".inf", "NaN", "Infinity",
    "1e-400", "9" * 25, "0x10", "1_000", "0o7", "1:30", "2001-01-01", "[]", "{}", "[[[]]]", "{a: }", "'", '"', "\\",
    "\\u0000",
    "*a", "&a [*a]", "!!python/object:os.system {}", "!!binary aGk=", "!x y", "${train}", "${oc.env:HOME}", "${",
    "${a.b}", "???", "../..", "/etc/passwd", "/dev/zero", ".", "é", "\u202e", "\ud83d\ude00", "\x00", "\x85", "\t",
    "a" * 5000, "%s%n", "<<", "? ", "- ", "---\n", "...\n", "#", "|", ">", "@", "`", "t2v/R1", "shapes", "name",
)  # fmt: skip
NASTY_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, -(10**18), 0.0, -0.0, 0.5, 1e308, 1e-320, float("nan"),
    float("inf"), "", " ", "a", "none", "é", "\u0000", "a" * 3000, [], {}, [None], [[]], {"": None}, {"name": None},
    {"name": "shapes"}, {"name": []}, [1, "a", None], ["a", "a"], {"a": {"a": {"a": {}}}}, "../x", "${train}", "${x",
)  # fmt: skip


def mutate(content: bytes, file: str, random: Random, seed: int) -> tuple[bytes, str]:
    """(another content, what was done)."""
    ways: list[Callable[[bytes, Random], bytes]] = [_bits, _cut, _remove, _insert, _repeat]
    if _text(content) is not None:
        ways += [_line, _line, _word, _word, _word]
    if file.endswith((".json", ".jsonl", ".yaml")):
        ways += [_value(file)] * 6
    if file.endswith((".json", ".jsonl", ".yaml")) and random.randrange(5) == 0:
        return _value(file, drawn(seed))(content, random), "a value that hypothesis drew"
    way = random.choice(ways)
    made = way(content, random)
    for _ in range(random.choice((0, 0, 0, 1, 3))):
        made = random.choice(ways)(made, random)
    return made, way.__name__.strip("_")


# --------------------------------------------------------------------------------------------------- bytes and words


def _bits(content: bytes, random: Random) -> bytes:
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8)) if data else 0):
        data[random.choice((random.randrange(len(data)), random.randrange(min(len(data), 128))))] ^= (
            1 << random.randrange(8)
        )
    return bytes(data)


def _cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _span(content: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(content) + 1)
    return start, min(len(content), start + random.choice((1, 2, 8, 40, 400)))


def _remove(content: bytes, random: Random) -> bytes:
    start, end = _span(content, random)
    return content[:start] + content[end:]


def _insert(content: bytes, random: Random) -> bytes:
    at = random.randrange(len(content) + 1)
    new = random.choice((random.randbytes(random.choice((1, 4, 20))), bytes(8), b"\xff\xfe", b"\r\n", b"\xef\xbb\xbf"))
    return content[:at] + new + content[at:]


def _repeat(content: bytes, random: Random) -> bytes:
    start, end = _span(content, random)
    return content[:start] + content[start:end] * random.choice((2, 3, 50)) + content[end:]


def _text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _line(content: bytes, random: Random) -> bytes:
    """Lines removed, repeated, exchanged, indented otherwise."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    one, two = random.randrange(len(lines)), random.randrange(len(lines))
    act = random.randrange(5)
    if act == 0:
        del lines[one]
    elif act == 1:
        lines.insert(two, lines[one])
    elif act == 2:
        lines[one], lines[two] = lines[two], lines[one]
    elif act == 3:
        lines[one] = random.choice((b" ", b"  ", b"\t", b"-  ")) + lines[one]
    else:
        lines[one] = lines[one].lstrip()
    return b"".join(lines)


def _word(content: bytes, random: Random) -> bytes:
    """One word becomes another of the file, or a nasty one."""
    text = _text(content) or ""
    words = [(start, end) for start, end in _words(text)]
    if not words:
        return content
    start, end = random.choice(words)
    other = random.choice(words)
    new = random.choice(NASTY_WORDS) if random.random() < 0.8 else text[other[0] : other[1]]
    return (text[:start] + new + text[end:]).encode(errors="surrogatepass")


def _words(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in re.finditer(r"[^\s,:{}\[\]\"']+", text)]


# ----------------------------------------------------------------------------------------------------------- values


def _value(file: str, new: Any = ...) -> Callable[[bytes, Random], bytes]:
    """A way to change one value, or one key, inside a file of JSON, JSON Lines or YAML."""

    def value(content: bytes, random: Random) -> bytes:
        text = _text(content)
        if text is None:
            return content
        lines = file.endswith(".jsonl")
        try:
            if lines:
                tree: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
            else:
                tree = yaml.safe_load(text) if file.endswith(".yaml") else json.loads(text)
        except (ValueError, yaml.YAMLError, RecursionError):
            return content
        tree = _changed(tree, random, new)
        if file.endswith(".yaml"):
            return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode(errors="surrogatepass")
        if lines and isinstance(tree, list):
            return "".join(json.dumps(one) + "\n" for one in tree).encode()
        return json.dumps(tree).encode()

    return value


def _changed(tree: Any, random: Random, new: Any) -> Any:
    """A copy with one node another: replaced, removed, renamed, wrapped, or moved from elsewhere."""
    places = list(_places(tree, ()))
    where = random.choice(places)
    node = tree
    for key in where[:-1]:
        node = node[key]
    if not where:
        return random.choice(NASTY_VALUES) if new is ... else new
    last, act = where[-1], random.randrange(8) if new is ... else 7
    if act == 0:
        del node[last]
    elif act == 1 and isinstance(node, dict):
        node[str(random.choice(NASTY_WORDS))] = node.pop(last)
    elif act == 2:
        node[last] = [node[last]]
    elif act == 3:
        node[last] = {"name": node[last]}
    elif act == 4:
        other = tree
        for key in random.choice(places):
            other = other[key]
        node[last] = json.loads(json.dumps(other, default=str))
    else:
        node[last] = random.choice(NASTY_VALUES) if new is ... else new
    return tree


def _places(tree: Any, way: tuple[Any, ...]) -> Any:
    yield way
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree[:50]):
            yield from _places(value, (*way, key))


# -------------------------------------------------------------------------------------------------- from hypothesis


@cache
def _drawn() -> list[Any]:
    """Values of JSON as hypothesis draws them, the same every time."""
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis import strategies as st

    found: list[Any] = []
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    inner = st.recursive(
        leaves, lambda some: st.lists(some, max_size=4) | st.dictionaries(st.text(max_size=10), some, max_size=4)
    )

    @seed(0)
    @settings(
        max_examples=300, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck]
    )
    @given(inner)
    def collect(value: Any) -> None:
        found.append(value)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collect()
    return found


def drawn(number: int) -> Any:
    return _drawn()[number % len(_drawn())]
