"""References of strangers: they repeat values of the file, tell nothing of the machine, and end within seconds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from core import ConfigError
from core.experiment.config import allow_environment, resolve

from .hostile import TEXT, changed, fault, in_time, read


def bomb(levels: int, text: bool) -> str:
    lines = ["outputs:", "  x0: xxxxxxxxxx" if text else "  x0: {a: 1}"]
    for level in range(1, levels):
        before = f"${{outputs.x{level - 1}}}"
        inner = f"'{before * 10}'" if text else "{" + ", ".join(f"k{n}: '{before}'" for n in range(10)) + "}"
        lines.append(f"  x{level}: {inner}")
    return TEXT + "\n".join(lines) + "\n"


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("levels", [8, 200])
def test_references_that_multiply_are_refused(tmp_path, text, levels):
    message = fault(tmp_path, bomb(levels, text))
    assert "outputs.x5" in message
    assert "more than 200,000 values" in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("${" * 3000 + "a" + "}" * 3000, "expected a whole key, such as `${section.field}`"),
        ("${name}" * 20_000, "has at most 20,000 letters, this one 140,000"),
        ("${name}", "refers to itself"),
        ("${}", "expected a whole key, such as `${section.field}`"),
        ("${....x}", "Error resolving key '....x'"),
        ("${train.${name}}", "expected a whole key, such as `${section.field}`"),
        ("${oc.env:HOME}", "only with --allow-env HOME"),
        ("${oc.env:HOME,x}", "calls a resolver"),
        ("${oc.env:${train.keep}}", "calls a resolver"),
        ("${oc.${train.keep}:HOME}", "expected a whole key, such as `${section.field}`"),
        ("${oc.decode:'1'}", "calls a resolver"),
        ("${oc.create:{a: 1}}", "calls a resolver"),
        ("${oc.select:name}", "calls a resolver"),
        ("${oc.dict.keys:train}", "calls a resolver"),
        ("a ${ oc.env : HOME } b", "calls a resolver"),
        ("${stranger:x}", "calls a resolver"),
    ],
)
def test_what_is_more_than_a_repeated_value_is_refused_at_its_key(tmp_path, name, message):
    OmegaConf.register_resolver("stranger", lambda text: text, replace=True)
    try:
        found = fault(tmp_path, changed({"name": name}))
        assert f"name: {message}" in found or ("name: " in found and message in found)
        assert message in fault(tmp_path, TEXT, f"name='{name.replace(chr(39), chr(39) * 2)}'")
    finally:
        OmegaConf.clear_resolver("stranger")


def test_a_long_chain_of_references_is_refused_and_a_short_one_read(tmp_path):
    links = {f"x{n}": f"${{outputs.x{n + 1}}}" for n in range(3000)}
    assert "a chain of more than 30 references" in fault(tmp_path, changed({"outputs": {**links, "x3000": 1}}))
    assert resolve({"a": "${b}", "b": "${c}", "c": 3}) == {"a": 3, "b": 3, "c": 3}


def test_an_environment_variable_is_read_only_where_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ABLATION_NAME", "mine")
    text = changed({"name": "${oc.env:ABLATION_NAME}"})
    try:
        allow_environment(["ABLATION_NAME"])
        assert read(tmp_path, text)[0].experiment.name == "mine"
        assert "only with --allow-env HOME" in fault(tmp_path, changed({"name": "${oc.env:HOME}"}))
        monkeypatch.delenv("ABLATION_NAME")
        assert "there is no environment variable ABLATION_NAME" in fault(tmp_path, text)
    finally:
        allow_environment([])
    assert "only with --allow-env ABLATION_NAME" in fault(tmp_path, text)


def test_a_text_that_only_looks_like_a_reference_is_never_read(monkeypatch):
    monkeypatch.setenv("SECRET", "${oc.env:HOME}")
    written = "\\${oc.env:HOME}"
    assert resolve({"a": written, "b": "${a}", "c": "x ${b}"}) == {
        "a": "${oc.env:HOME}",
        "b": "${oc.env:HOME}",
        "c": "x ${oc.env:HOME}",
    }
    try:
        allow_environment(["SECRET"])
        assert resolve({"a": "${oc.env:SECRET}", "b": "${a}"}) == {"a": "${oc.env:HOME}", "b": "${oc.env:HOME}"}
    finally:
        allow_environment([])


WRITTEN = ["plain", "${a}", "${b}", "${c.x}", "${c}", "${d[0]}", "\\${a}", "\\\\${a}", "\\\\\\${a}", "${.a}", "${.x}"]
WRITTEN += [
    "${..a}",
    "x ${a} y",
    "${[c][y]}",
    "${d.-1}",
    "${c.x.y}",
    "${d}",
    "${.[0]}",
    "${ a }",
    "${nowhere}",
    "${a}${b}",
]
LEAVES = st.one_of(st.integers(-5, 5), st.booleans(), st.none(), st.sampled_from(WRITTEN))
MAPPINGS = st.fixed_dictionaries({"x": LEAVES, "y": LEAVES})
LISTS = st.lists(LEAVES, min_size=1, max_size=3)


@settings(max_examples=50, deadline=None)  # texts that hold themselves take recursion to its limit: a tenth of a second
@given(st.fixed_dictionaries({"a": LEAVES, "b": LEAVES, "c": MAPPINGS, "d": LISTS, "e": MAPPINGS}))
def test_what_omegaconf_resolves_is_never_refused(values):
    try:
        expected = OmegaConf.to_container(OmegaConf.create(values), resolve=True)
    except (OmegaConfBaseException, RecursionError):
        with pytest.raises(ConfigError):
            resolve(values)
        return
    assume(not re.search(r"[\[{]", str(list(texts_within(expected)))[1:]))  # `x ${c} y`, c a mapping or within itself
    assert resolve(values) == expected


def texts_within(value: Any) -> Iterator[str]:
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts_within(item)
    if isinstance(value, str):
        yield value.replace("${", "")


LINKS = {
    "text": lambda n, width: f"${{x{n - 1}}}" * width,
    "list": lambda n, width: [f"${{x{n - 1}}}"] * width,
    "mapping": lambda n, width: {f"k{k}": f"${{x{n - 1}}}" for k in range(width)},
    "deeper": lambda n, width: {"k": [f"${{x{n - 1}.k}}"] * width},
    "relative": lambda n, width: {"k": [f"${{...x{n - 1}}}"] * width},
}


@given(
    st.sampled_from(sorted(LINKS)),
    st.integers(2, 12),
    st.integers(2, 200),
    st.sampled_from(["", 1, "x" * 99, {"k": 1}]),
)
def test_a_bomb_is_refused_within_a_second_whatever_it_is_made_of(kind, width, levels, seed):
    assume(width**levels > 200_000)
    first = {"k": seed} if kind == "deeper" else seed
    bomb = {"x0": first, **{f"x{n}": LINKS[kind](n, width) for n in range(1, levels + 1)}}
    with in_time(1), pytest.raises(ConfigError, match=r"more than 200,000 values|a chain of more than 30"):
        resolve(bomb)


@pytest.mark.parametrize(
    "values",
    [
        {f"x{n}": "${b}" for n in range(4000)} | {"b": 1},
        {"a": ["${b}" * 1000] * 3, "b": "xx"},
        {"a": "${b}" + "$" * 19_000, "b": ["${c}" + "\\${" * 6000] * 2, "c": 1},
        {"a": [f"${{nowhere.x{n}}}" for n in range(2400)], "b": {f"y{n}": n for n in range(15_000)}, "c": "${b}"},
        {"a": ["${b}"] * 8, "b": list(range(19_000))},
    ],
)
def test_the_most_that_is_not_refused_takes_seconds(values):
    try:
        with in_time():
            resolve(values)
    except ConfigError as fault:
        told = {problem.message.split("'")[0] for problem in fault.problems}
    else:
        told = set()
    assert told == ({"Interpolation key "} if "nowhere" in str(values) else set())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a": ["${b}" + "$" * 19_000] * 100, "b": 1}, "a[5]: more than 200,000 values"),
        ({f"x{n}": "${b}" for n in range(6000)} | {"b": 1}, "more than 200,000 values"),
        ({"a": ["${b}"] * 10, "b": "x" * 1_000_000}, "a[1]: more than 200,000 values"),
        ({"a": "${b}", "b": list(range(20_001))}, "b: sections with `${…}` and those that they point to hold at most"),
    ],
)
def test_more_than_omegaconf_can_do_in_seconds_is_refused_before_it_is_asked(values, message):
    with in_time(1), pytest.raises(ConfigError) as caught:
        resolve(values)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("link", "longest"),
    [
        (lambda n: f"${{x{n}}}", 30),
        (lambda n: f"a${{x{n}}}", 30),
        (lambda n: {"k": f"${{x{n}}}"}, 15),
        (lambda n: [f"${{x{n}}}"], 15),
    ],
)
def test_the_longest_chain_that_is_not_refused_is_resolved(link, longest):
    refused = []
    for length in range(1, 60):
        try:
            resolve({**{f"x{n}": link(n + 1) for n in range(length)}, f"x{length}": 1})
        except ConfigError as fault:
            refused.append(str(fault))
    assert len(refused) == 59 - longest
    assert all("a chain of more than 30 references and levels" in message for message in refused)


def test_20000_seeds_beside_a_reference_are_read(tmp_path):
    keys = {"seeds": list(range(20_000)), "train.epochs": "${data.num_frames}", "data.num_frames": 3}
    (variant,) = read(tmp_path, changed(keys))
    assert len(variant.experiment.seeds) == 20_000
