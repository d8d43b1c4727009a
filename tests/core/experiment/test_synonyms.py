"""A key that other programs call otherwise, or keep elsewhere, is told by the name that it has here."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from core import ConfigError, create
from core.contract.settings import keys_below
from core.contract.synonyms import ABSENT, SYNONYMS
from core.experiment.config import Experiment
from core.experiment.hypotheses import KINDS
from core.experiment.variants import read_variants
from core.plugins import registry
from core.run import _parser

from ..experiments import document, problems_of

SCHEMA = set(keys_below(Experiment))
COMPONENTS = {
    "data.dataset": "dataset",
    "encoder": "encoder",
    "model.interactions.<name>": "interaction",
    "model.losses.<name>": "loss",
    "model.transforms.<name>": "feature_transform",
    "retrieve.rerank": "reranker",
}
"""Keys below which the fields of a component stand."""


def exists(key: str) -> bool:
    """Whether an experiment file may have a key: the schema, a claim, an output or a component of the kind has it."""
    above, _, last = key.rpartition(".")
    if key in SCHEMA:
        return True
    if above == "hypotheses.<name>":
        return last in {bound for _, bound, _ in KINDS.values()}
    if above == "outputs":
        return ("output", last) in registry().found
    kind = COMPONENTS[above]
    classes = [item.component for (of_kind, _), item in registry().found.items() if of_kind == kind]
    return last == "name" or any(last in {field.name for field in fields(cls.Config)} for cls in classes)


@pytest.mark.parametrize("target", sorted({target for targets in SYNONYMS.values() for target in targets}))
def test_every_key_that_a_synonym_is_answered_with_exists(target):
    assert exists(target)


@pytest.mark.parametrize("sentence", sorted(set(ABSENT.values())))
def test_every_key_and_option_that_is_named_where_there_is_no_key_exists(sentence):
    quoted = re.findall(r"`([^`]+)`", sentence)
    options = {option for action in _parser()._actions for option in action.option_strings}
    assert quoted
    assert all(word in options if word.startswith("--") else exists(word) for word in quoted)


def test_no_synonym_is_a_key_of_the_place_that_it_is_told_at():
    assert not (SYNONYMS.keys() | ABSENT.keys()) & {key for key in SCHEMA if "." in key}


@pytest.fixture
def faults(tmp_path, toy_components):
    """{key: message} of the base file with changes."""
    return lambda changes: problems_of(lambda: read_variants(document(tmp_path, changes)))


def told(faults, key: str, value: object = 1) -> str:
    (message,) = faults({key: value}).values()
    return message


@pytest.mark.parametrize(
    ("key", "here"),
    [
        ("lr", "train.learning_rate"),
        ("train.lr", "train.learning_rate"),
        ("train.Learning-Rate", "train.learning_rate"),
        ("epoch", "train.epochs"),
        ("bs", "train.batch_size"),
        ("train.batchsize", "train.batch_size"),
        ("frames", "data.num_frames"),
        ("data.n_frames", "data.num_frames"),
        ("train.max_frames", "train.num_frames"),
        ("data.dataset.n_frames", "data.num_frames"),
        ("dataset", "data.dataset"),
        ("metrics", "evaluate.metrics"),
        ("retrieve.metrics", "evaluate.metrics"),
        ("tau", "model.interactions.<name>.temperature"),
        ("model.interactions.frame.temp", "model.interactions.frame.temperature"),
        ("model.losses.contrast.lambda", "model.losses.contrast.weight"),
        ("retrieve.rerank.k", "retrieve.rerank.top_k"),
        ("ckpt", "encoder.model"),
        ("encoder.lr", "train.encoder_learning_rate"),
    ],
)
def test_a_synonym_is_answered_with_the_full_key_that_it_has_here(faults, key, here):
    assert told(faults, key) == f"unknown key; here it is `{here}`"


def test_a_key_at_the_top_is_said_to_be_there_and_two_that_may_be_meant_are_both_named(faults):
    assert told(faults, "train.seed") == "unknown key; here it is `seeds`, at the top"
    assert told(faults, "evaluate.margin").endswith("`hypotheses.<name>.margin` or `model.losses.<name>.margin`")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("train.scheduler", "`train.warmup` sets the warm-up's share"),
        ("train.warmup_steps", "share of all steps, `train.warmup`"),
        ("optimizer", "always AdamW"),
        ("model.name", "`model.interactions`"),
        ("encoder.pretrained", "`encoder.model`"),
        ("device", "the command has it: `--device`"),
    ],
)
def test_where_something_is_fixed_or_elsewhere_it_is_said_that_there_is_no_such_key(faults, key, words):
    message = told(faults, key)
    assert message.startswith("there is no such key; ")
    assert words in message


def test_a_synonym_of_a_field_that_the_component_lacks_is_answered_with_the_fields_that_it_has(faults):
    assert told(faults, "model.interactions.video.temp").startswith("unknown key. Known: ")
    assert told(faults, "model.losses.contrast.margin").startswith("unknown key. Known: of,")


def test_an_override_and_a_sweep_are_told_too(tmp_path, faults):
    with pytest.raises(ConfigError) as refused:
        read_variants(document(tmp_path, {}, ("train.lr=1e-3",)))
    assert str(refused.value) == "command line: train.lr: unknown key; here it is `train.learning_rate`"
    assert faults({"ablate": {"train.lr": [0.1]}}) == {
        "ablate[train.lr]": "unknown key; here it is `train.learning_rate`"
    }


def test_outside_of_a_file_only_fields_of_the_component_are_named():
    with pytest.raises(ConfigError, match=r"temp: unknown key; here it is `interaction tib\.temperature`"):
        create("interaction", "tib", temp=1)
    with pytest.raises(ConfigError, match=r"lr: unknown key\. Known: "):
        create("interaction", "tib", lr=1)
    with pytest.raises(ConfigError, match=r"device: unknown key\. Known: "):
        create("interaction", "tib", device="cuda")
