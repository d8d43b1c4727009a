"""tib: cosines with text-gated vectors, without forming them for every pair."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from torch.nn.functional import cosine_similarity, normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core import LevelShape, TextFeatures, Tokens, VideoFeatures
from plugins.interactions.mean_pooling import MeanPooling
from plugins.interactions.tib import TextGatedBlock
from plugins.layers import gating

WIDTH = 8
GRAM, SUM = 5, 11  # tokens a video, fewer and more than the width: both ways to the norm


def make(shapes=None, **fields):
    return TextGatedBlock(TextGatedBlock.Config(**fields), shapes or {})


def features(texts=4, videos=6, tokens=GRAM, width=WIDTH, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    frames = torch.randn(videos, tokens, width, generator=draw, dtype=dtype)
    before = torch.randn(videos, tokens, width, generator=draw, dtype=dtype)
    mask = torch.rand(videos, tokens, generator=draw) < 0.7
    mask[:, 0] = True
    sentence = torch.randn(texts, width, generator=draw, dtype=dtype)
    more = {"before": Tokens(before, mask)}
    return TextFeatures(sentence=sentence), VideoFeatures(frames=frames, frame_mask=mask, more=more)


def score(interaction, text, video):
    return interaction.score(interaction.text_side(text), interaction.video_side(video))


def by_the_formula(text, video, temperature, gate="frames"):
    """[B_t, B_v] from the definition, pair by pair."""
    values, gates = video.structured("frames"), video.structured(gate).values
    rows = []
    for query in normalize(text.structured("sentence").values, dim=-1):
        scores = []
        for tokens, attended, valid in zip(values.values, gates, values.mask, strict=True):
            weights = (normalize(attended[valid], dim=-1) @ query / temperature).softmax(0)
            pooled = (weights[:, None] * normalize(tokens[valid], dim=-1)).sum(0)
            scores.append(cosine_similarity(query, pooled, dim=0))
        rows.append(torch.stack(scores))
    return torch.stack(rows)


@pytest.mark.parametrize("gate", [None, "before"])
@pytest.mark.parametrize("tokens", [GRAM, SUM])
@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_scores_follow_the_definition(tokens, temperature, gate):
    text, video = features(tokens=tokens)
    wanted = by_the_formula(text, video, temperature, gate or "frames")
    made = score(make(temperature=temperature, gate=gate), text, video)
    torch.testing.assert_close(made, wanted, rtol=1e-9, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 12), temperature=st.floats(0.005, 5))
def test_scores_in_float32_are_within_1e_5_of_the_definition(seed, tokens, temperature):
    text, video = features(tokens=tokens, seed=seed)
    single = score(make(temperature=temperature), text.to(dtype=torch.float32), video.to(dtype=torch.float32))
    torch.testing.assert_close(single.double(), by_the_formula(text, video, temperature), rtol=0, atol=2e-5)


@pytest.mark.parametrize("tokens", [GRAM, SUM])
@pytest.mark.parametrize("content", [1e6, float("nan")])
def test_masked_tokens_change_neither_scores_nor_gradients(tokens, content):
    text, video = features(tokens=tokens)
    frames = video.structured("frames")
    results = []
    for filled in (frames.values, frames.values.masked_fill(~frames.mask[:, :, None], content)):
        filled = filled.clone().requires_grad_()
        scores = score(make(), text, VideoFeatures(frames=filled, frame_mask=frames.mask))
        scores.square().sum().backward()
        results.append((scores.detach(), filled.grad))
    torch.testing.assert_close(results[0], results[1])


def test_a_token_masked_in_the_gate_is_left_out():
    text, video = features()
    frames, before = video.structured("frames"), video.structured("before")
    mask = before.mask.clone()
    mask[0] = torch.tensor([True, False, False, False, False])
    changed = video.with_level("before", Tokens(before.values, mask))
    first = normalize(text.structured("sentence").values, dim=-1) @ normalize(frames.values[0, 0], dim=0)
    torch.testing.assert_close(score(make(gate="before"), text, changed)[:, 0], first)


def test_ignore_mask_takes_padding_as_frames():
    text, video = features()
    unmasked = VideoFeatures(frames=video.structured("frames").values)
    torch.testing.assert_close(score(make(ignore_mask=True), text, video), score(make(), text, unmasked))


@pytest.mark.parametrize("tokens", [GRAM, SUM])
def test_a_video_without_valid_tokens_scores_zero_and_gets_no_gradient(tokens):
    text, video = features(tokens=tokens)
    frames = video.structured("frames")
    mask = frames.mask.clone()
    mask[2] = False
    values = frames.values.clone().requires_grad_()
    scores = score(make(), text, VideoFeatures(frames=values, frame_mask=mask))
    scores.sum().backward()
    assert scores[:, 2].abs().max() == 0
    assert values.grad[2].abs().max() == 0
    assert values.grad.isfinite().all()


@pytest.mark.parametrize("tokens", [2, 12])
def test_tokens_that_cancel_give_a_cosine_and_finite_gradients(tokens):
    direction = torch.eye(WIDTH)[:1].expand(tokens, -1)
    frames = (direction * (-1.0) ** torch.arange(tokens)[:, None])[None].clone().requires_grad_()
    text = TextFeatures(sentence=torch.eye(WIDTH)[1:2])
    scores = score(make(), text, VideoFeatures(frames=frames))
    scores.sum().backward()
    assert scores.abs().max() <= 1
    assert frames.grad.isfinite().all()


@pytest.mark.parametrize("tokens", [GRAM, SUM])
def test_a_very_high_temperature_is_mean_pooling(tokens):
    text, video = features(tokens=tokens)
    mean = MeanPooling(MeanPooling.Config(), {})
    torch.testing.assert_close(score(make(temperature=1e9), text, video), score(mean, text, video))


def test_a_very_low_temperature_is_the_best_token():
    text, video = features()
    frames = video.structured("frames")
    cosines = torch.einsum(
        "td,vnd->tvn", *(normalize(x, dim=-1) for x in (text.level("sentence").values[:, 0], frames.values))
    )
    wanted = cosines.masked_fill(~frames.mask, -2).amax(-1)
    torch.testing.assert_close(score(make(temperature=1e-4), text, video), wanted)


@pytest.mark.parametrize("tokens", [GRAM, SUM])
@pytest.mark.parametrize("gate", [None, "before"])
def test_blocks_equal_the_whole(tokens, gate, monkeypatch):
    text, video = features(tokens=tokens, videos=7)
    interaction = make(gate=gate)
    whole = score(interaction, text, video)
    monkeypatch.setattr(gating, "BLOCK_FLOATS", 1)
    torch.testing.assert_close(score(interaction, text, video), whole)
    parts = [
        torch.cat([score(interaction, text[a:b], video[c:d]) for c, d in [(0, 3), (3, 7)]], 1)
        for a, b in [(0, 1), (1, 4)]
    ]
    torch.testing.assert_close(torch.cat(parts), whole)


@pytest.mark.parametrize("lists", [False, True])
def test_several_temperatures_at_once_equal_one_at_a_time(lists):
    text, video = features(texts=6)
    configs = [TextGatedBlock.Config(temperature=temperature) for temperature in (0.01, 0.1, 1.0)]
    sides = make().text_side(text), make().video_side(video)
    if lists:
        sides = {name: tensor[torch.arange(18).view(6, 3) % 6] for name, tensor in sides[0].items()}, sides[1]
    together = make().score_settings(*sides, configs, lists=lists)
    for config, made in zip(configs, together, strict=True):
        alone = TextGatedBlock(config, {})
        torch.testing.assert_close(made, (alone.score_lists if lists else alone.score)(*sides), rtol=0, atol=0)


@pytest.mark.parametrize("tokens", [GRAM, SUM])
def test_a_video_whose_gate_shares_no_valid_token_with_it_scores_zero(tokens):
    text, video = features(tokens=tokens)
    frames, before = video.structured("frames"), video.structured("before")
    apart = VideoFeatures(
        frames=frames.values, frame_mask=frames.mask, more={"before": Tokens(before.values, ~frames.mask)}
    )
    assert score(make(gate="before"), text, apart).abs().max() == 0


@pytest.mark.parametrize("hidden", ["frames", "before"])
def test_a_token_that_either_level_masks_has_no_weight_and_is_not_counted(hidden):
    """The first token of each video is masked in one of the two levels, that which is pooled or the gate."""
    text, video = features(texts=6)
    masks = {name: video.structured(name).mask.clone() for name in ("frames", "before")}
    for mask in masks.values():
        mask[:, :3] = True
    masks[hidden][:, 0] = False
    levels = {name: Tokens(video.structured(name).values, mask) for name, mask in masks.items()}
    made, valid = make(gate="before", temperature=0.3), masks["frames"] & masks["before"]
    sides = made.text_side(text), made.video_side(VideoFeatures(more=levels))
    gates = normalize(video.structured("before").values, dim=-1)
    own = torch.einsum("pd,pnd->pn", normalize(text.structured("sentence").values, dim=-1), gates)
    wanted = (own / 0.3).masked_fill(~valid, -torch.inf).softmax(-1)
    torch.testing.assert_close(made.token_weights(*sides)["frames"], wanted, rtol=1e-9, atol=1e-12)
    even = [entropy(weights[seen]) / math.log(len(weights[seen])) for weights, seen in zip(wanted, valid, strict=True)]
    torch.testing.assert_close(made.gate_entropy(*sides), torch.tensor(even, dtype=torch.float64))


def test_no_videos_and_no_pairs():
    text, video = features()
    assert score(make(), text, video[:0]).shape == (4, 0)
    assert make().score_pairs(make().text_side(text[:0]), make().video_side(video[:0])).shape == (0,)


def test_permuting_texts_videos_and_tokens_permutes_the_scores():
    text, video = features()
    whole = score(make(gate="before"), text, video)
    torch.testing.assert_close(
        score(make(gate="before"), text[[2, 0, 3, 1]], video[[5, 1, 0, 4, 2, 3]]),
        whole[[2, 0, 3, 1]][:, [5, 1, 0, 4, 2, 3]],
    )
    turned = VideoFeatures(more={name: video.structured(name).map(lambda x: x.flip(1)) for name in video.names})
    torch.testing.assert_close(score(make(gate="before"), text, turned), whole)


@pytest.mark.parametrize("tokens", [GRAM, SUM])
def test_gradients_agree_with_finite_differences(tokens):
    text, video = features(texts=2, videos=2, tokens=tokens, width=6)
    mask = video.structured("frames").mask

    def scores(sentence, frames, before):
        more = {"before": Tokens(before, mask)}
        video = VideoFeatures(frames=frames, frame_mask=mask, more=more)
        return score(make(gate="before", temperature=0.3), TextFeatures(sentence=sentence), video)

    levels = text.structured("sentence"), video.structured("frames"), video.structured("before")
    assert torch.autograd.gradcheck(scores, [level.values.clone().requires_grad_() for level in levels])


# ------------------------------------------------------------------------------------------------- in training


def matched(interaction, text, video):
    return interaction.match(interaction.text_side(text), interaction.video_side(video))


def test_own_caption_pools_each_video_once_by_its_paired_text():
    text, video = features(texts=6)
    scores, auxiliary = matched(make(gate_by="own_caption", gate="before"), text, video)
    own = by_the_formula(text, video, 0.1, "before").diagonal()
    torch.testing.assert_close(scores.diagonal(), own)
    torch.testing.assert_close(scores, auxiliary["text_vector"] @ auxiliary["video_vector"].T)


def test_query_trains_the_evaluation_form():
    text, video = features(texts=6)
    scores, auxiliary = matched(make(), text, video)
    torch.testing.assert_close(scores, score(make(), text, video))
    paired = (auxiliary["text_vector"] * auxiliary["video_vector"]).sum(-1)
    torch.testing.assert_close(paired, scores.diagonal())


def test_vectors_have_unit_length_and_are_those_declared():
    text, video = features(texts=6)
    for gate_by in ("query", "own_caption"):
        interaction = make(gate_by=gate_by)
        _, auxiliary = matched(interaction, text, video)
        assert set(auxiliary) == interaction.provides(interaction.config)
        for vectors in auxiliary.values():
            torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize(("gate_by", "flows"), [("own_caption", False), ("query", True)])
def test_only_the_query_form_trains_the_attention(gate_by, flows):
    text, video = features(texts=6)
    before = video.structured("before").values.clone().requires_grad_()
    frames = video.structured("frames").values.clone().requires_grad_()
    mask = video.structured("frames").mask
    video = VideoFeatures(frames=frames, frame_mask=mask, more={"before": Tokens(before, mask)})
    scores, _ = matched(make(gate_by=gate_by, gate="before"), text, video)
    scores.square().sum().backward()
    assert frames.grad.abs().max() > 0
    assert (before.grad is not None and bool(before.grad.abs().max() > 0)) is flows


# ----------------------------------------------------------------------------------------- sizes and refusals


class Largest(TorchDispatchMode):
    """Remembers the most elements that any tensor made within it has."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self.elements = max(self.elements, leaf.numel())
        return made


