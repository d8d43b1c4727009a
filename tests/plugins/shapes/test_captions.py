"""The captions of `shapes`, and that relevance is what the oracle says."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.datasets.shapes import PRESETS, VOCABULARY, answers, captions
from plugins.datasets.shapes.captions import Caption, Clause, Mention, relevant
from plugins.datasets.shapes.world import RELATIONS, WORDS_AT_MOST, Scene, Story, Thing

from .stories import SMALL, shapes, stories, true_of_video


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("scenes", [None, 4, 5, 6])
def test_captions_are_short_and_use_known_words_only(preset, scenes):
    for span in (None, "whole", "sequence"):
        spare = {} if span is None else {"span": span, "twins": 0.0}
        for story in stories(60, preset=preset, scenes=scenes, **spare):
            for caption in captions(story):
                assert set(caption.text.split()) <= set(VOCABULARY)
                assert len(caption.text.split()) <= WORDS_AT_MOST


def test_every_word_is_used():
    knobs = {"span": {"dominant": 1.0, "sequence": 1.0, "whole": 1.0}, "captions_per_video": 4}
    told = [story for motion in ("unsaid", "said") for story in stories(300, motion=motion, **knobs)]
    assert {word for story in told for caption in captions(story) for word in caption.text.split()} == set(VOCABULARY)


def test_captions_of_a_video_come_in_two_wordings():
    for story in stories(20, captions_per_video=4):
        wordings = [plan.wording for plan in story.plans]
        assert wordings in ([0, 1, 0, 1], [1, 0, 1, 0])


@pytest.mark.parametrize("preset", PRESETS)
def test_relevance_is_exactly_what_the_oracle_says(preset):
    told = stories(120, preset=preset, vague=0.5)
    asked = [caption for story in told for caption in captions(story)]
    expected = [[row for row, story in enumerate(told) if true_of_video(caption, story)] for caption in asked]
    assert relevant(asked, told) == expected
    assert [[row for row, story in enumerate(told) if answers(caption, story)] for caption in asked] == expected


things = st.builds(
    Thing,
    shape=st.sampled_from(["circle", "square"]),
    colour=st.sampled_from(["red", "blue"]),
    size=st.sampled_from(["small", "large"]),
    motion=st.sampled_from(["still", "left", "up"]),
    row=st.integers(0, 2),
    column=st.integers(0, 2),
)
mentions = st.builds(
    Mention,
    shape=st.sampled_from(["circle", "square"]),
    colour=st.sampled_from([None, "red"]),
    size=st.sampled_from([None, "small"]),
    motion=st.sampled_from([None, "left"]),
)
clauses = st.builds(
    Clause,
    st.lists(mentions, min_size=1, max_size=2).map(tuple),
    relation=st.sampled_from([None, *RELATIONS]),
    background=st.sampled_from([None, "black"]),
    texture=st.sampled_from([None, "striped"]),
)
scenes = st.builds(
    Scene,
    background=st.sampled_from(["black", "white"]),
    texture=st.sampled_from(["plain", "striped"]),
    things=st.lists(
        things, min_size=1, max_size=3, unique_by=(lambda thing: thing.row, lambda thing: thing.column)
    ).map(tuple),
    frames=st.just(1),
    seed=st.just(0),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(scenes, min_size=1, max_size=3), min_size=1, max_size=6),
    st.lists(st.tuples(st.lists(clauses, min_size=2, max_size=2), st.booleans()), min_size=1, max_size=4),
)
def test_relevance_is_right_for_any_claim_about_any_video(worlds, claims):
    told = [Story(str(row), tuple(world), (0,), ()) for row, world in enumerate(worlds)]
    asked = [Caption(tuple(parts), ordered, "") for parts, ordered in claims]
    expected = [[row for row, story in enumerate(told) if true_of_video(caption, story)] for caption in asked]
    assert relevant(asked, told) == expected


def test_the_split_holds_every_relevant_pair(drawn):
    split, told = shapes(**SMALL).prepare(drawn)["train"], shapes(**SMALL).stories("train")
    asked = [caption for story in told for caption in captions(story)]
    assert [text.text for text in split.texts] == [caption.text for caption in asked]
    true = [(row, video) for row, c in enumerate(asked) for video, story in enumerate(told) if true_of_video(c, story)]
    assert split.pairs == true


@pytest.mark.parametrize("preset", PRESETS)
def test_an_oracle_on_the_attributes_retrieves_everything(preset):
    told = stories(200, preset=preset)
    asked = [captions(story)[0] for story in told]
    found = relevant(asked, told)
    assert all(true_of_video(caption, story) for caption, story in zip(asked, told, strict=True))
    assert all(row in rows for row, rows in enumerate(found))
    assert np.mean([rows == [row] for row, rows in enumerate(found)]) > 0.6


def test_relevance_of_a_test_split_takes_less_than_two_seconds():
    told = stories(700, scenes=4, distractors=0, captions_per_video=2)
    asked = [caption for story in told for caption in captions(story)]
    started = time.process_time()
    relevant(asked, told)
    assert time.process_time() - started < 2
