"""The golden files: recorded outputs of the original Julia code, and what to compare with them.

They are found in ``PYSCORE_GOLDEN``, in ``../shared/golden`` beside a checkout, or in its ``tests/golden``; an
installed package has none. Arrays are as Julia had them: columns are samples.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pyscore._core.checks import Array
from pyscore.convention import ORIGINAL
from pyscore.reference.model import SVAE

__all__ = ["CHECKS", "cases", "folders", "load", "model", "parameters"]

ROOT = Path(__file__).resolve().parents[2]
LAYERS = {"q1": "encoder.0", "q2": "encoder.1", "q3": "encoder.2", "mu": "mu", "kappa": "kappa"} | {
    f"g{i + 1}": f"decoder.{i}" for i in range(4)
}

Arrays = dict[str, Array]


def folders() -> list[Path]:
    """Folders that hold golden files, the most complete first."""
    named = os.environ.get("PYSCORE_GOLDEN")
    candidates = [Path(named) if named else ROOT.parent / "shared" / "golden", ROOT / "tests" / "golden"]
    return [folder for folder in candidates if any(folder.glob("*.npz"))]


def cases(prefix: str) -> list[str]:
    """Names of the cases with a prefix, in any of the folders."""
    return sorted({path.stem for folder in folders() for path in folder.glob(f"{prefix}*.npz")})


def load(case: str) -> Arrays:
    """Arrays of a case by name, from the first folder that has it."""
    path = next(folder / f"{case}.npz" for folder in folders() if (folder / f"{case}.npz").exists())
    with np.load(path) as data:
        return {name: data[name] for name in data.files if name != "__meta__"}


def parameters(arrays: Arrays, prefix: str = "w_") -> Arrays:
    """Parameters by pyscore's names, from the recorded w_q1_W, w_q1_b, … (or grad_…, tr_step1_…)."""
    named = {f"{name}.weight": arrays[f"{prefix}{short}_W"] for short, name in LAYERS.items()}
    named |= {f"{name}.bias": arrays[f"{prefix}{short}_b"] for short, name in LAYERS.items()}
    named["pseudo_inputs"] = arrays[f"{prefix}pseudo_inputs"].T
    return named


def model(arrays: Arrays, prefix: str = "w_") -> SVAE:
    """Return the recorded model."""
    return SVAE.from_parameters(parameters(arrays, prefix))


Check = Callable[[Any, Arrays, SVAE], tuple[Any, Any]]
"""(backend, arrays, model) → what the backend gives and what the original gave."""


def _prior(backend: Any, a: Arrays, m: SVAE) -> tuple[Any, Any]:
    pseudo = a["pseudo_mu"].T, a["pseudo_kappa"][0]
    return backend.log_prior(a["zparams_mu"].T, *pseudo, convention=ORIGINAL), a["log_pz"]


def _vmf(backend: Any, a: Arrays, m: SVAE) -> tuple[Any, Any]:
    n = len(a["log_vmf_c_vec"])
    return backend.log_vmf(a["za"].T[:n], a["zparams_mu"].T[:n], a["zparams_kappa"][0][:n]), a["log_vmf_c_vec"]


def _sample(backend: Any, a: Arrays, m: SVAE) -> tuple[Any, Any]:
    draws = a["samplez_eps"][0], a["samplez_vraw"].T
    got = backend.sample_vmf(a["zparams_mu"].T, a["zparams_kappa"][0], *draws, convention=ORIGINAL)
    return got, a["samplez_z"].T


def _importance(backend: Any, a: Arrays, m: SVAE) -> tuple[Any, Any]:
    likelihood, prior = a["log_px_term_pxgivenz"].T, a["log_px_term_pz"].T
    kappa = a["zparams_kappa"][0][: len(likelihood)]
    cosine = a["log_px_term_q"].T / kappa[:, None]
    got = backend.log_importance(likelihood, prior, cosine, kappa, m.latent_dim, convention=ORIGINAL)
    return got, a["log_px"]


CHECKS: dict[str, Check] = {
    "normalize": lambda b, a, m: (b.normalize(a["x"].T, convention=ORIGINAL), a["normalizecolumns_x"].T),
    "householder": lambda b, a, m: (
        b.householder(a["hh_zprime"].T, a["hh_mu"].T, convention=ORIGINAL),
        a["hh_out"].T,
    ),
    "sample_vmf": _sample,
    "log_likelihood": lambda b, a, m: (
        b.log_likelihood(a["x"].T, a["g_mu"].T, convention=ORIGINAL),
        a["log_pxexpectedz"][0],
    ),
    "log_prior": _prior,
    "log_vmf": _vmf,
    "vmf_entropy": lambda b, a, m: (b.vmf_entropy(a["kappa_grid"], m.latent_dim), a["vmfentropy_grid"]),
    "vmf_kl": lambda b, a, m: (b.vmf_kl(a["zparams_kappa"][0], m.latent_dim), a["kldiv"][0]),
    "log_volume": lambda b, a, m: (
        2 * b.log_volume(a["jacobian_decoder"].transpose(2, 0, 1)),
        a["sum2log_decoder"][: a["jacobian_decoder"].shape[2]],
    ),
    "log_importance": _importance,
    "imq_kernel_mean": lambda b, a, m: (
        b.imq_kernel_mean(a["za"].T, None, a["imq_c"], convention=ORIGINAL),
        a["k_imq_a"],
    ),
    "mmd_imq": lambda b, a, m: (
        b.mmd_imq(a["za"].T, a["zb"].T, a["imq_c"], convention=ORIGINAL),
        a["mmd_imq_ab"],
    ),
    "encode": lambda b, a, m: (b.encode(m, a["x"].T, convention=ORIGINAL)[0], a["zparams_mu"].T),
    "decode": lambda b, a, m: (b.decode(m, a["zparams_mu"].T), a["g_mu"].T),
    "decoder_log_volume": lambda b, a, m: (
        2 * b.decoder_log_volume(m, a["zparams_mu"].T, convention=ORIGINAL),
        a["sum2log_decoder"],
    ),
}
"""Function → the comparison of a backend with the original, on the original's own inputs."""

NOT_COMPARED = {
    "latent_error": "recorded with rows of a dataset only",
    "encoder_log_volume": "the original keeps a singular value that is rounding noise (Q3)",
}
