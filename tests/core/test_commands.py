"""What all commands have in common: --help, a reader that goes away, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.compare.__main__ import main as compare_main
from core.contract.store import Store
from core.plugins import main as plugins_main
from core.reference import main as reference_main
from core.run import main as run_main
from core.store import main as store_main

ROOT = Path(__file__).parents[2]
BENCHMARKS = [
    path.stem for path in sorted((ROOT / "benchmarks").glob("*.py")) if '__name__ == "__main__"' in path.read_text()
]


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, check=False, text=True, timeout=300, cwd=ROOT, **options)


MAINS = {
    "core.run": run_main,
    "core.plugins": plugins_main,
    "core.plugins show": plugins_main,
    "core.compare": compare_main,
    "core.store": store_main,
    "core.reference": reference_main,
}


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("name", MAINS)
def test_help_is_shown(name, flag, capsys):
    with pytest.raises(SystemExit) as end:
        MAINS[name]([*name.split()[1:], flag])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m {name} [")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["tests.torture", *(f"benchmarks.{name}" for name in BENCHMARKS)])
def test_help_is_shown_by_commands_of_the_workshop(command):
    done = run(command, "-h", capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: python -m {command} [")


PRINTING = [
    "core.plugins",
    "core.plugins show tib",
    "core.store --store .",
    "core.compare --published 48 47 --n 1000",
    "core.run --print-completion bash",
    "core.plugins show --help",
    "core.compare --help",
    "core.store --help",
]


@pytest.mark.parametrize(
    ("words", "unbuffered"), [*((words, "") for words in PRINTING), ("core.compare --published 48 47 --n 1000", "1")]
)
def test_a_reader_that_has_gone_costs_no_word_on_standard_error(words, unbuffered, tmp_path):
    if "completion" in words:
        pytest.importorskip("shtab")
    Store(tmp_path).claim()
    words = words.replace("--store .", f"--store {tmp_path}")
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = run(*words.split(), stdout=writing, stderr=subprocess.PIPE, env=environment)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


# ------------------------------------------------------------------------------------------------ completion


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", ["compgen -f -X '!*.yaml'", "'auto cuda mps cpu'", "--print-completion"]),
        ("zsh", ["_files -g '(*.yaml|*.yml)'", "(auto cuda mps cpu)", "--print-completion"]),
        ("tcsh", ["f:{*.yaml,*.yml}", "(auto cuda mps cpu)", "print-completion"]),
    ],
)
def test_completion_knows_files_devices_and_outputs(shell, words, capsys):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit) as end:
        run_main(["--print-completion", shell])
    assert end.value.code == 0
    script = capsys.readouterr().out
    assert all(word in script for word in [*words, "retrieval-ablations", "mlflow"])


def test_completion_in_bash_offers_experiment_files_and_devices(tmp_path, capsys):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit):
        run_main(["--print-completion", "bash"])
    (tmp_path / "completion.bash").write_text(capsys.readouterr().out)
    for name in ("trial.yaml", "trial.txt"):
        (tmp_path / name).write_text("")
    asked = """
        source completion.bash
        function=$(complete -p retrieval-ablations | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        offered() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            $function retrieval-ablations "${@: -1}"; echo "${COMPREPLY[@]}"
        }
        offered retrieval-ablations tri
        offered retrieval-ablations trial.yaml --device c
    """
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
    assert done.stdout.splitlines() == ["trial.yaml", "cuda cpu"], done.stderr


def test_without_shtab_it_is_said_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert run_main(["--print-completion", "bash"]) == 1
    assert capsys.readouterr().err == (
        "error: --print-completion needs shtab, which is not installed; run: "
        "pip install 'retrieval-ablations[completion]'\n"
    )
