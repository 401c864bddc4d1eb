"""Detectors: estimators with the conventions of PyOD and scikit-learn, and the baselines beside them."""

from pyscore._core.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "Detector": "recommended",
        "ExpertEnsemble": "expert_ensemble",
        "ManifoldScorer": "manifold",
        "SVAEDetector": "svae",
        "SVAEEnsemble": "svae_ensemble",
        "StackEnsemble": "ensemble",
        "load_model": "load",
    },
)
