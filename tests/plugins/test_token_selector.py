"""token_selector: the tokens of a frame, or of a video, that a small network scores highest."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

import core
from core import Levels, LevelShape, Tokens, VideoFeatures
from plugins.feature_transforms.token_selector import TokenSelector
from plugins.layers import perturbed_topk as layer

FRAMES, PATCHES, WIDTH, KEEP = 4, 6, 8, 3
SHAPES = {"patches": LevelShape(FRAMES * PATCHES, WIDTH), "frames": LevelShape(FRAMES, WIDTH)}
METHODS = ["perturbed", "straight_through", "hard"]


def make(shapes=SHAPES, seed=0, **fields):
    """One with weights so large that scores differ by more than the noise."""
    torch.manual_seed(seed)
    made = TokenSelector(TokenSelector.Config(**{"keep": KEEP, "draws": 50, **fields}), shapes).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2)
    return made


def videos(batch=3, seed=0):
    """The second video has two frames; the last has none."""
    draw = torch.Generator().manual_seed(seed)
    frames = torch.randn(batch, FRAMES, WIDTH, generator=draw, dtype=torch.float64)
    patches = torch.randn(batch, FRAMES, PATCHES, WIDTH, generator=draw, dtype=torch.float64)
    mask = torch.ones(batch, FRAMES, dtype=torch.bool)
    mask[1, 2:] = False
    mask[2] = False
    return VideoFeatures(frames=frames, patches=patches, frame_mask=mask)


def written(selector, video, level="patches"):
    return selector.video(video).structured(level)


def same(made, wanted, **limits):
    torch.testing.assert_close((made.values, made.mask), (wanted.values, wanted.mask), **limits)


# ---------------------------------------------------------------------------------- the authors' numbers


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "ts2net.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def released(golden, dtype):
    """Their selector: W2 is one matrix there, for token and context side by side."""
    tokens = golden["tokens"].to(dtype).unflatten(1, (golden["n_frames"].item(), -1))
    frames, patches = tokens.shape[1], tokens.shape[2] - 1
    shapes = {"patches": LevelShape(frames * patches, 16), "frames": LevelShape(frames, 16)}
    config = TokenSelector.Config(keep=golden["topk"].item(), sigma=golden["sigma"].item(), draws=50)
    selector, theirs = TokenSelector(config, shapes).to(dtype), "w.score."
    of_token, of_context = golden[theirs + "out_conv.0.weight"].chunk(2, 1)
    selector.scorer.load_state_dict(
        {
            "norm.weight": golden[theirs + "in_conv.0.weight"],
            "norm.bias": golden[theirs + "in_conv.0.bias"],
            "hidden.weight": golden[theirs + "in_conv.1.weight"],
            "of_token.weight": of_token,
            "of_context.weight": of_context,
            "score.weight": golden[theirs + "out_conv.2.weight"],
        }
    )
    return selector, tokens.requires_grad_()


def close(made, wanted, dtype):
    limit = 1e-9 if dtype == torch.float64 and wanted.dtype == torch.float64 else 1e-5
    torch.testing.assert_close(made.double(), wanted.double(), rtol=0, atol=limit * wanted.abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_scores_are_those_of_ts2_net(golden, dtype):
    selector, tokens = released(golden, dtype)
    scores = selector.scorer(tokens, tokens[:, :, :1]).tanh()
    close(scores.flatten(0, 1), golden["scores"], dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_selection_and_gradients_are_those_of_ts2_net_under_its_noise(golden, dtype, monkeypatch):
    selector, tokens = released(golden, dtype)
    monkeypatch.setattr(layer, "drawn_noise", lambda scores, draws: golden["noise"].to(dtype))
    made = selector.video(VideoFeatures(frames=tokens[:, :, 0], patches=tokens[:, :, 1:]))
    both = torch.cat([made.structured("frames").values[:, :, None], made.structured("patches").values], 2).flatten(1, 2)
    close(both, golden["selected_f32"], dtype)
    both.backward(golden["grad_out"].to(dtype))
    close(tokens.grad.flatten(1, 2), golden["grad_x_f32"], dtype)
    of_w2 = torch.cat([selector.scorer.of_token.weight.grad, selector.scorer.of_context.weight.grad], 1)
    close(of_w2, golden["grad_w_out0_f32"], dtype)


# ----------------------------------------------------------------------------------------- what it selects


def gelu(values):
    return [0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in values]


def times(weight, values):
    return [sum(w * x for w, x in zip(row, values, strict=True)) for row in weight.tolist()]


def score_of(scorer, token, context):
    """w3 . GELU(W2 [h; g]) by plain loops."""

    def inner(values):
        values = values.tolist()
        mean = sum(values) / len(values)
        scale = math.sqrt(sum((x - mean) ** 2 for x in values) / len(values) + 1e-5)
        scaled = zip(values, scorer.norm.weight.tolist(), scorer.norm.bias.tolist(), strict=True)
        return gelu(times(scorer.hidden.weight, [(x - mean) / scale * w + b for x, w, b in scaled]))

    mixed = times(scorer.of_token.weight, inner(token))
    if context is not None:
        mixed = [a + b for a, b in zip(mixed, times(scorer.of_context.weight, inner(context)), strict=True)]
    return times(scorer.score.weight, gelu(mixed))[0]


def chosen(selector, video, row):
    """Positions (frame, patch) in the video of the tokens that are to be kept, by frame or all together."""
    frames, patches = video.structured("frames"), video.structured("patches").values
    scores = {}
    for t in (t for t in range(FRAMES) if frames.mask[row, t]):
        for n in range(PATCHES):
            token, context = patches[row, t, n], frames.values[row, t]
            if selector.scorer is None:
                scores[t, n] = cosine_similarity(token, context, dim=0).item()
            else:
                scores[t, n] = score_of(selector.scorer, token, context if selector.config.context else None)
    groups = [[p for p in scores if p[0] == t] for t in range(FRAMES)]
    if selector.config.over == "video":
        groups = [list(scores)]
    return [sorted(sorted(group, key=lambda p: -scores[p])[: selector.config.keep]) for group in groups]


@pytest.mark.parametrize("over", ["frame", "video"])
@pytest.mark.parametrize("fields", [{}, {"context": None}, {"activation": "softmax"}, {"method": "hard"}])
def test_evaluation_keeps_the_highest_scores_in_order_of_position(fields, over):
    selector, video = make(over=over, **fields).eval(), videos()
    made = written(selector, video)
    patches = video.structured("patches").values
    for row in range(3):
        values = made.values[row] if over == "frame" else made.values[row][None]
        mask = made.mask[row] if over == "frame" else made.mask[row][None]
        for group, slots, valid in zip(chosen(selector, video, row), values, mask, strict=True):
            wanted = torch.zeros(KEEP, WIDTH, dtype=torch.float64)
            for slot, (t, n) in enumerate(group):
                wanted[slot] = patches[row, t, n]
            torch.testing.assert_close(slots, wanted)
            assert valid.tolist() == [slot < len(group) for slot in range(KEEP)]


@pytest.mark.parametrize("method", METHODS)
def test_evaluation_draws_nothing(method):
    selector, video = make(method=method).eval(), videos()
    before = torch.get_rng_state()
    assert torch.equal(written(selector, video).values, written(selector, video).values)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("over", ["frame", "video"])
@pytest.mark.parametrize("activation", ["tanh", "softmax"])
def test_training_comes_to_evaluation_as_the_noise_goes_to_nothing(over, activation):
    selector, video = make(sigma=1e-9, over=over, activation=activation), videos()
    same(written(selector.train(), video), written(selector.eval(), video))


def test_softmax_is_over_the_tokens_that_compete():
    """With one token a frame its score is 1 whatever the network says; over the video it is a share."""
    video = videos()
    one = VideoFeatures(frames=video.structured("frames").values, patches=video.structured("patches").values[:, :, :1])
    shapes = {"patches": LevelShape(FRAMES, WIDTH), "frames": LevelShape(FRAMES, WIDTH)}
    for over, learns in (("frame", False), ("video", True)):
        selector = make(shapes, over=over, activation="softmax", method="straight_through", keep=1)
        (written(selector, one).values ** 2).sum().backward()
        gradient = selector.scorer.score.weight.grad.abs().max()
        assert bool(gradient > 1e-12) is learns


@pytest.mark.parametrize("method", ["perturbed", "straight_through"])
def test_training_follows_the_seed(method):
    selector, video = make(method=method, sigma=0.5), videos()
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(written(selector, video).values)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2]) is (method == "straight_through")


def test_straight_through_trains_on_what_evaluation_keeps():
    selector, video = make(method="straight_through"), videos()
    assert torch.equal(written(selector.train(), video).values, written(selector.eval(), video).values)


# --------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("over", ["frame", "video"])
@pytest.mark.parametrize("context", ["frames", None])
@pytest.mark.parametrize("method", ["perturbed", "straight_through"])
def test_every_parameter_gets_a_gradient(method, context, over):
    selector = make(method=method, context=context, over=over, sigma=0.3)
    written(selector, videos()).values.square().sum().backward()
    assert [name for name, parameter in selector.named_parameters() if not parameter.grad.abs().max() > 0] == []


def test_hard_has_no_parameters():
    assert list(make(method="hard").parameters()) == []


@pytest.mark.parametrize("method", ["perturbed", "straight_through"])
def test_the_scorer_learns_to_keep_the_tokens_that_the_loss_asks_for(method):
    """Patches that carry a mark are wanted; nothing else tells them apart."""
    torch.manual_seed(0)
    patches = torch.randn(32, FRAMES, PATCHES, WIDTH)
    marked = torch.rand(32, FRAMES, PATCHES).argsort(-1) < 2
    patches[..., 0] = torch.where(marked, 2.0, -2.0)
    video = VideoFeatures(frames=torch.randn(32, FRAMES, WIDTH), patches=patches)
    selector = TokenSelector(TokenSelector.Config(keep=2, method=method, draws=100), SHAPES)
    optimizer = torch.optim.Adam(selector.parameters(), lr=0.01)
    kept = []
    for step in range(41):
        if step % 40 == 0:
            kept.append((written(selector.eval(), video).values[..., 0] > 0).float().mean())
        optimizer.zero_grad()
        written(selector.train(), video).values[..., 0].mean().neg().backward()
        optimizer.step()
    assert kept[0] < 0.7
    assert kept[1] > 0.95


# ------------------------------------------------------------------------------------------------------ masks


def masked(video):
    """The same video whose valid frames have masked patches as well: mask [B, T, N], one frame with a single one."""
    mask = video.structured("frames").mask[:, :, None].repeat(1, 1, PATCHES)
    mask[0, :, 1] = False
    mask[0, 3, 1:] = False
    return video.with_level("patches", Tokens(video.structured("patches").values, mask))


@pytest.mark.parametrize("content", [1e6, float("nan")])
@pytest.mark.parametrize("over", ["frame", "video"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("training", [True, False])
def test_masked_tokens_change_neither_output_nor_gradients(training, method, over, content):
    video, results = masked(videos()), []
    for filling in (None, content):
        selector = make(method=method, over=over, sigma=0.3).train(training)
        frames, patches = video.structured("frames"), video.structured("patches")
        if filling is not None:
            frames = Tokens(frames.values.masked_fill(~frames.mask[..., None], filling), frames.mask)
            patches = Tokens(patches.values.masked_fill(~patches.mask[..., None], filling), patches.mask)
        values = patches.values.clone().requires_grad_()
        filled = VideoFeatures(more={"frames": frames, "patches": Tokens(values, patches.mask)})
        torch.manual_seed(0)
        made = written(selector, filled)
        made.values.square().sum().backward()
        results.append((made.values, made.mask, values.grad, [parameter.grad for parameter in selector.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    assert results[0][2][~patches.mask].abs().max() == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("training", [True, False])
def test_slots_without_a_token_are_zero_and_masked(training, method):
    video = masked(videos())
    made = written(make(method=method).train(training), video)
    counts = video.structured("patches").mask.sum(-1)
    assert torch.equal(made.mask, torch.arange(KEEP) < counts[:, :, None])
    assert made.mask[0].sum(-1).tolist() == [KEEP, KEEP, KEEP, 1]
    assert made.values[~made.mask].abs().max() == 0
    assert made.values[made.mask].abs().sum(-1).min() > 0


def longer(video):
    """The same with two padding frames more."""
    frames, patches = video.structured("frames"), video.structured("patches")
    return VideoFeatures(
        frames=torch.cat([frames.values, torch.randn(len(video), 2, WIDTH)], 1),
        patches=torch.cat([patches.values, torch.randn(len(video), 2, PATCHES, WIDTH)], 1),
        frame_mask=torch.cat([frames.mask, torch.zeros(len(video), 2, dtype=torch.bool)], 1),
    )


@pytest.mark.parametrize("over", ["frame", "video"])
@pytest.mark.parametrize("method", METHODS)
def test_padding_frames_change_nothing(method, over):
    video = videos()
    selector = make(method=method, over=over).eval()
    made, other = written(selector, video), written(selector, longer(video))
    if over == "frame":
        assert not other.mask[:, FRAMES:].any()
        other = Tokens(other.values[:, :FRAMES], other.mask[:, :FRAMES])
    same(made, other)


@pytest.mark.parametrize("over", ["frame", "video"])
@pytest.mark.parametrize("activation", ["tanh", "softmax"])
def test_padding_frames_change_no_gradient(activation, over):
    selector, gradients = make(method="straight_through", activation=activation, over=over), []
    for video in (videos(), longer(videos())):
        selector.zero_grad()
        written(selector, video).values.square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in selector.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("over", ["frame", "video"])
def test_no_mask_means_that_all_are_valid(over):
    video, selector = videos(), make(over=over).eval()
    frames, patches = video.structured("frames").values, video.structured("patches").values
    made = written(selector, VideoFeatures(frames=frames, patches=patches))
    mask = torch.ones(3, FRAMES, dtype=torch.bool)
    same(made, written(selector, VideoFeatures(frames=frames, patches=patches, frame_mask=mask)))
    assert made.mask.all()


def test_videos_do_not_see_each_other():
    selector, video = make(method="straight_through"), videos()
    together = written(selector, video)
    for row in range(3):
        torch.testing.assert_close(written(selector, video[row : row + 1]).values, together.values[row : row + 1])
    assert written(selector, video[:0]).values.shape == (0, FRAMES, KEEP, WIDTH)


# ----------------------------------------------------------------------------------------- levels and refusals


def test_it_writes_where_it_is_told_and_leaves_the_rest():
    video = videos()
    made = make(into="salient").video(video)
    assert made.structured("patches").values is video.structured("patches").values
    assert made.structured("salient").values.shape == (3, FRAMES, KEEP, WIDTH)
    config = TokenSelector.Config(into="salient")
    assert TokenSelector.reads(config) == Levels(video=("patches", "frames"))
    assert TokenSelector.reads(TokenSelector.Config(context=None)) == Levels(video=("patches",))
    assert TokenSelector.reads(TokenSelector.Config(level="frames")) == Levels(video=("frames",))
    assert TokenSelector.writes(config) == Levels(video=("salient",))
    assert TokenSelector.writes(TokenSelector.Config()) == Levels(video=("patches",))


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, FRAMES * KEEP),
        ({"over": "video"}, KEEP),
        ({"context": None, "over": "video"}, KEEP),
        ({"context": None}, None),
    ],
)
def test_the_shape_that_it_announces_is_the_one_that_it_writes(fields, tokens):
    selector = make(into="salient", **fields)
    assert selector.written_shapes() == {"salient": LevelShape(tokens, WIDTH)}
    assert selector.video(videos()).level("salient").values.shape[1] == (tokens or FRAMES * KEEP)


def test_frames_are_chosen_from_a_video_by_a_context_of_the_video():
    video = videos()
    frames = video.structured("frames")
    both = VideoFeatures(frames=frames.values, frame_mask=frames.mask, video=frames.values.sum(1))
    shapes = {"frames": SHAPES["frames"], "video": LevelShape(None, WIDTH)}
    selector = make(shapes, level="frames", context="video", over="video", method="hard")
    made = written(selector, both, "frames")
    for row, count in enumerate([4, 2, 0]):
        cosines = cosine_similarity(frames.values[row, :count], frames.values[row].sum(0), dim=-1)
        best = cosines.argsort(descending=True)[:KEEP].sort().values
        torch.testing.assert_close(made.values[row][made.mask[row]], frames.values[row, best])


def test_one_context_a_video_serves_all_its_frames():
    video, shared = videos(), torch.randn(3, WIDTH, dtype=torch.float64)
    patches = video.structured("patches")
    shapes = {"patches": SHAPES["patches"], "video": LevelShape(None, WIDTH)}
    of_video = VideoFeatures(video=shared, more={"patches": patches})
    of_frames = VideoFeatures(frames=shared[:, None].expand(-1, FRAMES, -1), more={"patches": patches})
    made = written(make(shapes, context="video").eval(), of_video)
    same(made, written(make().eval(), of_frames))
    for tokens in (None, 1):
        known = {**shapes, "video": LevelShape(tokens, WIDTH)}
        assert make(known, context="video").written_shapes()["patches"].tokens is None


def test_it_is_found_by_name():
    selector = core.create("feature_transform", "token_selector", SHAPES, keep=2, method="straight_through")
    assert isinstance(selector, TokenSelector)
    assert selector.config.keep == 2


def test_hard_without_a_context_is_refused():
    with pytest.raises(core.ConfigError, match="compares tokens with their context"):
        core.create("feature_transform", "token_selector", SHAPES, method="hard", context=None)


@pytest.mark.parametrize(
    ("shapes", "fields", "message"),
    [
        ({"patches": SHAPES["patches"]}, {}, "shape of level `frames`"),
        ({**SHAPES, "frames": LevelShape(FRAMES, 16)}, {}, "`patches` has width 8 and its context `frames` 16"),
        ({**SHAPES, "frames": LevelShape(5, WIDTH)}, {}, "24 tokens of level `patches` do not divide among 5 frames"),
        (SHAPES, {"keep": 7}, "`keep: 7` of 6 tokens a frame in level `patches`"),
        (SHAPES, {"keep": 25, "over": "video"}, "`keep: 25` of 24 tokens a video"),
        (SHAPES, {"keep": 25, "context": None}, "`keep: 25` of 24 tokens"),
    ],
)
def test_what_shapes_say_cannot_work_is_refused(shapes, fields, message):
    with pytest.raises(ValueError, match=message):
        make(shapes, **fields)


def test_a_level_without_frames_is_refused_where_each_frame_is_to_choose():
    patches = videos().level("patches")
    with pytest.raises(ValueError, match="`patches` has no axis of frames; `over: video`"):
        make(context=None).video(VideoFeatures(more={"patches": patches}))


def test_a_context_of_other_frames_is_refused():
    video = videos()
    fewer = video.with_level("frames", Tokens(video.structured("frames").values[:, :3]))
    with pytest.raises(ValueError, match="`frames` has 3 tokens for 4 frames of `patches`"):
        make().video(fewer)
