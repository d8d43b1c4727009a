"""One self-contained page of HTML."""

from __future__ import annotations

import re
from base64 import b64encode
from html import escape
from io import BytesIO

from PIL import Image

from core.outputs import plain_line

from .drawing import GATE, RIGHT, movement, strip, told
from .pages import Page, Pictures, Row, Shown

STYLE = f"""
.pictures {{ font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1000px; margin: 0 auto; padding: 0 12px }}
.pictures section {{ border-top: 2px solid #222; margin-top: 2.5em }}
.pictures h1 {{ font-size: 1.5em }}
.pictures h2 {{ font-size: 1.25em; margin: .6em 0 0 }}
.pictures h3 {{ font-size: 1em; margin: 1.2em 0 .3em }}
.pictures .faint {{ color: #666; margin: .2em 0 }}
.pictures .video {{ display: flex; gap: 12px; padding: 5px; border: 3px solid transparent; overflow-x: auto }}
.pictures .video > div {{ flex: 0 0 150px; font-size: .85em; overflow-wrap: anywhere }}
.pictures .video img {{ display: block; align-self: start }}
.pictures .right {{ border-color: {RIGHT} }}
.pictures .right b {{ color: {RIGHT} }}
.pictures .rank {{ font-size: 1.2em }}
.pictures .apart {{ margin-top: 10px }}
.pictures i.right, .pictures i.gate {{ display: inline-block; width: 1.6em; height: .7em; border: 3px solid {RIGHT} }}
.pictures i.gate {{ background: {GATE}; border-color: {GATE} }}
"""
"""What `section` looks like; everything in it stands under the class `pictures`."""


def _shown(text: str) -> str:
    """Escaped text on one line, nothing of it hidden."""
    return escape(plain_line(re.sub(r"[\t\r\n]+", " ", text)))


def whole_page(pictures: Pictures) -> str:
    """A complete page with images inline: it needs no other file and no network."""
    title, notes = _shown(pictures.title), "".join(f"<p class=faint>{_shown(note)}</p>" for note in pictures.notes)
    listed = "".join(
        f'<li><a href="#q{number}">{_shown(page.caption)}</a> <span class=faint>{_shown(movement(page))}</span>'
        for number, page in enumerate(pictures.pages, 1)
    )
    sections = "".join(section(page, f"q{number}") for number, page in enumerate(pictures.pages, 1))
    return (
        f'<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style><body><main class=pictures>"
        f"<h1>{title}</h1>{notes}{_legend(pictures)}<ol>{listed}</ol>{sections}</main></body></html>\n"
    )


def _legend(pictures: Pictures) -> str:
    gates = [gate for page in pictures.pages for row in page.rows for shown in row.shown for gate in shown.gates]
    said = "<i class=right></i> a right video"
    if gates:
        said += (
            "; <i class=gate></i> how the text weighs the frames of a video; the highest bar is the weight beside it"
        )
    if any(gate.patches is not None for gate in gates):
        said += "; a frame is pale where its patches weigh little"
    return f"<p class=faint>{said}.</p>"


def section(page: Page, anchor: str = "") -> str:
    """A fragment for one query: caption, stages, strips. Stands under `class=pictures`, with STYLE."""
    named = f" id={anchor}" if anchor else ""
    head = f"<h2>{_shown(page.caption)}</h2><p class=faint>{_shown(page.query)}: {_shown(movement(page))}</p>"
    return f"<section{named}>{head}{''.join(_stage(row) for row in page.rows)}</section>"


def _stage(row: Row) -> str:
    videos, before = "", 0
    for shown in row.shown:
        videos += _video(shown, apart=shown.rank > before + 1)
        before = shown.rank
    return f"<h3>{_shown(row.stage)}</h3>{videos}"


def _video(shown: Shown, apart: bool) -> str:
    classes = f"video{' right' * shown.right}{' apart' * apart}"
    said = "<br>".join(_shown(line) for line in (shown.video, *told(shown)))
    words = f"<b class=rank>{shown.rank}{' right' * shown.right}</b><br>{said}"
    return f'<div class="{classes}"><div>{words}</div>{_inline(strip(shown), f"frames of {shown.video}")}</div>'


def _inline(image: Image.Image, words: str) -> str:
    file = BytesIO()
    image.save(file, "JPEG", quality=85)
    data = b64encode(file.getvalue()).decode()
    size = f"width={image.width} height={image.height}"
    return f'<img {size} alt="{_shown(words)}" src="data:image/jpeg;base64,{data}">'
