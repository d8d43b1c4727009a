"""What the README shows works as shown."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import torch
import yaml

import core
from core.experiment.config import read_document
from core.experiment.hypotheses import read_hypotheses
from core.experiment.variants import read_variants
from core.plugins import registry
from core.testing import check_component

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def block(language: str, containing: str) -> str:
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.S) if containing in text]
    assert len(found) == 1
    return found[0]


def test_the_plugin_of_the_readme_is_found_and_scores() -> None:
    module = type("plugin", (), {})()
    exec(block("python", "FirstFrame"), module.__dict__)
    registry().add_plugin(module, "readme")
    try:
        interaction = core.create("interaction", "first_frame", {})
        text, video = core.TextFeatures(sentence=torch.eye(3)), core.VideoFeatures(frames=torch.eye(3)[:, None])
        assert torch.equal(core.score(interaction, text, video), torch.eye(3))
        check_component(module.FirstFrame)
    finally:
        registry().remove_plugin(module)


def test_the_experiment_of_the_readme_describes_what_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    values = yaml.safe_load(block("yaml", "my_ablation"))
    values["extends"] = str(ROOT / "experiments" / values["extends"])
    file = tmp_path / "my_ablation.yaml"
    file.write_text(yaml.safe_dump(values))
    document = read_document(str(file))
    variants = read_variants(document)
    assert len(variants) == 2 * 2 + 1
    assert len(read_hypotheses(document, variants)) == 2


@pytest.mark.parametrize("file", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_experiment_opens_with_what_a_reader_needs_and_is_understood(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    if file.stem != "base":
        for word in ("# Question:", "# Command:", "# Time:", "# Expect:"):
            assert word in file.read_text()
        assert f"experiments/{file.name}" in file.read_text()
    document = read_document(str(file))
    variants = read_variants(document)
    read_hypotheses(document, variants)
    baselines = [variant for variant in variants if variant.is_baseline]
    assert baselines
    assert not any(a.scores_the_data_of(b) for a, b in itertools.combinations(baselines, 2))
