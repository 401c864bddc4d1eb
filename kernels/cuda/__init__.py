"""Kernels for NVIDIA GPUs, with numba-cuda: one a file, the same names and contracts as in `pyscore.kernels.cpu`.

Arrays may be on the host, or on the device of any library with ``__cuda_array_interface__``; results are where
the rows were. Kernels are compiled for the sizes of a network at its first call. float32 is float32: no TF32.
"""

from pyscore._core.lazy import attach
from pyscore.kernels.cuda._activations import ACTIVATIONS
from pyscore.kernels.cuda._network import Packed, pack
from pyscore.kernels.cuda._target import SIMULATED, device_fault
from pyscore.kernels.cuda.adam_descent import Descent, adam_descent
from pyscore.kernels.cuda.decoder_log_volume import DecoderVolume, decoder_log_volume
from pyscore.kernels.cuda.encoder_log_volume import EncoderVolume, encoder_log_volume, pack_encoder
from pyscore.kernels.cuda.importance import Estimate, importance
from pyscore.kernels.cuda.kernel_mean import kernel_mean
from pyscore.kernels.cuda.log_likelihood import log_likelihood
from pyscore.kernels.cuda.log_prior import log_prior
from pyscore.kernels.cuda.log_volume import Volume, log_volume
from pyscore.kernels.cuda.mlp import mlp
from pyscore.kernels.cuda.mmd import mmd, mmd_imq
from pyscore.kernels.cuda.mmd_gradient import MMDGradient, mmd_gradient
from pyscore.kernels.cuda.newton import Minimum, damped_newton
from pyscore.kernels.cuda.proposed import Terms, proposed

__all__ = [
    "ACTIVATIONS",
    "SIMULATED",
    "DecoderVolume",
    "Descent",
    "EncoderVolume",
    "Estimate",
    "MMDGradient",
    "Minimum",
    "Packed",
    "Terms",
    "Volume",
    "adam_descent",
    "damped_newton",
    "decoder_log_volume",
    "device_fault",
    "encoder_log_volume",
    "importance",
    "kernel_mean",
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
