"""The published numbers that ship: every file is understood, every row says who prints it, known cells are right."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.experiment.published import Published, PublishedRow, load_published

FILES = sorted((Path(__file__).parents[2] / "experiments" / "references").glob("*.yaml"))


def load(name: str) -> Published:
    return load_published(next(file for file in FILES if file.stem == name))


def rows(published: Published, system: str, backbone: str = "ViT-B/32", **fields: str) -> list[PublishedRow]:
    """Rows without post-processing and, unless asked for, without a variation."""
    wanted = {"system": system, "backbone": backbone, "post_processing": "none", "variation": "", **fields}
    return [row for row in published.rows if all(getattr(row, name) == value for name, value in wanted.items())]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_loads_and_names_only_sources_that_rows_use(file: Path) -> None:
    published = load_published(file)
    assert {row.source for row in published.rows} == published.sources.keys()
    assert published.protocol


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_recalls_of_a_row_rise_with_the_rank_that_they_allow(file: Path) -> None:
    for row in load_published(file).rows:
        for direction in ("t2v", "v2t"):
            recalls = [row.values[name] for k in (1, 5, 10) if (name := f"{direction}/R{k}") in row.values]
            assert recalls == sorted(recalls), f"{row.name} {direction}"


@pytest.mark.parametrize(
    ("file", "system", "backbone", "source", "metric", "value"),
    [
        ("msrvtt_1ka", "GLSCL", "ViT-B/32", "glscl", "t2v/R1", 48.1),
        ("msrvtt_1ka", "GLSCL", "ViT-B/32", "glscl", "v2t/MnR", 10.3),
        ("msrvtt_1ka", "GLSCL", "ViT-B/16", "glscl", "t2v/R1", 49.5),
        ("msrvtt_1ka", "GLSCL", "ViT-B/16", "eaglenet", "t2v/R1", 49.9),
        ("msrvtt_1ka", "EERCF", "ViT-B/32", "gare_tame", "t2v/R1", 47.8),
        ("msrvtt_1ka", "EERCF", "ViT-B/32", "gare_tame", "v2t/R10", 83.9),
        ("msrvtt_1ka", "EERCF", "ViT-B/16", "vedje_quotes", "t2v/R1", 49.9),
        ("msrvtt_1ka", "X-Pool", "ViT-B/32", "glscl_rivals", "t2v/R1", 46.9),
        ("msrvtt_1ka", "TS2-Net", "ViT-B/32", "glscl_rivals", "t2v/R1", 47.0),
        ("msrvtt_1ka", "DRL", "ViT-B/32", "tame", "t2v/R1", 47.4),
        ("msvd", "GLSCL", "ViT-B/32", "glscl", "t2v/R1", 47.5),
        ("lsmdc", "GLSCL", "ViT-B/32", "glscl", "t2v/R1", 23.4),
        ("activitynet", "GLSCL", "ViT-B/32", "glscl", "t2v/R1", 41.4),
        ("activitynet", "EERCF", "not stated", "tame", "t2v/R1", 43.1),
        ("didemo", "GLSCL", "ViT-B/32", "glscl", "v2t/R1", 45.9),
    ],
)
def test_known_cells(file: str, system: str, backbone: str, source: str, metric: str, value: float) -> None:
    assert [row.values[metric] for row in rows(load(file), system, backbone, source=source)] == [value]


def test_contradicting_figures_of_clip4clip_stand_side_by_side() -> None:
    found = rows(load("msrvtt_1ka"), "CLIP4Clip", variation="seqTransf")
    assert {row.source: row.values["t2v/R1"] for row in found} == {"glscl_rivals": 44.5, "drl_rerun": 42.8}


def test_post_processed_rows_are_rows_of_their_own() -> None:
    published = load("msrvtt_1ka")
    lifted = {(row.name, row.backbone, row.post_processing): row.values["t2v/R1"] for row in published.rows}
    assert lifted["GLSCL", "ViT-B/32", "QB-Norm"] == 50.0
    assert lifted["TS2-Net", "ViT-B/32", "dual softmax"] == 51.1


def test_figures_from_a_doubtful_scan_are_marked() -> None:
    (row,) = rows(load("activitynet"), "EERCF", "not stated")
    assert set(row.uncertain) == row.values.keys()


def test_the_published_setting_stands_in_each_of_glscls_sweeps() -> None:
    sweeps: dict[str, dict[str, tuple[float, float]]] = {}
    for row in load("glscl_sweeps").rows:
        name, value = row.variation.split()
        sweeps.setdefault(name, {})[value] = (row.values["t2v/R1"], row.values["v2t/R1"])
    assert {name: len(found) for name, found in sweeps.items()} == {
        "queries": 5, "layers": 4, "xi": 11, "alpha": 8, "beta": 12,
    }  # fmt: skip
    published = {"queries": "8", "layers": "3", "xi": "0.5", "alpha": "1e-4", "beta": "0.005"}
    assert {sweeps[name][value] for name, value in published.items()} == {(48.1, 47.1)}
    assert sweeps["xi"]["0"] == (45.2, 45.1)
    assert sweeps["beta"]["0.02"] == (46.7, 45.8)
