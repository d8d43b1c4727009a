"""From scores to ranks to metrics: counts of what stands above and beside each relevant item, then everything else."""

from .counts import RankCounts, rank_counts, relevant_scores
from .measures import COSTS, DEFAULT_METRICS, TIES, Evaluation, Metric, Ties, evaluate, metric, per_query, summarise
from .relevance import DIRECTIONS, Relevance, query_relevance
from .reranked import Reranking, rerank_counts

__all__ = [
    "COSTS",
    "DEFAULT_METRICS",
    "DIRECTIONS",
    "TIES",
    "Evaluation",
    "Metric",
    "RankCounts",
    "Relevance",
    "Reranking",
    "Ties",
    "evaluate",
    "metric",
    "per_query",
    "query_relevance",
    "rank_counts",
    "relevant_scores",
    "rerank_counts",
    "summarise",
]
