"""Built-in losses: scores and auxiliary tensors of a batch -> a scalar."""

from collections.abc import Callable

from core import hookimpl

from .info_nce import InfoNCE
from .pearson import Pearson


@hookimpl
def register_losses(register: Callable[[type], None]) -> None:
    for loss in (InfoNCE, Pearson):
        register(loss)
