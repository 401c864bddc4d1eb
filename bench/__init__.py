"""Measuring: `harness` times, `record` keeps, `compare` judges; suites: kernels, training, scores, datasets."""

from pyscore._core.lazy import attach

__getattr__, __dir__ = attach(__name__)
