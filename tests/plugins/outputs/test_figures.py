"""Figures: what is drawn are the findings, the same store gives the same file, what cannot be drawn is told."""

from __future__ import annotations

import resource
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from core.engine.plan import Plan
from core.errors import UserError
from core.evidence.findings import Result, findings
from core.evidence.ground import question
from core.evidence.stored import stored_result
from core.experiment.config import read_document
from core.experiment.variants import check_core
from core.run import main
from plugins.outputs.axes import words
from plugins.outputs.figures.curves import Curves
from plugins.outputs.figures.drawing import draw as write_figure
from plugins.outputs.figures.files import write_sheet
from plugins.outputs.figures.gain_map import gain_maps
from tests.engine import COUNTS, Lab, plan_of, registered_toys, write_videos

pytestmark = pytest.mark.filterwarnings("error:constrained_layout not applied")

HEADER = "# Question: does training help? It should.\n# Expect:   yes?\n"
ROOTS = ("videos", "other")
KS = (1, 3, 24)


def grids(folder: Path) -> dict[str, Any]:
    """A trained arm against an untrained one on two data sets and two encoders, and three depths of re-ranking."""
    roots = [str(folder / name) for name in ROOTS]
    fusion = {"name": "score_fusion", "weights": {"linear": 1.0}, "top_k": 2}
    arms = [{"retrieve.first_stage": arm, "retrieve.rerank": None} for arm in ("linear", "dot")]
    return {
        "retrieve.rerank": None,
        "seeds": [0, 1],
        "train.epochs": 1,
        "ablate": {
            "gain": {
                "data.dataset.root": roots,
                "encoder.gain": [1.0, 0.3],
                "retrieve.first_stage": ["dot", "linear"],
            },
            "depth": {
                "data.dataset.root": roots,
                "retrieve.first_stage": ["dot"],
                "retrieve.rerank": [fusion],
                "retrieve.rerank.top_k": list(KS),
            },
        },
        "baseline": {
            "data.dataset.root": roots[0],
            "encoder.gain": 1.0,
            "retrieve.first_stage": "dot",
            "retrieve.rerank": None,
        },
        "hypotheses": {
            "wins": {"better": arms[0], "than": arms[1]},
            "ranks": {"better": arms[0], "than": arms[1], "metric": "t2v/MnR"},
            "alone": {"better": {**arms[0], **here(roots[0], 1.0)}, "than": {**arms[1], **here(roots[0], 1.0)}},
        },
    }


