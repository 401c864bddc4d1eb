"""pyscore: density-based anomaly scores for autoencoders and other generative models.

Scores are log-densities in nats, higher = more normal; detectors and AUCs take the negative.
Importing this package loads NumPy and little else; everything below is loaded when first used.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from pyscore._core.lazy import attach
from pyscore._core.version import __version__ as __version__
from pyscore.convention import EXACT, ORIGINAL, Convention
from pyscore.errors import PyscoreError

if TYPE_CHECKING:
    from pyscore.backends import available_backends, get_backend
    from pyscore.data.datasets import load_dataset
    from pyscore.detectors.expert_ensemble import ExpertEnsemble
    from pyscore.detectors.load import load_model
    from pyscore.detectors.manifold import ManifoldScorer
    from pyscore.detectors.recommended import Detector
    from pyscore.detectors.svae import SVAEDetector
    from pyscore.detectors.svae_ensemble import SVAEEnsemble
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
    "Detector",
    "ExpertEnsemble",
    "FittedModel",
    "ManifoldScorer",
    "PyscoreError",
    "SVAEDetector",
    "SVAEEnsemble",
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

_load, _names = attach(
    __name__,
    {
        "SCORES": "scoring.scores",
        "SVAE": "reference.model",
        "SVAEDetector": "detectors.svae",
        "SVAEEnsemble": "detectors.svae_ensemble",
        "Detector": "detectors.recommended",
        "ExpertEnsemble": "detectors.expert_ensemble",
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
    },
)
_MODULES = {
    "bench": "bench",
    "calibration": "detectors.calibration",
    "flux": "backends.flux",
    "kernels": "kernels",
    "plots": "scoring.plots",
    "priors": "detectors.priors",
}
"""Public modules by another place than their name says; a checkout has bench and kernels outside this folder."""


def __getattr__(name: str) -> Any:
    if name == "load":
        warnings.warn(
            "pyscore.load is now pyscore.load_dataset; the old name goes with the next release.",
            DeprecationWarning,
            stacklevel=2,
        )
        name = "load_dataset"
    if name in _MODULES:
        return importlib.import_module(f"pyscore.{_MODULES[name]}")
    return _load(name)


def __dir__() -> list[str]:
    return sorted({*_names(), *_MODULES})
