"""Which modules are multilayer perceptrons, to the last detail, and why the others are not."""

import numpy as np
import pytest
import torch
from closeness import assert_close
from torch import nn

from pyscore.detectors.recognise import ACTIVATIONS, MLP, NotMLP, first_layer, recognise
from pyscore.reference import network


def net(*middle, inputs=3, hidden=5, outputs=4):
    return nn.Sequential(nn.Linear(inputs, hidden), *middle, nn.Linear(hidden, outputs)).double().eval()


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 5)

    def forward(self, a):
        return a + self.inner(a)


class Sneaky(nn.Sequential):
    def forward(self, a):
        return 2 * super().forward(a)


def hooked():
    module = net(nn.SiLU())
    module[0].register_forward_hook(lambda *_: None)
    return module


def replaced():
    module = net(nn.SiLU())
    module.forward = lambda a: a
    return module


RECOGNISED = {
    "linear": nn.Linear(3, 4).double(),
    "no bias": nn.Linear(3, 4, bias=False).double(),
    **{name: net(kind()) for kind, (name, *_) in ACTIVATIONS.items() if name != "softplus"},
    "softplus": net(nn.Softplus(threshold=40)),
    "activation at the end": nn.Sequential(nn.Linear(3, 4), nn.Tanh()).double(),
    "the same at the end": nn.Sequential(net(nn.SiLU()), nn.SiLU()).double(),
    "nested": nn.Sequential(nn.Sequential(nn.Linear(3, 5), nn.Sequential(nn.ELU())), nn.Linear(5, 4)).double(),
    "no-ops": nn.Sequential(
        nn.Flatten(), nn.Identity(), net(nn.SiLU(), nn.Dropout(0.5)), nn.Unflatten(1, (2, 2))
    ).eval(),
}


@pytest.mark.parametrize("name", RECOGNISED)
def test_recognised_modules_compute_the_same(name, rng):
    module = RECOGNISED[name]
    found = recognise(module, 3)
    assert isinstance(found, MLP), found
    x = 3 * rng.standard_normal((20, 3))
    with torch.no_grad():
        want = module(torch.as_tensor(x)).reshape(20, -1).numpy()
    got = network.mlp(x, found.layers, found.activation)
    assert_close(got, want, k=32, scale=1 + np.abs(want).max())


REFUSED = {
    "a function": (lambda z: z, "not an nn.Module"),
    "another slope": (net(nn.LeakyReLU(0.2)), "negative_slope"),
    "another alpha": (net(nn.ELU(2.0)), "alpha"),
    "tanh gelu": (net(nn.GELU("tanh")), "tanh approximation"),
    "softplus in float64": (net(nn.Softplus()), "threshold"),
    "softplus beta": (net(nn.Softplus(2.0, 40)), "beta"),
    "unknown": (net(nn.Hardtanh()), "Hardtanh is neither"),
    "mixed": (
        nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 4), nn.Sigmoid()),
        "activations differ: swish, sigmoid",
    ),
    "two in a row": (net(nn.SiLU(), nn.SiLU()), "does not follow"),
    "first": (nn.Sequential(nn.SiLU(), nn.Linear(3, 4)), "does not follow"),
    "none between": (net(), "no activation between"),
    "skip": (net(Skip(), nn.SiLU()), "Skip is neither"),
    "subclass": (Sneaky(nn.Linear(3, 4)), "Sneaky is neither"),
    "hook": (hooked(), "hooks"),
    "replaced": (replaced(), "forward of its own"),
    "weight norm": (nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), "ParametrizedLinear is neither"),
    "dropout in training": (net(nn.SiLU(), nn.Dropout(0.5)).train(), "Dropout is neither"),
    "unflatten inside": (nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Linear(3, 4)), "Unflatten is neither"),
    "partial flatten": (nn.Sequential(nn.Flatten(2), nn.Linear(3, 4)), "Flatten is neither"),
    "empty": (nn.Sequential(), "no Linear layer"),
    "half": (nn.Linear(3, 4).half(), "float16"),
    "other width": (nn.Linear(7, 4), "takes 7 features of 3"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_modules_say_why(name):
    module, reason = REFUSED[name]
    found = recognise(module, 3)
    assert isinstance(found, NotMLP)
    assert reason in found.reason


def test_softplus_is_exact_in_float32():
    assert isinstance(recognise(net(nn.Softplus()).float(), 3), MLP)


def test_first_layer():
    assert first_layer(net(nn.SiLU())).in_features == 3
    assert first_layer(nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Linear(3, 4))) is None
    assert first_layer(lambda z: z) is None
    assert first_layer(nn.Sequential()) is None
