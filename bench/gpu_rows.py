"""The benchmark's rows on a GPU: the kernel, torch doing the same work, and the bytes and operations it takes.

Each function makes its data on the device, and returns what is to be timed. torch's are chunked, so that their
intermediate arrays fit; none is a strawman: tangents in closed form, batched products, QR without Q.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from pyscore.bench.anchors import torch_layers
from pyscore.reference.model import SVAE

__all__ = ["ROWS", "Sizes", "Work", "roofline"]

FLOPS, BYTES = 67e12, 3.35e12
"""float32 operations and bytes of memory a second of an H100 SXM, by NVIDIA's data sheet."""


class Sizes(NamedTuple):
    """How much of each piece of work."""

    volume: int = 1_000_000
    pairs: int = 100_000
    proposed: int = 10_000_000
    newton: int = 20_000
    draws: int = 10_000
    models: int = 288
    steps: int = 20
    d: int = 30
    h: int = 64
    k: int = 9
    chunk: int = 1 << 17


@dataclass(frozen=True)
class Work:
    """What is timed, and what it cannot do without."""

    kernel: Callable[[], Any]
    torch: Callable[[], Any]
    compiled: Callable[[], Any] | None
    """torch's under torch.compile, or None where the work is a loop that looks at its data."""
    count: float
    unit: str
    flops: float
    bytes: float
    target_ms: float | None = None
    check: Callable[[], float] | None = None
    """Largest difference of the kernel's result from torch's, over 1 + |result|."""
    notes: str = ""


def roofline(work: Work) -> dict[str, Any]:
    """Seconds that the operations, and the bytes, take at the data sheet's rates; the larger is the bound."""
    times = {"arithmetic": work.flops / FLOPS, "memory": work.bytes / BYTES}
    bound = max(times, key=lambda name: times[name])
    return {"seconds": times[bound], "bound": bound, "flops": work.flops, "bytes": work.bytes}


def products(sizes: Any, columns: int) -> float:
    """Operations of a network's products for one row."""
    return float(sum(2 * a * b * columns for a, b in pairwise(sizes)))


def _model(s: Sizes) -> SVAE:
    return SVAE.initialise(s.d, s.k, s.h, 10, seed=1)


def _where(torch: Any) -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _ours(tensor: Any) -> Any:
    """Hand a tensor to the kernels: itself on a GPU, the simulator's array elsewhere."""
    from pyscore.kernels.cuda._target import SIMULATED, to_device

    return to_device(tensor.cpu().numpy()) if SIMULATED else tensor


def _tensor(torch: Any, array: Any) -> Any:
    """Turn what a kernel returned, device arrays too, into a tensor on the host."""
    return torch.tensor(array.copy_to_host() if hasattr(array, "copy_to_host") else np.asarray(array)).double()


def _gap(torch: Any, ours: Any, theirs: Any) -> float:
    a, b = _tensor(torch, ours), theirs.detach().cpu().double()
    return float(((a - b).abs() / (1 + b.abs())).max())


