"""Studies that the paper does not have: where the reconstruction error fails, and manifolds of known density."""

from pyscore._core.lazy import attach

__getattr__, __dir__ = attach(__name__)
