"""vedje: a joint transformer over words and compressed frames, against the formula written out."""

import pytest
import torch
from torch.nn.functional import cross_entropy

import core
from core import Levels, LevelShape, TextFeatures, VideoFeatures
from plugins.rerankers.vedje import Vedje

from . import decoder_by_hand as by_hand

TEXTS, VIDEOS, WORDS, FRAMES, PATCHES = 3, 2, 5, 3, 4
WIDTH, TEXT_WIDTH, VIDEO_WIDTH, TOKENS = 8, 6, 10, 2
SHAPES = {
    "words": LevelShape(WORDS, TEXT_WIDTH),
    "patches": LevelShape(FRAMES * PATCHES, VIDEO_WIDTH),
    "frames": LevelShape(FRAMES, VIDEO_WIDTH),
}


def make(seed=0, drawn=True, **fields):
    """In float64 and evaluation mode; `drawn`: every parameter drawn at random, so that no zero hides a fault."""
    torch.manual_seed(seed)
    sizes = {"width": WIDTH, "heads": 2, "layers": 2, "tokens": TOKENS, "alpha": 0.5, "train": {"losses": {}}}
    made = core.create("reranker", "vedje", SHAPES, **{**sizes, **fields}).double().eval()
    for parameter in made.parameters() if drawn else ():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def features(seed=0):
    """The second text has two words, the third one; the second video two frames."""
    draw = torch.Generator().manual_seed(seed)
    word_mask = torch.ones(TEXTS, WORDS, dtype=torch.bool)
    word_mask[1, 2:] = word_mask[2, 1:] = False
    mask = torch.ones(VIDEOS, FRAMES, dtype=torch.bool)
    mask[1, 2:] = False

    def random(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    text = TextFeatures(words=random(TEXTS, WORDS, TEXT_WIDTH), word_mask=word_mask)
    patches, whole = random(VIDEOS, FRAMES, PATCHES, VIDEO_WIDTH), random(VIDEOS, FRAMES, VIDEO_WIDTH)
    return text, VideoFeatures(frames=whole, patches=patches, frame_mask=mask)


def every_pair(texts=TEXTS, videos=VIDEOS):
    return torch.arange(texts).repeat_interleave(videos), torch.arange(videos).repeat(texts)


def first_stage(pairs):
    return torch.randn(pairs, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def matching(reranker, text, video, rows=None, columns=None, first=None):
    """Matching scores of some pairs, or of all [B_t · B_v]."""
    if rows is None:
        rows, columns = every_pair(len(text), len(video))
    sides = reranker.text_side(text), reranker.video_side(video)
    picked = [{name: x[at] for name, x in side.items()} for side, at in zip(sides, (rows, columns), strict=True)]
    return reranker.score_pairs(*picked, {"first_stage": first_stage(len(rows)) if first is None else first})


def mapped(layers, tokens):
    linear, norm = layers
    return by_hand.normed(norm, by_hand.linear(linear, tokens))


def by_the_formula(made, text, video, row, column, first):
    """One pair, frame by frame, of what is valid only."""
    words, patches = text.structured("words"), video.structured("patches")
    sequence = [made.query[None], mapped(made.text_map, words.values[row][words.mask[row]]) + made.text_type]
    for time in patches.mask[column].nonzero().flatten().tolist():
        tokens = patches.values[column, time]
        if made.config.class_level:
            tokens = torch.cat([video.structured("frames").values[column, time][None], tokens])
        read = by_hand.decoder(made.compressor, made.frame_queries, mapped(made.video_map, tokens))
        sequence.append(read + made.positions[time])
    x = torch.cat(sequence)
    for each in made.blocks:
        x = by_hand.block(each, x)
    (rise, _, widen), (inner, _, outer) = made.prior, made.head
    prior = by_hand.linear(widen, by_hand.gelu(by_hand.linear(rise, first.reshape(1, 1))))
    return by_hand.linear(outer, by_hand.gelu(by_hand.linear(inner, by_hand.normed(made.norm, x)[:1] + prior)))[0, 0]


@pytest.mark.parametrize("fields", [{}, {"class_level": None}, {"layers": 1, "compressor_layers": 1}], ids=str)
@torch.no_grad()
def test_scores_follow_the_formula(fields):
    made, (text, video) = make(**fields), features()
    rows, columns = every_pair()
    first = first_stage(len(rows))
    pairs = zip(rows.tolist(), columns.tolist(), first, strict=True)
    wanted = torch.stack([by_the_formula(made, text, video, *pair) for pair in pairs])
    assert wanted.std() > 1e-3
    torch.testing.assert_close(matching(made, text, video), wanted, rtol=1e-9, atol=1e-9)


def test_a_video_is_compressed_to_a_few_tokens_a_frame():
    _, video = features()
    side = make().video_side(video)
    assert side["tokens"].shape == (VIDEOS, FRAMES * TOKENS, WIDTH)
    assert side["mask"].tolist() == [[True] * 6, [True] * 4 + [False] * 2]


def test_the_first_stage_enters_before_the_decision():
    made, (text, video) = make(), features()
    rows, columns = every_pair()
    first = first_stage(len(rows)).requires_grad_()
    matching(made, text, video, rows, columns, first).sum().backward()
    assert first.grad.abs().min() > 0


def test_alpha_adds_it_once_more():
    text, video = features()
    rows, columns = every_pair()
    first = first_stage(len(rows))
    new = make(alpha=1e6)(text[rows], video[columns], {"first_stage": first})
    torch.testing.assert_close(new, 1e6 * first + matching(make(), text, video))
    assert torch.equal(new.argsort(), first.argsort())


# ---------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("content", [50.0, float("nan")])
def test_masked_words_and_frames_change_nothing(content):
    made, (text, video) = make(), features()
    words, frames, patches = text.structured("words"), video.structured("frames"), video.structured("patches")
    other_text = TextFeatures(words=words.values.masked_fill(~words.mask[..., None], content), word_mask=words.mask)
    hidden = ~frames.mask
    other_video = VideoFeatures(
        frames=frames.values.masked_fill(hidden[..., None], content),
        patches=patches.values.masked_fill(hidden[..., None, None], content),
        frame_mask=frames.mask,
    )
    torch.testing.assert_close(matching(made, other_text, other_video), matching(made, text, video))


def test_more_padding_changes_nothing():
    made, (text, video) = make(), features()
    words, mask = text.structured("words"), video.structured("frames").mask

    def longer(values, by):
        return torch.cat([values, torch.full_like(values[:, :1], 7).expand(-1, by, *values.shape[2:])], 1)

    def masked(mask, by):
        return torch.cat([mask, mask.new_zeros(len(mask), by)], 1)

    other_text = TextFeatures(words=longer(words.values, 3), word_mask=masked(words.mask, 3))
    levels = {name: longer(video.structured(name).values, 2) for name in ("frames", "patches")}
    other_video = VideoFeatures(**levels, frame_mask=masked(mask, 2))
    torch.testing.assert_close(matching(made, other_text, other_video), matching(made, text, video))


def test_a_video_without_valid_frames_and_a_text_without_words_have_finite_scores_and_gradients():
    made, (text, video) = make(), features()
    words, frames = text.structured("words"), video.structured("frames")
    word_mask, mask = words.mask.clone(), frames.mask.clone()
    word_mask[0] = mask[0] = False
    patches = video.structured("patches").values.clone().requires_grad_()
    video = VideoFeatures(frames=frames.values, patches=patches, frame_mask=mask)
    scores = matching(made, TextFeatures(words=words.values, word_mask=word_mask), video)
    scores.sum().backward()
    assert scores.isfinite().all()
    assert patches.grad[0].abs().max() == 0


# -------------------------------------------------------------------------------------------- pairs, training


def test_candidates_in_another_order_have_the_same_scores_and_twice_gives_the_same():
    made, (text, video) = make(), features()
    rows, columns = every_pair()
    first = first_stage(len(rows))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    whole = matching(made, text, video)
    torch.testing.assert_close(matching(made, text, video, rows[order], columns[order], first[order]), whole[order])
    torch.testing.assert_close(matching(made, text, video), whole, rtol=0, atol=0)


def test_no_pairs():
    made, (text, video) = make(), features()
    none = torch.tensor([], dtype=torch.int64)
    assert matching(made, text, video, none, none).shape == (0,)


def test_dropout_is_for_training_alone():
    made, (text, video) = make(dropout=0.5), features()
    made.train()
    assert (matching(made, text, video) - matching(made, text, video)).abs().max() > 0


def test_a_step_reaches_every_parameter():
    made, (text, video) = make().train(), features()
    matching(made, text, video).square().sum().backward()
    for name, parameter in made.named_parameters():
        reached = parameter.grad.abs()[:FRAMES] if name == "positions" else parameter.grad.abs()
        assert reached.max() > 1e-12, name


def test_it_learns_sixteen_texts_by_heart():
    draw = torch.Generator().manual_seed(0)
    text = TextFeatures(words=torch.randn(16, 4, TEXT_WIDTH, generator=draw))
    video = VideoFeatures(patches=torch.randn(16, 2, 3, VIDEO_WIDTH, generator=draw))
    made = make(drawn=False, class_level=None, width=16, dropout=0.0).float().train()
    optimiser = torch.optim.AdamW(made.parameters(), lr=1e-2)
    rows = torch.arange(16).repeat(2)
    columns, first = torch.cat([torch.arange(16), torch.arange(16).roll(1)]), torch.zeros(32)
    for _ in range(150):
        optimiser.zero_grad()
        scores = matching(made, text, video, rows, columns, first).view(2, 16).T
        loss = cross_entropy(scores, torch.zeros(16, dtype=torch.int64))
        loss.backward()
        optimiser.step()
        if loss < 0.05:
            break
    assert loss < 0.05


def test_memory_of_a_pair_is_about_what_is_declared():
    text, video = features()
    made = make(width=64, layers=1)
    sides = made.text_side(text), made.video_side(video)
    elements = 0

    def count(module, given, output):
        nonlocal elements
        elements = max(elements, output.numel())

    for module in made.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(count)
    pairs = [{name: tensor[[0, 1, 1]] for name, tensor in side.items()} for side in sides]
    made.score_pairs(*pairs, {"first_stage": torch.zeros(3)})
    assert elements / 3 < made.pair_floats(*sides) < 20 * elements / 3


def test_what_it_reads_and_more_frames_than_positions():
    assert Vedje.reads(make().config) == Levels(("words",), ("patches", "frames"))
    assert Vedje.reads(make(class_level=None).config) == Levels(("words",), ("patches",))
    with pytest.raises(ValueError, match="3 frames, but `max_frames` is 2"):
        make(max_frames=2).video_side(features()[1])
