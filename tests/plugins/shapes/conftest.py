from tests.plugins.shapes.stories import drawn

__all__ = ["drawn"]
