"""Stochastic arithmetic in PyTorch, forwards and backwards; see `pyscore.backends.stochastic`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pyscore.backends.stochastic import LONGEST, Noise

__all__ = ["RandomRounding"]

_EXACT = frozenset(
    {"neg", "abs", "sign", "relu", "threshold_backward", "maximum", "minimum", "clamp", "where", "fill", "zero"}
    | {"cat", "stack", "index", "select", "slice", "gather", "flip", "repeat", "clone", "lift_fresh", "_to_copy"}
    | {"zeros_like", "ones_like", "eye", "slice_backward", "select_backward"}
)
_SUMS = frozenset({"mm", "bmm", "addmm", "baddbmm", "sum", "mean"})


class RandomRounding(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it every operation's result r becomes r(1 + uξ), in `backward` as well.

    Sums and matrix products round once a term, as in `Noise.summed`. Tensors are float64 on the CPU.

    Parameters
    ----------
    noise : Noise
        The type that is imitated, and the seed.
    """

    def __init__(self, noise: Noise) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._noise = noise

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Run it and move what is new."""
        name = func.overloadpacket.__name__.rstrip("_")
        result = func(*args, **(kwargs or {}))
        if name in _EXACT:
            return result
        results = result if isinstance(result, tuple | list) else (result,)
        for value, declared in zip(results, func._schema.returns, strict=False):
            alias = declared.alias_info
            if isinstance(value, Tensor) and value.is_floating_point() and (alias is None or alias.is_write):
                size = _size_of_sum(name, func, args, kwargs, value) if name in _SUMS else value
                uniform = self._noise.uniform(value.detach().numpy())
                value.add_(size * torch.from_numpy(uniform), alpha=self._noise.unit)
        return result


def _size_of_sum(name: str, func: Any, args: Sequence[Any], kwargs: Any, total: Tensor) -> Tensor:
    """√(terms/3 · (total² + Σ terms²)): what the roundings of a sum amount to, in units of ξ·u."""
    factors = [a for a in args if isinstance(a, Tensor)]
    terms = factors[-1].numel() // max(total.numel(), 1) if len(factors) == 1 else factors[-2].shape[-1]
    squares = func(*(a.square() if isinstance(a, Tensor) else a for a in args), **(kwargs or {}))
    if name == "mean":
        squares = squares / terms
    return torch.sqrt(min(terms, LONGEST) / 3 * (total.square() + squares))
