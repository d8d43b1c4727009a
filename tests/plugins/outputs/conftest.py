from tests.engine import lab, toys
from tests.plugins.outputs.reported import copied, reported, reported_folder, result
from tests.plugins.outputs.still import place, tracked

__all__ = ["copied", "lab", "place", "reported", "reported_folder", "result", "toys", "tracked"]
