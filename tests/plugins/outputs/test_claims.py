"""The page of claims: every figure is the store's, what was not run is missing, the same store gives the same page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.contract.store import Store
from core.engine.execute import execute
from core.engine.plan import Plan, add_trials, read_plan
from core.engine.steps.step import Workspace
from core.evidence.findings import Result
from core.run import main
from tests.engine import COUNTS, Lab, ToyVideos, plan_of, write_videos

CLAIM = {
    "text": "Re-ranking\nhelps.",
    "source": "Toy paper, Table 1",
    "reported": "+5.0 R@1 on toys",
    "fairness": "same seeds",
}
CHANGES: dict[str, Any] = {
    "claim": CLAIM,
    "ablate": {"retrieve.rerank.top_k": [2, 3]},
    "baseline": {"retrieve.rerank": None},
    "seeds": [0, 1],
    "hypotheses": {
        "helps": {"better": {"retrieve.rerank.top_k": 2}, "than": "baseline"},
        "harmless": {"no_worse": {"retrieve.rerank.top_k": 3}, "than": {"retrieve.rerank.top_k": 2}, "margin": 100},
    },
}


@pytest.fixture
def wide(toys: None, tmp_path: Path) -> Lab:
    """Enough videos for differences to be tested."""
    return Lab(tmp_path, {"train": 6, "val": 4, "test": 24})


def add(lab: Lab, name: str, changes: Mapping[str, Any]) -> Path:
    """The experiment file in the folder of claims."""
    file = lab.folder / "claims" / f"{name}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(lab.write({"name": name, **changes}).read_text())
    return file


def run(lab: Lab, name: str, changes: Mapping[str, Any]) -> Result:
    add(lab, name, changes)
    return lab.result({"name": name, **changes})


def page_of(lab: Lab) -> Path:
    return lab.folder / "docs" / "claims.md"


def command(lab: Lab, *files: Path) -> int:
    """The command that writes the page again from the store."""
    places = ["--store", str(lab.store), "--runs", str(lab.folder / "runs"), f"outputs.claims.page={page_of(lab)}"]
    return main([*map(str, files), *places, "--stored", "--only", "claims"])


def written(lab: Lab) -> str:
    """The page with all experiments of the folder of claims."""
    for file in sorted((lab.folder / "claims").glob("*.yaml"), reverse=True):
        assert command(lab, file) == 0
    return page_of(lab).read_text()


def section(text: str, name: str) -> str:
    return text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def cells(text: str, beginning: str) -> list[str]:
    """The cells of the one table row that begins like this."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {beginning}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def per_query(plan: Plan, variant: str) -> np.ndarray:
    """[seeds, queries] of t2v/R1, read from the store without findings."""
    store = plan.workspace.store
    trials = [trial for trial in plan.trials if trial.variant.name == variant]
    return np.stack([store.read("evaluate", trial.last.key).tensors()["t2v/R1"].numpy() for trial in trials])


def test_a_claim_stands_beside_what_the_store_holds(wide: Lab) -> None:
    result = run(wide, "toy", CHANGES)
    text = written(wide)
    told = section(text, "toy")
    for words in ("Claim: Re-ranking helps.", "Source: Toy paper, Table 1", "Fairness: same seeds"):
        assert f"- {words}" in told
    assert f"`python -m core.run {wide.folder / 'claims' / 'toy.yaml'}`" in told
    reranked, alone = per_query(plan_of(result), "top_k=2"), per_query(plan_of(result), "rerank=none")
    row = cells(told, "top_k=2")
    assert row[1] == f"{reranked.mean():.1f} ± {reranked.mean(1).std(ddof=1):.1f}"
    assert row[2:4] == ["2", f"{(reranked - alone).mean():+.2f}"]
    assert cells(told, "rerank=none")[1:4] == [f"{alone.mean():.1f}", "none", "baseline"]
    low, high = (float(bound) for bound in row[4].split(" to "))
    assert low < (reranked - alone).mean() < high


