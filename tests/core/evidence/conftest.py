from tests.core.evidence.found import wide

__all__ = ["wide"]
