from tests.core.experiments import toy_components
from tests.core.reported import copied, reported, reported_folder, result
from tests.engine import done, done_folder, lab, toys

__all__ = [
    "copied",
    "done",
    "done_folder",
    "lab",
    "reported",
    "reported_folder",
    "result",
    "toy_components",
    "toys",
]
