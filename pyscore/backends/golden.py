"""The golden files: recorded outputs of the original Julia code, and what to compare with them.

They are found in ``PYSCORE_GOLDEN``, in ``../shared/golden`` beside a checkout, or in its ``tests/golden``; an
installed package has none. Arrays are as Julia had them: columns are samples.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pyscore._core.checks import Array
from pyscore.backends import original_order
from pyscore.backends.contract import BY_NAME
from pyscore.backends.tolerance import error_in_eps
from pyscore.convention import ORIGINAL
from pyscore.reference.model import SVAE

__all__ = ["CHECKS", "NOT_COMPARED", "Comparison", "Recorded", "cases", "compare", "folders", "load", "model"]
__all__ += ["function_of", "output", "parameters", "recorded_case"]

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


class Recorded(NamedTuple):
    """A function's inputs and its outputs in the original; `times` is what the original multiplies it by."""

    arguments: tuple[Any, ...]
    want: Array
    times: float = 1.0


Check = Callable[[Arrays, SVAE], Recorded]


def _vmf(a: Arrays, m: SVAE) -> Recorded:
    n = len(a["log_vmf_c_vec"])
    return Recorded((a["za"].T[:n], a["zparams_mu"].T[:n], a["zparams_kappa"][0][:n]), a["log_vmf_c_vec"])


def _sample(draws: str, kappa: float | None = None) -> Check:
    def check(a: Arrays, m: SVAE) -> Recorded:
        mu, recorded = a["zparams_mu"].T, a["zparams_kappa"][0]
        concentrations = recorded if kappa is None else np.full_like(recorded, kappa)
        return Recorded((mu, concentrations, a[f"{draws}_eps"][0], a[f"{draws}_vraw"].T), a[f"{draws}_z"].T)

    return check


def _importance(a: Arrays, m: SVAE) -> Recorded:
    likelihood, prior = a["log_px_term_pxgivenz"].T, a["log_px_term_pz"].T
    kappa = a["zparams_kappa"][0][: len(likelihood)]
    cosine = a["log_px_term_q"].T / kappa[:, None]
    return Recorded((likelihood, prior, cosine, kappa, m.latent_dim), a["log_px"])


def _prior(codes: str, want: str) -> Check:
    return lambda a, m: Recorded((a[codes].T, a["pseudo_mu"].T, a["pseudo_kappa"][0]), a[want])


def _heads(rows: str, prefix: str) -> Check:
    return lambda a, m: Recorded(
        (m, (m.pseudo_inputs if rows == "u" else a[rows].T)),
        np.column_stack([a[f"{prefix}_mu"].T, a[f"{prefix}_kappa"][0]]),
    )


