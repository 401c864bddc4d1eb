"""Every field of `Convention` in both settings, and the number that it changes."""

import dataclasses
import json

import numpy as np
import pytest

from pyscore import reference as ref
from pyscore.convention import EXACT, ORIGINAL, Convention, get_convention
from pyscore.data.datasets import Dataset
from pyscore.errors import InvalidInput
from pyscore.experiment.goodness import goodness_of_fit, known_anomaly_rows, mean_of_draws
from pyscore.reference.model import SVAE
from pyscore.reference.sampling import VMFDraws
from pyscore.scoring.scores import score_terms
from pyscore.training.config import TrainConfig
from pyscore.training.torch_trainer import Trainer

EPS, EPS32 = np.finfo(np.float64).eps, np.finfo(np.float32).eps
RNG = np.random.default_rng(0)
Z = ref.normalize(RNG.standard_normal((6, 3)))
U = ref.normalize(RNG.standard_normal((4, 3)))
KAPPA = np.array([2.0, 5.0, 40.0, 80.0])
JACOBIAN = RNG.standard_normal((6, 7, 3))
MODEL = SVAE.initialise(5, 3, 8, 4, dtype=np.float64)
ROWS = RNG.standard_normal((12, 5))


def volume(j):
    return np.sum(np.log(np.linalg.svd(j, compute_uv=False)), axis=1)


def ratio_of_volume_weights(c):
    prior = ref.log_prior(Z, U, KAPPA)
    fixed = dataclasses.replace(EXACT, volume_weight=c.volume_weight)
    return (prior - ref.log_prior_jacobian_decoder(Z, JACOBIAN, U, KAPPA, convention=fixed)) / volume(
        JACOBIAN @ ref.tangent_frame(Z)
    )


def decoder_volume(c):
    prior = ref.log_prior(Z, U, KAPPA)
    return prior - ref.log_prior_jacobian_decoder(Z, JACOBIAN, U, KAPPA, convention=c)


def encoder_volume(c):
    j = np.swapaxes(JACOBIAN, 1, 2)
    return ref.log_prior_jacobian_encoder(Z, j, U, KAPPA, convention=c) - ref.log_prior(Z, U, KAPPA)


def vmf_mixture():
    parts = [np.exp(ref.log_vmf(Z, np.tile(u, (6, 1)), np.full(6, k))) for u, k in zip(U, KAPPA, strict=True)]
    return np.log(np.mean(parts, axis=0))


A, P, T = (RNG.standard_normal((2, 9)) for _ in range(3))
Q = np.array([3.0, 7.0])


def importance_outer():
    return np.log([[sum(np.exp(a - q * t) * p for a, t in zip(ra, rt, strict=True) for p in np.exp(rp))]
                   for ra, rt, rp, q in zip(A, T, P, Q, strict=True)]).ravel()  # fmt: skip


def importance_elementwise():
    log_q = Q[:, None] * T + ref.log_vmf_normaliser(Q, 4)[:, None]
    return np.log(np.mean(np.exp(A + P - log_q), axis=1))


def cosine_distances(c):
    return ref.pairwise_distance(2 * Z, U, convention=c)


KERNELS = [RNG.random((5, 5)) for _ in range(3)]


def cross_term(c):
    xx, xy, yy = KERNELS
    return ref.mmd_variance(xx + xx.T, xy, yy + yy.T, convention=c)[1]


def swapped_by_hand():
    xx, xy, yy = KERNELS
    return ref.mmd_variance(xx + xx.T, xy.T, yy + yy.T)[1]


def straight_by_hand():
    xx, xy, yy = KERNELS
    return ref.mmd_variance(xx + xx.T, xy.T, yy + yy.T, convention=ORIGINAL)[1]


def latent_error_term(c):
    return score_terms(MODEL, ROWS, ["latent_reconstruction"], convention=c, backend="numpy")[
        "latent_error"
    ].to_numpy()


def squared_latent_error():
    z, _ = MODEL.encode(ROWS)
    return np.sum((z - MODEL.encode(MODEL.decode(z))[0]) ** 2, axis=1)


class Repeated:
    """Draws in which component 1 comes three times."""

    def step(self, index):
        return self

    def batch(self, rows, size):
        return np.arange(size)

    def components(self, p, size):
        return np.array([1, 0, 1, 1])

    def vmf(self, kappa, k):
        rng = np.random.default_rng(1)
        return VMFDraws(rng.beta(1, 1, len(kappa)), rng.standard_normal((len(kappa), k - 1)))


