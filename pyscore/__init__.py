"""pyscore: density-based anomaly scores for autoencoders and other generative models.

Scores are log-densities in nats, higher = more normal; detectors and AUCs take the negative.
Importing this package loads NumPy and little else; everything below is loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pyscore.convention import EXACT, ORIGINAL, Convention
from pyscore.errors import PyscoreError

if TYPE_CHECKING:
    from pyscore.backends import available_backends, get_backend
    from pyscore.data import load
    from pyscore.detector import SVAEDetector
    from pyscore.fitted import FittedModel, fit
    from pyscore.manifold_scorer import ManifoldScorer
    from pyscore.model import SVAE
    from pyscore.scores import SCORES, score, score_table, score_terms
    from pyscore.training import TrainConfig, train

__version__ = "0.1.0"

__all__ = [
    "EXACT",
    "ORIGINAL",
    "SCORES",
    "SVAE",
    "Convention",
    "FittedModel",
    "ManifoldScorer",
    "PyscoreError",
    "SVAEDetector",
    "TrainConfig",
    "available_backends",
    "fit",
    "get_backend",
    "load",
    "score",
    "score_table",
    "score_terms",
    "train",
]

_LAZY = {
    "SCORES": "scores",
    "SVAE": "model",
    "SVAEDetector": "detector",
    "FittedModel": "fitted",
    "ManifoldScorer": "manifold_scorer",
    "TrainConfig": "training",
    "available_backends": "backends",
    "fit": "fitted",
    "get_backend": "backends",
    "load": "data",
    "score": "scores",
    "score_table": "scores",
    "score_terms": "scores",
    "train": "training",
}
_SUBMODULES = {
    "backends", "calibration", "data", "detector", "fitted", "kernels", "model", "plots", "priors", "reference",
    "scores",
    "training",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(f"pyscore.{_LAZY[name]}"), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f"pyscore.{name}")
    raise AttributeError(f"module 'pyscore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
