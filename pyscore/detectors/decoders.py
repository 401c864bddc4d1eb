"""Decoders and encoders of a user's own, by the compiled kernels or by torch.func: NumPy in, NumPy out.

Both kinds of decoder have the same methods (`Decoder`), and differ by rounding only.
"""

from __future__ import annotations

import contextlib
import copy
import os
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pyscore import reference
from pyscore._core.checks import Array
from pyscore.backends import torch_functions as tf
from pyscore.convention import EXACT
from pyscore.detectors.recognise import MLP
from pyscore.errors import InvalidInput
from pyscore.kernels import cpu
from pyscore.kernels.cpu.decoder_log_volume import TOLERANCE
from pyscore.reference import network

__all__ = ["AGREEMENT", "CompiledMap", "Decoded", "Decoder", "TorchMap", "adopt", "check_derivative", "check_rows"]

BLOCK_BYTES = 1 << 26
"""Size of the tangents of one block of rows at the widest layer."""
CHECKED_ROWS = 8


AGREEMENT = 2 * TOLERANCE
"""|volume compiled − volume torch.func| ≤ AGREEMENT · eps · cond(J) · k: each is within TOLERANCE of the exact."""


class Decoded(NamedTuple):
    """Points of the manifold with their volumes."""

    x_hat: Array
    """(n, d) float64."""
    volume: Array
    """(n,) float64, nats."""
    singular: Array
    """(n,) bool: singular to working precision."""


class Decoder(Protocol):
    """A map from codes to rows with its derivatives."""

    path: str
    eps: float
    """Machine epsilon of `__call__`, `jacobian` and `bend`."""

    def __call__(self, z: Array, /) -> Array:
        """Return the rows (n, d) of codes (n, k), as precisely as the projection wants them."""
        ...

    def values(self, z: Array, /) -> Array:
        """Return the rows (n, d) of codes (n, k) in the dtype of the scorer, as `log_volume` has them."""
        ...

    def jacobian(self, z: Array) -> Array:
        """Jacobians (n, d, k)."""
        ...

    def bend(self, z: Array, weights: Array) -> Array:
        """Hessians (n, k, k) of Σ_m weights_m·f(z)_m for weights (n, d)."""
        ...

    def log_volume(self, z: Array, tangent: bool) -> Decoded:
        """Σ log s_i(J), or that of J·T for the k−1 tangents T of the sphere at z."""
        ...


# ── compiled ─────────────────────────────────────────────────────────────────────────────────────────────


class CompiledMap:
    """A recognised MLP: volumes by the fused kernel, in its dtype; the projection in float64."""

    path = "compiled"
    eps = reference.EPS

    def __init__(self, found: MLP) -> None:
        self._layers, self._activation = found
        self._packed = cpu.pack([tuple(layer) for layer in found.layers], found.activation)
        self._dtype = found.layers[0].weight.dtype

    def __call__(self, a: Array) -> Array:
        """Rows (n, out) of rows (n, in), in float64 whatever the parameters are."""
        return network.mlp(a, self._layers, self._activation)

    def values(self, a: Array) -> Array:
        """Rows (n, out) of rows (n, in), in the precision of the parameters."""
        return cpu.mlp(self._packed, self._activation, a.astype(self._dtype)).astype(np.float64)

    def jacobian(self, z: Array) -> Array:
        """Jacobians (n, d, k)."""
        return network.mlp_jacobian(z, self._layers, self._activation)[1]

    def bend(self, z: Array, weights: Array) -> Array:
        """Hessians (n, k, k) of Σ_m weights_m·f(z)_m."""
        return network.mlp_hessian(z, self._layers, self._activation, weights)

    def log_volume(self, z: Array, tangent: bool) -> Decoded:
        """See `kernels.cpu.decoder_log_volume`."""
        run = cpu.decoder_log_volume(self._packed, self._activation, z.astype(self._dtype), tangent)
        noise = max(run.decoded.shape[1], z.shape[1] - tangent) * float(np.finfo(self._dtype).eps) * run.largest
        singular = (run.smallest <= noise) & ~np.isnan(run.volume)
        return Decoded(run.decoded.astype(np.float64), run.volume, singular)


# ── torch.func ───────────────────────────────────────────────────────────────────────────────────────────


