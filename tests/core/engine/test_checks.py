"""Faults of a composition, found before any data is touched."""

from __future__ import annotations

import pytest
import torch

from core.contract.store import Store
from core.engine.checks import composition_faults
from core.engine.steps.seeded import SeededVariant
from core.engine.steps.step import Workspace
from core.experiment.variants import read_variants
from tests.core.experiments import document

pytestmark = pytest.mark.usefixtures("toy_components")


@pytest.fixture
def faults(tmp_path):
    """{key: message} of BASE with changes."""

    def call(changes):
        (variant,) = read_variants(document(tmp_path, changes))
        workspace = Workspace(Store(tmp_path / "store"), torch.device("cpu"), 0)
        found = composition_faults(SeededVariant(workspace, variant.experiment, seed=0))
        assert not (tmp_path / "store" / "datasets").exists(), "data was touched"
        return {problem.key: problem.message for problem in found}

    return call


FUSED = {"name": "score_fusion", "weights": {"first_stage": 1}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"retrieve.first_stage": "frame"},
            "needs a first stage of one interaction that is a dot product (video), and",
        ),
        ({"retrieve.first_stage": {"video": 1.0, "frame": 1.0}}, "one interaction that is a dot product (video)"),
        ({"retrieve.rerank": None}, "finds candidates, and nothing re-ranks them"),
    ],
)
def test_an_index_needs_one_dot_product_and_someone_who_reads_its_candidates(faults, changes, message):
    base = {"retrieve.index": "faiss", "retrieve.rerank": FUSED}
    assert message in faults(base | changes)["retrieve.index"]


def test_an_index_that_is_not_installed_is_asked_for_before_anything_runs(faults, monkeypatch):
    changes = {"retrieve.index": "faiss", "retrieve.rerank": FUSED}
    assert faults(changes) == {}
    monkeypatch.setattr("core.engine.checks.is_installed", lambda: False)
    assert faults(changes) == {"retrieve.index": "FAISS is not installed: pip install 'retrieval-ablations[faiss]'"}


ATTENTION = {"model.interactions.attention": {"name": "toy_attention"}}


def test_a_sound_composition_has_no_fault(faults):
    assert faults({}) == {}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"retrieve.first_stage": "vidoe"}, "retrieve.first_stage"),
        ({"retrieve.first_stage": {"vidoe": 1.0, "frame": 1.0}}, "retrieve.first_stage"),
        ({"model.losses.contrast.of": ["vidoe"]}, "model.losses.contrast.of"),
        ({"retrieve.rerank.weights": {"vidoe": 1.0, "first_stage": 1.0}}, "retrieve.rerank"),
        ({"retrieve.settings": {"vidoe": {"temperature": 1.0}}}, "retrieve.settings"),
    ],
)
def test_an_unknown_interaction_is_answered_with_the_nearest_wherever_it_is_named(faults, changes, key):
    assert faults(changes) == {key: "no interaction named `vidoe` under model.interactions. Did you mean `video`?"}


@pytest.mark.parametrize("name", ["first_stage", "a/b", "a.b"])
def test_names_that_would_be_mistaken_for_something_else_are_refused(faults, name):
    interactions = {name: {"name": "tib"}, "video": {"name": "mean_pooling"}}
    changes = {"model.interactions": interactions, "model.losses": {}, "retrieve.rerank": None}
    ((key, message),) = faults(changes).items()
    assert key.startswith("model.interactions")
    assert name in key
    assert "is reserved or holds a" in message


def test_an_unknown_sampler_is_answered_with_those_there_are(faults):
    found = faults({"data.sampler": "unifrom"})
    assert found == {"data.sampler": "there is no sampler `unifrom`. Did you mean `uniform`?"}


def test_training_draws_no_more_frames_than_were_decoded(faults):
    found = faults({"data.num_frames": 4, "train.num_frames": 5})
    assert found == {"train.num_frames": "5 frames cannot be drawn from data.num_frames: 4"}


@pytest.mark.parametrize("name", ["R0", "recall1", "NDCG10"])
def test_an_unknown_metric_is_refused(faults, name):
    found = faults({"evaluate": {"metrics": ["R1", name]}})
    assert found["evaluate.metrics"].startswith(f"unknown metric `{name}`.")


def test_metrics_are_named_without_a_direction(faults):
    found = faults({"evaluate": {"metrics": ["t2v/R1"]}})
    assert found == {"evaluate.metrics": "`t2v/R1`: name a metric without a direction; `directions` gives those"}


@pytest.mark.parametrize("primary", ["R1", "t2v", "t2v/", "t2v/R0", "v2v/R1", "t2v/t2v/R1"])
def test_the_primary_metric_has_direction_and_name(faults, primary):
    found = faults({"evaluate": {"primary": primary}})
    assert found == {"evaluate.primary": f"expected t2v/<metric> or v2t/<metric>, got `{primary}`"}


# ------------------------------------------------------------------------------------------------ after training


def settings(**fields):
    return {"retrieve.settings": {"frame": fields}}


def test_a_declared_field_may_change_after_training(faults):
    assert faults(settings(temperature=0.5)) == {}


def test_another_field_may_not_and_those_that_may_are_named(faults):
    assert faults(settings(level="patches")) == {
        "retrieve.settings.frame.level": "cannot change after training; `tib` allows: temperature"
    }


