"""crosstvr: cross-attention inside each frame and over the video, against the formula written out."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

import core
from core import ConfigError, Levels, LevelShape, TextFeatures, Tokens, VideoFeatures
from plugins.rerankers.crosstvr import CrossTVR

from . import decoder_by_hand as by_hand

TEXTS, VIDEOS, WORDS, FRAMES, PATCHES = 3, 2, 5, 3, 4
WIDTH, TEXT_WIDTH, VIDEO_WIDTH, QUERIES = 8, 6, 10, 2
SHAPES = {
    "words": LevelShape(WORDS, TEXT_WIDTH),
    "patches": LevelShape(FRAMES * PATCHES, VIDEO_WIDTH),
    "frames": LevelShape(FRAMES, VIDEO_WIDTH),
}
SELECTOR = {"name": "token_selector", "keep": 2, "draws": 20}
BOTH_SELECT = {"frame_selector": SELECTOR, "video_selector": {**SELECTOR, "keep": 1}}
VARIANTS = [
    {},
    {"share": False},
    {"frame_pool": "time_mean"},
    {"levels": "frame"},
    {"levels": "video"},
    {"class_level": None},
    BOTH_SELECT,
]


def make(seed=0, shapes=SHAPES, drawn=True, **fields):
    """In float64 and evaluation mode; `drawn`: every parameter drawn at random, so that no zero hides a fault."""
    torch.manual_seed(seed)
    sizes = {"width": WIDTH, "heads": 2, "layers": 2, "queries": QUERIES, "alpha": 0.5, "train": {"losses": {}}}
    made = core.create("reranker", "crosstvr", shapes, **{**sizes, **fields}).double().eval()
    for parameter in made.parameters() if drawn else ():
        torch.nn.init.normal_(parameter, std=0.4)
    return made


def features(seed=0, frames=FRAMES, words=WORDS):
    """The second text has two words, the third one; the second video two frames."""
    draw = torch.Generator().manual_seed(seed)
    word_mask = torch.ones(TEXTS, words, dtype=torch.bool)
    word_mask[1, 2:] = word_mask[2, 1:] = False
    mask = torch.ones(VIDEOS, frames, dtype=torch.bool)
    mask[1, 2:] = False

    def random(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    text = TextFeatures(words=random(TEXTS, words, TEXT_WIDTH), word_mask=word_mask)
    patches, whole = random(VIDEOS, frames, PATCHES, VIDEO_WIDTH), random(VIDEOS, frames, VIDEO_WIDTH)
    return text, VideoFeatures(frames=whole, patches=patches, frame_mask=mask)


def every_pair(texts=TEXTS, videos=VIDEOS):
    return torch.arange(texts).repeat_interleave(videos), torch.arange(videos).repeat(texts)


def matching(reranker, text, video, rows=None, columns=None):
    """Matching scores of some pairs, or of all [B_t · B_v]."""
    if rows is None:
        rows, columns = every_pair(len(text), len(video))
    sides = reranker.text_side(text), reranker.video_side(video)
    picked = [
        {name: tensor[at] for name, tensor in side.items()} for side, at in zip(sides, (rows, columns), strict=True)
    ]
    return reranker.score_pairs(*picked, {"first_stage": torch.zeros(len(rows))})


# ------------------------------------------------------------------------------------------------- the formula


def frame_of(made, video, row, time, selector):
    """The mapped tokens [N, D] of one valid frame: its class token, then its patches or those selected."""
    chosen = video if selector is None else selector.video(video)
    tokens = chosen.structured("patches").values[row, time]
    if made.config.class_level:
        tokens = torch.cat([video.structured("frames").values[row, time][None], tokens])
    linear, norm = made.video_map
    return by_hand.normed(norm, by_hand.linear(linear, tokens))


def by_the_formula(made, text, video, row, column):
    """One pair, frame by frame, of what is valid only."""
    config = made.config
    linear, norm = made.text_map
    tokens = text.structured("words")
    words = by_hand.normed(norm, by_hand.linear(linear, tokens.values[row][tokens.mask[row]]))
    times = video.structured("frames").mask[column].nonzero().flatten().tolist()
    asked = torch.cat([made.queries, words])
    if config.levels != "video":
        inside = []
        for time in times:
            seen = frame_of(made, video, column, time, made.frame_selector)
            inside.append(by_hand.decoder(made.stack, asked, seen)[:QUERIES])
        if config.levels == "frame":
            return judged(made, torch.stack([queries.mean(0) for queries in inside]).mean(0))
        if config.frame_pool == "query_mean":
            places = zip(times, inside, strict=True)
            asked = torch.stack([queries.mean(0) + made.positions[time] for time, queries in places])
        else:
            asked = torch.stack(inside).mean(0)
    count = QUERIES if config.levels == "video" else len(asked)
    if config.levels != "video":
        asked = torch.cat([asked, words])
    over = [frame_of(made, video, column, time, made.video_selector) + made.positions[time] for time in times]
    return judged(made, by_hand.decoder(made.video_stack, asked, torch.cat(over))[:count].mean(0))


def judged(made, vector):
    logits = made.head.weight @ vector + made.head.bias
    return logits[1] - logits[0]


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
@torch.no_grad()
def test_scores_follow_the_formula(fields):
    made, (text, video) = make(**fields), features()
    wanted = torch.stack(
        [by_the_formula(made, text, video, *map(int, pair)) for pair in zip(*every_pair(), strict=True)]
    )
    assert wanted.std() > 1e-3
    torch.testing.assert_close(matching(made, text, video), wanted, rtol=1e-9, atol=1e-9)


def test_the_score_is_the_log_odds_of_the_second_output():
    made, (text, video) = make(), features()
    heard = []
    made.head.register_forward_hook(lambda module, given, logits: heard.append(logits))
    scores = matching(made, text, video)
    torch.testing.assert_close(scores.sigmoid(), heard[0].softmax(1)[:, 1])


# ---------------------------------------------------------------------------------------- one or two stacks


def size(made):
    return sum(parameter.numel() for parameter in made.parameters())


def test_a_shared_stack_has_its_parameters_once():
    layer = 16 * WIDTH**2 + 11 * WIDTH + 6 * WIDTH  # eight square maps and 8 D² of the rest; biases; three norms
    stack = 2 * layer + 2 * WIDTH
    maps = (TEXT_WIDTH + VIDEO_WIDTH) * WIDTH + 2 * 3 * WIDTH
    rest = maps + QUERIES * WIDTH + 64 * WIDTH + 2 * WIDTH + 2
    assert size(make()) == rest + stack
    assert size(make(share=False)) == rest + 2 * stack
    assert size(make(share=False, levels="video")) == rest + stack
    assert size(make(share=False, levels="frame")) == rest + stack - 64 * WIDTH


def test_only_selectors_that_are_used_are_built():
    assert make(**BOTH_SELECT, levels="frame").video_selector is None
    assert make(**BOTH_SELECT, levels="video").frame_selector is None
    made = make(**BOTH_SELECT)
    assert made.frame_selector is not made.video_selector
    assert (made.frame_selector.config.keep, made.video_selector.config.keep) == (2, 1)


def test_selectors_read_the_level_of_the_reranker():
    states = {"patch_states": LevelShape(FRAMES * PATCHES, VIDEO_WIDTH), "frame_states": SHAPES["frames"]}
    level = {"level": "patch_states", "class_level": "frame_states"}
    selector = {**SELECTOR, "context": "frame_states", "level": "patches", "into": "salient"}
    made = make(shapes={**SHAPES, **states}, video_selector=selector, **level)
    assert made.reads(made.config) == Levels(("words",), ("patch_states", "frame_states"))
    text, video = features()
    names = {"patch_states": video.structured("patches"), "frame_states": video.structured("frames")}
    same = make(video_selector=SELECTOR)
    torch.testing.assert_close(matching(made, text, VideoFeatures(more=names)), matching(same, text, video))


# ---------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
@pytest.mark.parametrize("content", [50.0, float("nan")])
def test_masked_words_and_frames_change_nothing(fields, content):
    made, (text, video) = make(**fields), features()
    words, frames, patches = text.structured("words"), video.structured("frames"), video.structured("patches")
    other_text = TextFeatures(words=words.values.masked_fill(~words.mask[..., None], content), word_mask=words.mask)
    hidden = ~frames.mask
    other_video = VideoFeatures(
        frames=frames.values.masked_fill(hidden[..., None], content),
        patches=patches.values.masked_fill(hidden[..., None, None], content),
        frame_mask=frames.mask,
    )
    torch.testing.assert_close(matching(made, other_text, other_video), matching(made, text, video))


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_more_padding_changes_nothing(fields):
    made, (text, video) = make(**fields), features()
    words, mask = text.structured("words"), video.structured("frames").mask

    def longer(values, by):
        return torch.cat([values, torch.full_like(values[:, :1], 7).expand(-1, by, *values.shape[2:])], 1)

    def masked(mask, by):
        return torch.cat([mask, mask.new_zeros(len(mask), by)], 1)

    other_text = TextFeatures(words=longer(words.values, 3), word_mask=masked(words.mask, 3))
    levels = {name: longer(video.structured(name).values, 2) for name in ("frames", "patches")}
    other_video = VideoFeatures(**levels, frame_mask=masked(mask, 2))
    torch.testing.assert_close(matching(made, other_text, other_video), matching(made, text, video))


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_a_video_without_valid_frames_and_a_text_without_words_have_finite_scores_and_gradients(fields):
    made, (text, video) = make(**fields), features()
    words, frames = text.structured("words"), video.structured("frames")
    word_mask, mask = words.mask.clone(), frames.mask.clone()
    word_mask[0] = mask[0] = False
    patches = video.structured("patches").values.clone().requires_grad_()
    video = VideoFeatures(frames=frames.values, patches=patches, frame_mask=mask)
    scores = matching(made, TextFeatures(words=words.values, word_mask=word_mask), video)
    scores.sum().backward()
    assert scores.isfinite().all()
    assert patches.grad.isfinite().all()
    assert patches.grad[0].abs().max() == 0


def test_the_order_of_frames_counts_where_they_have_positions():
    text, video = features()
    one = video[:1]
    turned = VideoFeatures(**{name: one.structured(name).values.flip(1) for name in ("frames", "patches")})
    for fields, counts in (({}, True), ({"levels": "video"}, True), ({"levels": "frame"}, False)):
        gap = (matching(make(**fields), text, turned) - matching(make(**fields), text, one)).abs().max()
        assert (gap > 1e-3) if counts else (gap < 1e-9)


# ---------------------------------------------------------------------------------------------- pairs, modes


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_candidates_in_another_order_have_the_same_scores_and_twice_gives_the_same(fields):
    made, (text, video) = make(**fields), features()
    rows, columns = every_pair()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    whole = matching(made, text, video)
    torch.testing.assert_close(matching(made, text, video, rows[order], columns[order]), whole[order])
    torch.testing.assert_close(matching(made, text, video), whole, rtol=0, atol=0)


def test_no_pairs():
    made, (text, video) = make(), features()
    assert matching(
        made, text, video, torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.int64)
    ).shape == (0,)


def test_the_first_stage_is_added_by_alpha_and_decides_where_it_is_large():
    text, video = features()
    rows, columns = every_pair()
    first = torch.randn(len(rows), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for alpha in (0.0, 0.5, 1e6):
        made = make(alpha=alpha)
        new = made(text[rows], video[columns], {"first_stage": first})
        torch.testing.assert_close(new, alpha * first + matching(make(), text, video))
    assert torch.equal(new.argsort(), first.argsort())


def test_dropout_is_for_training_alone():
    made, (text, video) = make(dropout=0.5), features()
    made.train()
    assert (matching(made, text, video) - matching(made, text, video)).abs().max() > 0
    assert CrossTVR.after_training == {"top_k", "alpha"}


# -------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_a_step_reaches_every_parameter(fields):
    made, (text, video) = make(**fields).train(), features()
    matching(made, text, video).square().sum().backward()
    for name, parameter in made.named_parameters():
        reached = parameter.grad.abs()[:FRAMES] if name == "positions" else parameter.grad.abs()
        assert reached.max() > 1e-12, name


def test_it_learns_sixteen_pairs_by_heart():
    draw = torch.Generator().manual_seed(0)
    text = TextFeatures(words=torch.randn(16, 4, TEXT_WIDTH, generator=draw))
    video = VideoFeatures(patches=torch.randn(16, 2, 3, VIDEO_WIDTH, generator=draw))
    made = make(drawn=False, class_level=None, width=16, dropout=0.0).float().train()
    optimiser = torch.optim.AdamW(made.parameters(), lr=1e-2)
    rows, columns = torch.arange(16).repeat(2), torch.cat([torch.arange(16), torch.arange(16).roll(1)])
    answers = torch.cat([torch.ones(16), torch.zeros(16)])
    for _ in range(150):
        optimiser.zero_grad()
        loss = binary_cross_entropy_with_logits(matching(made, text, video, rows, columns), answers)
        loss.backward()
        optimiser.step()
        if loss < 0.05:
            break
    assert loss < 0.05


# ---------------------------------------------------------------------------------------- sizes and refusals


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


def test_what_it_reads():
    config = make(video_selector=SELECTOR, class_level=None).config
    assert CrossTVR.reads(config) == Levels(("words",), ("patches", "frames"))
    assert CrossTVR.reads(make(class_level=None).config) == Levels(("words",), ("patches",))


def test_more_frames_than_positions_are_refused():
    text, video = features()
    with pytest.raises(ValueError, match="3 frames, but `max_frames` is 2"):
        matching(make(max_frames=2), text, video)


def test_a_selector_must_be_told_its_level_and_keep_the_frames():
    with pytest.raises(ConfigError, match="video_selector: `toy_identity` does not say"):
        make_with_identity()
    selector = {**SELECTOR, "over": "video"}
    text, video = features()
    with pytest.raises(ValueError, match="tokens of each frame"):
        matching(make(video_selector=selector), text, video)


def make_with_identity():
    from dataclasses import dataclass

    from core import FeatureTransform, hookimpl
    from core.plugins import registry

    class Identity(FeatureTransform):
        name = "toy_identity"

        @dataclass(frozen=True)
        class Config:
            pass

    class Plugin:
        @hookimpl
        def register_feature_transforms(self, register):
            register(Identity)

    plugin = Plugin()
    registry().add_plugin(plugin, "toys")
    try:
        make(video_selector={"name": "toy_identity"})
    finally:
        registry().remove_plugin(plugin)


def test_a_mask_for_each_token_is_honoured():
    made, (text, video) = make(class_level=None), features()
    patches = video.structured("patches")
    own = patches.mask[:, :, None].expand(-1, -1, PATCHES).clone()
    own[:, :, 2:] = False
    fewer = VideoFeatures(more={"patches": Tokens(patches.values[:, :, :2], patches.mask)})
    torch.testing.assert_close(
        matching(made, text, VideoFeatures(more={"patches": Tokens(patches.values, own)})), matching(made, text, fewer)
    )
