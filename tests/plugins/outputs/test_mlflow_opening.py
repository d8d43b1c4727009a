"""The line that opens MLflow's page fits on a terminal and works as it stands, whatever the place is called."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from plugins.outputs.mlflow.opening import lines
from plugins.outputs.mlflow.view import Links

PAGE = "http://127.0.0.1:5000/#/experiments/1"
TABLE = "MLflow, table of the trials: http://127.0.0.1:5000/#/experiments/1/runs?a=b&c='d'"


def links(command: str | None) -> Links:
    told = [TABLE] if command is None else [f"To open MLflow: {command}", TABLE]
    return Links({}, told, PAGE, command)


def test_one_short_line_starts_the_server_with_all_it_needs_and_names_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("runs", "ablate_topk")
    command = "SETTING='a b' sh -c 'echo served $SETTING in $(basename $PWD) $@' --"
    (line,) = lines(links(command), folder, private=False)
    assert len(line) < 80
    assert line.endswith(PAGE)
    call = line.removeprefix("MLflow: ").removesuffix(f", at {PAGE}")
    called = subprocess.run(f"{call} --port 5001", shell=True, capture_output=True, text=True, check=True)
    assert called.stdout == f"{TABLE}\nserved a b in {tmp_path.name} --port 5001\n"


def test_a_folder_with_spaces_can_be_called_as_it_is_told(tmp_path: Path) -> None:
    (line,) = lines(links("echo served"), tmp_path / "it's here", private=False)
    call = line.removeprefix("MLflow: ").removesuffix(f", at {PAGE}")
    assert subprocess.run(call, shell=True, capture_output=True, text=True, check=True).stdout.endswith("served\n")


def test_a_server_has_a_page_and_no_script(tmp_path: Path) -> None:
    lines(links("echo served"), tmp_path, private=False)
    assert lines(links(None), tmp_path, private=False) == [f"MLflow: {PAGE}"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "private"), [("mlflow ui", True), ("mlflow ui postgresql://me:***@host/db", False)]
)
def test_no_script_holds_folders_that_are_private_or_an_address_to_be_filled_in(
    tmp_path: Path, command: str, private: bool
) -> None:
    told = lines(links(command), tmp_path, private)
    assert told == [f"MLflow: {command}", f"  at {PAGE}"]
    assert list(tmp_path.iterdir()) == []