CHECKS: dict[str, Check] = {
    "normalize": lambda a, m: Recorded((a["x"].T,), a["normalizecolumns_x"].T),
    "householder": lambda a, m: Recorded((a["hh_zprime"].T, a["hh_mu"].T), a["hh_out"].T),
    "householder, at e1": lambda a, m: Recorded((a["hh_zprime"][:, :3].T, a["hh_e1_mu"].T), a["hh_e1_out"].T),
    "sample_vmf": _sample("samplez"),
    "sample_vmf, κ = 0.05": _sample("samplez_lowk", 0.05),
    "sample_vmf, κ = 99.9": _sample("samplez_highk", 99.9),
    "log_likelihood": lambda a, m: Recorded((a["x"].T, a["g_mu"].T), a["log_pxexpectedz"][0]),
    "log_likelihood, log_normal": lambda a, m: Recorded((a["x"].T, a["g_mu"].T), a["log_normal_x_g"][0]),
    "log_likelihood, of zero": lambda a, m: Recorded((a["x"].T, 0 * a["x"].T), a["log_normal_x"][0]),
    "log_prior": _prior("zparams_mu", "log_pz"),
    "log_prior, of samples": _prior("za", "log_pz_from_za"),
    "log_vmf": _vmf,
    "vmf_entropy": lambda a, m: Recorded((a["kappa_grid"], m.latent_dim), a["vmfentropy_grid"]),
    "vmf_entropy, of codes": lambda a, m: Recorded((a["zparams_kappa"][0], m.latent_dim), a["vmfentropy"][0]),
    "vmf_kl": lambda a, m: Recorded((a["zparams_kappa"][0], m.latent_dim), a["kldiv"][0]),
    "log_volume": lambda a, m: Recorded(
        (a["jacobian_decoder"].transpose(2, 0, 1),), a["sum2log_decoder"][: a["jacobian_decoder"].shape[2]], 2.0
    ),
    "log_importance": _importance,
    "imq_kernel_mean": lambda a, m: Recorded((a["za"].T, None, a["imq_c"]), a["k_imq_a"]),
    "imq_kernel_mean, of b": lambda a, m: Recorded((a["zb"].T, None, a["imq_c"]), a["k_imq_b"]),
    "imq_kernel_mean, between": lambda a, m: Recorded((a["za"].T, a["zb"].T, a["imq_c"]), a["k_imq_ab"]),
    "mmd_imq": lambda a, m: Recorded((a["za"].T, a["zb"].T, a["imq_c"]), a["mmd_imq_ab"]),
    "mmd_imq, of codes": lambda a, m: Recorded((a["zparams_mu"].T, a["za"].T, a["imq_c"]), a["mmd_imq_mu_a"]),
    "encode": _heads("x", "zparams"),
    "encode, pseudo-inputs": _heads("u", "pseudo"),
    "decode": lambda a, m: Recorded((m, a["zparams_mu"].T), a["g_mu"].T),
    "decoder_log_volume": lambda a, m: Recorded((m, a["zparams_mu"].T), a["sum2log_decoder"], 2.0),
}
"""Function, and which of its recordings → what it was given in the original, and what came out; under ORIGINAL."""

NOT_COMPARED = {
    "latent_error": "recorded with rows of a dataset only",
    "encoder_log_volume": "the original keeps a singular value that is rounding noise (Q3)",
}

REARRANGED = {"vmf_entropy": original_order.vmf_entropy, "vmf_kl": original_order.vmf_kl}
"""Functions that the original evaluates in an order with more rounding than any backend's."""


def function_of(recording: str) -> str:
    """Name of the function of an entry of `CHECKS`."""
    return recording.split(",")[0]


class Comparison(NamedTuple):
    """A backend against one recording."""

    error: float
    """Largest error in units of eps(dtype)·scale; infinite if no entry can be compared."""
    difference: float
    """Largest absolute difference of finite numbers."""


@functools.lru_cache(maxsize=1024)
def recorded_case(case: str, recording: str) -> tuple[Recorded, Array] | None:
    """Return what was recorded of a function and the scale of a difference to it; None if the case lacks it."""
    arrays, function = load(case), function_of(recording)
    try:
        recorded = CHECKS[recording](arrays, model(arrays))
    except KeyError:  # a subset has not every array
        return None
    spec, dtype = BY_NAME[function], model(arrays).dtype
    if function in REARRANGED:
        spec = dataclasses.replace(spec, rearranged=REARRANGED[function])
    return recorded, recorded.times * spec.scale(recorded.arguments, ORIGINAL, dtype)


def output(backend: Any, recording: str, recorded: Recorded) -> Array:
    """Return what a backend gives for a recording's inputs."""
    return recorded.times * np.asarray(
        BY_NAME[function_of(recording)](backend, recorded.arguments, ORIGINAL), float
    )


def compare(backend: Any, case: str, recording: str) -> Comparison | None:
    """Compare a backend's function with a recording of its own dtype; None if the case has none.

    A NaN or an infinity counts as an error like any other, unless rounding alone decides whether one comes out:
    the original underflows to −inf for far rows (Q26).
    """
    found = recorded_case(case, recording)
    if found is None:
        return None
    recorded, scale = found
    got = output(backend, recording, recorded)
    errors = error_in_eps(got, recorded.want, scale, backend.dtype)
    finite = np.isfinite(got) & np.isfinite(recorded.want)
    with np.errstate(invalid="ignore"):
        difference = np.max(np.abs(got - recorded.want), where=finite, initial=0.0)
    comparable = np.isfinite(scale).any()
    return Comparison(float(errors.max(initial=0.0)) if comparable else np.inf, float(difference))
