from tests.core.experiments import toy_components
from tests.engine import done, done_folder, lab, toys
from tests.plugins.outputs.reported import reported, reported_folder

__all__ = ["done", "done_folder", "lab", "reported", "reported_folder", "toy_components", "toys"]
