"""What docs/portability.md promises to the bit across processors, against the bits of one machine.

`make portable` runs this file under the code paths of other processors, too. After a deliberate change of the arithmetic:
python tests/promised_bits.py tests/promised_bits.npz, and a line under "Numerical changes" in the changelog.
"""

from functools import cache
from pathlib import Path

import numpy as np
import promised_bits
import pytest

GOLDEN = Path(__file__).parent / "promised_bits.npz"


@cache
def recorded():
    with np.load(GOLDEN, allow_pickle=False) as file:
        return dict(file)


@cache
def computed(group, dtype):
    return {f"{name}_{dtype}": value for name, value in group(np.dtype(dtype).type)}


def bits(array):
    return array.view({4: np.uint32, 8: np.uint64}[array.itemsize])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("group", promised_bits.GROUPS, ids=lambda group: group.__name__)
def test_bits_are_those_of_the_other_machine(group, dtype):
    found = computed(group, dtype)
    different = {}
    for name, value in found.items():
        wanted = recorded()[name]
        assert (value.dtype, value.shape) == (wanted.dtype, wanted.shape), name
        assert np.isfinite(wanted).all(), name
        if not np.array_equal(bits(np.ascontiguousarray(value).reshape(value.shape)), bits(wanted)):
            relative = np.abs(value - wanted) / np.abs(wanted).max() / np.finfo(wanted.dtype).eps
            different[name] = (
                f"{int((value != wanted).sum())} of {value.size}, up to {relative.max():.3g} eps of the largest"
            )
    assert not different, different


def test_every_recorded_array_is_computed():
    names = {
        name
        for group in promised_bits.GROUPS
        for dtype in ("float32", "float64")
        for name in computed(group, dtype)
    }
    assert names == set(recorded())
