"""Functions whose operations come in one order are equal to the last bit in Julia Float64 and NumPy float64.

Sums follow NumPy's pairwise order in `julia/src/sums.jl`; nothing here calls a transcendental function on data, and
the sums inside matrix products are of integers.
"""

import numpy as np
import pytest

from pyscore import reference
from pyscore.convention import EXACT, ORIGINAL
from pyscore.reference.model import SVAE

pytestmark = pytest.mark.julia


def integer_model(rng, d, k):
    """Weights and biases that are small integers: matrix products are exact in any order."""
    shapes = SVAE.initialise(d, k, 16, 3, dtype=np.float64).parameters()
    return SVAE.from_parameters({n: rng.integers(-3, 4, a.shape).astype(np.float64) for n, a in shapes.items()})


def bit_equal_cases(rng, n, k, convention):
    x, y, mu = rng.normal(size=(n, k)), rng.normal(size=(n, k)), reference.normalize(rng.normal(size=(n, k)))
    o = {"convention": convention}
    yield "normalize", (x,), o
    yield "normalize", (x * 1e-180,), o
    yield "householder", (x, mu), o
    yield "tangent_frame", (mu,), {}
    yield "sample_vmf", (mu, rng.uniform(0, 100, n), rng.uniform(size=n), rng.normal(size=(n, k - 1))), o
    yield "log_likelihood", (x, y), o
    yield "log_likelihood", (x, y, 2.5), o
    yield "latent_error", (x, y), {}


BIT_EQUAL = (
    "normalize",
    "householder",
    "tangent_frame",
    "sample_vmf",
    "log_likelihood",
    "latent_error",
    "Dense on integers",
)
"""What `pyscore verify` prints as equal to the last bit."""


@pytest.mark.parametrize("k", [2, 3, 4, 7, 8, 9, 17, 30, 64, 129, 300])
@pytest.mark.parametrize("n", [1, 33, 257])
@pytest.mark.parametrize("convention", [EXACT, ORIGINAL], ids=["exact", "original"])
def test_equal_to_the_last_bit(k, n, convention, julia, rng):
    for name, args, keywords in bit_equal_cases(rng, n, k, convention):
        got, want = julia.call(name, *args, **keywords), getattr(reference, name)(*args, **keywords)
        differ = np.argwhere(got != want)
        assert not differ.size, f"{name}: {len(differ)} of {want.size} differ, first at {differ[0]}"


def test_dense_layers_on_integers(julia, rng):
    """A linear chain of integers: every product and sum is exact, so that any difference is a wrong index."""
    model = integer_model(rng, 7, 3)
    z = rng.integers(-2, 3, size=(50, 3)).astype(np.float64)
    got = julia.call("affine", model, z)
    assert np.array_equal(got, z @ model.decoder[0].weight.T + model.decoder[0].bias)
