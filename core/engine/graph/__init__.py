"""The steps of one trial: which fields each reads, which steps it needs. Nothing is computed here."""

from .trial import TrialGraph

__all__ = ["TrialGraph"]
