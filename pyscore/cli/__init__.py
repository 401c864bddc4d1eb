"""The command line: `pyscore demo|fit|score|evaluate|data|doctor`."""

from pyscore.cli.app import app, main

__all__ = ["app", "main"]
