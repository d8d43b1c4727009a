"""Experiment files of strangers: whatever stands in them ends within seconds, as variants or as faults of the
configuration that name key and limit, and sends nothing of the machine anywhere."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from core import ConfigError
from core.experiment.config import read_document
from core.experiment.variants import read_variants
from core.plugins import registry

from .hostile import changed, in_time

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
FILES = sorted(path for path in EXPERIMENTS.rglob("*.yaml") if path.parent.name != "references")


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
