"""Kernels for the CPU, with Numba: one a file, the same names and contracts as in `pyscore.kernels.cuda`.

Importing this package imports Numba and compiles nothing; each kernel is compiled at its first call and kept
in Numba's cache on disk.
"""

from pyscore._core.lazy import attach
from pyscore.kernels.cpu._activations import ACTIVATIONS
from pyscore.kernels.cpu._network import Packed, pack
from pyscore.kernels.cpu.adam_descent import Descent, adam_descent
from pyscore.kernels.cpu.decoder_log_volume import DecoderVolume, decoder_log_volume
from pyscore.kernels.cpu.encoder_log_volume import EncoderVolume, encoder_log_volume, pack_encoder
from pyscore.kernels.cpu.importance import Estimate, importance
from pyscore.kernels.cpu.kernel_mean import kernel_mean
from pyscore.kernels.cpu.kernel_sums import KernelSums, kernel_sums
from pyscore.kernels.cpu.log_likelihood import log_likelihood
from pyscore.kernels.cpu.log_prior import log_prior
from pyscore.kernels.cpu.log_volume import Volume, log_volume
from pyscore.kernels.cpu.mlp import mlp
from pyscore.kernels.cpu.mmd import mmd, mmd_imq
from pyscore.kernels.cpu.mmd_gradient import MMDGradient, mmd_gradient
from pyscore.kernels.cpu.newton import Minimum, damped_newton
from pyscore.kernels.cpu.proposed import Terms, proposed

__all__ = [
    "ACTIVATIONS",
    "DecoderVolume",
    "Descent",
    "EncoderVolume",
    "Estimate",
    "KernelSums",
    "MMDGradient",
    "Minimum",
    "Packed",
    "Terms",
    "Volume",
    "adam_descent",
    "damped_newton",
    "decoder_log_volume",
    "encoder_log_volume",
    "importance",
    "kernel_mean",
    "kernel_sums",
    "log_likelihood",
    "log_prior",
    "log_volume",
    "mlp",
    "mmd",
    "mmd_gradient",
    "mmd_imq",
    "pack",
    "pack_encoder",
    "proposed",
]

__getattr__, __dir__ = attach(__name__)
