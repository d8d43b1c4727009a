"""Experiment files of strangers, read within seconds."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from core import ConfigError
from core.experiment.config import read_document
from core.experiment.variants import read_variants
from tests.core.experiments import BASE, edited

SECONDS = 10
"""Of a processor. The heaviest file that is read takes about five."""
CLIP = {"name": "clip", "model": str(Path(__file__).parents[3] / "checkpoints" / "shapes-clip")}
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
