"""Which frames are taken of a video."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.engine.video import SAMPLERS, Sampling
from core.errors import ConfigError

from .clips import middles

gaps = st.lists(st.floats(0, 3, width=32), min_size=1, max_size=200)


@pytest.mark.parametrize("name", SAMPLERS)
@given(gaps=gaps, num_frames=st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_samplers_give_rising_indices_of_existing_frames(name: str, gaps: list[float], num_frames: int) -> None:
    timestamps = np.cumsum(gaps)
    indices = SAMPLERS[name](timestamps, num_frames)
    assert indices.dtype == np.int64
    assert len(indices) == min(len(timestamps), num_frames)
    assert (np.diff(indices) > 0).all()
    assert indices[0] >= 0
    assert indices[-1] < len(timestamps)
    np.testing.assert_array_equal(indices, SAMPLERS[name](timestamps.copy(), num_frames))


@given(count=st.integers(1, 4000), num_frames=st.integers(1, 40), fps=st.sampled_from([3, 24, 25, 30000 / 1001, 60]))
@settings(max_examples=200, deadline=None)
def test_uniform_at_a_constant_rate_takes_the_middle_of_equal_segments(count: int, num_frames: int, fps: float) -> None:
    timestamps = (np.arange(count) / fps).astype(np.float32).astype(np.float64)
    wanted = list(range(count)) if count <= num_frames else middles(count, num_frames)
    assert SAMPLERS["uniform"](timestamps, num_frames).tolist() == wanted


def test_uniform_goes_by_time_where_the_rate_varies() -> None:
    timestamps = np.array([0, 1, 2, 3, 4, 14, 24, 34])  # the middles of 4 spans of (34 + 34/7)/4 s
    assert SAMPLERS["uniform"](timestamps, 4).tolist() == [4, 5, 6, 7]
    assert SAMPLERS["uniform"](timestamps, 2).tolist() == [4, 6]


def test_uniform_takes_no_frame_twice() -> None:
    assert SAMPLERS["uniform"](np.array([0, 0.1, 0.2, 100, 100.1]), 4).tolist() == [1, 2, 3, 4]


@given(count=st.integers(1, 3000), num_frames=st.integers(1, 64))
@settings(deadline=None)
def test_spread_is_slice_framepos_2_of_clip4clip(count: int, num_frames: int) -> None:
    theirs = np.arange(count) if count <= num_frames else np.linspace(0, count - 1, num=num_frames, dtype=int)
    np.testing.assert_array_equal(SAMPLERS["spread"](np.arange(count) / 25, num_frames), theirs)


def test_head_takes_the_first_frames() -> None:
    assert SAMPLERS["head"](np.arange(9) / 25, 3).tolist() == [0, 1, 2]


def test_sampling_names_every_wrong_key() -> None:
    with pytest.raises(ConfigError) as caught:
        Sampling(num_frames=0, sampler="unifrom", size=0, short_videos="loop")
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["data.num_frames", "data.size", "data.sampler", "data.short_videos"]
    assert "Did you mean `uniform`?" in str(caught.value)