@pytest.mark.parametrize(("tokens", "width"), [(12, 64), (98, 64)])
def test_no_tensor_of_a_vector_for_each_pair_is_formed(tokens, width, monkeypatch):
    text, video = features(texts=40, videos=30, tokens=tokens, width=width, dtype=torch.float32)
    monkeypatch.setattr(gating, "BLOCK_FLOATS", 1 << 16)
    interaction = make()
    sides = interaction.text_side(text), interaction.video_side(video)
    with Largest() as largest:
        interaction.score(*sides)
    whole_of_a_side = 30 * tokens * width
    assert largest.elements <= max(1 << 16, whole_of_a_side)
    with Largest() as largest:
        matched(make(gate_by="own_caption"), text[:30], video)
    assert largest.elements <= whole_of_a_side


def test_frames_never_cost_more_than_their_weights_a_pair():
    text, video = features(texts=40, videos=30, tokens=12, width=64, dtype=torch.float32)
    sides = make().text_side(text), make().video_side(video)
    with Largest() as largest:
        make().score(*sides)
    assert largest.elements <= max(40 * 30 * 12, 30 * 12 * 64)


def test_a_gate_with_another_number_of_tokens_is_refused():
    shapes = {"frames": LevelShape(12, 8), "patches": LevelShape(588, 8)}
    with pytest.raises(ValueError, match="`patches` 588, `frames` 12"):
        make(shapes, level="patches", gate="frames")


