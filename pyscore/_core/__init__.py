"""What every room uses: checks of arguments, atomic writing of files, text for terminals and Markdown."""

from pyscore._core.lazy import attach

__getattr__, __dir__ = attach(__name__)
