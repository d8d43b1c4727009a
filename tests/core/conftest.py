from tests.core.experiments import toy_components
from tests.engine import done, done_folder, lab, toys

__all__ = ["done", "done_folder", "lab", "toy_components", "toys"]