def test_levels_of_different_width_are_refused_by_name():
    shapes = {"sentence": LevelShape(None, 8), "frames": LevelShape(12, 16)}
    with pytest.raises(ValueError, match="`sentence` 8, `frames` 16"):
        make(shapes)


def test_it_reads_the_gate_only_where_it_is_another_level():
    assert TextGatedBlock.reads(TextGatedBlock.Config()).video == ("frames",)
    assert TextGatedBlock.reads(TextGatedBlock.Config(gate="frames")).video == ("frames",)
    assert TextGatedBlock.reads(TextGatedBlock.Config(level="temporal", gate="frames")).video == ("temporal", "frames")


# ------------------------------------------------------------------------------------- vectors as they come


def unscaled(seed=0, **sizes):
    """Features of very different lengths, so that normalising would show."""
    text, video = features(seed=seed, **sizes)
    draw = torch.Generator().manual_seed(seed + 1)

    def stretched(tokens):
        lengths = 3 * torch.rand(*tokens.values.shape[:-1], 1, generator=draw, dtype=torch.float64)
        return tokens.map(lambda x: x if x.dtype == torch.bool else x * lengths)

    text = TextFeatures(more={name: stretched(text.structured(name)) for name in text.names})
    return text, VideoFeatures(more={name: stretched(video.structured(name)) for name in video.names})


