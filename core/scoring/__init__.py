"""Scores in blocks of bounded memory: all pairs, the candidates of each query, the best of a gallery."""

from .all_pairs import score, score_blocks, score_settings
from .blocks import blocks, cat_sides, side_rows
from .candidates import candidates_of, diagnose_pairs, match_candidates, rerank, score_candidates
from .gallery import nearest, search, top, vectors_of
from .memory import limit_memory

__all__ = [
    "blocks",
    "candidates_of",
    "cat_sides",
    "diagnose_pairs",
    "limit_memory",
    "match_candidates",
    "nearest",
    "rerank",
    "score",
    "score_blocks",
    "score_candidates",
    "score_settings",
    "search",
    "side_rows",
    "top",
    "vectors_of",
]
