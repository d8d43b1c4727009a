"""examples/first_look.ipynb runs from its first cell to its last, and is kept without outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "first_look.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]


def test_the_notebook_is_kept_as_it_is_before_it_runs() -> None:
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)


def test_the_cells_of_the_notebook_run_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("experiments", "checkpoints"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    space: dict[str, Any] = {}
    for number, cell in enumerate(CELLS):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}, cell {number}", "exec"), space)
    result = space["result"]
    assert list(result.to_frame().index) == ["mean", "gated"]
    assert not result.failed
    assert (tmp_path / "runs" / "first_look" / "report.html").is_file()
    assert not (tmp_path / "mlflow.db").exists()
    assert len(space["gain"]) == 120
    assert [video.rank for video in space["found"]] == [1, 2, 3]
    assert float(space["weights"].sum()) == pytest.approx(1)
    assert len(space["places"]) == 6
    assert space["trial"].metrics == result.rows[1].results[0].metrics
    assert "points" in capsys.readouterr().out
    assert space["compared"].low > 0
    space["plt"].close("all")