def test_each_hypothesis_has_its_interval_verdict_and_ground_in_table_and_section(wide: Lab) -> None:
    result = run(wide, "toy", CHANGES)
    text = written(wide)
    overview = text.partition("\n## ")[0]
    gains = {
        "helps": (per_query(plan_of(result), "top_k=2") - per_query(plan_of(result), "rerank=none")).mean(),
        "harmless": (per_query(plan_of(result), "top_k=3") - per_query(plan_of(result), "top_k=2")).mean(),
    }
    first = cells(overview, "[toy](#toy): Re-ranking helps.")
    assert first[1] == "+5.0 R@1 on toys"
    assert first[2].startswith(f"helps: {gains['helps']:+.2f} (")
    second = cells(overview, " |")
    assert second[2].startswith(f"harmless: {gains['harmless']:+.2f} (")
    for claim, row in zip(result.decisions, (first, second), strict=True):
        assert row[3] == claim.verdict.verdict
        (line,) = [line for line in text.splitlines() if f": {claim.hypothesis.name}: " in line and "n = " in line]
        assert line.startswith(f"- {claim.verdict.verdict.upper()}: ")
        assert "corrected p" in line
        assert "n = 24 videos, 48 queries; seeds: 2; trials scored on this split: 5" in line


def test_a_claim_without_results_is_not_on_the_page_and_its_command_is_told(
    wide: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    run(wide, "done", CHANGES)
    before = written(wide)
    later = add(wide, "later", CHANGES | {"train.epochs": 3})
    entries = {entry.folder for entry in Store(wide.store).entries()}
    COUNTS.clear()
    assert command(wide, later) == 1
    told = capsys.readouterr().err
    assert "trials are missing" in told
    assert f"compute them by: python -m core.run {later} --store {wide.store}\n" in told
    assert page_of(wide).read_text() == before
    assert not COUNTS
    assert {entry.folder for entry in Store(wide.store).entries()} == entries


def test_results_of_some_trials_are_not_results(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    run(wide, "toy", CHANGES | {"seeds": [0]})
    assert command(wide, add(wide, "toy", CHANGES)) == 1
    assert "2 of its 5 trials are missing (top_k=2 · seed 1, …)" in capsys.readouterr().err
    assert not page_of(wide).exists()


def test_a_data_set_that_is_not_made_is_not_made_for_the_page(
    wide: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = add(wide, "toy", CHANGES)
    monkeypatch.setattr(ToyVideos, "ready", lambda self, folder: False)
    monkeypatch.setattr(ToyVideos, "prepare", lambda self, folder: pytest.fail("made"))
    assert command(wide, file) == 1
    assert "its data set is not there; compute them by: " in capsys.readouterr().err


def test_the_same_store_gives_the_same_bytes_in_the_order_of_the_names_whichever_was_written_last(wide: Lab) -> None:
    run(wide, "b", CHANGES)
    run(wide, "a", CHANGES | {"seeds": [0, 1, 2]})
    first = written(wide)
    assert command(wide, wide.folder / "claims" / "b.yaml") == 0
    assert page_of(wide).read_text() == first
    assert re.findall(r"^## (.*)$", first, re.M) == ["a", "b"]


def test_without_a_place_of_its_own_the_page_lies_among_the_reports(wide: Lab) -> None:
    run(wide, "toy", CHANGES)
    text, runs = written(wide), wide.folder / "runs"
    file = str(wide.folder / "claims" / "toy.yaml")
    places = ["--store", str(wide.store), "--runs", str(runs), "outputs.claims={}"]
    assert main([file, *places, "--stored", "--only", "claims"]) == 0
    assert (runs / "claims.md").read_text() == text


def test_the_page_says_what_made_it_and_on_which_data(wide: Lab) -> None:
    run(wide, "toy", CHANGES)
    text = written(wide)
    assert "Written by the output `claims` from stored results. Not to be edited" in text
    assert f"- data set `toy_videos(root:{wide.videos})`: What `write_videos` wrote.\n" in text
    assert "- encoder `toy_encoder`: 4-pixel frames, width 4\n" in text


def test_an_axis_left_open_is_shown_at_each_setting_with_its_own_data(wide: Lab) -> None:
    other = write_videos(wide.folder / "other", {"train": 6, "val": 4, "test": 20}, seed=1)
    changes = {
        "claim": CLAIM,
        "ablate": {"data.dataset.root": [str(wide.videos), str(other)], "retrieve.first_stage": ["dot", "linear"]},
        "retrieve.rerank": None,
        "baseline": {"data.dataset.root": str(wide.videos), "retrieve.first_stage": "dot"},
        "hypotheses": {"wins": {"better": {"retrieve.first_stage": "linear"}, "than": {"retrieve.first_stage": "dot"}}},
    }
    run(wide, "toy", changes)
    text = written(wide)
    told = section(text, "toy")
    for root, videos in ((wide.videos, 24), (other, 20)):
        assert f"- data set `toy_videos(root:{root})`" in text
        (line,) = [line for line in told.splitlines() if f": wins [root={root}]: " in line]
        assert f"n = {videos} videos, {2 * videos} queries; seeds: 1" in line
        assert f"| wins [root={root}]: " in text
    assert cells(told, f"root={other} first_stage=dot")[3] == "other queries: not compared"


def test_what_was_claimed_late_or_withdrawn_or_selected_on_test_is_marked(wide: Lab) -> None:
    run(wide, "toy", CHANGES)
    late = {"late": {"better": {"retrieve.rerank.top_k": 3}, "than": "baseline"}}
    run(wide, "toy", CHANGES | {"hypotheses": late})
    text = written(wide)
    assert cells(text.partition("\n## ")[0], "[toy]")[3].endswith(" (post hoc)")
    assert "[post hoc: " in section(text, "toy")
    assert "- Withdrawn after it was registered: helps: top_k=2 is better than rerank=none on t2v/R1" in text
    run(wide, "toy", CHANGES | {"train.keep": "best", "train.select_on": "test"})
    text = written(wide)
    assert cells(section(text, "toy"), "top_k=2")[3] == "selected on test: not compared"
    why = "the weights of top_k=2 were selected on test (train.select_on: test), those of rerank=none were not"
    assert cells(text.partition("\n## ")[0], "[toy]")[2:] == [f"helps: {why}", "not decided"]
    assert f"- NOT DECIDED: helps: top_k=2 is better than rerank=none on t2v/R1 ({why})" in text


def test_a_claim_without_hypotheses_has_no_verdict(wide: Lab) -> None:
    run(wide, "toy", CHANGES | {"hypotheses": {}})
    assert cells(written(wide).partition("\n## ")[0], "[toy]")[2:] == ["", "no hypothesis"]


def test_results_of_a_gpu_are_found_and_their_command_says_so(wide: Lab) -> None:
    file = str(add(wide, "toy", CHANGES))
    plan = read_plan(file, [], Workspace(Store(wide.store), torch.device("cuda"), 0))
    add_trials(plan)
    plan.workspace.device = torch.device("cpu")
    execute(plan, lambda trial: None)
    assert f"{file} --device cuda`" in section(written(wide), "toy")


def test_the_faults_of_all_files_are_told(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    broken = add(wide, "broken", CHANGES | {"train.epoch": 3})
    silent = add(wide, "silent", CHANGES | {"claim": {"text": "No source."}})
    assert command(wide, broken, silent) == 2
    told = capsys.readouterr().err
    assert f"{broken}: train.epoch: unknown key" in told
    assert f"{silent}: claim.source: is needed and missing" in told


def test_an_experiment_without_a_claim_is_said_not_to_be_on_the_page(
    wide: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    run(wide, "nothing", {"seeds": [0]})
    assert command(wide, wide.folder / "claims" / "nothing.yaml") == 0
    assert capsys.readouterr().out == "nothing is not on the page of claims: its file states no `claim`\n"
    assert not page_of(wide).exists()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"name": "toy"}'])
def test_a_damaged_part_of_another_experiment_is_named_and_leaves_the_page_as_it_was(
    wide: Lab, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    run(wide, "toy", CHANGES)
    before = written(wide)
    part = wide.folder / "runs" / "other" / "claim.json"
    part.parent.mkdir(parents=True)
    part.write_text(damage)
    assert command(wide, wide.folder / "claims" / "toy.yaml") == 1
    assert f"{part}: is no part of the page of claims" in capsys.readouterr().err
    assert page_of(wide).read_text() == before
