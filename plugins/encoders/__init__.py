"""Encoders: raw text and frames to features."""

from collections.abc import Callable

from core import Encoder, hookimpl

from .clip import Clip


@hookimpl
def register_encoders(register: Callable[[type[Encoder]], None]) -> None:
    register(Clip)