def by_the_release(text, video, temperature, gate="frames"):
    """[B_t, B_v] in plain numbers: softmax over all tokens, then the mask, never renormalised, then the cosine."""
    values, gates = (video.structured(name).values.tolist() for name in ("frames", gate))
    mask = video.structured("frames").mask.tolist()
    rows = []
    for query in text.structured("sentence").values.tolist():
        row = []
        for tokens, attended, valid in zip(values, gates, mask, strict=True):
            dots = [math.fsum(a * b for a, b in zip(query, token, strict=True)) / temperature for token in attended]
            powers = [math.exp(dot - max(dots)) for dot in dots]
            weights = [power / sum(powers) * keep for power, keep in zip(powers, valid, strict=True)]
            pooled = [
                math.fsum(w * x for w, x in zip(weights, column, strict=True)) for column in zip(*tokens, strict=True)
            ]
            along = math.fsum(a * b for a, b in zip(query, pooled, strict=True))
            row.append(along / math.hypot(*query) / math.hypot(*pooled))
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("gate", [None, "before"])
@pytest.mark.parametrize("tokens", [GRAM, SUM])
@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_vectors_as_they_come_give_the_global_interaction_of_glscl(tokens, temperature, gate):
    text, video = unscaled(tokens=tokens)
    interaction = make(temperature=temperature, gate=gate, unit_vectors=False)
    wanted = by_the_release(text, video, temperature, gate or "frames")
    torch.testing.assert_close(score(interaction, text, video), wanted, rtol=1e-9, atol=1e-12)
    sides = interaction.text_side(text), interaction.video_side(video[: len(text)])
    torch.testing.assert_close(interaction.score_pairs(*sides), wanted.diagonal(), rtol=1e-9, atol=1e-12)
    assert (score(make(temperature=temperature, gate=gate), text, video) - wanted).abs().max() > 0.01


