"""The experiment file: its typed schema, and reading and checking it."""

from .documents import Document, read_core, read_document
from .interpolation import has_references, resolve
from .references import allow_environment, allowed_environment
from .schema import DESIGN, PROSE, Claim, Data, Evaluate, Experiment, LogitScale, Model, Retrieve, Train, check

__all__ = [
    "DESIGN",
    "PROSE",
    "Claim",
    "Data",
    "Document",
    "Evaluate",
    "Experiment",
    "LogitScale",
    "Model",
    "Retrieve",
    "Train",
    "allow_environment",
    "allowed_environment",
    "check",
    "has_references",
    "read_core",
    "read_document",
    "resolve",
]
