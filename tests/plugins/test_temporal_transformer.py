"""temporal_transformer: tokens of a level look at each other."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from core import Levels, LevelShape, Tokens, VideoFeatures
from plugins.feature_transforms.temporal_transformer import TemporalTransformer

TOKENS, WIDTH = 6, 128
SHAPES = {"frames": LevelShape(TOKENS, WIDTH)}


def make(shapes=SHAPES, seed=0, **fields):
    torch.manual_seed(seed)
    return TemporalTransformer(TemporalTransformer.Config(**fields), shapes)


def trained(**fields):
    """One whose blocks do something."""
    made = make(**fields)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def videos(batch=3, tokens=TOKENS):
    draw = torch.Generator().manual_seed(0)
    mask = torch.ones(batch, tokens, dtype=torch.bool)
    mask[1, 4:] = False
    return VideoFeatures(frames=torch.randn(batch, tokens, WIDTH, generator=draw), frame_mask=mask)


def written(transform, video, level="frames"):
    return transform.video(video).structured(level)


def test_drawn_at_random_it_starts_close_to_the_identity():
    video = videos()
    cosines = cosine_similarity(written(make(), video).values, video.structured("frames").values, dim=-1)
    assert cosines.min() > 0.999


def test_every_parameter_learns_within_two_steps():
    transform, video = make(), videos()
    optimizer = torch.optim.SGD(transform.parameters(), lr=0.1)
    before = {name: parameter.detach().clone() for name, parameter in transform.named_parameters()}
    for _ in range(3):
        optimizer.zero_grad()
        written(transform, video).values.square().mean().backward()
        optimizer.step()
    still = [name for name, parameter in transform.named_parameters() if torch.equal(parameter, before[name])]
    assert [name for name in still if "k_proj.bias" not in name] == []  # a shift of all keys leaves the softmax alone


def test_what_masked_tokens_hold_does_not_reach_the_valid_ones():
    video = videos()
    frames = video.structured("frames")
    changed = VideoFeatures(frames=frames.values.masked_fill(~frames.mask[..., None], 9.0), frame_mask=frames.mask)
    transform = trained()
    made, other = written(transform, video).values, written(transform, changed).values
    torch.testing.assert_close(made[frames.mask], other[frames.mask])


def test_padding_gives_what_a_shorter_video_gives():
    transform, video = trained(), videos()
    short = VideoFeatures(frames=video.structured("frames").values[1:2, :4])
    torch.testing.assert_close(written(transform, video).values[1:2, :4], written(transform, short).values)


def test_a_video_without_valid_tokens_stays_finite():
    nothing = VideoFeatures(frames=torch.randn(2, TOKENS, WIDTH), frame_mask=torch.zeros(2, TOKENS, dtype=torch.bool))
    assert written(trained(), nothing).values.isfinite().all()


def test_order_matters_and_the_batch_does_not():
    transform, video = trained(), videos()
    frames = video.structured("frames").values
    made = written(transform, video).values
    torch.testing.assert_close(written(transform, video[2:3]).values, made[2:3])
    turned = written(transform, VideoFeatures(frames=frames[:1].flip(1))).values.flip(1)
    assert (turned - made[:1]).abs().max() > 1e-3


def test_it_writes_where_it_is_told_and_leaves_the_rest():
    video = videos()
    made = make(into="temporal").video(video)
    assert made.structured("frames").values is video.structured("frames").values
    assert made.structured("temporal").mask is video.structured("frames").mask
    config = TemporalTransformer.Config(into="temporal")
    assert TemporalTransformer.reads(config) == Levels(video=("frames",))
    assert TemporalTransformer.writes(config) == Levels(video=("temporal",))
    assert make(into="temporal").written_shapes() == {"temporal": SHAPES["frames"]}
    assert make().written_shapes() == SHAPES


def test_a_level_with_more_axes_is_one_sequence_and_keeps_its_axes():
    values, mask = torch.randn(2, 3, 2, WIDTH), torch.tensor([[True, True, False], [True, True, True]])
    patches = VideoFeatures(patches=values, frame_mask=mask)
    flat = VideoFeatures(more={"patches": Tokens(values.flatten(1, 2), mask.repeat_interleave(2, 1))})
    transform = trained(shapes={"patches": LevelShape(6, WIDTH)}, level="patches")
    made = written(transform, patches, "patches")
    assert made.values.shape == values.shape
    torch.testing.assert_close(made.values.flatten(1, 2), written(transform, flat, "patches").values)


# --------------------------------------------------------------------------------- start weights and refusals


def offered(layers=2, positions=77, width=WIDTH):
    source = make({"frames": LevelShape(positions, width)}, seed=1, layers=layers)
    weights = {f"text_blocks.{name}": tensor for name, tensor in source.blocks.state_dict().items()}
    return {**weights, "text_positions": source.positions.detach()}


def test_it_starts_from_the_encoder_only_where_asked():
    weights, random, started = offered(layers=3), make(), make(init="encoder")
    random.start_from(weights)
    started.start_from(weights)
    torch.testing.assert_close(started.positions, weights["text_positions"][:TOKENS])
    for name, parameter in started.blocks.named_parameters():
        assert torch.equal(parameter, weights[f"text_blocks.{name}"])
    assert not torch.equal(random.positions, started.positions)


def test_blocks_have_the_names_of_clip_encoder_layers():
    modeling_clip = pytest.importorskip("transformers.models.clip.modeling_clip")
    from transformers import CLIPTextConfig

    layer = modeling_clip.CLIPEncoderLayer(
        CLIPTextConfig(hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_attention_heads=2)
    )
    shapes = {name: tensor.shape for name, tensor in layer.state_dict().items()}
    assert {name: tensor.shape for name, tensor in make().blocks[0].state_dict().items()} == shapes


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "does not offer"),
        (offered(layers=1), "does not offer text_blocks.1"),
        (offered(width=64), r"\(6, 64\) offered, \(6, 128\) needed"),
        (offered(positions=4), r"`text_positions` does not fit"),
    ],
)
def test_an_encoder_that_offers_too_little_is_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        make(init="encoder").start_from(weights)


def test_more_tokens_than_positions_are_refused():
    with pytest.raises(ValueError, match="6 tokens; `max_frames` gives 4 positions"):
        make(max_frames=4)
    with pytest.raises(ValueError, match="9 tokens"):
        make().video(videos(tokens=9))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="3 heads"):
        make(heads=3)
    assert make().blocks[0].self_attn.heads == 2
    assert make({"frames": LevelShape(4, 32)}).blocks[0].self_attn.heads == 1


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="shape of level `frames`"):
        make({})