@pytest.mark.parametrize("tokens", [GRAM, SUM])
@pytest.mark.parametrize("content", [0.0, 1e6, float("nan")])
def test_padding_changes_no_score_of_vectors_as_they_come(tokens, content):
    text, video = unscaled(tokens=tokens)
    frames = video.structured("frames")
    padded = VideoFeatures(
        frames=torch.cat([frames.values, torch.full((6, 3, WIDTH), content, dtype=torch.float64)], 1),
        frame_mask=torch.cat([frames.mask, torch.zeros(6, 3, dtype=torch.bool)], 1),
    )
    interaction = make(unit_vectors=False, temperature=1.0)
    torch.testing.assert_close(score(interaction, text, padded), score(interaction, text, video))


def test_unit_vectors_that_come_so_need_no_normalising():
    text, video = features()
    text, video = (
        kind(more={name: side.structured(name).map(as_unit) for name in side.names})
        for kind, side in ((TextFeatures, text), (VideoFeatures, video))
    )
    torch.testing.assert_close(score(make(unit_vectors=False), text, video), score(make(), text, video))


def as_unit(tensor):
    return tensor if tensor.dtype == torch.bool else normalize(tensor, dim=-1)


def test_a_text_of_several_tokens_gates_with_their_mean_as_it_comes():
    text, video = unscaled()
    draw = torch.Generator().manual_seed(3)
    apart = torch.randn(4, WIDTH, generator=draw, dtype=torch.float64)
    sentence = text.structured("sentence").values
    words = torch.stack([sentence + apart, sentence - apart, torch.full_like(sentence, float("nan"))], 1)
    several = TextFeatures(words=words, word_mask=torch.tensor([[True, True, False]]).expand(4, 3))
    made = score(make(unit_vectors=False, text_level="words"), several, video)
    torch.testing.assert_close(made, score(make(unit_vectors=False), text, video))


