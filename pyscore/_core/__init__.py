"""What every room uses: checks of arguments, files written whole, versions."""

from pyscore._core.lazy import attach

__getattr__, __dir__ = attach(__name__)
