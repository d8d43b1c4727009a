"""Experiment files of strangers: whatever stands in them ends within seconds, as variants or as faults of the
configuration that name key and limit, and sends nothing of the machine anywhere."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import re
import signal
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from core import ConfigError
from core.contract.optimisation import RerankerTraining
from core.contract.settings import Checker
from core.experiment.config import Experiment, allow_environment, read_document, resolve
from core.experiment.variants import read_variants
from core.measure.metrics import metric
from core.plugins import registry
from tests.core.experiments import BASE, edited

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
FILES = sorted(path for path in EXPERIMENTS.rglob("*.yaml") if path.parent.name != "references")
SECONDS = 5
CLIP = {"name": "clip", "model": "checkpoints/shapes-clip"}
TEXT = yaml.safe_dump({**BASE, "encoder": CLIP}, sort_keys=False)


@contextlib.contextmanager
def in_time(seconds: int = SECONDS) -> Iterator[None]:
    """Fails what takes a processor longer; how busy the machine is does not matter."""

    def late(*_: object) -> None:
        pytest.fail(f"took more than {seconds} seconds")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def read(folder: Path, text: str | bytes, *overrides: str) -> list[Any]:
    path = folder / "trial.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with in_time():
        return read_variants(read_document(str(path), overrides))


def fault(folder: Path, text: str | bytes, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, *overrides)
    return str(caught.value)


def changed(changes: dict[str, Any]) -> str:
    return yaml.safe_dump(edited({"encoder": CLIP, **changes}), sort_keys=False)


# ------------------------------------------------------------------------------------------------ numbers and counts


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("seeds", [2**64], "4,294,967,295"),
        ("seeds", [2**32], "4,294,967,295"),
        ("retrieve.rerank.top_k", 10**20, "10,000,000"),
        ("data.num_frames", 10**10, "10,000"),
        ("train.epochs", 10**20, "100,000"),
        ("train.learning_rate", 1e308, "1e+12"),
        ("model.losses.contrast.of", {"video": 1e300}, "1e+12"),
    ],
)
def test_an_absurd_number_is_refused_with_key_and_limit(tmp_path, key, value, limit):
    message = fault(tmp_path, changed({key: value}))
    assert f"{key}: must be at most {limit}, got" in message


@pytest.mark.parametrize("written", ["9" * 5000, "9" * 4000, "0x" + "f" * 100_000, "1:" * 50_000 + "1"])
def test_a_number_that_is_too_long_to_read_is_refused_at_its_key(tmp_path, written):
    assert "seeds[0]: a number of" in fault(tmp_path, f"{TEXT}seeds: [{written}]\n")
    assert "command line: train.epochs: a number of" in fault(tmp_path, TEXT, f"train.epochs={written}")


def fields_with_numbers() -> Iterator[tuple[str, type, str, Any]]:
    """Every field of the schema and of each component that holds a number."""
    parts = [("core", cls) for cls in (Experiment, RerankerTraining)]
    parts += [(f"{kind} {name}", item.component.Config) for (kind, name), item in registry().found.items()]
    waiting, seen = list(parts), set()
    while waiting:
        owner, cls = waiting.pop()
        for field in dataclasses.fields(cls):
            hint = typing.get_type_hints(cls)[field.name]
            inner = {hint, *typing.get_args(hint)}
            waiting += [(owner, found) for found in inner if dataclasses.is_dataclass(found) and found not in seen]
            if inner & {int, float}:
                yield owner, cls, field.name, hint
        seen.add(cls)


@pytest.mark.parametrize(
    "number", [10**20, -(10**20), 10**5000, 1e308, -1e308], ids=["20", "-20", "5000", "308", "-308"]
)
def test_no_field_with_a_number_takes_an_absurd_one(number):
    taken, checked = [], 0
    for owner, cls, name, hint in fields_with_numbers():
        is_list = typing.get_origin(hint) in (list, tuple)
        is_mapping = typing.get_origin(hint) is dict
        value = [number] if is_list else {"x": number} if is_mapping else number
        checker = Checker()
        rules = next(field for field in dataclasses.fields(cls) if field.name == name).metadata
        with in_time(1):
            checker.value(hint, value, name, rules)
        checked += 1
        if not checker.problems or len(str(checker.problems[0])) > 500:
            taken.append(f"{owner}: {name}")
    assert checked > 40
    assert not taken


@pytest.mark.parametrize("name", ["R99999999", "R" + "9" * 5000, "nDCG1000001"])
def test_a_cutoff_beyond_every_gallery_is_refused(name):
    with in_time(1), pytest.raises(ConfigError, match="k is at most 1,000,000"):
        metric(name)
    assert metric("R1000000").cutoff == 1_000_000


def test_variants_are_counted_before_they_are_made(tmp_path):
    grid = {"train.epochs": list(range(1, 400)), "train.batch_size": list(range(2, 401))}
    assert "ablate: describes 159,201 variants" in fault(tmp_path, changed({"ablate": grid}))
    assert "at most 10,000" in fault(tmp_path, changed({"ablate": {"first": grid, "second": {"train.epochs": [1]}}}))
    hand = {f"v{number}": {"train.epochs": number} for number in range(1, 10_002)}
    assert "variants: describes 10,001 variants" in fault(tmp_path, changed({"variants": hand}))


def test_trials_are_counted_before_they_are_made(tmp_path):
    swept = {"ablate": {"train.epochs": list(range(1, 102))}, "seeds": list(range(1000))}
    assert "seeds: 101,000 trials, variants times seeds; at most 100,000" in fault(tmp_path, changed(swept))


def test_a_list_of_20000_seeds_is_read(tmp_path):
    (variant,) = read(tmp_path, changed({"seeds": list(range(20_000))}))
    assert len(variant.experiment.seeds) == 20_000


@pytest.mark.parametrize("key", ["directions", "metrics"])
def test_nothing_to_measure_is_refused(tmp_path, key):
    assert f"evaluate.{key}: is empty" in fault(tmp_path, changed({f"evaluate.{key}": []}))
    assert f"evaluate.{key}: `" in fault(
        tmp_path, changed({f"evaluate.{key}": {"directions": ["t2v"], "metrics": ["R1"]}[key] * 2})
    )


# ------------------------------------------------------------------------------------------------ YAML

LAUGHS = "claim: x\noutputs:\n  a0: &a0 [1, 1]\n" + "".join(
    f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ("references: " + "[" * 400 + "]" * 400, "nested deeper than 50 levels"),
        ("references: " + "[" * 100_000 + "]" * 100_000, "nested deeper than 50 levels"),
        ("baseline: " + "{a: " * 400 + "1" + "}" * 400, "nested deeper than 50 levels"),
        ("references:\n" + "".join(" " * n + "-\n" for n in range(1, 400)), "nested deeper than 50 levels"),
        (LAUGHS, "more than 200,000 values, aliases written out"),
        ("references: &a [*a]", "`*a` stands within what it stands for"),
        ("claim: &a {<<: *a}", "`*a` stands within what it stands for"),
        ("seeds: [!!int abc]", "seeds[0]: `abc` is no whole number"),
        ("seeds: [!!float abc]", "seeds[0]: `abc` is no number"),
        ("anonymous: !!bool abc", "anonymous: `abc` is no true or false"),
        ("claim: !!timestamp abc", "claim: `abc` is no date"),
        ("claim: !!timestamp 2024-01-01", "claim: expected a text, a number, true, false, null"),
        ("claim: !!binary aGVsbG8=", "claim: expected a text, a number, true, false, null"),
        ("claim: !!set {a, b}", "claim: expected a text, a number, true, false, null"),
        ("claim: !!omap [a: 1]", "claim[0]: expected a text, a number, true, false, null"),
        ("claim: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("claim: !!python/object/apply:pathlib.Path [a]", "could not determine a constructor"),
        ('claim: "\\ud800"', "is not valid YAML"),
        ('claim: "a\\0b"', "claim: holds a character that is none of a text: U+0000"),
        ('claim: "a\\e[31mb"', "claim: holds a character that is none of a text: U+001B"),
        ('variants: {"a\\e": {train.epochs: 3}}', "a key holds a character that is none of a text: U+001B"),
        ("variants: {? " + "a" * 5000 + " : 1}", "a key has at most 1000 letters, this one 5,000"),
        ("claim: {text: a, source: b, text: c}", "found duplicate key text"),
        ("claim: {text: a, 'text': c}", "found duplicate key text"),
        ("claim: {<<: {text: a}, <<: {source: b}}", "found duplicate key <<"),
        ("#" + "x" * 2_000_000, "an experiment file has at most 2,000,000"),
    ],
)
def test_what_no_experiment_needs_is_refused(tmp_path, addition, message):
    assert message in fault(tmp_path, f"{TEXT}{addition}\n")


def test_a_merged_key_may_be_written_over(tmp_path):
    text = f"{TEXT}claim: {{<<: {{text: a, source: b}}, text: c}}\n"
    (variant,) = read(tmp_path, text)
    assert (variant.experiment.claim.text, variant.experiment.claim.source) == ("c", "b")


def test_what_stands_under_two_aliases_is_changed_in_one_place_only(tmp_path):
    text = TEXT.replace("patch:", "other: &tib {name: tib, temperature: 0.1}\n    further: *tib\n    patch:")
    (variant,) = read(tmp_path, text, "model.interactions.other.temperature=0.7")
    found = variant.experiment.model.interactions
    assert (found["other"].fields.temperature, found["further"].fields.temperature) == (0.7, 0.1)


@pytest.mark.parametrize("password", ["a${hunter2", "${hunter2:x}", "a${hunter2}b${hunter2 c}"])
def test_a_password_with_a_reference_in_it_is_not_shown(tmp_path, password):
    told = fault(tmp_path, TEXT, f"outputs.mlflow.uri=postgresql://user:{password}@host/db")
    assert "outputs.mlflow.uri: " in told
    assert "hunter2" not in told


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_file_in_another_encoding_is_refused_and_a_byte_order_mark_is_not(tmp_path, encoding):
    assert "cannot be read: expected UTF-8" in fault(tmp_path, TEXT.encode(encoding))
    assert read(tmp_path, TEXT.encode("utf-8-sig"))


def test_a_command_line_with_bytes_that_are_no_text_is_refused(tmp_path):
    broken = os.fsdecode(b"\xff")
    assert "command line: name: " in fault(tmp_path, TEXT, f"name={broken}")
    assert "command line" in fault(tmp_path, TEXT, f"na{broken}me=x")
    assert "command line: train.epochs: `abc` is no whole number" in fault(tmp_path, TEXT, "train.epochs=!!int abc")
    assert "command line: seeds: the value" in fault(tmp_path, TEXT, "seeds=" + "[" * 100_000)


def test_files_that_extend_one_another_endlessly_are_refused(tmp_path):
    for number in range(100):
        (tmp_path / f"f{number}.yaml").write_text(f"extends: f{number + 1}.yaml\n")
    assert "more than 20 files extend one another" in fault(tmp_path, "extends: f0.yaml\n")


@pytest.mark.parametrize("parent", ["x" * 5000, "'a\\tb'", "nowhere_at_all:x.yaml", "json:x.yaml"])
def test_a_parent_that_cannot_be_a_file_is_refused(tmp_path, parent):
    assert "trial.yaml" in fault(tmp_path, f"extends: {parent}\n") or parent.startswith(("nowhere", "json"))


def test_a_file_that_names_a_package_runs_none_of_its_code(tmp_path, monkeypatch):
    package = tmp_path / "loud_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('code of the package ran')")
    (package / "base.yaml").write_text(TEXT)
    monkeypatch.syspath_prepend(tmp_path)
    assert read(tmp_path, "extends: loud_package:base.yaml\n")


# ------------------------------------------------------------------------------------------------ interpolation


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


# ------------------------------------------------------------------------------------------------ anything at all

SPITE = ["[", "]", "{", "}", ":", "&a", "*a", "<<:*a", "!!int", "${", "}", "${train}", "'", '"', "\\", "-", "?", "|"]
SPITE += [">", "%", "1e309", ".nan", "null", "~", "é"]
SPITE += ["\n", "  ", "\t", "\0", "\ud800", "\u202e", "9" * 50, ": ", "- ", "&a ", "*a ", "\n<<: *a\n"]
VALUES: list[Any] = [None, True, 0, -1, 10**20, 10**99, 1e308, float("nan"), float("inf"), [], {}, [[]], [None]]
VALUES += ["", "x", "x" * 10_000, "${name}", "${oc.env:HOME}", "???", "\x1b[31m", [10**20] * 3]
VALUES += [{"name": "x"}, {"a": {"b": {}}}, {"": 1}, {"a.b": 1}, {"[": 1}]


def mutated_text(text: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 4)):
        at, end = chance.randrange(len(text)), chance.randrange(len(text))
        kind = chance.randrange(4)
        if kind == 0:
            text = text[:at] + chance.choice(SPITE) * chance.choice([1, 1, 1, 60]) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + chance.randint(1, 30) :] + " "
        elif kind == 2:
            text = text[:at] + text[min(at, end) : max(at, end)][:400] + text[at:]
        else:
            text = text[:at] + chance.choice(SPITE) + text[at + 1 :]
    return text


def mutated_value(value: Any, chance: random.Random) -> Any:
    """The value with one of those within it replaced."""
    inside = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not inside or chance.random() < 0.1:
        return chance.choice(VALUES)
    copied, place = value.copy(), chance.choice(inside)
    copied[place] = mutated_value(copied[place], chance)
    if isinstance(copied, dict) and chance.random() < 0.1:
        copied[chance.choice(["x", "name", "", "a.b", "[", "train.epochs", "${name}"])] = chance.choice(VALUES)
    return copied


def attacked(folder: Path, seed: int) -> None:
    """Reads one mutated file. Raises what is neither variants nor a fault of the configuration."""
    chance = random.Random(seed)
    source = chance.choice(FILES)
    text = source.read_text()
    if chance.random() < 0.5:
        text = mutated_text(text, chance)
    else:
        text = yaml.safe_dump(mutated_value(yaml.safe_load(text), chance), sort_keys=False, allow_unicode=True)
    path = folder / "trial.yaml"
    path.write_bytes(text.replace("extends: ", f"extends: {source.parent}/").encode("utf-8", "surrogatepass"))
    with in_time(), contextlib.suppress(ConfigError):
        read_variants(read_document(str(path)))


def test_whatever_is_done_to_a_shipped_file_it_is_read_or_refused(tmp_path):
    registry()
    for seed in range(150):
        attacked(tmp_path, seed)


@pytest.mark.slow
def test_whatever_is_done_to_a_shipped_file_it_is_read_or_refused_2000_times(tmp_path):
    registry()
    for seed in range(150, 2150):
        attacked(tmp_path, seed)


# ------------------------------------------------------------------------------------------------ commands


@pytest.mark.parametrize("command", [["core.plugins"], ["core.run", "--help"]])
def test_a_command_whose_reader_has_gone_ends_quietly(command):
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = subprocess.run(
        [sys.executable, "-m", *command], check=False, stdout=write_end, stderr=subprocess.PIPE, timeout=120
    )
    os.close(write_end)
    assert b"Traceback" not in ended.stderr
    assert b"BrokenPipe" not in ended.stderr


def test_a_fault_with_control_characters_is_printed_harmlessly(tmp_path):
    path = tmp_path / "trial.yaml"
    path.write_text(changed({"train.keep": "best"}))
    words = [sys.executable, "-m", "core.run", str(path), "train.ke\u202eep=3", "data.sampler=a\u202eb"]
    told = subprocess.run(words, check=False, capture_output=True, timeout=120)
    assert told.returncode == 2
    assert "\u202e".encode() not in told.stderr
    assert b"\\u202e" in told.stderr
