"""What retrieval costs: multiply-adds counted, time and memory measured."""

from .measuring import call_times, memory_growth, multiply_adds
from .prepared import MappedVideoSide, Prepared, VideoSide, as_side, as_tokens
from .retrieval import Retrieval, retrieval_costs

__all__ = [
    "MappedVideoSide",
    "Prepared",
    "Retrieval",
    "VideoSide",
    "as_side",
    "as_tokens",
    "call_times",
    "memory_growth",
    "multiply_adds",
    "retrieval_costs",
]
