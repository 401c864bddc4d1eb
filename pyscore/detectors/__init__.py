"""Detectors: estimators with the conventions of PyOD and scikit-learn, and the baselines beside them."""

from pyscore._core.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {"ManifoldScorer": "manifold", "SVAEDetector": "svae", "StackEnsemble": "ensemble", "load_model": "load"},
)