def here(root: str, gain: float) -> dict[str, Any]:
    return {"data.dataset.root": root, "encoder.gain": gain}


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `grids` was run."""
    with registered_toys():
        lab = Lab(tmp_path_factory.mktemp("drawn"), {"train": 6, "val": 4, "test": 24})
        write_videos(lab.folder / "other", {"train": 6, "val": 4, "test": 30}, seed=1)
        lab.run(grids(lab.folder))
    return lab.folder


@pytest.fixture
def drawn(toys: None, drawn_folder: Path) -> Lab:
    """The lab in which `grids` was run; tests share its store, and add to it."""
    return Lab(drawn_folder)


def stored(plan: Plan, settings: Mapping[str, Any], name: str) -> np.ndarray:
    """[seeds, queries] of a metric for the one variant with these settings, read from the store without findings."""
    (variant,) = [v for v in plan.variants if all(v.value(key) == value for key, value in settings.items())]
    entries = [plan.workspace.store.read("evaluate", trial.last.key) for trial in plan.trials_of(variant)]
    return np.stack([entry.tensors()[name].numpy() for entry in entries]).astype(np.float64)


def arm(root: str, gain: float, name: str) -> dict[str, Any]:
    return {**here(root, gain), "retrieve.first_stage": {name: 1.0}, "retrieve.rerank": None}


def write(lab: Lab, changes: Mapping[str, Any], header: str = "") -> str:
    file = lab.folder / "figure.yaml"
    file.write_text(header + lab.write(changes).read_text())
    return str(file)


def draw(lab: Lab, out: Path, changes: Mapping[str, Any], header: str = "") -> None:
    """The sheet of what the store holds."""
    write_sheet(stored_result(check_core(read_document(write(lab, changes, header))), str(lab.store))[1], out)


def command(lab: Lab, out: Path, changes: Mapping[str, Any]) -> int:
    """The command that has the figures drawn again, the sheet among them."""
    places = ["--store", str(lab.store), "--runs", str(out.parent / "runs")]
    return main([write(lab, changes), f"outputs.figures.sheet={out}", *places, "--stored", "--only", "figures"])


# ------------------------------------------------------------------------------------------------ what is drawn


@pytest.mark.parametrize(("number", "name", "sign"), [(0, "t2v/R1", 1), (1, "t2v/MnR", -1)])
def test_each_cell_of_a_map_is_the_gain_of_its_setting_with_its_interval(
    drawn: Lab, number: int, name: str, sign: int
) -> None:
    result = findings(drawn.plan(grids(drawn.folder)))
    figure = list(gain_maps(result).values())[number]
    roots = [str(drawn.folder / root) for root in ROOTS]
    assert (figure.metric, figure.rows.name, figure.columns.name) == (name, "root", "gain")
    assert (figure.rows.values, figure.columns.values) == (tuple(roots), ("1.0", "0.3"))
    claims = {claim.hypothesis.name: claim for claim in result.decisions}
    for row, root in enumerate(roots):
        for column, gain in enumerate((1.0, 0.3)):
            trained, untrained = (stored(plan_of(result), arm(root, gain, side), name) for side in ("linear", "dot"))
            expected = sign * (trained.mean() - untrained.mean())
            assert figure.gain[row, column] == pytest.approx(expected)
            claim = claims[f"{('wins', 'ranks')[number]} [root={root} gain={gain}]"]
            found = claim.verdict.evidence.comparison
            assert found is not None
            bounds = sorted((sign * found.low, sign * found.high))
            assert [figure.low[row, column], figure.high[row, column]] == pytest.approx(bounds)
            assert figure.low[row, column] <= expected <= figure.high[row, column]
    assert np.array_equal(figure.clear, np.sign(figure.low) * np.sign(figure.high) > 0)
    assert len({*figure.gain.ravel()}) > 1


def test_a_map_says_what_is_compared_and_only_claims_with_two_open_axes_have_one(drawn: Lab) -> None:
    first, second = gain_maps(findings(drawn.plan(grids(drawn.folder)))).values()
    assert first.claim == "wins: first_stage linear over first_stage dot"
    assert second.claim.startswith("ranks: ")
    assert first.held == ""


@pytest.fixture
def lines(drawn: Lab) -> tuple[Result, Curves]:
    result = findings(drawn.plan(grids(drawn.folder)))
    figure = Curves.of(result)
    assert figure is not None
    return result, figure


def test_each_point_of_a_curve_is_the_mean_of_its_variant(drawn: Lab, lines: tuple[Result, Curves]) -> None:
    result, figure = lines
    roots = [str(drawn.folder / root) for root in ROOTS]
    assert (figure.metric, figure.at, figure.lines.name) == ("t2v/R1", KS, "root")
    assert figure.lines.values == tuple(roots)
    for number, root in enumerate(roots):
        for place, k in enumerate(KS):
            values = stored(plan_of(result), {"data.dataset.root": root, "retrieve.rerank.top_k": k}, "t2v/R1")
            assert figure.mean[number, place] == pytest.approx(values.mean())
    assert figure.held == "gain 1.0, first_stage dot, rerank score_fusion(weights:(linear:1.0))"


def test_the_best_k_of_a_line_is_the_smallest_of_the_equally_good(lines: tuple[Result, Curves]) -> None:
    for best, means in zip(lines[1].best, lines[1].mean, strict=True):
        assert all(means[best] > mean for mean in means[:best])
        assert all(means[best] >= mean for mean in means[best:])


def test_of_ranks_the_smallest_is_the_best(drawn: Lab) -> None:
    figure = Curves.of(drawn.result({**grids(drawn.folder), "evaluate.primary": "t2v/MnR"}))
    assert figure is not None
    assert np.array_equal(figure.best, figure.mean.argmin(axis=1))
    assert np.ptp(figure.mean, axis=1).all()


def test_the_band_holds_the_means_that_a_test_over_videos_does_not_reject(wide: Lab) -> None:
    depth = {"retrieve.first_stage": "dot", "retrieve.rerank": {"name": "toy_listwise", "top_k": 2}}
    result = wide.result({**depth, "ablate": {"retrieve.rerank.top_k": [1, 24], "encoder.gain": [1.0, 0.3]}})
    figure = Curves.of(result)
    assert figure is not None
    for number, gain in enumerate((1.0, 0.3)):
        values = stored(plan_of(result), {"encoder.gain": gain, "retrieve.rerank.top_k": 1}, "t2v/R1")
        assert values.shape == (1, 48)
        by_video = values.reshape(24, 2).mean(axis=1)
        skew = stats.skew(by_video) / np.sqrt(24)
        kept = []
        for mean in np.arange(0, 100, 0.5):
            t = stats.ttest_1samp(by_video, mean).statistic
            corrected = t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6
            flips = stats.permutation_test(
                (by_video - mean, np.zeros(24)),
                lambda x, y, axis: np.mean(x - y, axis=axis),
                permutation_type="samples",
                vectorized=True,
                n_resamples=4000,
                rng=np.random.default_rng(1),
            )
            if max(flips.pvalue, 2 * stats.t.sf(abs(corrected), 23)) >= 0.05:
                kept.append(mean)
        assert [figure.low[number, 0], figure.high[number, 0]] == pytest.approx([kept[0], kept[-1]], abs=1.0)
        assert figure.low[number, 0] < figure.mean[number, 0] < figure.high[number, 0]


@pytest.fixture
def wide(toys: None, tmp_path: Path) -> Lab:
    return Lab(tmp_path, {"train": 6, "val": 4, "test": 24})


def test_a_lone_curve_is_drawn_and_more_than_one_further_axis_is_not(drawn: Lab) -> None:
    one = {"retrieve.rerank.top_k": [1, 3]}
    alone = Curves.of(drawn.result({"ablate": one}))
    assert alone is not None
    assert (alone.lines.name, alone.mean.shape, alone.held) == ("", (1, 2), "")
    more = {"model.interactions.dot.power": [1.0, 2.0], "model.interactions.dot.temperature": [1.0, 2.0]}
    assert Curves.of(drawn.result({"ablate": {**one, **more}})) is None


def test_a_point_that_no_variant_has_is_left_out(drawn: Lab) -> None:
    places = [("linear", 1), ("linear", 3), ("dot", 3), ("dot", 8)]
    variants = {
        f"{name} {k}": {"retrieve.rerank.weights": {name: 1.0}, "retrieve.rerank.top_k": k} for name, k in places
    }
    figure = Curves.of(drawn.result({"variants": variants}))
    assert figure is not None
    assert (figure.lines.values, figure.at) == (("linear", "dot"), (1, 3, 8))
    assert np.isnan(figure.mean).tolist() == [[False, False, True], [True, False, False]]
    assert 0 not in figure.best[1:]


def test_what_was_not_decided_has_no_gain(drawn: Lab) -> None:
    peeking = {
        "retrieve.rerank": None,
        "train.keep": "best",
        "ablate": {
            "train.select_on": ["val", "test"],
            "encoder.gain": [1.0, 0.3],
            "retrieve.first_stage": ["dot", "linear"],
        },
        "hypotheses": {"wins": {"better": {"retrieve.first_stage": "linear"}, "than": {"retrieve.first_stage": "dot"}}},
    }
    (figure,) = gain_maps(drawn.result(peeking)).values()
    assert figure.rows.values == ("val", "test")
    for array in (figure.gain, figure.low, figure.high):
        assert np.isnan(array).tolist() == [[False, False], [True, True]]
    assert not figure.clear[1].any()
    draw(drawn, drawn.folder / "peeking.svg", peeking)
    assert shown(drawn.folder / "peeking.svg").count("not decided") == 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"brief": 1.0}, "brief"),
        ({"brief": 0.5, "dominant": 0.5}, "½ brief, ½ dominant"),
        ({"brief": 0.05, "dominant": 0.95}, "0.05 brief, 0.95 dominant"),
        ({"name": "tib", "temperature": 0.1}, "tib(temperature:0.1)"),
        (0.3, "0.3"),
        (None, "none"),
        ({}, "none"),
    ],
)
def test_values_are_said_in_words(value: Any, expected: str) -> None:
    assert words(value) == expected


# ------------------------------------------------------------------------------------------------ the file


def shown(file: Path) -> list[str]:
    """The texts of an SVG; each stands as a comment beside its outlines."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    root = ElementTree.parse(file, parser).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return [" ".join(str(node.text).split()) for node in root.iter() if node.tag is ElementTree.Comment]


