"""Models in the files of a training: a checkpoint holds one, under way; a stack holds many."""

from __future__ import annotations

import os

from pyscore._core.checks import Array
from pyscore._core.files import read_tensors
from pyscore.errors import ModelFileError, PyscoreError
from pyscore.reference.model import SVAE

__all__ = ["CHECKPOINT_VERSION", "MODEL", "STACK_VERSION", "load_stack", "model_of_checkpoint"]

CHECKPOINT_VERSION, STACK_VERSION = 2, 1
"""Newest formats; version 1 of both has no checksum."""
MODEL = "model"
"""What the names of a model's arrays start with in a checkpoint: ``model/mu.weight``; in a stack, a number."""


def _model(arrays: dict[str, Array], prefix: str, activation: str) -> SVAE:
    own = {n.removeprefix(f"{prefix}/"): array for n, array in arrays.items() if n.startswith(f"{prefix}/")}
    return SVAE.from_parameters(own, activation)


def load_stack(path: str | os.PathLike[str]) -> list[SVAE | None]:
    """Read the models of a stack, in its order; None for one whose training failed.

    Raises
    ------
    ModelFileError
        If the file is missing, corrupt or foreign.
    """
    header, arrays = read_tensors(path, "stack", STACK_VERSION, unsigned=(1,))
    try:
        models: list[SVAE | None] = [None] * int(header["models"])
        for index, activation in header["activation"].items():
            models[int(index)] = _model(arrays, index, activation)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ModelFileError(f"{str(path)!r} is not a valid stack of models: {error}") from None
    return models


def model_of_checkpoint(path: str | os.PathLike[str]) -> SVAE:
    """Read the model of a checkpoint as it stood when that was written.

    Raises
    ------
    ModelFileError
        If the file is missing, corrupt or foreign, or of an earlier version, which held the parameters in an order
        of the training's own.
    """
    header, arrays = read_tensors(path, "checkpoint", CHECKPOINT_VERSION, unsigned=(1,))
    if not any(name.startswith(f"{MODEL}/") for name in arrays):
        raise ModelFileError(
            f"{str(path)!r} is a checkpoint of an earlier version, which only the training itself can read: go on "
            "with `fit(…, checkpoint=…)` or `pyscore fit --checkpoint`."
        )
    try:
        return _model(arrays, MODEL, header["activation"])
    except (KeyError, TypeError, ValueError, PyscoreError) as error:
        raise ModelFileError(f"{str(path)!r} is not a valid checkpoint: {error}") from None
