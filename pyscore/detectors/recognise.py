"""Recognise a PyTorch module that is a multilayer perceptron, so that the compiled kernels can run it.

Only what is certain is recognised: exact types (a subclass may do anything), no hooks, parameters that mean what
the kernels mean. Everything else is refused with the reason, and goes through torch.func.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from pyscore.reference.network import Dense

__all__ = ["MLP", "NotMLP", "first_layer", "recognise"]


class MLP(NamedTuple):
    """Layers and the activation after each but the last, as `reference.network` and the kernels have them."""

    layers: tuple[Dense, ...]
    activation: str


class NotMLP(NamedTuple):
    """Why a module is not recognised."""

    reason: str


def _softplus_is_exact(module: nn.Softplus, dtype: torch.dtype) -> bool:
    """nn.Softplus is the identity above its threshold t, which is exact if e^−t rounds away beside t."""
    threshold = float(module.threshold)
    return bool(module.beta == 1 and np.exp(-threshold) < torch.finfo(dtype).eps * threshold)


ACTIVATIONS: dict[type[nn.Module], tuple[str, Callable[[Any, torch.dtype], bool], str]] = {
    nn.SiLU: ("swish", lambda m, dtype: True, ""),
    nn.ReLU: ("relu", lambda m, dtype: True, ""),
    nn.LeakyReLU: ("leaky_relu", lambda m, dtype: m.negative_slope == 0.01, "negative_slope is not 0.01"),
    nn.ELU: ("elu", lambda m, dtype: m.alpha == 1, "alpha is not 1"),
    nn.GELU: ("gelu", lambda m, dtype: m.approximate == "none", "it is the tanh approximation"),
    nn.Tanh: ("tanh", lambda m, dtype: True, ""),
    nn.Sigmoid: ("sigmoid", lambda m, dtype: True, ""),
    nn.Softplus: ("softplus", _softplus_is_exact, "beta is not 1, or its threshold is felt in this dtype"),
}
"""Module → name of the kernel, whether it computes that function, and what is wrong if it does not."""


def recognise(module: Any, inputs: int) -> MLP | NotMLP:
    """Return the layers of a multilayer perceptron on `inputs` features, or why the module is not one.

    Recognised are (nested) nn.Sequential of nn.Linear with one activation out of swish (SiLU), relu, leaky relu
    0.01, elu, exact gelu, tanh, sigmoid and softplus between them, and after the last one or not. nn.Identity,
    nn.Dropout in eval mode, nn.Flatten and a last nn.Unflatten change nothing on flat rows.
    """
    try:
        layers, activation = _parse(list(_leaves(module)))
    except _Refused as refusal:
        return NotMLP(str(refusal))
    wanted = layers[0].weight.shape[1]
    if wanted != inputs:
        return NotMLP(f"its first layer takes {wanted} features of {inputs}")
    return MLP(tuple(layers), activation)


def first_layer(module: Any) -> nn.Linear | None:
    """Return the Linear layer that a sequential module begins with, if it begins with one."""
    try:
        leaf = next(_leaves(module), None)
    except _Refused:
        return None
    return leaf if type(leaf) is nn.Linear else None


class _Refused(Exception):
    """Text: why."""


def _leaves(module: Any) -> Iterator[nn.Module]:
    """Modules in the order in which they are applied."""
    if not isinstance(module, nn.Module):
        raise _Refused(f"it is a {type(module).__name__}, not an nn.Module")
    if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
        raise _Refused(f"{type(module).__name__} has hooks or a forward of its own")
    if type(module) is nn.Sequential:
        for child in module:
            yield from _leaves(child)
    else:
        yield module


def _parse(leaves: list[nn.Module]) -> tuple[list[Dense], str]:
    layers: list[Dense] = []
    names: list[str] = []  # activation after each layer, as far as the next one has come
    for place, leaf in enumerate(leaves):
        if _changes_nothing(leaf, last=place == len(leaves) - 1):
            continue
        if type(leaf) is nn.Linear:
            if len(names) < len(layers):
                raise _Refused("two Linear layers have no activation between them")
            layers.append(_dense(leaf))
            continue
        if type(leaf) not in ACTIVATIONS:
            raise _Refused(f"{type(leaf).__name__} is neither a Linear layer nor a known activation")
        if len(names) == len(layers):
            raise _Refused(f"{type(leaf).__name__} does not follow a Linear layer")
        name, exact, problem = ACTIVATIONS[type(leaf)]
        if not exact(leaf, _dtype(leaves)):
            raise _Refused(f"{type(leaf).__name__}: {problem}")
        names.append(name)
    if not layers:
        raise _Refused("it has no Linear layer")
    if len(set(names)) > 1:
        raise _Refused(f"its activations differ: {', '.join(dict.fromkeys(names))}")
    if len(names) == len(layers):  # the kernels' last layer is linear: a·I + 0 is a, to the bit
        d, dtype = layers[-1].bias.size, layers[-1].bias.dtype
        layers.append(Dense(np.eye(d, dtype=dtype), np.zeros(d, dtype)))
    return layers, names[0] if names else "identity"


def _changes_nothing(leaf: nn.Module, *, last: bool) -> bool:
    """Whether a module is the identity on flat rows."""
    if type(leaf) is nn.Flatten:
        return leaf.start_dim == 1 and leaf.end_dim == -1
    if type(leaf) is nn.Unflatten:
        return last and leaf.dim == 1
    return type(leaf) is nn.Identity or (type(leaf) is nn.Dropout and not (leaf.training and leaf.p > 0))


def _dense(layer: nn.Linear) -> Dense:
    if layer.weight.dtype not in (torch.float32, torch.float64):
        raise _Refused(f"its parameters are {layer.weight.dtype}")
    weight = layer.weight.detach().cpu().numpy().copy()
    if layer.bias is None:
        return Dense(weight, np.zeros(len(weight), weight.dtype))
    return Dense(weight, layer.bias.detach().cpu().numpy().copy())


def _dtype(leaves: list[nn.Module]) -> torch.dtype:
    return next(leaf.weight.dtype for leaf in leaves if type(leaf) is nn.Linear)
