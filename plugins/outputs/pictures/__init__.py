"""Pictures of retrieval from coarse to fine: what stands on top for a query, stage by stage, as strips of frames."""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from core import ConfigError, Output, Problem, UserError, setting
from core.outputs import Rankings, Result, write_atomically

from .against import against
from .drawing import drawn
from .files import PAGE, shows, state_of, write_page
from .html import whole_page
from .pages import Pictures as Pages
from .pages import found, pages


class Pictures(Output):
    """`pictures.html`: for some queries, what stands on top at each stage of a variant, where variants re-rank.

    Scores are read from the store; the frames of the videos that are shown are decoded anew.
    """

    name = "pictures"
    by_default = True

    @dataclass(frozen=True)
    class Config:
        variant: str | None = setting(None, "its name; null: the best of those that re-rank")
        against: str | None = setting(None, "another variant, and the texts whose rank differs most between the two")
        sentence: str | None = setting(None, "a sentence that the variant is asked, in the place of texts")
        queries: tuple[str, ...] = setting((), "ids of texts; none: those whose right video moved most")
        most_changed: int = setting(6, "how many of these", ge=1, le=1000)
        top: int = setting(5, "videos of each stage", ge=1, le=1000)
        png: bool = setting(False, "a PNG for each text too, in `pictures/`")

    def __init__(self, config: Any):
        """Raises ConfigError for a sentence beside texts or a second variant."""
        super().__init__(config)
        for key in ("queries", "against"):
            if config.sentence is not None and getattr(config, key):
                raise ConfigError(Problem("sentence", f"a sentence is asked alone: leave out `{key}`"))

    def finished(self, result: Result, folder: Path) -> list[str]:
        """Without a page where no variant re-ranks and none was asked for.

        Raises UserError where one was asked for and cannot be made; else the lines say why there is none.
        """
        asked = self.config != self.Config()
        reranks = any(variant.experiment.retrieve.rerank for variant in result.variants)
        file, state = folder / PAGE, state_of(result, list(astuple(self.config)))
        if shows(file, state) and not self.config.png:
            return [f"Pictures: {file}"] if asked else []
        file.unlink(missing_ok=True)
        if not (reranks or asked):
            return []
        try:
            pictures = self._pictures(result.rankings(self.config.variant))
        except UserError as fault:  # as where no rank changed, or a video is not there any more
            if asked:
                raise
            return [f"No pictures of single queries: {fault}"]
        write_page(file, state, whole_page(pictures))
        if self.config.png:
            (folder / "pictures").mkdir(exist_ok=True)
            for number, page in enumerate(pictures.pages, 1):
                name = re.sub(r"[^\w.-]", "_", page.query)[:60]
                drawn(page).save(folder / "pictures" / f"{number:02}-{name}.png")
        return [f"Pictures: {file}"] if asked else []

    def _pictures(self, rankings: Rankings) -> Pages:
        chosen = self.config
        if chosen.sentence is not None:
            return found(rankings.asked(chosen.sentence), chosen.top)
        if chosen.against is not None:
            other = rankings.of(chosen.against, "outputs.pictures.against")
            return against(rankings, other, chosen.queries, chosen.most_changed, chosen.top)
        return pages(rankings, chosen.queries, chosen.most_changed, chosen.top)

    def sheet(self, rankings: Rankings, top: int, file: Path) -> bool:
        """The page of a sentence alone, or its picture."""
        if file.suffix not in (".html", ".png"):
            return False
        pictures = found(rankings, top)
        if file.suffix == ".html":
            write_atomically(file, whole_page(pictures))
        else:
            drawn(pictures.pages[0]).save(file)
        return True
