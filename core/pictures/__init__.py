"""Pictures of retrieval from coarse to fine: what stands on top for a query, stage by stage, as strips of frames.

`pages` reads them from the store, `section` and `whole_page` make HTML of them, `drawn` makes a picture of one query.
"""

from .drawing import drawn
from .html import STYLE, section, whole_page
from .pages import Page, Pictures, pages

__all__ = ["STYLE", "Page", "Pictures", "drawn", "pages", "section", "whole_page"]
