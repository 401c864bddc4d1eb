"""Detectors: estimators with the conventions of PyOD and scikit-learn, and the baselines beside them."""
