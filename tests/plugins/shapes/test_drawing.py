"""How things of `shapes` are drawn."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from plugins.datasets.shapes import render
from plugins.datasets.shapes.world import Thing

from .stories import decoded, plain, shapes, twins


def picture(*things: Thing, frames: int = 1, background: str = "black", **look: float) -> np.ndarray:
    scene = {
        "background": background,
        "texture": "plain",
        "things": [vars(t) for t in things],
        "frames": frames,
        "seed": 5,
    }
    return render.draw({"scenes": [scene], "side": 96, "smallest": 0.1, "noise": 0.0, "palette_shift": 0.0, **look})


def covered(frame: np.ndarray, background: str = "black") -> np.ndarray:
    """bool [side, side]: where something other than the background is."""
    return abs(frame.astype(int) - picture(background=background)[0]).sum(-1) > 60


BALL = Thing("circle", "yellow", "small", "still", 0, 2)


@pytest.mark.parametrize("shape", ["circle", "square", "triangle", "star", "cross", "ring", "diamond", "heart"])
@pytest.mark.parametrize(("size", "diameter"), [("small", 0.1), ("medium", 0.22), ("large", 0.36)])
def test_a_thing_has_its_size_and_stands_in_its_cell(shape, size, diameter):
    y, x = np.nonzero(covered(picture(replace(BALL, shape=shape, size=size))[0]))
    wide, high = np.ptp(x) + 1, np.ptp(y) + 1
    assert 0.7 * diameter * 96 <= max(wide, high) <= 1.15 * diameter * 96 + 2
    assert x.mean() > 64
    assert y.mean() < 32


def test_the_smallest_size_is_a_field():
    areas = [covered(picture(BALL, smallest=size)[0]).sum() for size in (0.06, 0.1, 0.2)]
    assert all(larger > 2 * smaller for smaller, larger in pairwise(areas))


@pytest.mark.parametrize(("motion", "axis", "sign"), [("left", 1, -1), ("right", 1, 1), ("up", 0, -1), ("down", 0, 1)])
def test_a_moving_thing_crosses_the_frame_in_its_direction(motion, axis, sign):
    frames = picture(replace(BALL, motion=motion), frames=6)
    path = [np.argwhere(covered(frame)).mean(0)[axis] for frame in frames]
    assert (np.diff(path) * sign > 5).all()


def test_opposite_directions_show_the_same_frames_in_reverse():
    left, right = (picture(replace(BALL, motion=motion), frames=6) for motion in ("left", "right"))
    assert np.array_equal(left, right[::-1])


def test_the_direction_of_light_and_colour_survives_compression(tmp_path):
    frames = picture(replace(BALL, size="large"), frames=8, noise=0.015)
    render.encode(tmp_path / "x.mp4", frames, 8)
    assert abs(decoded(tmp_path / "x.mp4").astype(int) - frames).mean() < 6


def test_noise_has_the_deviation_asked_for():
    clean, noisy = picture(background="grey", frames=4), picture(background="grey", frames=4, noise=0.04)
    assert np.std(noisy.astype(float) - clean) == pytest.approx(0.04 * 255, rel=0.1)
    assert not np.array_equal(noisy[0], noisy[1])


def test_palette_shift_turns_and_pales_colours():
    red = [
        picture(replace(BALL, colour="red", size="large"), palette_shift=shift)[0].max((0, 1))
        for shift in (0.0, 0.5, 1.0)
    ]
    chroma = [int(pixel.max()) - int(pixel.min()) for pixel in red]
    assert chroma[0] > chroma[1] > chroma[2] > 50
    assert red[2].argmax() == 0


def test_twins_are_drawn_alike_but_for_what_differs():
    original, twin = twins("attribute", scenes=2)[0]
    dataset = shapes(scenes=2)
    first, second = (
        render.draw(next(iter(dataset._jobs({"test": [{"file": "x", "scenes": scenes}]}).values())))
        for scenes in (plain(original), plain(twin))
    )
    assert (first != second).any(-1).mean() < 0.2
