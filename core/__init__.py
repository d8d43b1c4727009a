"""Retrieval ablations: does this block help, and is the difference real?

Everything public is an attribute of this package, loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "contract.components": (
        "Component Dataset Encoder FeatureTransform Interaction Loss Output Reranker ScoreTransform Levels LossInputs "
        "EncoderSettings LossSettings RerankerSettings TrainedReranker TrainedRerankerSettings Shapes "
        "Side Split Text Video"
    ),
    "contract.optimisation": "RerankerTraining",
    "contract.features": "Features LevelShape TextFeatures Tokens VideoFeatures",
    "contract.settings": "Mixture Spec setting",
    "hookspecs": "hookimpl",
    "errors": "ConfigError Problem DataError RunError StoreError UserError VideoError",
    "contract.terminal": "progress",
    "contract.inputs": "no_file special_file strict_json",
    "plugins": "create make",
    "engine.scoring": "best_videos score rerank",
    "measure.metrics": "evaluate Relevance",
    "contract.score_files": "GivenScores read_scores",
    "contract.transduction": "transductive_trace",
    "measure.significance": "compare_scores",
    "run": "run_experiment",
    "evidence.loading": "load",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}
__all__ = [*_MODULE_OF]  # noqa: PLE0604
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'core' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
