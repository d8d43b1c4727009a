"""What this package registers: the module that its entry point names."""

from core import hookimpl

from .hinge import Hinge
from .top_frames import TopFrames


@hookimpl
def register_interactions(register):
    register(TopFrames)


@hookimpl
def register_losses(register):
    register(Hinge)