def test_the_figure_says_question_data_sizes_what_is_trained_and_every_gain(drawn: Lab, tmp_path: Path) -> None:
    out = tmp_path / "docs" / "figure.svg"
    draw(drawn, out, grids(drawn.folder), HEADER)
    texts = shown(out)
    together = " ".join(texts)
    for said in (
        "Does training help?",
        "What `write_videos` wrote.",
        "Test split: n = 24 to 30 videos, 48 to 60 texts at each setting.",
        "Trained: model; seeds: 2.",
        "dot = toy_dot; linear = toy_linear",
        "gain in t2v/R1, points",
        "gain in t2v/MnR, ranks",
    ):
        assert said in together
    assert "It should" not in together
    for claim in findings(drawn.plan(grids(drawn.folder))).decisions:
        found = claim.verdict.evidence.comparison
        assert found is not None
        if claim.hypothesis.name != "alone":
            assert f"{found.gain[0]:+.1f}" in texts
            assert f"{found.gain[1]:+.1f} to {found.gain[2]:+.1f}" in texts


def test_the_same_store_gives_the_same_bytes_and_nothing_is_computed(drawn: Lab, tmp_path: Path) -> None:
    before = sorted(drawn.store.rglob("*"))
    COUNTS.clear()
    files = [tmp_path / name / "figure.svg" for name in "ab"]
    for file in files:
        draw(drawn, file, grids(drawn.folder))
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not COUNTS
    assert sorted(drawn.store.rglob("*")) == before
    assert [file.name for file in files[0].parent.iterdir()] == [files[0].name]


