"""Studies beside the paper's experiment: where reconstruction error is blind, and manifolds of known density."""

from pyscore._core.lazy import attach

__getattr__, __dir__ = attach(__name__)
