"""Pieces of an HTML page: the frame with its style, tables, lists, pictures. Everything is escaped here."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from core.outputs import plain_line

STYLE = """
:root { --ink: #1a1a1a; --soft: #5c6370; --line: #d9dde3; --pale: #f5f7f9; --good: #0b5c94; --bad: #a84300; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.25rem 4rem; color: var(--ink); background: #fff;
  overflow-wrap: break-word;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
p { margin: .4rem 0; max-width: 52rem; }
.lead { font-size: 1.1rem; }
.soft, figcaption, caption { color: var(--soft); }
nav { margin: .8rem 0 0; font-size: .9rem; }
nav a { margin-right: 1rem; }
a { color: var(--good); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; margin: .6rem 0; }
caption { text-align: left; overflow-wrap: anywhere; padding-bottom: .4rem; caption-side: top; }
th, td { padding: .3rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { border-bottom: 2px solid var(--ink); vertical-align: bottom; }
thead th, tbody th { white-space: normal; }
tbody th { min-width: 7rem; max-width: 26rem; border-bottom: 1px solid var(--line); font-weight: normal; }
.left { text-align: left; }
.prose { white-space: normal; min-width: 14rem; }
tbody th, tbody td { vertical-align: top; }
tr.baseline td, tr.baseline th { background: var(--pale); font-weight: 600; }
tr.apart td, tr.apart th { color: var(--soft); font-style: italic; }
.better { color: var(--good); font-weight: 600; }
.worse { color: var(--bad); font-weight: 600; }
.claim { border-left: 5px solid var(--soft); background: var(--pale); padding: .6rem .9rem; margin: .6rem 0; }
.claim.supported { border-color: var(--good); } .claim.refuted { border-color: var(--bad); }
.claim b { letter-spacing: .03em; } .claim.supported b { color: var(--good); } .claim.refuted b { color: var(--bad); }
.claim p { margin: .15rem 0; max-width: none; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(27rem, 1fr)); gap: 1.6rem;
  align-items: start; }
figure { margin: 0; min-width: 0; } figure img { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .85rem; margin-top: .3rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; margin: .6rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--pale); padding: .7rem .9rem; overflow-x: auto; font-size: .88rem; white-space: pre-wrap; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
ul { padding-left: 1.2rem; } li { margin: .25rem 0; }
details { margin: .8rem 0; } summary { cursor: pointer; color: var(--good); }
@media (max-width: 40rem) { .figures { grid-template-columns: 1fr; } dl { grid-template-columns: 1fr; gap: 0; } }
@media print { body { max-width: none; padding: 0; } nav { display: none; }
  figure, tr, .claim { break-inside: avoid; } }
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole HTML file that needs no other."""
    head = f'<meta charset="utf-8"><title>{_shown(title)}</title>'
    head += f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"


def section(name: str, title: str, *parts: str) -> str:
    """A headed part of the page that `#name` leads to; nothing where it has no parts."""
    said = [part for part in parts if part]
    return f'<section id="{_shown(name)}"><h2>{_shown(title)}</h2>\n' + "\n".join(said) + "</section>" if said else ""


def paragraph(text: str, kind: str = "") -> str:
    return f"<p{_class(kind)}>{inline(text)}</p>" if text else ""


def inline(text: str) -> str:
    """Escaped text; what stands between backticks as code."""
    pieces = _shown(text, quote=False).split("`")
    if len(pieces) % 2 == 0:
        return "`".join(pieces)
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))


def link(target: str, words: str) -> str:
    return f'<a href="{_shown(target)}">{inline(words)}</a>'


def listed(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{inline(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def terms(facts: Mapping[str, str]) -> str:
    """Names with what stands under them; those with nothing are left out."""
    return "<dl>" + "".join(f"<dt>{inline(k)}</dt><dd>{inline(v)}</dd>" for k, v in facts.items() if v) + "</dl>"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Iterable[int] = (0,),
    prose: Iterable[int] = (),
    row_kinds: Sequence[str] = (),
    cell_kinds: Mapping[tuple[int, int], str] | None = None,
    caption: str = "",
) -> str:
    """A table whose first column names the rows. left, prose: columns set left, and left over several lines.

    row_kinds, cell_kinds: CSS classes of rows, and of cells by (row, column).
    """
    prose = set(prose)
    align = dict.fromkeys(left, "left") | dict.fromkeys(prose, "left prose")
    kinds = dict(cell_kinds or {})

    def cell(row: int, column: int, text: str) -> str:
        tag = "th" if column == 0 else "td"
        scope = ' scope="row"' if column == 0 else ""
        kind = f"{align.get(column, '')} {kinds.get((row, column), '')}".strip()
        return f"<{tag}{scope}{_class(kind)}>{inline(text)}</{tag}>"

    titles = "".join(f'<th scope="col"{_class(align.get(at, ""))}>{inline(name)}</th>' for at, name in enumerate(head))
    lines = [
        f"<tr{_class(row_kinds[number] if row_kinds else '')}>"
        + "".join(cell(number, at, text) for at, text in enumerate(row))
        + "</tr>"
        for number, row in enumerate(rows)
    ]
    told = f"<caption>{inline(caption)}</caption>" if caption else ""
    body = "\n".join(lines)
    return f'<div class="wide"><table>{told}<thead><tr>{titles}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def figure(file: Path, caption: str) -> str:
    """An SVG file as part of the page."""
    data = base64.b64encode(file.read_bytes()).decode()
    picture = f'<img alt="{_shown(caption)}" src="data:image/svg+xml;base64,{data}">'
    return f"<figure>{picture}<figcaption>{inline(caption)}</figcaption></figure>"


def folded(title: str, content: str) -> str:
    """What is shown when its title is clicked."""
    return f"<details><summary>{_shown(title)}</summary>\n{content}\n</details>"


def preformatted(text: str) -> str:
    return f"<pre>{escape(text, quote=False)}</pre>"


def _shown(text: str, quote: bool = True) -> str:
    """Escaped text on one line, nothing of it hidden."""
    return escape(plain_line(re.sub(r"[\t\r\n]+", " ", text)), quote=quote)


def _class(kind: str) -> str:
    return f' class="{escape(kind)}"' if kind else ""
