from tests.core.failures.odd import drawn, odd, wide

__all__ = ["drawn", "odd", "wide"]
