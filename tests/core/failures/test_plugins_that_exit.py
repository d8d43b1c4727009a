"""Plugins that call sys.exit, each in a process that finds it as installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.engine import Lab

ROOT = Path(__file__).parents[3]


def installed(folder: Path, source: str) -> dict[str, str]:
    """The environment of a process that finds a plugin `oddity` with this source, and the toys."""
    (folder / "oddity.py").write_text(source)
    (folder / "toys_plugin.py").write_text("from tests.engine import ToyPlugin\nplugin = ToyPlugin()\n")
    told = folder / "oddity-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: oddity\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text("[retrieval_ablations]\noddity = oddity\ntoys = toys_plugin:plugin\n")
    return os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}


def run(lab: Lab, changes: dict[str, Any], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    places = ["--store", str(lab.store), "--runs", str(lab.folder / "runs"), "--workers", "0", "--device", "cpu"]
    words = [sys.executable, "-m", "core.run", str(lab.write(changes)), *places]
    return subprocess.run(words, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


PLAIN = {"retrieve.rerank": None, "outputs": {"mlflow": None}, "baseline": None}
ODDITY = """
import sys
from core import Interaction, hookimpl
from tests.engine import ToyDot

class Oddity(ToyDot):
    name = "oddity"
    def score(self, text, video):
        sys.exit(0)

@hookimpl
def register_interactions(register):
    register(Oddity)
"""


@pytest.mark.parametrize(
    "source",
    ["import sys\nsys.exit(0)", ODDITY.replace("    register(Oddity)", "    sys.exit(0)")],
    ids=["import", "hook"],
)
def test_a_plugin_that_calls_exit_when_it_is_loaded_is_left_out(tmp_path: Path, source: str) -> None:
    lab = Lab(tmp_path)
    environment = installed(tmp_path, source)
    done = run(lab, PLAIN, environment)
    assert (done.returncode, "Report: " in done.stdout) == (0, True), done.stderr
    assert (
        "warning: plugin oddity:oddity failed to load and is left out: SystemExit: sys.exit(0) was called"
        in done.stderr
    )
    done = run(lab, PLAIN | {"model.interactions.dot.name": "oddity"}, environment)
    assert done.returncode == 2
    assert "Plugin oddity:oddity failed to load: SystemExit: sys.exit(0) was called" in done.stderr


def test_a_plugin_that_calls_exit_in_a_step_fails_its_trial_in_a_process_of_its_own(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    changes = PLAIN | {
        "model.interactions.odd": {"name": "oddity"},
        "variants": {"sound": {}, "odd": {"retrieve.first_stage": "odd"}},
        "baseline": "sound",
        "model.losses": None,
        "model.interactions.linear": None,
    }
    done = run(lab, changes, installed(tmp_path, ODDITY))
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "1 of 2 trials done, 1 failed"
    assert "score odd: interaction `oddity` (oddity, oddity.py line 9): sys.exit(0) was called" in lines[-2]
    assert "Report: " in done.stdout