def test_a_png_is_a_picture_large_enough_for_a_page(drawn: Lab, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.png" for name in "ab"]
    depth = {"ablate": {"retrieve.rerank.top_k": [1, 3]}}
    drawn.run(depth)
    for file in files:
        draw(drawn, file, depth)
    assert files[0].read_bytes() == files[1].read_bytes()
    with Image.open(files[0]) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width > 0.75 * 900


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_a_disk_that_takes_no_more_of_a_figure_is_told_as_that(
    lines: tuple[Result, Curves], tmp_path: Path, suffix: str
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_figure("", [lines[1]], [], tmp_path / f"figure{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / f"figure{suffix}").exists()


def test_the_question_ends_at_its_mark_and_may_go_over_lines(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("# Question: which of them,\n#           and why? More.\n# Time:     a minute?\n")
    assert question(str(file)) == "Which of them, and why?"
    file.write_text("# Question: none here\n# Time:     a minute?\nname: one\n")
    assert question(str(file)) is None
    assert question("package:file.yaml") is None


# ------------------------------------------------------------------------------------------------ faults


def test_missing_results_are_told_with_the_command_that_computes_them(
    drawn: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figure.svg"
    assert command(drawn, out, {**grids(drawn.folder), "seeds": [0, 1, 2]}) == 1
    file = drawn.folder / "figure.yaml"
    assert f"compute them by: python -m core.run {file} --store {drawn.store}\n" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_experiment_without_a_figure_is_told_what_one_needs(drawn: Lab, tmp_path: Path) -> None:
    plain = {"ablate": {"retrieve.rerank.top_k": [3]}}
    drawn.run(plain)
    with pytest.raises(UserError, match=r"a hypothesis that leaves two axes open.*retrieve\.rerank\.top_k"):
        draw(drawn, tmp_path / "figure.svg", plain)
    assert not list(tmp_path.iterdir())


def test_the_sheet_lies_where_the_file_says_and_one_that_cannot_be_drawn_is_told_at_the_end(
    wide: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    depth, out = {"ablate": {"retrieve.rerank.top_k": [1, 3]}}, tmp_path / "docs" / "figure.svg"
    wide.run(depth)
    assert command(wide, out, depth) == 0
    assert f"Figure: {out}\n" in capsys.readouterr().out
    assert "t2v/R1" in " ".join(shown(out))
    plain = {"ablate": {"retrieve.rerank.top_k": [3]}}
    assert command(wide, out.with_name("none.svg"), plain) == 1
    assert "error: output `figures` (retrieval-ablations): " in (told := capsys.readouterr().err)
    assert "none.svg: nothing to draw: it needs a hypothesis that leaves two axes open" in told
    assert (out.parent / "runs" / "lab" / "figures" / "drawn.json").is_file()


def test_a_suffix_that_is_not_written_is_refused_before_anything_runs(
    wide: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = f"outputs.figures.sheet={tmp_path / 'figure.jpeg'}"
    assert main([write(wide, {}), sheet, "--store", str(wide.store), "--runs", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr().err
    assert "command line: outputs.figures.sheet: expected a file that ends in .svg, .png or .pdf, got " in told
    assert not wide.entries("encode")
    assert not (tmp_path / "runs").exists()