@pytest.mark.parametrize("gate_by", ["query", "own_caption"])
def test_vectors_as_they_come_are_trained_on_unit_auxiliaries(gate_by):
    text, video = unscaled(texts=6)
    interaction = make(unit_vectors=False, gate_by=gate_by, temperature=1.0)
    scores, auxiliary = matched(interaction, text, video)
    for vectors in auxiliary.values():
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(6, dtype=torch.float64))
    wanted = by_the_release(text, video, 1.0)
    cosines = auxiliary["text_vector"] @ auxiliary["video_vector"].T
    torch.testing.assert_close(cosines.diagonal(), wanted.diagonal())
    torch.testing.assert_close(scores, cosines if gate_by == "own_caption" else wanted)


@pytest.mark.parametrize("tokens", [GRAM, SUM])
def test_gradients_of_vectors_as_they_come_agree_with_finite_differences(tokens):
    text, video = unscaled(texts=2, videos=2, tokens=tokens, width=6)
    mask = video.structured("frames").mask

    def scores(sentence, frames):
        interaction = make(unit_vectors=False, temperature=2.0)
        return score(interaction, TextFeatures(sentence=sentence), VideoFeatures(frames=frames, frame_mask=mask))

    levels = text.structured("sentence"), video.structured("frames")
    assert torch.autograd.gradcheck(scores, [level.values.clone().requires_grad_() for level in levels])


@pytest.mark.parametrize("nothing", ["text", "video"])
def test_a_zero_vector_or_a_video_without_tokens_scores_zero_with_finite_gradients(nothing):
    text, video = unscaled()
    mask = video.structured("frames").mask.clone()
    sentence, frames = text.structured("sentence").values.clone(), video.structured("frames").values.clone()
    if nothing == "text":
        sentence[:] = 0
    else:
        mask[:] = False
    sentence.requires_grad_()
    frames.requires_grad_()
    text, video = TextFeatures(sentence=sentence), VideoFeatures(frames=frames, frame_mask=mask)
    scores = score(make(unit_vectors=False), text, video)
    scores.sum().backward()
    assert scores.abs().max() == 0
    assert sentence.grad.isfinite().all()
    assert frames.grad.isfinite().all()


# ------------------------------------------------------------------------------------------- how sharp the gate is


def gate_entropy(interaction, text, video):
    return interaction.gate_entropy(interaction.text_side(text), interaction.video_side(video))


@pytest.mark.parametrize("unit_vectors", [True, False])
@pytest.mark.parametrize("gate", ["frames", "before"])
def test_the_entropy_of_the_gate_is_that_of_scipy_over_the_log_of_the_valid_tokens(gate, unit_vectors):
    text, video = unscaled(texts=6)
    made = gate_entropy(make(gate=gate, temperature=0.4, unit_vectors=unit_vectors), text, video)
    prepare = normalize if unit_vectors else torch.Tensor.clone
    for row in range(6):
        mask = video.structured("frames").mask[row]
        tokens = prepare(video.structured(gate).values[row][mask].clone())
        logits = tokens @ prepare(text.structured("sentence").values[row : row + 1].clone())[0] / 0.4
        powers = np.exp(logits.numpy())
        wanted = entropy(powers) / np.log(len(powers)) if len(powers) > 1 else 0
        assert made[row].item() == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_the_entropy_of_the_gate_is_one_where_tokens_are_alike_and_zero_where_one_decides():
    text, video = features(texts=6)
    alike = VideoFeatures(frames=video.structured("frames").values[:, :1].expand(-1, 4, -1))
    torch.testing.assert_close(gate_entropy(make(), text, alike), torch.ones(6, dtype=torch.float64))
    assert (
        gate_entropy(make(temperature=1e-5), text, VideoFeatures(frames=video.structured("frames").values)).max() < 1e-6
    )


def test_the_entropy_of_one_valid_token_or_of_none_is_zero():
    text, video = features(texts=6)
    for valid in (1, 0):
        mask = (torch.arange(GRAM) < valid).expand(6, GRAM)
        few = VideoFeatures(frames=video.structured("frames").values, frame_mask=mask)
        assert gate_entropy(make(), text, few).tolist() == [0] * 6