def test_a_component_without_such_fields_says_none(faults):
    found = faults({"retrieve.settings": {"video": {"level": "patches"}}})
    assert found == {"retrieve.settings.video.level": "cannot change after training; `mean_pooling` allows: none"}


def test_values_after_training_are_checked_as_those_before(faults):
    assert faults(settings(temperature=0)) == {"retrieve.settings.frame.temperature": "must be more than 0, got 0.0"}
    assert faults(settings(temperatur=1)) == {
        "retrieve.settings.frame.temperatur": "unknown key. Did you mean `temperature`?"
    }


# ------------------------------------------------------------------------------------------------ levels and tensors


def test_a_level_that_nobody_writes_is_named_with_its_side_and_the_nearest(faults):
    found = faults({"model.interactions.frame.level": "temporl"})
    assert found["model.interactions.frame"].startswith(
        "reads the video level `temporl`, which nothing before it writes."
    )
    found = faults({"model.interactions.frame.text_level": "sentense"})
    message = "reads the text level `sentense`, which nothing before it writes. Did you mean `sentence`?"
    assert found == {"model.interactions.frame": message}


def test_a_transform_writes_for_those_that_come_after_it(faults):
    one = {"name": "temporal_transformer", "into": "one"}
    two = {"name": "temporal_transformer", "level": "one", "into": "two"}
    interaction = {"model.interactions.frame.level": "two"}
    assert faults({"model.transforms": {"a": one, "b": two}, **interaction}) == {}
    assert list(faults({"model.transforms": {"b": two, "a": one}, **interaction})) == ["model.transforms.b"]


def test_levels_of_a_further_encoder_bear_its_name(faults):
    encoders = {"main": {"name": "toy_encoder"}, "large": {"name": "toy_encoder", "model": "large"}}
    assert faults({"encoder": encoders, "model.interactions.patch.level": "large.patches"}) == {}
    assert "model.interactions.patch" in faults({"encoder": encoders, "model.interactions.patch.level": "main.patches"})


def test_a_reranker_reads_levels_too(faults):
    found = faults({"retrieve.rerank": {"name": "toy_reranker", "level": "regions"}})
    assert found["retrieve.rerank"].startswith("reads the video level `regions`, which nothing before it writes.")


def test_a_loss_without_its_auxiliary_tensors_names_tensor_and_interaction(faults):
    found = faults({"model.losses.queue": {"name": "toy_loss", "of": "frame"}})
    assert found == {
        "model.losses.queue.of": "`toy_loss` needs queue, which interaction `frame` (tib) does not provide; "
        "name another interaction or remove the loss"
    }
    found = faults({**ATTENTION, "model.losses.pearson": {"name": "pearson", "of": ["frame", "attention"]}})
    assert found["model.losses.pearson.of"].startswith(
        "`pearson` needs text_vector, video_vector, which interaction `att"
    )


def test_a_component_that_refuses_the_shapes_it_would_read_is_named(faults):
    found = faults({"model.interactions.attention": {"name": "toy_attention", "width": 9}})
    assert found == {"model.interactions.attention": "`width` is 9, but `frames` have 8"}
    found = faults({"model.interactions.frame.gate": "patches"})
    assert found["model.interactions.frame"].startswith("`gate` must have one token for each token of `level`")


# ------------------------------------------------------------------------------------------------ training


def test_parameters_that_retrieval_uses_and_no_loss_trains_are_refused(faults):
    untrained = "has parameters, is used in retrieval, and no loss trains it"
    assert faults({**ATTENTION, "retrieve.first_stage": "attention"}) == {"model.interactions.attention": untrained}
    assert faults({**ATTENTION, "retrieve.rerank.weights": {"attention": 1.0}}) == {
        "model.interactions.attention": untrained
    }
    transform = {"name": "temporal_transformer", "into": "temporal", "heads": 2}
    assert faults({"model.transforms.t": transform, "model.interactions.patch.level": "temporal",
                   "retrieve.first_stage": "patch"}) == {"model.transforms.t": untrained}  # fmt: skip


def test_parameters_that_a_loss_trains_or_nobody_uses_are_no_fault(faults):
    assert faults(ATTENTION) == {}
    trained = {**ATTENTION, "retrieve.first_stage": "attention", "model.losses.contrast.of": ["attention"]}
    assert faults(trained) == {}


def test_a_reranker_with_parameters_that_nothing_trains_is_refused(faults):
    found = faults({"retrieve.rerank": {"name": "toy_reranker"}})
    reason = "`toy_reranker` has parameters that nothing trains; its class must derive from core.TrainedReranker"
    assert found == {"retrieve.rerank": reason}


def test_a_trainable_encoder_needs_a_loss(faults):
    assert faults({"encoder.trainable": True}) == {}
    assert faults({"encoder.trainable": True, "model.losses": {}}) == {
        "encoder.trainable": "is true, but no loss names an interaction"
    }


def test_only_the_first_encoder_can_be_trained(faults):
    encoders = {"main": {"name": "toy_encoder"}, "large": {"name": "toy_encoder", "trainable": True}}
    assert faults({"encoder": encoders}) == {"encoder": "only the first of several encoders can be trained"}


def test_faults_of_names_and_fields_are_reported_together(faults):
    found = faults(
        {"retrieve.first_stage": "x", "data.sampler": "x", "evaluate": {"primary": "x"}, **settings(level="y")}
    )
    assert set(found) == {"retrieve.first_stage", "data.sampler", "evaluate.primary", "retrieve.settings.frame.level"}
