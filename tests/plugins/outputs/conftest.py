from tests.engine import lab, toys
from tests.plugins.outputs.reported import copied, reported, reported_folder, result

__all__ = ["copied", "lab", "reported", "reported_folder", "result", "toys"]
