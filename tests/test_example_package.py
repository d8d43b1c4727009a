"""examples/plugin_package in an environment of its own: installed, found, checked, used from YAML, removed."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "examples" / "plugin_package"

Python = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, far from the repository, and a working directory."""
    folder = tmp_path_factory.mktemp("example")
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
    shutil.copytree(PACKAGE, folder / "package", ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def python(folder: Path) -> Python:
    """Runs the Python of a new environment that has the package, and sees what is installed here but is not written to.

    pip finds `retrieval-ablations` by name among what is installed; nothing is fetched where hatchling is at hand.
    """
    environment = folder / "environment"
    venv.create(environment, symlinks=True, with_pip=importlib.util.find_spec("pip") is None)
    program = environment / "bin" / "python"
    own = sysconfig.get_path("purelib", "venv", {"base": str(environment), "platbase": str(environment)})
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    lines = [f"import site; site.addsitedir({place!r})\n" for place in sorted(here)]
    Path(own, "running.pth").write_text("".join(lines))

    def run(*arguments: object, cwd: Path = folder) -> subprocess.CompletedProcess[str]:
        command = [str(program), *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)

    names = "from importlib.metadata import entry_points as e; print([p.name for p in e(group='retrieval_ablations')])"
    before = run("-c", names).stdout
    assert "interactions" in before
    assert "top_frames" not in before
    offline = ["--no-index", "--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    installed = run("-m", "pip", "install", *offline, folder / "package")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert (Path(own) / "retrieval_top_frames").is_dir()
    return run


def test_it_is_found(python: Python) -> None:
    listed = re.sub(r"\n {10,}", " ", python("-m", "core.plugins").stdout)  # lines that were wrapped are whole again
    assert re.search(r"  top_frames +.*\(retrieval-top-frames 0\.1\.0\)", listed)
    assert re.search(r"  hinge +.*\(retrieval-top-frames 0\.1\.0\)", listed)
    assert "failed to load" not in listed


def test_its_own_tests_pass(python: Python, folder: Path) -> None:
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder / "package")
    assert done.returncode == 0, done.stdout


def test_its_experiment_runs_in_a_reduced_size(python: Python, folder: Path) -> None:
    (folder / "checkpoints").symlink_to(ROOT / "checkpoints")
    sizes = {"train_videos": 6, "val_videos": 4, "test_videos": 5, "resolution": 32, "seconds": 1}
    small = [f"data.dataset.{name}={value}" for name, value in sizes.items()]
    small += ["data.num_frames=4", "train.epochs=1", "train.batch_size=4", "seeds=[0]", "outputs.mlflow=null"]
    small += ["encoder.model=checkpoints/shapes-clip"]
    small += ["baseline={retrieve.settings.best.k: 4}", "ablate={retrieve.settings.best.k: [1, 2]}", "hypotheses={}"]
    experiment = "retrieval_top_frames:top_frames.yaml"
    done = python("-m", "core.run", experiment, "--workers", 0, *small)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "runs" / "top_frames" / "resolved.json").read_text())
    table = (folder / "runs" / "top_frames" / "table.csv").read_text()
    assert all(f"\nk={k}," in table for k in (1, 2, 4)), table


def test_once_it_is_removed_an_experiment_says_what_is_missing(folder: Path, python: Python) -> None:
    """The last test: it takes the package out of the environment of the others."""
    file = folder / "package" / "retrieval_top_frames" / "top_frames.yaml"
    done = python("-m", "pip", "uninstall", "-q", "-y", "retrieval-top-frames")
    assert done.returncode == 0, done.stderr
    done = python("-m", "core.run", file, f"encoder.model={ROOT / 'checkpoints/shapes-clip'}")
    assert done.returncode == 2
    assert "model.interactions.best.name: no interaction named `top_frames`." in done.stderr
    assert "model.losses.contrast.name: no loss named `hinge`." in done.stderr