def pseudo_input_gradient(c, components=None):
    draws = Repeated()
    if components is not None:
        draws.components = lambda p, size: np.array(components)
    trainer = Trainer(MODEL, ROWS, TrainConfig(batch_size=4, convention=c), draws=draws)
    trainer.step()
    return trainer.gradients()["pseudo_inputs"]


def standardised(c):
    rng = np.random.default_rng(2)
    data = Dataset("toy", rng.normal(1, 2, (20, 2)), rng.normal(9, 1, (5, 2)), ("a", "b"))
    return data.split(0, convention=c)


def moments_of_standardised(c):
    split = standardised(c)
    rows = np.concatenate([split.x_train, split.x_test])
    return np.array([*split.x_train.mean(axis=0), *split.x_train.std(axis=0, ddof=1), *rows.mean(axis=0)]).round(9)


def log_likelihood_constant(c):
    return ref.log_likelihood(np.zeros((1, 3)), np.zeros((1, 3)), convention=c)


def norms(c):
    return np.sum(ref.normalize(1e-7 * Z, convention=c) ** 2, axis=1)


def corrected_volume(c):
    j, z = np.diag([1.0, 1e-5])[None], np.zeros((1, 2))
    return ref.log_density_corrected(z, z, z, j, convention=c)


def projection_steps(c):
    start, _ = MODEL.encode(ROWS)
    found = ref.project(ROWS, start, MODEL.decode, MODEL.decoder_jacobian, MODEL.decoder_bend, convention=c)
    return np.ptp(np.linalg.norm(found.z, axis=1)) > 1e-6, bool(np.all(found.iterations == 100))


NULL = np.array([0.1, 0.2, 0.3, 0.4])
FLOOR = np.float64(np.float32(1e-6))

# field → (computation, value under ORIGINAL, value under EXACT); each computation has only that field switched.
TABLE = {
    "volume_weight": (ratio_of_volume_weights, lambda: np.full(6, 2.0), lambda: np.full(6, 1.0)),
    "jacobian": (decoder_volume, lambda: volume(JACOBIAN), lambda: volume(JACOBIAN @ ref.tangent_frame(Z))),
    "encoder_jacobian": (
        encoder_volume,
        lambda: volume(np.swapaxes(JACOBIAN, 1, 2)),
        lambda: volume(JACOBIAN @ ref.tangent_frame(Z)),
    ),
    "prior_density": (
        lambda c: ref.log_prior(Z, U, KAPPA, convention=c),
        lambda: np.log(np.mean(np.exp(Z @ U.T), axis=1)),
        vmf_mixture,
    ),
    "importance": (
        lambda c: ref.log_importance(A, P, T, Q, 4, convention=c),
        importance_outer,
        importance_elementwise,
    ),
    "mmd_diagonal": (
        lambda c: ref.mmd_imq(Z, U, 0.3, convention=c) - ref.mmd_imq(Z, U, 0.3),
        lambda: 1 / 5 + 1 / 3,  # 1/(n−1) + 1/(m−1)
        lambda: 0.0,
    ),
    "width_distance": (
        cosine_distances,
        lambda: 1 - 2 * Z @ U.T / np.sqrt(24 * 4),  # Frobenius norms of 6 rows of length 2 and 4 of length 1
        lambda: 1 - Z @ U.T,
    ),
    "mmd_variance": (cross_term, swapped_by_hand, straight_by_hand),
    "p_value": (
        lambda c: [ref.mmd_p_value(NULL, s, convention=c) for s in (0.0, 0.3, 9.0)],
        lambda: [1 / 4, 3 / 4, 5 / 4],
        lambda: [5 / 5, 3 / 5, 1 / 5],
    ),
    "latent_error_sign": (latent_error_term, squared_latent_error, lambda: -squared_latent_error()),
    "standardise": (
        lambda c: np.abs(moments_of_standardised(c)[:4] - [0, 0, 1, 1]).max() < 1e-9,
        lambda: False,  # training rows are not standardised by the joint moments
        lambda: True,
    ),
    "log_two_pi": (
        log_likelihood_constant,
        lambda: [-0.5 * float(np.float32(3) * np.float32(1.8378770351409912))],
        lambda: [-1.5 * np.log(2 * np.pi)],
    ),
    "norm_eps": (norms, lambda: np.full(6, 1e-14 / (1e-14 + EPS)), lambda: np.ones(6)),
    "projection": (projection_steps, lambda: (True, True), lambda: (False, False)),
    "corrected_volume": (
        corrected_volume,
        # log N(0; 0, I + (JᵀJ)⁻¹) − 2 Σ log(s + 1e-6 as a Float32), or − Σ log s; no normal directions
        lambda: [
            -0.5 * np.log([2, 1 + 1e10]).sum() - np.log(2 * np.pi) - 2 * np.log([1 + FLOOR, 1e-5 + FLOOR]).sum()
        ],
        lambda: [-0.5 * np.log([2, 1 + 1e10]).sum() - np.log(2 * np.pi) - np.log(1e-5)],
    ),
}
BELOW = {"pseudo_input_gradient", "known_anomalies", "goodness_rows"}


