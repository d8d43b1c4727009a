"""The recipes of GLSCL say what its paper and its released program do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.contract.settings import plain
from core.contract.store import Store
from core.engine.checks import composition_faults
from core.engine.steps.seeded import SeededVariant
from core.engine.steps.step import Workspace
from core.experiment.config import DESIGN, PROSE, Experiment, read_document
from core.experiment.hypotheses import read_hypotheses
from core.experiment.variants import read_variants

PAPERS = Path(__file__).parents[2] / "experiments" / "papers"


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PAPERS.parents[1])


def variants_of(file: str) -> dict[str, Experiment]:
    """Experiments of a file's variants by name; `as written` beside, where the file's own configuration is one."""
    found = read_variants(read_document(str(PAPERS / file)))
    return {name: variant.experiment for variant in found for name in (variant.name, *variant.aliases)}


def fields(experiment: Experiment, kind: str, name: str) -> dict[str, Any]:
    return getattr(experiment.model, kind)[name].resolved()


def differences(one: Any, other: Any, key: str = "") -> dict[str, tuple[Any, Any]]:
    """{full key: (value, value)} where two configurations differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for name in {**one, **other}:
            found |= differences(one.get(name), other.get(name), f"{key}.{name}" if key else name)
        return found
    return {} if one == other else {key: (one, other)}


@pytest.mark.parametrize("file", ["glscl.yaml", "glscl_released.yaml", "glscl_ablations.yaml"])
def test_every_variant_is_a_composition_without_fault(file: str, tmp_path: Path) -> None:
    workspace = Workspace(Store(tmp_path / "store"), torch.device("cpu"), 0)
    for name, experiment in variants_of(file).items():
        assert composition_faults(SeededVariant(workspace, experiment, seed=0)) == [], name


@pytest.mark.parametrize("file", ["glscl.yaml", "glscl_released.yaml", "glscl_ablations.yaml"])
def test_each_opens_with_what_a_reader_needs(file: str) -> None:
    text = (PAPERS / file).read_text()
    for word in ("# Question:", f"# Command:  python -m core.run experiments/papers/{file}\n", "# Time:", "# Expect:"):
        assert word in text


def test_the_paper_is_a_text_gated_block_and_shared_queries_with_two_losses_beside_the_contrast() -> None:
    glscl = variants_of("glscl.yaml")["GLSCL"]
    gate, queries = fields(glscl, "interactions", "global"), fields(glscl, "interactions", "local")
    assert (gate["name"], gate["unit_vectors"], gate["level"], gate["gate_by"]) == ("tib", False, "temporal", "query")
    wanted = {"name": "learnable_queries", "level": "temporal", "text_level": "words", "queries": 8, "layers": 3}
    wanted |= {"heads": None, "expansion": 4, "dropout": 0.1, "share": True, "ignore_mask": False}
    assert queries == wanted
    contrast, icl, idl = (fields(glscl, "losses", name) for name in ("contrast", "icl", "idl"))
    assert list(glscl.model.losses) == ["contrast", "icl", "idl"]
    assert (contrast["of"], contrast["relevance"]) == ({"global": 1, "local": 0.5}, "sets")
    assert (icl["of"], icl["target"], icl["beta"], icl["normaliser"]) == ({"local": 1}, 0.75, 0.005, "batch")
    assert (idl["of"], idl["margin"], idl["weight"], idl["sides"]) == ({"local": 1}, 0.1, 1e-4, "both")
    assert glscl.retrieve.first_stage == {"global": 1, "local": 0.5}
    assert glscl.retrieve.rerank is None
    assert (glscl.train.batch_size, glscl.train.epochs, glscl.train.select_on) == (128, 5, "val")


def test_variants_of_the_paper_rank_by_what_they_train() -> None:
    variants = variants_of("glscl.yaml")
    for name, trained in (("mean pooling", {"mean": 1}), ("global alone", {"global": 1})):
        experiment = variants[name]
        assert list(experiment.model.losses) == ["contrast"]
        assert fields(experiment, "losses", "contrast")["of"] == experiment.retrieve.first_stage == trained


def test_in_two_stages_the_local_score_chooses_and_the_whole_score_ranks() -> None:
    variants = variants_of("glscl.yaml")
    one, two = variants["GLSCL"], variants["GLSCL in two stages"]
    assert two.retrieve.first_stage == {"local": 1}
    assert two.retrieve.rerank is not None
    assert two.retrieve.rerank.resolved() == {"name": "score_fusion", "top_k": 50, "weights": one.retrieve.first_stage}
    assert (two.model, two.train) == (one.model, one.train)


def test_the_claims_of_the_paper_are_put() -> None:
    document = read_document(str(PAPERS / "glscl.yaml"))
    claims = {claim.name for claim in read_hypotheses(document, read_variants(document))}
    assert claims == {"glscl_helps", "queries_add", "two_stages_suffice"}


DEPARTURES = {
    "encoder..pad_token": (None, 0),
    "model.interactions.local.ignore_mask": (False, True),
    "model.losses.contrast.relevance": ("sets", "diagonal"),
    "model.losses.icl.normaliser": ("batch", "queries"),
    "model.losses.idl.sides": ("both", "video"),
    "train.select_on": ("val", "test"),
}


def test_the_released_program_departs_from_the_paper_in_what_is_known_of_it_and_in_nothing_else() -> None:
    paper = plain(variants_of("glscl.yaml")["GLSCL"])
    released = plain(variants_of("glscl_released.yaml")["as released"])
    found = {key: two for key, two in differences(paper, released).items() if key.split(".")[0] not in DESIGN + PROSE}
    assert found == DEPARTURES


def test_every_departure_but_the_pad_token_is_undone_by_itself_once_selection_on_test_is() -> None:
    variants = read_variants(read_document(str(PAPERS / "glscl_released.yaml")))
    released, fair, *further = [plain(variant.experiment) for variant in variants]
    assert [variant.name for variant in variants if variant.is_baseline] == [variants[1].name]
    undone = [differences(fair, experiment) for experiment in further]
    assert all(len(found) == 1 for found in undone)
    seen = {key: two[::-1] for found in [differences(released, fair), *undone] for key, two in found.items()}
    assert seen == {key: two for key, two in DEPARTURES.items() if key != "encoder..pad_token"}


def test_the_ablations_go_to_both_sides_of_the_published_setting() -> None:
    document = read_document(str(PAPERS / "glscl_ablations.yaml"))
    variants = variants_of("glscl_ablations.yaml")
    published = plain(variants["as written"])
    seen: dict[str, set[float]] = {}
    for experiment in variants.values():
        for key, (_, value) in differences(published, plain(experiment)).items():
            seen.setdefault(key, set()).add(value)
    at = "model.losses.contrast.of.local"
    assert seen.pop("retrieve.first_stage.local") == seen[at] == {0, 1}  # xi ranks as it trains
    assert seen.keys() == document.values["one_at_a_time"].keys()
    for key, values in seen.items():
        own = published
        for part in key.split("."):
            own = own[part]
        assert min(values) < own
        assert max(values) > own or key.endswith("layers")
