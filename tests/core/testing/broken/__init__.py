"""Components that break one rule of their contract each, beside the sound ones, and what is to be said of it."""

from . import interactions, parts, surroundings
from .breaking import BROKEN, NUMBERS, changed, with_init
from .interactions import sees_padding

__all__ = ["BROKEN", "NUMBERS", "changed", "interactions", "parts", "sees_padding", "surroundings", "with_init"]
