"""The mathematics: one function per equation, float64 NumPy, no tricks.

Every backend is measured against this package. Rows are samples; log-densities are in nats, and higher
means more normal. Equation numbers are those of Šmídl, Bím, Pevný (2019), *Anomaly scores for generative
models*; "original" names a function of FewShotAnomalyDetection.jl (or of IPMeasures.jl and EvalCurves.jl).
Where the original and the mathematics disagree, the field of `Convention` that chooses is named.
"""

from __future__ import annotations

from pyscore.reference.corrected import (
    VOLUME_FLOOR,
    log_density_corrected,
    log_laplace,
    normal_dimensions,
    residual_variance,
    warn_indefinite,
)
from pyscore.reference.goodness import (
    WIDTH_GRID,
    Distance,
    Kernel,
    KernelSums,
    imq_width,
    imq_width_criterion,
    kernel_mean,
    mmd,
    mmd_null,
    mmd_p_value,
    mmd_variance,
    mmd_variance_of_sums,
    pairwise_distance,
)
from pyscore.reference.importance import log_importance
from pyscore.reference.likelihood import (
    LOG_TWO_PI,
    LOG_TWO_PI_F32,
    latent_error,
    log_likelihood,
    log_likelihood_normal,
)
from pyscore.reference.minimise import Projection, move, project
from pyscore.reference.mmd import imq_kernel_mean, mmd_imq
from pyscore.reference.prior import log_prior, log_prior_derivatives
from pyscore.reference.roc import roc_auc
from pyscore.reference.sampling import sample_vmf
from pyscore.reference.special import LARGE_ORDER
from pyscore.reference.sphere import EPS, EPS32, householder, machine_eps, normalize, precision, tangent_frame
from pyscore.reference.vmf import log_vmf, log_vmf_normaliser, uniform_sphere_entropy, vmf_entropy, vmf_kl
from pyscore.reference.volume import (
    log_prior_jacobian_decoder,
    log_prior_jacobian_encoder,
    log_volume,
    singular_rows,
    warn_singular,
    warn_unscored,
    weighted,
)

__all__ = [
    "EPS",
    "EPS32",
    "LARGE_ORDER",
    "LOG_TWO_PI",
    "LOG_TWO_PI_F32",
    "VOLUME_FLOOR",
    "WIDTH_GRID",
    "Distance",
    "Kernel",
    "KernelSums",
    "Projection",
    "householder",
    "imq_kernel_mean",
    "imq_width",
    "imq_width_criterion",
    "kernel_mean",
    "latent_error",
    "log_density_corrected",
    "log_importance",
    "log_laplace",
    "log_likelihood",
    "log_likelihood_normal",
    "log_prior",
    "log_prior_derivatives",
    "log_prior_jacobian_decoder",
    "log_prior_jacobian_encoder",
    "log_vmf",
    "log_vmf_normaliser",
    "log_volume",
    "machine_eps",
    "mmd",
    "mmd_imq",
    "mmd_null",
    "mmd_p_value",
    "mmd_variance",
    "mmd_variance_of_sums",
    "move",
    "normal_dimensions",
    "normalize",
    "pairwise_distance",
    "precision",
    "project",
    "residual_variance",
    "roc_auc",
    "sample_vmf",
    "singular_rows",
    "tangent_frame",
    "uniform_sphere_entropy",
    "vmf_entropy",
    "vmf_kl",
    "warn_indefinite",
    "warn_singular",
    "warn_unscored",
    "weighted",
]
