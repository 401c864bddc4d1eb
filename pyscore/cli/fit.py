"""`pyscore fit`: what is checked before the work begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pyscore._core.output_guard import check_output
from pyscore.data.table_files import SUFFIXES, find_files
from pyscore.errors import InvalidInput
from pyscore.scoring.plots import FIGURES

__all__ = ["check_outputs"]


def check_outputs(tables: Sequence[str], model: Path, checkpoint: Path | None) -> None:
    """Check where the model and the checkpoint go; raises as `check_output`."""
    inputs = find_files(tables)
    others = (*SUFFIXES, *(f".{kind}" for kind in FIGURES), ".json", ".html", ".md")
    for path in (model, checkpoint):
        if path is None:
            continue
        check_output(path, inputs)
        if path.suffix.lower() in others:
            raise InvalidInput(
                f"`path` must not end in {path.suffix}, which is another kind of file; got {str(path)!r}. Models "
                "and checkpoints end in .safetensors."
            )
    if checkpoint is not None and os.path.realpath(checkpoint) == os.path.realpath(model):
        raise InvalidInput(f"the model and the checkpoint must be two files; got {str(model)!r} for both.")
