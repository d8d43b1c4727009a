"""CLIP in the layout of transformers: a folder, a hub id, or a model drawn at random with words of one's own."""

from .encoder import Clip

__all__ = ["Clip"]
