"""Numbers that the mathematics and the kernels share. This file imports nothing, so kernels need no SciPy."""

BETAS = (0.9, 0.999)
"""Decay rates of ADAM's two moments."""

KAPPA_MAX = 100.0
"""Largest concentration that the encoder's head can give."""
