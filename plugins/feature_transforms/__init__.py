"""Built-in feature transforms: features -> features."""

from collections.abc import Callable

from core import hookimpl

from .temporal_transformer import TemporalTransformer
from .token_selector import TokenSelector


@hookimpl
def register_feature_transforms(register: Callable[[type], None]) -> None:
    register(TemporalTransformer)
    register(TokenSelector)
