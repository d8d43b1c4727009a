"""Pages of a grid over data sets: each baseline stands above what is compared with it, and is named."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest

from core.evidence.findings import Result
from plugins.outputs import report
from plugins.outputs.mlflow import experiment
from plugins.outputs.report.as_html import html
from plugins.outputs.report.order import grouped
from tests.engine import Lab, write_videos

TOP_K, ROOT = "retrieve.rerank.top_k", "data.dataset.root"


@pytest.fixture
def several(lab: Lab) -> Result:
    """K over two data sets, re-ranking off on each as the last rows of the file."""
    roots = [str(lab.folder / name) for name in ("few", "many")]
    for seed, root in enumerate(roots):
        write_videos(Path(root), {"train": 6, "val": 4, "test": 12}, seed=seed)
    changes: dict[str, Any] = {"variants": {}, "ablate": {ROOT: roots, TOP_K: [1, 2]}, "seeds": [0]}
    return lab.result({**changes, "baseline": {"retrieve.rerank": None}, "hypotheses": {}})


def places(names: list[str]) -> list[str]:
    return [re.sub(r".*/(\w+) (?:top_k|rerank)=(\w+).*", r"\1 \2", name) for name in names]


ORDER = ["few none", "few 1", "few 2", "many none", "many 1", "many 2"]


def test_rows_of_a_data_set_stand_under_its_baseline_on_every_page_but_not_in_the_csv(several: Result) -> None:
    text = html(several, {}, False)
    for part in re.findall(r"<tbody>(.*?)</tbody>", text, re.DOTALL)[:2]:
        assert places(re.findall(r'<th scope="row"[^>]*>(.*?)</th>', part)) == ORDER
    for page in (report.markdown(several), experiment.note(several, "#/", [])):
        rows = [line.split(" | ")[0] for line in page.splitlines() if re.match(r"\| root=", line)]
        assert places([row.replace("\\", "") for row in rows]) == ORDER
    lines = csv.DictReader(io.StringIO(report.csv(several)))
    assert list(dict.fromkeys(line["variant"] for line in lines)) == [row.name for row in several.rows]
    assert places([row.name for row in several.rows]) != ORDER


def test_caption_and_summary_name_both_baselines(several: Result) -> None:
    text = html(several, {}, False)
    names = [f"<code>{row.name}</code>" for row in several.baselines]
    assert len(names) == 2
    caption = text.partition("<caption>")[2].partition("</caption>")[0]
    summary = text.partition("<nav>")[0]
    for name in names:
        assert name in caption
        assert name in summary


def test_one_baseline_keeps_its_place(result: Result) -> None:
    assert grouped(result) is result
