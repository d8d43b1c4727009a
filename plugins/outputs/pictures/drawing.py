"""Strips of frames with what is attended to, and the whole picture of one query."""

from __future__ import annotations

import textwrap
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from core.outputs import Clip

from .pages import HEIGHT, Page, Row, Shown

STRIP, GAP, BARS = 12 * (HEIGHT + 4) - 4, 4, 22
"""Pixels: the most that a strip is wide, between frames, and how high the bars of one gate are."""
RIGHT, GATE, PAPER, INK, FAINT = "#0072B2", "#D55E00", "white", "#222222", "#767676"
"""Told apart without colour vision (Okabe and Ito)."""
ROOM, MARGIN, LINE = 150, 16, 18
"""Pixels of a picture: for the words left of a strip, around everything, and of a line of words."""


def strip(video: Shown) -> Image.Image:
    """Its frames in a row, as many as fit, evenly spread; under them a row of bars for each gate, one bar a frame, the
    highest for the largest weight. Where patches have weights, what weighs little is pale."""
    frames = _frames(video.clip, [gate.patches.numpy() for gate in video.gates if gate.patches is not None][-1:])
    wide, high = frames[0].size
    fit = min(len(frames), (STRIP + GAP) // (wide + GAP)) or 1
    width = fit * (wide + GAP) - GAP
    image = Image.new("RGB", (width, high + (BARS + GAP) * len(video.gates)), PAPER)
    for place in range(fit):
        image.paste(frames[int((place + 0.5) * len(frames) / fit)], (place * (wide + GAP), 0))
    for number, gate in enumerate(video.gates):
        _bars(ImageDraw.Draw(image), gate.frames.numpy()[video.clip.mask], width, high + GAP + number * (BARS + GAP))
    return image


def _frames(clip: Clip, patches: list[NDArray[np.float32]]) -> list[Image.Image]:
    """Pictures of a clip's frames, padding left out, lit by patch weights [T, g, g] where there are any."""
    images = [Image.fromarray(frame) for frame in clip.frames[clip.mask]]
    for weights in patches:
        images = [_lit(image, part / max(weights.max(), 1e-9)) for image, part in zip(images, weights, strict=False)]
    return images


def _lit(image: Image.Image, share: NDArray[np.float32]) -> Image.Image:
    """Pale and grey, but for the cells of a grid over the centre square: the larger the share [g, g] of the largest
    weight, the more of the picture is seen in the cell, and the clearer is its frame."""
    side, cells, (wide, high) = min(image.size), len(share), image.size
    place = ((wide - side) // 2, (high - side) // 2)
    seen, framed = Image.new("L", image.size), Image.new("L", image.size)
    edges = [round(cell * side / cells) for cell in range(cells + 1)]
    for row, column in np.argwhere(share > 0.02).tolist():
        left, top = place[0] + edges[column], place[1] + edges[row]
        cell = (left, top, place[0] + edges[column + 1] - 1, place[1] + edges[row + 1] - 1)
        part = float(share[row, column])
        ImageDraw.Draw(seen).rectangle(cell, fill=round(255 * part))
        ImageDraw.Draw(framed).rectangle(cell, outline=round(255 * part**0.5))
    pale = Image.blend(image.convert("L").convert("RGB"), Image.new("RGB", image.size, PAPER), 0.5)
    pale.paste(image, mask=seen)
    pale.paste(Image.new("RGB", image.size, GATE), mask=framed)
    return pale


def _bars(draw: ImageDraw.ImageDraw, weights: NDArray[np.float32], width: int, top: int) -> None:
    """A bar for each frame's weight [T] over the width of the strip, on a line."""
    step, tallest = width / len(weights), max(weights.max(), 1e-9)
    for place, weight in enumerate(weights):
        height = round((BARS - 2) * float(weight / tallest))
        left = round(place * step) + 2
        draw.rectangle((left, top + BARS - 1 - height, round((place + 1) * step) - 3, top + BARS - 1), fill=GATE)
    draw.line((0, top + BARS - 1, width, top + BARS - 1), fill=FAINT)


# ------------------------------------------------------------------------------------------------ a whole picture


def drawn(page: Page) -> Image.Image:
    """The caption, and the stages one under another, each with its videos."""
    caption, words = textwrap.wrap(page.caption, 95) or [""], textwrap.wrap(f"{page.query}: {page.movement}", 115)
    strips = [[strip(video) for video in row.shown] for row in page.rows]
    width = 2 * MARGIN + ROOM + max(image.width for row in strips for image in row)
    heights = [2 * LINE + sum(max(image.height, 3 * LINE) + 10 for image in row) for row in strips]
    picture = Image.new("RGB", (width, 2 * MARGIN + LINE * (len(caption) + len(words) + 1) + sum(heights)), PAPER)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(caption):
        draw.text((MARGIN, MARGIN + number * LINE), line, INK, _font(16))
    top = MARGIN + (len(caption) + 0.3) * LINE
    draw.text((MARGIN, top), "\n".join(words), FAINT, _font(13))
    top += (len(words) + 0.4) * LINE
    for row, images, height in zip(page.rows, strips, heights, strict=True):
        _draw_row(picture, row, images, round(top))
        top += height
    return picture


def _draw_row(picture: Image.Image, row: Row, images: list[Image.Image], top: int) -> None:
    draw = ImageDraw.Draw(picture)
    draw.line((MARGIN, top, picture.width - MARGIN, top), fill=FAINT)
    draw.text((MARGIN, top + 6), row.stage, INK, _font(15))
    top += round(1.7 * LINE)
    for video, image in zip(row.shown, images, strict=True):
        height = max(image.height, 3 * LINE)
        if video.right:
            draw.rectangle((MARGIN - 8, top - 3, picture.width - MARGIN + 8, top + height + 3), outline=RIGHT, width=3)
        colour = RIGHT if video.right else INK
        draw.text((MARGIN, top), f"{video.rank}  right" if video.right else str(video.rank), colour, _font(16))
        draw.text((MARGIN, top + LINE), f"{video.video}"[:20], FAINT, _font(12))
        draw.text((MARGIN, top + 1.9 * LINE), "\n".join(told(video)), FAINT, _font(12))
        picture.paste(image, (MARGIN + ROOM, top))
        top += height + 10


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


# ------------------------------------------------------------------------------------------------ words


def told(video: Shown) -> list[str]:
    """`score 0.412, was 9`, and of each gate `frame: up to 0.87`"""
    score = "not re-ranked" if video.score is None else f"score {video.score:.3f}"
    moved = "" if video.before in (None, video.rank) else f", was {video.before}"
    return [score + moved, *(f"{gate.interaction}: up to {gate.frames.max():.2f}" for gate in video.gates)]
