"""The CrossTVR recipe says what was meant."""

from __future__ import annotations

from pathlib import Path

from core.experiment.config import read_document
from core.experiment.hypotheses import read_hypotheses
from core.experiment.variants import read_variants
from core.plugins import registry

FILE = Path(__file__).parents[2] / "experiments" / "papers" / "crosstvr.yaml"


def test_each_variant_changes_what_its_name_says() -> None:
    document = read_document(str(FILE))
    found = read_variants(document)
    rerankers = {variant.name: variant.experiment.retrieve.rerank for variant in found}
    assert next(variant.name for variant in found if variant.is_baseline) == "one stage"
    assert rerankers["one stage"] is None
    assert rerankers["vedje"].name == "vedje"
    whole = rerankers["crosstvr"].fields
    assert (whole.levels, whole.share, whole.top_k, whole.alpha) == ("both", True, 15, None)
    assert (rerankers["frame level"].fields.levels, rerankers["video level"].fields.levels) == ("frame", "video")
    paper = rerankers["trained as in the paper"].fields.train
    assert (paper.negatives_from, [spec.name for spec in paper.losses.values()]) == ("first_stage", ["matching"])
    assert rerankers["vedje"].fields.train == whole.train
    assert [hypothesis.name for hypothesis in read_hypotheses(document, found)] == [
        "reranking_helps",
        "two_levels_beat_the_video_level",
        "a_joint_transformer_helps_too",
    ]


def test_four_tokens_a_frame_are_read_the_class_token_among_them() -> None:
    (rerank,) = {
        variant.name: variant.experiment.retrieve.rerank
        for variant in read_variants(read_document(str(FILE)))
        if variant.name == "crosstvr"
    }.values()
    fields = rerank.fields
    assert fields.video_selector.fields.keep + (fields.class_level is not None) == 4
    assert registry().component("reranker", rerank).reads(fields).video == ("patches", "frames")