_torch_state = threading.RLock()
"""Held while torch runs a user's function: its level of forward-mode differentiation is one for the whole process,
so that two threads that push tangents at once disturb each other; so are the settings of `_plain_attention`."""


def _new_lock() -> None:
    global _torch_state
    _torch_state = threading.RLock()


if hasattr(os, "register_at_fork"):  # a child forked while another thread held the lock could never take it
    os.register_at_fork(after_in_child=_new_lock)


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Make attention go through plain matrix products, which alone have all derivatives; and hold the lock.

    torch's fused kernels for attention and for whole Transformer layers have neither forward mode nor batching
    over tangents. All calls of a function, those without derivatives, too, see the same kernels.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with _torch_state:
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


class _Widest(TorchFunctionMode):
    """Watches the largest tensor that any operation yields."""

    numel = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.numel = max(self.numel, out.numel())
        return out


class TorchMap:
    """Any function of tensors whose rows do not depend on each other, in blocks of bounded memory.

    Tangents are pushed in forward mode (`torch.func.jvp` under `torch.func.vmap` over the tangents), with all rows
    of a block at once: so the module sees batches, as in training, and in-place operations do no harm.
    """

    path = "torch.func"

    def __init__(
        self, function: Callable[[Tensor], Any], name: str, dtype: torch.dtype, device: str, shape: tuple[int, ...]
    ) -> None:
        self._function, self._name = function, name
        self._dtype, self._device, self._shape = dtype, device, shape
        self.eps = float(torch.finfo(dtype).eps)
        self._width = 0

    def __call__(self, a: Array) -> Array:
        """Rows (n, out) of rows (n, in)."""
        return self._blocks(lambda block: (self._evaluate(block),), a, tangents=0)[0]

    values = __call__

    def jacobian(self, z: Array) -> Array:
        """Jacobians (n, d, k)."""
        return self._blocks(lambda b: (self._push(b, tangent=False)[1],), z, tangents=z.shape[1])[0]

    def bend(self, z: Array, weights: Array) -> Array:
        """Hessians (n, k, k) of Σ_m weights_m·f(z)_m, by reverse mode twice: most operations have that."""

        def hessian(block: Tensor, weights: Tensor) -> tuple[Tensor]:
            def gradient(z: Tensor) -> Tensor:
                pull: Any = torch.func.vjp(self._evaluate, z)[1]
                return pull(weights)[0]

            pull: Any = torch.func.vjp(gradient, block)[1]
            rows = torch.func.vmap(lambda t: pull(t)[0])(self._basis(block))
            return (rows.permute(1, 2, 0),)

        return self._blocks(hessian, z, weights, tangents=8 * (z.shape[1] + 1))[0]  # 8: what reverse mode keeps

    def log_volume(self, z: Array, tangent: bool) -> Decoded:
        """Σ log|r_ii| of a QR of J, or of J·T."""

        def volume(block: Tensor) -> tuple[Tensor, ...]:
            x_hat, jacobian = self._push(block, tangent=tangent)
            return x_hat, *tf.log_volume(jacobian)

        x_hat, log_volume, singular = self._blocks(volume, z, tangents=z.shape[1])
        return Decoded(x_hat, log_volume, singular.astype(bool))

    def _evaluate(self, a: Tensor) -> Tensor:
        """Rows (n, out) of flat rows."""
        out = self._function(a.reshape(-1, *self._shape))
        if isinstance(out, tuple | list):  # (mu, log_variance) of a VAE's encoder
            out = out[0]
        if isinstance(out, Tensor) and (out.layout != torch.strided or out.is_meta or out.is_complex()):
            kind = "complex" if out.is_complex() else "meta" if out.is_meta else "sparse"
            raise InvalidInput(f"`{self._name}` must return a dense tensor of real numbers; got a {kind} one.")
        if not isinstance(out, Tensor) or out.ndim == 0 or out.shape[0] != a.shape[0]:
            got = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
            raise InvalidInput(
                f"`{self._name}` must return a tensor with one row for each of its {a.shape[0]} inputs; got {got}."
            )
        return out.reshape(a.shape[0], -1)

    def _basis(self, block: Tensor) -> Tensor:
        """(k, n, k) unit tangents of every row."""
        k = block.shape[1]
        return torch.eye(k, dtype=block.dtype, device=block.device)[:, None, :].expand(k, *block.shape)

    def _push(self, block: Tensor, *, tangent: bool) -> tuple[Tensor, Tensor]:
        """Values (n, d) and Jacobians (n, d, k), or (n, d, k−1) along the sphere."""
        directions = self._basis(block)
        if tangent:
            directions = tf.tangent_frame(block, EXACT).permute(2, 0, 1)
        if not len(directions):
            value = self._evaluate(block)
            return value, value.new_zeros(*value.shape, 0)

        def push(t: Tensor) -> Any:
            return torch.func.jvp(self._evaluate, (block,), (t,))

        outputs: Any = (None, 0)  # the value is the same for every tangent
        value, pushed = torch.func.vmap(push, out_dims=outputs)(directions)
        return value, pushed.permute(1, 2, 0)

    def _tensor(self, a: Array) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(a)).to(self._device, self._dtype)

    def _blocks(self, work: Callable[..., tuple[Tensor, ...]], *rows: Array, tangents: int) -> list[Array]:
        """Apply `work` to blocks of the rows and join its outputs, as float64."""
        n, pieces = len(rows[0]), []
        if n == 0:  # no module has to cope with an empty batch
            some = self._blocks(work, *(np.zeros((2, *a.shape[1:])) for a in rows), tangents=tangents)
            return [part[:0] for part in some]
        start = 0
        while start < n:
            with torch.no_grad(), _plain_attention(), _explained(self._name):
                step = self._block_rows(rows[0], tangents)
                block = [self._tensor(a[start : start + step]) for a in rows]
                pieces.append([part.detach().cpu().numpy().astype(np.float64) for part in work(*block)])
                start += step
        return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]

    def _block_rows(self, rows: Array, tangents: int) -> int:
        """Rows of a block: its tangents at the widest layer take BLOCK_BYTES."""
        if not self._width:
            with _Widest() as seen:
                self._evaluate(self._tensor(np.zeros((2, rows.shape[1]))))
            self._width = max(seen.numel // 2, rows.shape[1])
        return max(1, BLOCK_BYTES // (self._width * self._dtype.itemsize * (tangents + 1)))


class _explained:
    """Turns what torch raises inside a user's function into an error that names it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        torchs_own = isinstance(error, RuntimeError | TypeError | ValueError | IndexError)
        if error is not None and torchs_own and not isinstance(error, InvalidInput):
            raise InvalidInput(
                f"`{self._name}` failed: {type(error).__name__}: {_said(error)}. It is given flat "
                "rows, or rows of `event_shape`, of the scorer's dtype and device; a plain function is not moved "
                "there, an nn.Module (or a method of one) is. It must be made of operations that torch.func can "
                "push tangents through."
            ) from error


# ── whatever the user has ────────────────────────────────────────────────────────────────────────────────


def adopt(name: str, function: Any, dtype: torch.dtype, device: str) -> Any:
    """Return a copy of a module, or of the module behind a bound method, in eval mode on a device, of a dtype.

    The user's own module is left as it is. A plain function can't be copied and is returned itself.
    """
    owner = function.__self__ if isinstance(function, types.MethodType) else function
    if not isinstance(owner, nn.Module):
        if not callable(function):
            raise InvalidInput(
                f"`{name}` must be an nn.Module or a function of a tensor; got {type(function).__name__}."
            )
        return function
    _check_parameters(name, owner)
    try:
        with torch.no_grad():  # a scripted module's parameters would be results of copying
            own = copy.deepcopy(owner)
            own = own.to(device=device, dtype=dtype).eval()
        if not isinstance(
            own, torch.jit.ScriptModule
        ):  # which has no way to do so; everything runs without gradients
            own.requires_grad_(False)
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        raise InvalidInput(
            f"`{name}` can't be copied: {_said(error)}. If it has an old-style weight_norm or spectral_norm, "
            f"remove "
            "it first (torch.nn.utils.remove_weight_norm); or pass a function, which is used as it is."
        ) from error
    return types.MethodType(function.__func__, own) if isinstance(function, types.MethodType) else own


def _check_parameters(name: str, module: nn.Module) -> None:
    """Refuse modules without real, readable parameters: lazy, on the device meta, complex, quantised."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for label, tensor in tensors:
        if torch.nn.parameter.is_lazy(tensor):
            raise InvalidInput(
                f"`{name}` has a parameter without a shape, {label!r}: a lazy module gets its parameters at its "
                f"first "
                "call. Run it once, and train it, before it is scored."
            )
        if tensor.is_meta:
            raise InvalidInput(
                f"`{name}` has a parameter without values, {label!r}: it is on the device 'meta'. Load the "
                f"trained "
                "weights first."
            )
        if tensor.is_complex():
            raise InvalidInput(f"`{name}` must have real parameters; {label!r} is {tensor.dtype}.")
    quantised = [type(part).__name__ for part in module.modules() if ".quantized" in type(part).__module__]
    if quantised or any(tensor.is_quantized for _, tensor in tensors):
        raise InvalidInput(
            f"`{name}` must not be quantised ({', '.join(quantised[:1]) or 'its parameters are'}): integers have "
            f"no "
            "derivative. Pass the module as it was before."
        )


def _said(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")[:300]


def check_derivative(name: str, decoder: Decoder, codes: Array) -> None:
    """Raise unless the derivative that torch has is that of the function: a decoder may detach its output.

    Along one direction for each of a few codes, pushed tangents are compared with a central difference. They
    differ
    in every code, and by far, only if something cuts the derivative off or puts another in its place.
    """
    codes = codes[:CHECKED_ROWS]
    if not codes.shape[1] or not len(codes):
        return
    direction = np.cos(np.arange(1, codes.shape[1] + 1, dtype=np.float64))  # no axis is left out
    direction /= np.linalg.norm(direction)
    pushed = decoder.jacobian(codes) @ direction
    step = float(np.cbrt(decoder.eps)) * (1 + np.abs(codes).max())
    low, high = decoder(codes - step * direction), decoder(codes + step * direction)
    moved = (high - low) / (2 * step)
    noise = 64 * decoder.eps * np.abs([low, high]).max() / step * np.sqrt(moved.shape[1])
    size = np.linalg.norm(moved, axis=1)
    if not pushed.any():
        if (size <= noise).all() and np.ptp(decoder(codes), axis=0).max(initial=0.0) <= noise * step:
            raise InvalidInput(
                f"the output of `{name}` does not depend on the codes: it is the same for all of them. Was it "
                "trained, and is it given the codes?"
            )
        raise InvalidInput(
            f"the output of `{name}` does not depend on the codes in a way that torch can differentiate: "
            f"something "
            "in it detaches (.detach(), .data, .numpy(), torch.no_grad) or rounds. Without a derivative there is "
            "no "
            "volume."
        )
    share = 0.1 if decoder.eps < 1e-12 else 0.5  # float32 takes long steps, over the kinks of a ReLU
    off = np.linalg.norm(pushed - moved, axis=1) > share * np.maximum(size, np.linalg.norm(pushed, axis=1)) + noise
    if off.all():
        raise InvalidInput(
            f"the derivative of `{name}` is not that of its values: part of its output is detached (.detach(), "
            f".data, "
            "torch.no_grad), or has a derivative of its own (a straight-through estimator). Without the true "
            "derivative there is no volume."
        )


def check_rows(name: str, function: Callable[[Array], Array], rows: Array, eps: float) -> None:
    """Raise unless a map gives each row the same result again, and beside other rows.

    Compared to √eps·max|output|, half of the digits: rounding depends on the size of a batch, while batch
    statistics and random draws move the output by far more.
    """
    rows = rows[:CHECKED_ROWS]
    first, again = function(rows), function(rows)
    bad = ~np.isfinite(first)
    if bad.any():
        raise InvalidInput(
            f"`{name}` must return finite numbers; got {first[bad][0]} for a row. Has its training diverged?"
        )
    bound = np.sqrt(eps) * np.abs(first).max(initial=0.0)
    if np.abs(first - again).max(initial=0.0) > bound:
        raise InvalidInput(
            f"`{name}` gives the same row another result each time: something in it draws at random (dropout by "
            "F.dropout(training=True), a sampled code). Return the mean instead, and put modules that a function "
            "uses in eval mode."
        )
    half = (len(rows) + 1) // 2  # no single rows, which a batch normalisation in training mode refuses
    apart = np.concatenate([function(rows[:half]), function(rows[half:])])
    if np.abs(first - apart).max(initial=0.0) > bound:
        raise InvalidInput(
            f"the result of `{name}` for a row depends on the other rows of its batch: batch normalisation in "
            "training mode, or without running statistics? Call .eval() on the modules that a function uses, and "
            "train with track_running_stats=True."
        )
