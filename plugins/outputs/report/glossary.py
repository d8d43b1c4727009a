"""What the statistical words of a report mean, a sentence each, of those that the page says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A word, what finds it on a page (a regular expression, capitals are not told apart), and its meaning."""

    word: str
    said_as: str
    meaning: str


ENTRIES = (
    Entry(
        "n.s.",
        r"\bn\.s\.",
        "Not significant: the test does not tell the two apart, which is not to say that they are equal.",
    ),
    Entry(
        "95 % interval",
        r"95 % interval",
        "A range made so that, over many repetitions of the study, 95 % of such ranges would hold the true difference.",
    ),
    Entry(
        "p, raw and corrected",
        r"\bp, raw|corrected",
        "How often a difference at least as large would come by chance where there is none; corrected: with regard to "
        "how many were tested.",
    ),
    Entry(
        "Holm",
        r"\bHolm\b",
        "A correction of p: among all comparisons that are corrected together (a family) it keeps the chance of even "
        "one false finding below 5 %.",
    ),
    Entry(
        "BH",
        r"\bBH\b|Benjamini",
        "Benjamini and Hochberg's correction of p: of the differences that it calls significant, at most 5 % are false "
        "on average.",
    ),
    Entry(
        "registered",
        r"\bregistered\b",
        "Written down, with metric, seeds and all that is tested, before the test split was first scored; the number "
        "is a digest of what was written.",
    ),
    Entry(
        "post hoc",
        r"\bpost hoc\b",
        "Claimed or changed after the test split had been scored: its p is not what it says, because the claim may "
        "have been made to fit the numbers.",
    ),
    Entry(
        "clusters",
        r"\bclusters?\b|\bwins\b",
        "Queries that belong to one video are no independent evidence, so the captions of a video count as one unit.",
    ),
    Entry(
        "crossed seeds and clusters",
        r"crossed seeds",
        "Every seed ranks every query, so the test counts both what other videos and what other training runs might "
        "have changed.",
    ),
    Entry(
        "could show, with 80 % power, detectable",
        r"could show|80 % power",
        "The smallest true difference that a study of this size would call significant in 80 of 100 repetitions; a "
        "smaller one may be there unseen.",
    ),
    Entry(
        "transductive",
        r"\btransductive\b",
        "Scores that are computed with the other test queries in hand, which a system that answers one query at a time "
        "does not have.",
    ),
    Entry(
        "ceiling, what re-ranking could reach",
        r"\bceiling\b|could reach",
        "The bound of re-ranking: the share of queries whose right answer the first stage puts among the candidates; "
        "no order of these can do better.",
    ),
)


def explained(texts: Iterable[str]) -> dict[str, str]:
    """{word: meaning} of those words that stand in some text, in the order of the glossary."""
    page = "\n".join(texts)
    return {entry.word: entry.meaning for entry in ENTRIES if re.search(entry.said_as, page, re.IGNORECASE)}
