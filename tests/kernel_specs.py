"""The table of kernels, for the tests: it lives in the package, since `pyscore verify` and the benchmarks read it."""

from pyscore.backends.contract import *  # noqa: F403
