"""Numbers that the mathematics and the kernels share; nothing is imported, so that kernels load no SciPy."""

BETAS = (0.9, 0.999)
"""Of ADAM: how much of its two moments is kept."""

KAPPA_MAX = 100.0
"""Largest concentration that the encoder's head can give."""
