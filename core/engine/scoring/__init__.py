"""Scores in blocks of bounded memory: all pairs, the candidates of each query, the best of a gallery.

Features -> `Sides` -> blocks -> scores.
"""

from .all_pairs import score, score_blocks, score_settings
from .blocks import blocks, side_rows
from .candidates import candidates_of, score_candidates
from .gallery import best_videos, nearest, top, vectors_of
from .memory import limit_memory
from .pairs import diagnose_pairs, match_candidates, pair_rows, rerank
from .sides import Sides

__all__ = [
    "Sides",
    "best_videos",
    "blocks",
    "candidates_of",
    "diagnose_pairs",
    "limit_memory",
    "match_candidates",
    "nearest",
    "pair_rows",
    "rerank",
    "score",
    "score_blocks",
    "score_candidates",
    "score_settings",
    "side_rows",
    "top",
    "vectors_of",
]