@pytest.mark.parametrize("field", TABLE)
def test_field(field):
    compute, original, exact = TABLE[field]
    np.testing.assert_allclose(compute(EXACT), exact(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(compute(EXACT.switched(field)), original(), rtol=1e-12, atol=1e-14)
    assert not np.allclose(original(), exact(), rtol=1e-9, atol=0), "the field changes nothing"


def test_every_field_has_a_test():
    assert {*TABLE, *BELOW} == set(Convention.fields())


def test_sampling_slack_of_norm_eps():
    mu, v = U[:1], np.ones((1, 2))
    z = ref.sample_vmf(mu, [10.0], [0.5], v, convention=EXACT.switched("norm_eps"))
    assert np.sum(z * z) - 1 == pytest.approx(10 * EPS32, rel=1e-3)
    assert np.sum(ref.sample_vmf(mu, [10.0], [0.5], v) ** 2) == pytest.approx(1, abs=8 * EPS)


def test_householder_with_epsilon_is_not_orthogonal_near_e1():
    mu = ref.normalize([[1.0, 1e-8, 0.0]])
    image = ref.householder(np.eye(3)[:1], mu, convention=EXACT.switched("norm_eps"))
    np.testing.assert_allclose(ref.householder(np.eye(3)[:1], mu), mu, atol=1e-23)
    assert np.abs(image - mu).max() > 1e-9


def test_standardise_jointly_uses_all_rows():
    split = standardised(EXACT.switched("standardise"))
    rng = np.random.default_rng(2)
    everything = np.concatenate([rng.normal(1, 2, (20, 2)), rng.normal(9, 1, (5, 2))])
    np.testing.assert_allclose(split.standardiser.mean, everything.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(split.standardiser.deviation, everything.std(axis=0, ddof=1), rtol=1e-14)


def test_pseudo_input_gradient():
    last = EXACT.switched("pseudo_input_gradient")
    total, only_last = pseudo_input_gradient(EXACT), pseudo_input_gradient(last)
    np.testing.assert_array_equal(total[0], only_last[0])  # drawn once: the same
    assert np.abs(total[1] - only_last[1]).max() > 1e-6  # drawn three times
    np.testing.assert_array_equal(total[2:], 0)  # never drawn
    # No component drawn twice: the field changes nothing.
    one, other = (pseudo_input_gradient(c, [3, 0, 2, 1]) for c in (EXACT, last))
    np.testing.assert_array_equal(one, other)


def test_known_anomalies():
    labels = np.array([0] * 6 + [1] * 3)
    exact = known_anomaly_rows(labels, 2, np.random.default_rng(0))
    original = known_anomaly_rows(
        labels, 2, np.random.default_rng(0), convention=EXACT.switched("known_anomalies")
    )
    assert labels[exact].sum() == 2
    assert labels[original].sum() == 0  # normals, counted from the first row
    np.testing.assert_array_equal(exact[:6], np.arange(6))
    np.testing.assert_array_equal(original[6:], exact[6:] - 6)
    assert mean_of_draws([1.0] * 5) == 1.0
    assert mean_of_draws([1.0] * 5, convention=EXACT.switched("known_anomalies")) == 0.5


def test_goodness_rows(monkeypatch):
    seen = []
    monkeypatch.setattr("pyscore.experiment.goodness.fit_of_codes", lambda codes, *a, **k: seen.append(codes))
    labels = np.array([0] * 8 + [1] * 4)
    goodness_of_fit(MODEL, ROWS, labels)
    goodness_of_fit(MODEL, ROWS, labels, convention=EXACT.switched("goodness_rows"))
    codes = MODEL.encode(ROWS)[0]
    for got, want in zip(seen, (codes, codes[:8]), strict=True):
        np.testing.assert_allclose(np.sort(got, axis=0), np.sort(want, axis=0), atol=1e-15)
    with pytest.raises(InvalidInput, match=r"^`labels` must be given when goodness_rows='normal'"):
        goodness_of_fit(MODEL, ROWS, convention=EXACT.switched("goodness_rows"))


# ── the class itself ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("field", Convention.fields())
def test_instances_hold_the_values_of_the_metadata(field):
    meta = {f.name: f.metadata for f in dataclasses.fields(Convention)}[field]
    assert getattr(ORIGINAL, field) == meta["original"]
    assert getattr(EXACT, field) == meta["exact"] == getattr(Convention(), field)
    assert meta["original"] != meta["exact"]
    assert meta["kind"] in ("scoring", "training")


@pytest.mark.parametrize("field", Convention.fields())
def test_switched(field):
    one = EXACT.switched(field)
    assert getattr(one, field) == getattr(ORIGINAL, field)
    assert one.switched(field) == EXACT
    assert [f for f in Convention.fields() if getattr(one, f) != getattr(EXACT, f)] == [field]
    assert one.name == f"EXACT[{field}={getattr(ORIGINAL, field)}]"


def test_names():
    assert (EXACT.name, ORIGINAL.name) == ("EXACT", "ORIGINAL")
    assert dataclasses.replace(EXACT, volume_weight=0.5).name == "EXACT[volume_weight=0.5]"
    assert dataclasses.replace(EXACT, volume_weight=1).name == "EXACT"


def test_switching_a_weight_of_neither_value_goes_to_the_original():
    assert dataclasses.replace(EXACT, volume_weight=0.5).switched("volume_weight").volume_weight == 2.0


def test_kinds():
    assert set(Convention.fields("training")) == {"mmd_diagonal", "pseudo_input_gradient", "standardise"}
    assert set(Convention.fields("scoring")) | set(Convention.fields("training")) == set(Convention.fields())


@pytest.mark.parametrize("convention", [EXACT, ORIGINAL, EXACT.switched("jacobian")], ids=lambda c: c.name)
def test_dictionary_round_trip(convention):
    fields = json.loads(json.dumps(convention.to_dict()))
    assert Convention.from_dict(fields) == convention
    assert hash(Convention.from_dict(fields)) == hash(convention)
    assert list(fields) == list(Convention.fields())


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EXACT.jacobian = "ambient"


@pytest.mark.parametrize("field", [f for f in Convention.fields() if f != "volume_weight"])
@pytest.mark.parametrize("value", ["neither", None, 1, ""])
def test_invalid_values(field, value):
    original, exact = getattr(ORIGINAL, field), getattr(EXACT, field)
    message = rf"^`{field}` must be '{original}' \(original\) or '{exact}' \(exact\); got {value!r}\.$"
    with pytest.raises(InvalidInput, match=message):
        Convention(**{field: value})


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, -np.inf, "2", None, True, 1j, [1.0], 10**400])
def test_invalid_weights(value):
    with pytest.raises(
        InvalidInput, match=r"^`volume_weight` must be a finite number of at least 0; got .* Use 1 \(the"
    ):
        Convention(volume_weight=value)


def test_errors_of_the_other_methods():
    with pytest.raises(
        InvalidInput, match=r"^`field` must be one of volume_weight, jacobian, .*; got 'colour'\.$"
    ):
        EXACT.switched("colour")
    with pytest.raises(InvalidInput, match=r"^a convention has no field 'colour'; it has volume_weight, jacobian"):
        Convention.from_dict({"colour": 1})
    with pytest.raises(TypeError, match="colour"):
        Convention(colour=1)


@pytest.mark.parametrize(
    ("name", "convention"),
    [("exact", EXACT), ("EXACT", EXACT), ("Original", ORIGINAL), (ORIGINAL, ORIGINAL)],
)
def test_get_convention(name, convention):
    assert get_convention(name) is convention


@pytest.mark.parametrize("name", ["both", "", None, 1, {}])
def test_get_convention_of_an_unknown_name(name):
    with pytest.raises(InvalidInput, match=r"^`convention` must be 'exact', 'original' or a Convention; got "):
        get_convention(name)