def _compile(torch: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """torch.compile; without a GPU its front end alone, which needs no C++ compiler."""
    compiled: Callable[..., Any] = torch.compile(
        function, backend="inductor" if torch.cuda.is_available() else "eager"
    )
    return compiled


def _volume(torch: Any, layers: Any, z: Any, frame: Any) -> Any:
    """Tangents of a chunk of codes, pushed in closed form, then the R of a QR."""
    from pyscore.backends import torch_functions

    decoded, tangents = torch_functions.mlp_tangents(z, frame, layers, "swish")
    r = torch.linalg.qr(tangents.transpose(1, 2), mode="r").R
    return decoded, torch.diagonal(r, dim1=1, dim2=2).abs().log().sum(dim=1)


def _frame(torch: Any, z: Any) -> Any:
    """Tangent directions at z as rows (n, k−1, k): the reflection that the kernels use."""
    n, k = z.shape
    sign = torch.where(z[:, :1] < 0, -1.0, 1.0)
    v = torch.cat([z[:, :1] + sign, z[:, 1:]], dim=1)
    eye = torch.eye(k, device=z.device).expand(n, k, k)
    reflection = eye - v[:, :, None] * (z / (1 + z[:, :1].abs()))[:, None, :]
    return reflection[:, :, 1:].transpose(1, 2)


def log_volume(s: Sizes) -> Work:
    """Log-volume of the decoder at codes on the sphere."""
    import torch

    from pyscore.kernels import cuda

    device, model = _where(torch), _model(s)
    layers = [(w.to(device), b.to(device)) for w, b in torch_layers(model)]
    z = torch.nn.functional.normalize(torch.randn(s.volume, s.k, device=device), dim=1)
    packed, ours = cuda.pack([tuple(layer) for layer in model.decoder], "swish"), _ours(z)
    sizes = packed.sizes

    def chunk(part: Any) -> Any:
        with torch.no_grad():
            return _volume(torch, layers, part, _frame(torch, part))[1]

    def run(function: Callable[[Any], Any]) -> Any:
        return torch.cat([function(part) for part in torch.split(z, s.chunk)])

    def kernel() -> Any:
        return cuda.decoder_log_volume(packed, "swish", ours).volume

    m = s.k - 1
    return Work(
        kernel, partial(run, chunk), partial(run, _compile(torch, chunk)), s.volume, "row",
        flops=s.volume * (products(sizes, s.k) + 4 * s.d * m * m / 2), bytes=s.volume * (4 * (s.k + s.d) + 24),
        target_ms=10.0 if s == Sizes() else None, check=lambda: _gap(torch, kernel(), run(chunk)),
        notes=f"n={s.volume}, layers {sizes}, {m} tangents",
    )  # fmt: skip


def mmd_imq(s: Sizes) -> Work:
    """MMD² with the IMQ kernel of two sets of codes."""
    import torch

    from pyscore.kernels import cuda

    device, c = _where(torch), 0.1
    x, y = (torch.nn.functional.normalize(torch.randn(s.pairs, s.k, device=device), dim=1) for _ in range(2))
    ours = _ours(x), _ours(y)

    def block(a: Any, b: Any) -> Any:
        return (c / (c + (1 - a @ b.T).clamp(min=0))).sum(dtype=torch.float64)

    def run(function: Callable[[Any, Any], Any]) -> Any:
        with torch.no_grad():
            n = s.pairs
            rows = 1 << 13
            total = {
                name: sum(function(part, q) for part in torch.split(p, rows))
                for name, p, q in (("xx", x, x), ("yy", y, y), ("xy", x, y))
            }
            return (total["xx"] + total["yy"] - 2 * n) / (n * (n - 1)) - 2 * total["xy"] / (n * n)

    def kernel() -> Any:
        return cuda.mmd_imq(*ours, c)

    pairs = 2.0 * s.pairs**2  # two halves and a whole
    return Work(
        kernel, partial(run, block), partial(run, _compile(torch, block)), pairs, "pair",
        flops=pairs * (3 * s.k + 6), bytes=4.0 * 2 * s.pairs * s.k,
        target_ms=25.0 if s == Sizes() else None,
        check=lambda: abs(float(kernel()) - float(run(block))),
        notes=f"n=m={s.pairs}, k={s.k}",
    )  # fmt: skip


def proposed(s: Sizes) -> Work:
    """All terms of the proposed score from rows on the device."""
    import torch

    from pyscore import reference
    from pyscore.backends import torch_functions
    from pyscore.kernels import cuda

    device, model = _where(torch), _model(s)
    mu, kappa = model.encode_pseudo_inputs()
    normaliser = reference.log_vmf_normaliser(kappa, s.k)
    encoder = [*(tuple(layer) for layer in model.encoder), tuple(model.mu)]
    decoder = [tuple(layer) for layer in model.decoder]
    tensors: Any = [
        [[torch.tensor(a, device=device) for a in layer] for layer in net] for net in (encoder, decoder)
    ]
    centres, sharp = (torch.tensor(np.asarray(a, np.float32), device=device) for a in (mu, kappa))
    constants = torch.tensor(np.asarray(normaliser, np.float32), device=device)
    x = torch.randn(s.proposed, s.d, device=device)
    packed, ours = (cuda.pack(encoder, "swish"), cuda.pack(decoder, "swish")), _ours(x)

    def chunk(part: Any) -> Any:
        with torch.no_grad():
            z = torch.nn.functional.normalize(torch_functions.mlp(part, tensors[0], "swish"), dim=1)
            decoded, volume = _volume(torch, tensors[1], z, _frame(torch, z))
            likelihood = -0.5 * ((part - decoded) ** 2).sum(dim=1) - 0.5 * s.d * np.log(2 * np.pi)
            density = torch.logsumexp(z @ (centres * sharp[:, None]).T + constants, dim=1) - np.log(len(sharp))
            return likelihood + density - volume

    def run(function: Callable[[Any], Any]) -> Any:
        return torch.cat([function(part) for part in torch.split(x, s.chunk)])

    def kernel() -> Any:
        return cuda.proposed(*packed, "swish", ours, mu, kappa, normaliser)

    def gap() -> float:
        terms = kernel()
        ours_, theirs = (_tensor(torch, a) for a in (terms.log_likelihood, terms.log_prior)), run(chunk)
        return _gap(torch, (sum(ours_) - _tensor(torch, terms.volume)).numpy(), theirs)

    m = s.k - 1
    work = products(packed[0].sizes, 1) + products(packed[1].sizes, s.k) + 4 * s.d * m * m / 2
    return Work(
        kernel, partial(run, chunk), partial(run, _compile(torch, chunk)), s.proposed, "row",
        flops=s.proposed * work, bytes=s.proposed * (4.0 * s.d + 40), check=gap,
        notes=f"n={s.proposed}, d={s.d}, h={s.h}, k={s.k}, rows on the device",
    )  # fmt: skip


def _backends(torch: Any) -> tuple[Any, Any]:
    from pyscore.backends import get_backend

    return get_backend("cuda", dtype=np.float32), get_backend("torch", dtype=np.float32, device=_where(torch))


def _newton(s: Sizes, name: str) -> Work:
    import torch

    model, (ours, theirs) = _model(s), _backends(torch)
    x = np.random.default_rng(2).standard_normal((s.newton, s.d)).astype(np.float32)
    start, _ = ours.encode(model, x)
    calls = {
        "projected": lambda backend: backend.project(model, x).z,
        "laplace": lambda backend: backend.laplace(model, x, start, 1.0),
    }
    steps = float(np.sum(ours.project(model, x).iterations)) if name == "projected" else 10.0 * s.newton
    sizes, m = (s.k, s.h, s.h, s.h, s.d), s.k - 1
    hessian = sum(sizes[1:]) * (m + 1) * (m + 2)
    return Work(
        lambda: calls[name](ours), lambda: calls[name](theirs), None, s.newton, "row",
        flops=steps * (products(sizes, s.k + 1) + hessian), bytes=steps * 8.0 * (m + 2) * (m + 1),
        notes=f"n={s.newton}, {steps / s.newton:.1f} steps a row"
        + ("" if name == "projected" else " assumed")
        + "; from the host and back",
    )  # fmt: skip


def projected(s: Sizes) -> Work:
    """Nearest points of the manifold."""
    return _newton(s, "projected")


def laplace(s: Sizes) -> Work:
    """Laplace's log p(x)."""
    return _newton(s, "laplace")


def importance(s: Sizes) -> Work:
    """Importance-sampling estimate of log p(x), 100 draws a row."""
    import torch

    from pyscore.backends._iterations import IMPORTANCE_DRAWS

    model, (ours, theirs) = _model(s), _backends(torch)
    x = np.random.default_rng(2).standard_normal((s.draws, s.d)).astype(np.float32)
    draws = s.draws * IMPORTANCE_DRAWS
    return Work(
        lambda: ours.importance(model, x), lambda: theirs.importance(model, x), None, s.draws, "row",
        flops=draws * products((s.k, s.h, s.h, s.h, s.d), 1), bytes=draws * 8.0 * (s.k + s.d),
        notes=f"n={s.draws}, {IMPORTANCE_DRAWS} draws a row; from the host and back",
    )  # fmt: skip


def training(s: Sizes) -> Work:
    """A stack of models; ours on the CPU's cores, since the GPU's is torch's."""
    import torch

    from pyscore.convention import ORIGINAL
    from pyscore.training.config import TrainConfig
    from pyscore.training.stack import train_stack

    x = np.random.default_rng(0).standard_normal((300, s.d)).astype(np.float32)
    configs = [
        TrainConfig.paper(steps=s.steps, beta=0.1, c=0.1, seed=i, convention=ORIGINAL) for i in range(s.models)
    ]
    sizes: dict[str, Any] = {"latent_dim": s.k, "hidden_dim": s.h, "n_components": 16}
    steps = float(s.models * s.steps)
    layers = (s.d, s.h, s.h, s.h, s.k), (s.k, s.h, s.h, s.h, s.d)
    batch = configs[0].batch_size
    work = 3 * batch * (2 * products(layers[0], 1) + products(layers[1], 1))
    parameters = sum(a * b for net in layers for a, b in pairwise(net))
    return Work(
        lambda: train_stack(x, configs, **sizes),
        lambda: train_stack(x, configs, backend="torch", device=_where(torch), **sizes), None, steps, "model-step",
        flops=steps * work, bytes=steps * 4.0 * 7 * parameters,
        notes=f"{s.models} models, {s.steps} steps; kernel: compiled code on the CPU; torch: the stack on the GPU",
    )  # fmt: skip


ROWS: dict[str, tuple[Callable[[Sizes], Work], int]] = {
    "log_volume": (log_volume, 60),
    "mmd_imq": (mmd_imq, 60),
    "projected": (projected, 60),
    "laplace": (laplace, 60),
    "training": (training, 60),
    "importance": (importance, 40),
    "proposed": (proposed, 90),
}
"""The rows in the order in which they are measured, with the seconds each may take, compilation included."""
