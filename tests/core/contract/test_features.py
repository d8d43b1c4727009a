import pytest
import torch

from core.contract.features import Features, TextFeatures, Tokens, VideoFeatures


def video(count: int = 4) -> VideoFeatures:
    frames = torch.arange(count * 3 * 2.0).reshape(count, 3, 2)
    mask = torch.ones(count, 3, dtype=torch.bool)
    mask[:, 2] = False
    patches = torch.stack([frames, frames + 100], dim=2)
    return VideoFeatures(frames, mask, patches, ids=[f"v{row}" for row in range(count)])


def test_a_level_is_read_flat_with_the_frames_mask_repeated_over_its_patches() -> None:
    tokens = video().level("patches")
    assert tuple(tokens.values.shape) == (4, 6, 2)
    assert tokens.mask is not None
    assert tokens.mask[0].tolist() == [True, True, True, True, False, False]
    assert torch.equal(tokens.values[1, 3], video().structured("patches").values[1, 1, 1])


def test_a_level_without_token_axis_reads_as_one_valid_token() -> None:
    tokens = TextFeatures(sentence=torch.ones(3, 5)).level("sentence")
    assert tuple(tokens.values.shape) == (3, 1, 5)
    assert tokens.mask is not None
    assert tokens.mask.all()


def test_a_mask_of_wrong_shape_or_type_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Tokens(torch.zeros(2, 3, 4), torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="does not fit"):
        Tokens(torch.zeros(2, 3, 4), torch.ones(2, 3))


def test_levels_and_ids_must_agree_in_length() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        TextFeatures(sentence=torch.zeros(2, 4), words=torch.zeros(3, 5, 4))
    with pytest.raises(ValueError, match="different lengths"):
        TextFeatures(sentence=torch.zeros(2, 4), ids=["a"])


def test_an_unknown_level_is_answered_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="frames, patches"):
        video().level("words")


@pytest.mark.parametrize("rows", [slice(1, 3), torch.tensor([1, 2]), torch.tensor([False, True, True, False]), [1, 2]])
def test_rows_are_taken_by_slice_index_and_mask_with_their_ids(rows: object) -> None:
    taken = video()[rows]
    assert taken.ids == ("v1", "v2")
    assert torch.equal(taken.structured("frames").values, video().structured("frames").values[1:3])
    assert len(taken) == 2


def test_picked_rows_behave_as_taken_ones_and_copy_nothing_before_they_are_read() -> None:
    whole = video()
    picked = whole.picked(torch.tensor([3, 0, 2]), ["d", "a", "c"])
    assert len(picked) == 3
    assert picked.ids == ("d", "a", "c")
    assert picked[1:].ids == ("a", "c")
    assert torch.equal(picked[1:].structured("frames").values, whole.structured("frames").values[[0, 2]])
    assert torch.equal(picked.level("patches").values, whole[torch.tensor([3, 0, 2])].level("patches").values)
    assert picked.picked(torch.tensor([2]))[0:1].structured("frames").values[0, 0, 0] == 12
    assert picked.picked(torch.tensor([0]))[0:1].structured("frames").values[0, 0, 0] == 18
    only = picked.only(["frames"])
    assert (only.names, only.ids, len(only)) == (("frames",), ("d", "a", "c"), 3)
    assert only._levels["frames"].values is whole._levels["frames"].values
    assert torch.equal(
        picked.to(dtype=torch.float64).structured("frames").values[1], whole[0:1].level("frames").values[0]
    )
    assert picked.with_level("video", Tokens(torch.zeros(3, 2))).names == ("frames", "patches", "video")


def test_floats_of_an_item_are_those_of_all_its_levels() -> None:
    assert video().item_floats == 3 * 2 + 3 * 2 * 2
    assert video().picked(torch.tensor([1])).item_floats == 18


def test_a_written_level_replaces_in_a_copy_only() -> None:
    before = video()
    after = before.with_level("frames", Tokens(torch.zeros(4, 1, 2)))
    assert after.structured("frames").values.sum() == 0
    assert before.structured("frames").values.sum() > 0
    assert isinstance(after, VideoFeatures)
    assert after.ids == before.ids


def test_parts_are_joined_again_to_the_whole() -> None:
    whole = video()
    joined = VideoFeatures.cat([whole[:1], whole[1:]])
    assert joined.ids == whole.ids
    assert torch.equal(joined.level("patches").values, whole.level("patches").values)
    assert VideoFeatures.cat([whole[:1], whole[1:].to()]).names == whole.names


def test_where_one_part_has_no_mask_its_tokens_are_valid_in_the_whole() -> None:
    masked = video()[:1].only(["frames"])
    free = VideoFeatures(frames=torch.zeros(2, 3, 2))
    mask = VideoFeatures.cat([masked, free]).structured("frames").mask
    assert mask is not None
    assert mask.tolist() == [[True, True, False], [True] * 3, [True] * 3]


def test_levels_of_two_objects_stand_beside_each_other() -> None:
    both = video().only(["frames"]).beside(VideoFeatures(video=torch.zeros(4, 2)))
    assert both.names == ("frames", "video")
    assert both.ids == ("v0", "v1", "v2", "v3")
    with pytest.raises(ValueError, match="different lengths"):
        video().beside(VideoFeatures(video=torch.zeros(3, 2)))


def test_moving_changes_the_type_of_values_and_never_of_masks() -> None:
    moved = video().to("cpu", torch.float64)
    assert moved.structured("frames").values.dtype == torch.float64
    mask = moved.structured("frames").mask
    assert mask is not None
    assert mask.dtype == torch.bool


def test_naming_gives_new_ids_and_length_comes_from_ids_without_levels() -> None:
    assert video().named(["a", "b", "c", "d"]).ids == ("a", "b", "c", "d")
    assert len(Features({}, ["a", "b"])) == 2
    assert len(Features({}, ["a", "b"])[torch.tensor([1])]) == 1
