"""What others would do, as functions of the same arrays: torch, torch.func, JAX, KeOps, bare BLAS.

Each takes data that is already in its library's own form where that costs time, and returns its figures. None is a
strawman: the tangents in closed form and the batched products are the fastest ways that we know in torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib import util
from typing import Any

import numpy as np

from pyscore._core.checks import Array
from pyscore.reference.model import SVAE

__all__ = [
    "absent", "dense_mmd", "jax_log_volume", "keops_mmd", "one_at_a_time", "sgemm", "torch_func_log_volume",
    "torch_layers", "torch_tangents_log_volume",
]  # fmt: skip


def absent() -> list[str]:
    """Names of the libraries that would be compared with but are not installed."""
    return [name for name in ("jax", "pykeops") if util.find_spec(name) is None]


def torch_layers(model: SVAE) -> list[tuple[Any, Any]]:
    """Weights and biases of the decoder as float32 tensors."""
    import torch

    return [tuple(torch.tensor(a, dtype=torch.float32) for a in layer) for layer in model.decoder]  # type: ignore[misc]


def _torch_mlp(tensors: Any, code: Any) -> Any:
    import torch.nn.functional as F

    a = code
    for index, (weight, bias) in enumerate(tensors):
        a = F.linear(a, weight, bias)
        if index < len(tensors) - 1:
            a = F.silu(a)
    return a


def torch_func_log_volume(tensors: Any, codes: Any) -> Any:
    """vmap(jacfwd(decoder)), then singular values."""
    import torch

    with torch.no_grad():
        jacobian = torch.func.vmap(torch.func.jacfwd(lambda code: _torch_mlp(tensors, code)))(codes)
        return torch.linalg.svdvals(jacobian).log().sum(dim=1)


def torch_tangents_log_volume(tensors: Any, codes: Any) -> Any:
    """Closed-form tangents, batched, then the R of a QR."""
    import torch

    from pyscore.backends import torch_functions

    n, k = codes.shape
    with torch.no_grad():
        identity = torch.eye(k).expand(n, k, k)
        tangents = torch_functions.mlp_tangents(codes, identity, tensors, "swish")[1]
        r = torch.linalg.qr(tangents.transpose(1, 2), mode="r").R
        return torch.diagonal(r, dim1=1, dim2=2).abs().log().sum(dim=1)


def one_at_a_time(tensors: Any, codes: Any) -> Callable[[int], None]:
    """The original's way: autograd's Jacobian of one code after the other; takes the number of codes."""
    import torch

    differentiate: Any = torch.autograd.functional.jacobian

    def run(count: int) -> None:
        for code in codes[:count]:
            jacobian = differentiate(lambda c: _torch_mlp(tensors, c), code)
            torch.linalg.svdvals(jacobian).log().sum()

    return run


def sgemm(weights: Sequence[Any], rows: int) -> Callable[[], None]:
    """Products of the fused kernel as plain matrix products into memory that is already there."""
    import torch

    pairs = [(torch.randn(rows, w.shape[1]), w.T, torch.empty(rows, w.shape[0])) for w in weights]

    def run() -> None:
        for a, b, out in pairs:
            torch.mm(a, b, out=out)

    return run


def jax_log_volume(model: SVAE, z: Array) -> Callable[[], Any] | None:
    """The same as `torch_func_log_volume`, compiled by XLA; None without JAX."""
    if util.find_spec("jax") is None:
        return None
    import jax
    import jax.numpy as jnp

    layers = [(jnp.asarray(w), jnp.asarray(b)) for w, b in model.decoder]

    def decode(code: Any) -> Any:
        for weight, bias in layers[:-1]:
            code = jax.nn.silu(weight @ code + bias)
        return layers[-1][0] @ code + layers[-1][1]

    volume = jax.jit(lambda c: jnp.log(jnp.linalg.svd(jax.vmap(jax.jacfwd(decode))(c), compute_uv=False)).sum(1))
    codes = jnp.asarray(z)
    return lambda: np.asarray(volume(codes).block_until_ready())


def dense_mmd(x: Array, y: Array, c: float) -> float:
    """MMD² with the IMQ kernel of rows x and y in torch, its matrices in memory."""
    import torch

    def within(a: Any) -> Any:
        k = c / (c + (1 - a @ a.T).clamp(min=0))
        return (k.sum() - k.diagonal().sum()) / (len(a) * (len(a) - 1))

    a, b = torch.from_numpy(x), torch.from_numpy(y)
    with torch.no_grad():
        return float(within(a) + within(b) - 2 * (c / (c + (1 - a @ b.T).clamp(min=0))).mean())


def keops_mmd(x: Array, y: Array, c: float) -> float:
    """The same by KeOps, which keeps no matrix."""
    import torch

    lazy_tensor = importlib.import_module("pykeops.torch").LazyTensor

    def total(a: Any, b: Any) -> Any:
        dot = (lazy_tensor(a[:, None, :]) * lazy_tensor(b[None, :, :])).sum(-1)
        return (c / (c + (1 - dot).relu())).sum(1).sum()

    n, m = len(x), len(y)
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    within = (total(a, a) - n) / (n * (n - 1)) + (total(b, b) - m) / (m * (m - 1))
    return float(within - 2 * total(a, b) / (n * m))
