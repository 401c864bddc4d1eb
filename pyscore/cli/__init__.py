"""The command line, one file a command."""

from pyscore.cli.app import app, main

__all__ = ["app", "main"]
