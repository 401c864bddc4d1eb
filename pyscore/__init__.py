"""pyscore: density-based anomaly scores for autoencoders and other generative models.

Scores are log-densities in nats, higher = more normal; detectors and AUCs take the negative.
Importing this package loads NumPy and little else; everything below is loaded when first used.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from pyscore._core.version import __version__ as __version__
from pyscore.convention import EXACT, ORIGINAL, Convention
from pyscore.errors import PyscoreError

if TYPE_CHECKING:
    from pyscore.backends import available_backends, get_backend
    from pyscore.data.datasets import load_dataset
    from pyscore.detectors.load import load_model
    from pyscore.detectors.manifold import ManifoldScorer
    from pyscore.detectors.svae import SVAEDetector
    from pyscore.reference.model import SVAE
    from pyscore.scoring.fitted import FittedModel, fit
    from pyscore.scoring.scores import SCORES, score, score_table, score_terms
    from pyscore.training.config import TrainConfig
    from pyscore.training.stack import train_stack
    from pyscore.training.train import train

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
    "load_dataset",
    "load_model",
    "score",
    "score_table",
    "score_terms",
    "train",
    "train_stack",
]

_LAZY = {
    "SCORES": "scoring.scores",
    "SVAE": "reference.model",
    "SVAEDetector": "detectors.svae",
    "FittedModel": "scoring.fitted",
    "ManifoldScorer": "detectors.manifold",
    "TrainConfig": "training.config",
    "available_backends": "backends",
    "fit": "scoring.fitted",
    "get_backend": "backends",
    "load_dataset": "data.datasets",
    "load_model": "detectors.load",
    "score": "scoring.scores",
    "score_table": "scoring.scores",
    "score_terms": "scoring.scores",
    "train": "training.train",
    "train_stack": "training.stack",
}
_ROOMS = {
    "backends",
    "bench",
    "cli",
    "data",
    "detectors",
    "experiment",
    "kernels",
    "reference",
    "scoring",
    "studies",
    "training",
}
_MODULES = {
    "calibration": "detectors.calibration",
    "flux": "backends.flux",
    "plots": "scoring.plots",
    "priors": "detectors.priors",
}
"""Public modules that are reached as an attribute of the package."""


def __getattr__(name: str) -> Any:
    if name == "load":
        warnings.warn(
            "pyscore.load is now pyscore.load_dataset; the old name goes with the next release.",
            DeprecationWarning,
            stacklevel=2,
        )
        return importlib.import_module("pyscore.data.datasets").load_dataset
    if name in _LAZY:
        from pyscore._core.optional import needs_torch

        with needs_torch(f"pyscore.{name}"):
            value = getattr(importlib.import_module(f"pyscore.{_LAZY[name]}"), name)
        globals()[name] = value
        return value
    if name in _ROOMS or name in _MODULES:
        return importlib.import_module(f"pyscore.{_MODULES.get(name, name)}")
    raise AttributeError(f"module 'pyscore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS, *_MODULES})
