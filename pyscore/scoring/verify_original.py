"""The original package on the user's own model: FewShotAnomalyDetection.jl, called by name in a worker.

It runs in the Julia project that has it, with the Flux of that project, on a model built there from our arrays.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyscore._core.checks import Array
from pyscore.backends import available_backends, get_backend
from pyscore.backends.julia_ import julia_backend
from pyscore.convention import ORIGINAL
from pyscore.errors import InvalidInput
from pyscore.reference.model import SVAE
from pyscore.scoring.scores import score_terms

__all__ = ["differences_from_original", "original_outputs"]

FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "log_pxexpectedz": ("log_likelihood",),
    "log_pz": ("log_prior",),
    "log_pz_jacobian_decoder": ("log_prior", "decoder_volume"),
    "log_pz_jacobian_encoder": ("log_prior", "encoder_volume"),
}
"""The original's function → the terms whose sum it is; the last of them is the quantity that is compared."""


def original_outputs(model: SVAE, x: Array, project: str | os.PathLike[str]) -> dict[str, Array]:
    """Return what the original's functions give for rows x (n, d), by their names, each (n,).

    Raises
    ------
    InvalidInput
        If `project` is no Julia project.
    JuliaError
        If it lacks FewShotAnomalyDetection.jl; the text says how to add it.
    """
    folder = Path(project).resolve()
    if not any((folder / name).is_file() for name in ("Project.toml", "JuliaProject.toml")):
        raise InvalidInput(f"`original` must be a folder with a Project.toml; got {str(project)!r}.")
    with julia_backend("executable", project=folder, dtype=model.dtype) as julia:
        rows = np.ascontiguousarray(x, dtype=model.dtype)
        return {name: julia.call("original", model, name, rows) for name in FUNCTIONS}


def differences_from_original(
    model: SVAE, x: Array, project: str | os.PathLike[str]
) -> dict[tuple[str, str, str, str], float]:
    """(quantity, "original", backend, dtype) → largest |difference| in nats from the original's own function."""
    theirs = original_outputs(model, x, project)
    names = ("reconstruction", "prior", "jacobian_decoder", "jacobian_encoder")
    found: dict[tuple[str, str, str, str], float] = {}
    for backend in (name for name, why in available_backends().items() if why is None):
        for dtype in ("float64", "float32"):
            if (backend, dtype) == ("numpy", "float32"):
                continue
            engine: Any = get_backend(backend, dtype=dtype)
            rows = np.asarray(x, model.dtype)
            terms = score_terms(model, rows, names, convention=ORIGINAL, backend=engine)
            for function, parts in FUNCTIONS.items():
                ours = sum(terms[part].to_numpy() for part in parts)
                both = np.isfinite(ours) & np.isfinite(theirs[function])
                worst = float(np.max(np.abs(ours - theirs[function])[both], initial=0.0))
                found[(parts[-1], "original", backend, dtype)] = worst
    return found
