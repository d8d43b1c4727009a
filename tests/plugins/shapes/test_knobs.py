"""What each knob of `shapes` does, and its presets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import ConfigError
from plugins.datasets.shapes import PRESETS, captions
from plugins.datasets.shapes.captions import relevant
from plugins.datasets.shapes.world import Story, scene_lengths

from .stories import shapes, stories, true_of_video, twins

# ------------------------------------------------------------------------------------------------------- knobs


@given(st.integers(1, 6), st.integers(6, 80), st.floats(0, 0.95))
def test_scene_lengths_fill_the_video(scenes, frames, skew):
    lengths = scene_lengths(frames, scenes, skew)
    assert sum(lengths) == frames
    assert min(lengths) >= 1
    assert lengths[0] == max(lengths)


def test_length_skew_gives_one_scene_more_of_the_video():
    assert scene_lengths(12, 3, 0.0) == [4, 4, 4]
    assert scene_lengths(12, 3, 0.5) == [8, 2, 2]
    longest = [max(scene.frames for scene in story.scenes) for story in stories(20, scenes=3, length_skew=0.5)]
    assert set(longest) == {16}


def test_which_scene_is_longest_is_left_to_chance():
    places = [np.argmax([scene.frames for scene in story.scenes]) for story in stories(150, length_skew=0.5)]
    assert np.bincount(places, minlength=3).min() > 30


def test_span_chooses_the_scenes_that_captions_cover():
    common = {"scenes": 4, "distractors": 1, "length_skew": 0.5, "twins": 0.0}
    for span in ("brief", "dominant", "sequence", "whole"):
        for story in stories(40, span=span, **common):
            for plan in story.plans:
                covered = [clause.scene for clause in plan.clauses]
                lengths = {row: story.scenes[row].frames for row in story.captioned}
                if span in ("brief", "dominant"):
                    assert len(covered) == 1
                    assert lengths[covered[0]] == (min if span == "brief" else max)(lengths.values())
                elif span == "sequence":
                    assert len(covered) == 2
                    assert covered == sorted(covered)
                    assert plan.ordered
                else:
                    assert tuple(covered) == story.captioned
                    assert not plan.ordered


def test_span_is_a_mixture():
    spans = [plan.span for story in stories(400, span={"brief": 1, "whole": 3}, twins=0.0) for plan in story.plans]
    assert set(spans) == {"brief", "whole"}
    assert 0.7 < spans.count("whole") / len(spans) < 0.8


def test_no_caption_speaks_of_a_distractor():
    for story in stories(50, scenes=5, distractors=2, span="whole", twins=0.0):
        assert len(story.captioned) == 3
        assert {clause.scene for plan in story.plans for clause in plan.clauses} <= set(story.captioned)


def differences(one: Story, other: Story) -> list[tuple[str, object, object]]:
    """(attribute, before, after) over scenes and things in the same places."""
    found: list[tuple[str, object, object]] = []
    for before, after in zip(one.scenes, other.scenes, strict=True):
        pairs = [(replace(before, things=()), replace(after, things=()))]
        for first, second in [*pairs, *zip(before.things, after.things, strict=True)]:
            found += [
                (name, vars(first)[name], vars(second)[name])
                for name in vars(first)
                if vars(first)[name] != vars(second)[name]
            ]
    return found


@pytest.mark.parametrize("kind", ["attribute", "relation", "order", "direction"])
def test_a_twin_and_its_original_answer_different_captions_of_the_same_words(kind):
    pairs = twins(kind)
    assert len(pairs) > 15
    for original, twin in pairs:
        assert original.twin_of is None
        assert original.id < twin.id
        first, second = captions(original)[0], captions(twin)[0]
        assert not true_of_video(first, twin)
        assert not true_of_video(second, original)
        assert first.text != second.text
        assert len(first.text.split()) == len(second.text.split())
        if kind == "order":
            assert sorted(first.text.split()) == sorted(second.text.split())


def test_an_attribute_twin_differs_in_one_attribute_of_one_thing():
    for original, twin in twins("attribute"):
        assert len(differences(original, twin)) == 1
        assert differences(original, twin)[0][0] in ("shape", "colour", "size")


def test_a_relation_twin_has_two_things_in_each_others_place():
    for original, twin in twins("relation"):
        changed = differences(original, twin)
        assert sorted(name for name, _, _ in changed) == ["column", "column", "row", "row"]


def test_an_order_twin_has_the_same_scenes_in_reverse():
    for original, twin in twins("order"):
        assert twin.scenes == original.scenes[::-1]


def test_a_direction_twin_has_one_thing_moving_the_other_way():
    turned = {("left", "right"), ("right", "left"), ("up", "down"), ("down", "up")}
    for original, twin in twins("direction"):
        [(name, before, after)] = differences(original, twin)
        assert name == "motion"
        assert (before, after) in turned


def test_twins_have_the_share_asked_for():
    share = np.mean([story.twin_of is not None for story in stories(1000, twins=0.3)])
    assert 0.25 < share < 0.35
    assert not any(story.twin_of for story in stories(100, twins=0.0))


def test_vague_captions_are_answered_by_several_videos():
    def average(vague: float) -> float:
        told = stories(150, vague=vague, twins=0.0)
        asked = [caption for story in told for caption in captions(story)]
        return float(np.mean([len(found) for found in relevant(asked, told)]))

    assert average(0.0) < 2.5 < 5 < average(1.0)


def test_motion_is_in_the_videos_and_in_the_captions_as_asked():
    def facts(motion: str) -> tuple[bool, bool]:
        told = stories(60, motion=motion)
        moving = any(thing.motion != "still" for story in told for scene in story.scenes for thing in scene.things)
        said = any("moving" in caption.text or "goes" in caption.text for story in told for caption in captions(story))
        return moving, said

    assert [facts(motion) for motion in ("still", "unsaid", "said")] == [(False, False), (True, False), (True, True)]


def test_things_of_a_scene_share_no_row_and_no_column():
    for story in stories(100):
        for scene in story.scenes:
            assert len({thing.row for thing in scene.things}) == len(scene.things)
            assert len({thing.column for thing in scene.things}) == len(scene.things)


# ----------------------------------------------------------------------------------------------------- presets


def test_a_knob_that_is_given_wins_over_the_preset():
    assert shapes(preset="control").config.knobs == PRESETS["control"]
    assert shapes(preset="control", scenes=3, noise=0).config.knobs == replace(PRESETS["control"], scenes=3, noise=0.0)


@pytest.mark.parametrize("preset", ["easy", "control"])
def test_presets_without_a_question_of_coverage_have_one_scene(preset):
    for story in stories(20, preset=preset):
        assert len(story.scenes) == 1
        assert all(len(caption.clauses) == 1 for caption in captions(story))


def test_only_the_temporal_preset_says_which_way_things_move():
    assert {name for name, knobs in PRESETS.items() if knobs.motion == "said"} == {"temporal"}
    assert all(caption.ordered for story in stories(20, preset="temporal") for caption in captions(story))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"preset": "hard"}, "is not allowed"),
        ({"scenes": 7}, "at most 6"),
        ({"scenes": 2, "distractors": 2}, "2 of 2 scenes leaves none for captions"),
        ({"span": {"half": 1}}, "span: no `half`. Known: brief, dominant, sequence, whole"),
        ({"span": {"whole": 0}}, "one of them above 0"),
        ({"seconds": 0.1, "scenes": 3}, "1 frames, fewer than scenes"),
        ({"resolution": 97}, "even side"),
        ({"twins": 0.2, "twin_kind": "order", "span": "whole"}, "needs captions of span `sequence`"),
        ({"twins": 0.2, "twin_kind": "direction"}, "motion: said"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        shapes(**fields)
