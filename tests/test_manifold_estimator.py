"""ManifoldScorer as a scikit-learn estimator, from many threads, and with modules of every kind."""

import copy
import itertools
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn
from torch.nn import functional as F

from pyscore import ManifoldScorer, reference
from pyscore.errors import InvalidInput, NumericalWarning, PyscoreError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3))


def network(*sizes, activation=nn.Softsign, seed=0):
    """A decoder that is not recognised, so that torch.func runs it."""
    torch.manual_seed(seed)
    layers = [nn.Linear(sizes[0], sizes[1])]
    for inputs, outputs in itertools.pairwise(sizes[1:]):
        layers += [activation(), nn.Linear(inputs, outputs)]
    return nn.Sequential(*layers).double()


class Wrapped(nn.Module):
    """The same function, not recognised."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, a):
        return self.inner(a)


# ── scikit-learn ──


class AnyWidth(ManifoldScorer):
    """A decoder of as many features as the rows have: the official checks bring rows of every width."""

    def fit(self, X, y=None):
        decoder = self.decoder
        self.decoder = lambda z: self.stretched(z, getattr(self, "width_", 1))
        try:
            self.width_ = self._first_rows(X).shape[1]
            return super().fit(X, y)
        finally:
            self.decoder = decoder

    @staticmethod
    def stretched(z, width):
        return torch.stack([torch.sin((j + 1) * z[:, 0]) + 0.1 * j * z[:, 0] for j in range(width)], 1)

    def __getstate__(self):
        """The checks pickle it; a function made within `fit` has no name to be found by."""
        return {k: v for k, v in super().__getstate__().items() if k not in ("_decoder", "_pool")}


EXPECTED_FAILURES = {
    name: "the stand-in decoder of the checks is a closure, which pickle cannot write"
    for name in ("check_estimators_pickle",)
}


@parametrize_with_checks(
    [AnyWidth(None, latent_dim=1, sigma2=1.0, starts=1, steps=3)],
    expected_failed_checks=lambda _: EXPECTED_FAILURES,
)
def test_scikit_learn(estimator, check):
    check(estimator)


def test_parameters_clone_pipeline_and_grid_search():
    scorer = ManifoldScorer(network(2, 6, 3), latent_dim=2, sigma2=0.5, steps=5)
    assert scorer.get_params()["sigma2"] == 0.5
    assert scorer.set_params(score_name="joint").score_name == "joint"
    twin = clone(scorer)
    assert twin.get_params()["score_name"] == "joint"
    assert twin.decoder is not scorer.decoder
    np.testing.assert_array_equal(twin.fit(X).score_samples(X), scorer.fit(X).score_samples(X))
    assert scorer.score(X) == np.mean(scorer.score_samples(X))
    pipe = make_pipeline(
        StandardScaler(), ManifoldScorer(network(2, 6, 3), latent_dim=2, sigma2=0.5, steps=5)
    ).fit(X)
    assert pipe.score(X) == np.mean(pipe.score_samples(X))
    search = GridSearchCV(scorer, {"sigma2": [1e-3, 1.0]}, cv=2).fit(X)
    assert search.best_params_ == {"sigma2": 1.0}


def test_the_former_name_of_the_score_is_understood():
    assert ManifoldScorer(None, score="projected").score_name == "projected"
    with pytest.raises(TypeError, match="unexpected keyword argument 'scores'"):
        ManifoldScorer(None, scores="projected")


def test_a_fitted_scorer_survives_pickle_and_copy():
    scorer = ManifoldScorer(network(2, 6, 3), latent_dim=2, sigma2=0.5, steps=5).fit(X)
    for twin in (pickle.loads(pickle.dumps(scorer)), copy.deepcopy(scorer)):
        np.testing.assert_array_equal(twin.score_samples(X), scorer.score_samples(X))


def test_columns_of_frames_keep_their_names():
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    scorer = ManifoldScorer(network(2, 6, 3), latent_dim=2, sigma2=0.5, steps=5).fit(frame)
    assert list(scorer.feature_names_in_) == ["a", "b", "c"]
    with pytest.raises(InvalidInput, match="feature names should match"):
        scorer.score_samples(frame[["b", "a", "c"]])


# ── threads ──


def test_any_number_of_threads_gives_the_numbers_of_one():
    """torch's level of forward-mode differentiation is one for a process: unguarded, half of these calls fail."""
    scorer = ManifoldScorer(network(2, 16, 5), network(5, 16, 2), latent_dim=2).fit(RNG.standard_normal((50, 5)))
    parts = RNG.standard_normal((20, 20, 5))
    one = [scorer.score_table(part, ["proposed", "reconstruction"]) for part in parts]
    for threads in (2, 5):
        with ThreadPoolExecutor(threads) as pool:
            many = list(pool.map(lambda part: scorer.score_table(part, ["proposed", "reconstruction"]), parts))
        for a, b in zip(one, many, strict=True):
            pd.testing.assert_frame_equal(a, b, check_exact=True)


# ── numbers ──


@pytest.mark.parametrize("seed", [4, 10, 12, 15])
def test_corrected_is_finite_where_a_singular_value_vanishes(seed):
    torch.manual_seed(seed)
    decoder = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))
    x = np.random.default_rng(seed).standard_normal((80, 3))
    scorer = ManifoldScorer(decoder).fit(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(scorer.score_table(x, ["corrected"])).all(axis=None)
    # The rows that gave NaN: the codes ran away to where tanh is flat.
    z = scorer.project(x).z
    s = np.linalg.svd(network_jacobian(decoder, z), compute_uv=False)
    assert s.min() < 1e-7


def network_jacobian(decoder, z):
    first, last = decoder[0].weight.detach().double().numpy(), decoder[2].weight.detach().double().numpy()
    a = z @ first.T + decoder[0].bias.detach().double().numpy()
    return last @ ((1 / np.cosh(np.clip(a, -300, 300)) ** 2)[:, :, None] * first)


def test_corrected_is_what_the_difference_of_infinities_tends_to():
    z, x = np.array([[1.0, -2.0]]), np.zeros((1, 3))
    tiny = [
        reference.log_density_corrected(x, x, z, np.array([[[s, 0], [0, 1.0], [0, 0]]]), sigma2=0.3)[0]
        for s in (1e-3, 1e-6, 1e-9, 0.0)
    ]
    assert np.isfinite(tiny).all()
    assert np.abs(np.diff(tiny))[1:].max() < 1e-11


def test_an_overflow_is_the_most_anomalous_and_is_said():
    scorer = ManifoldScorer(network(2, 6, 3), network(3, 6, 2), sigma2=1e-300).fit(X)
    with pytest.warns(NumericalWarning, match="no finite log-density"):
        density = scorer.score_samples(1e14 * X)
    assert np.isneginf(density).all()


# ── modules ──


class Detached(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.inner, self.how = network(2, 6, 3), how

    def forward(self, z):
        y = self.inner(z)
        return {
            "detach": lambda: y.detach(),
            "data": lambda: y.data,
            "round": lambda: torch.round(3 * y) / 3,
            "part": lambda: y.detach() + z.sum(1, keepdim=True),
            "straight through": lambda: z.sum(1, keepdim=True) + (torch.round(y) - y).detach() + y,
            "constant": lambda: torch.ones_like(y),
        }[self.how]()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("detach", "does not depend on the codes in a way that torch can differentiate"),
        ("data", "does not depend on the codes in a way that torch can differentiate"),
        ("round", "does not depend on the codes in a way that torch can differentiate"),
        ("part", "the derivative of `decoder` is not that of its values"),
        ("straight through", "the derivative of `decoder` is not that of its values"),
        ("constant", "does not depend on the codes: it is the same for all"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_decoder_whose_derivative_is_cut_is_refused(how, message, dtype):
    if dtype == np.float32 and how in ("part", "straight through"):
        pytest.skip("steps of float32 are too long to tell a part from a kink")
    with pytest.raises(InvalidInput, match=message):
        ManifoldScorer(Detached(how), latent_dim=2, sigma2=1.0, dtype=dtype).fit(X)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Hardtanh, nn.Softsign, nn.Tanhshrink])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_kinks_are_no_cut_derivative(activation, dtype):
    for seed in range(5):
        decoder = Wrapped(network(2, 64, 64, 3, activation=activation, seed=seed))
        ManifoldScorer(decoder, latent_dim=2, sigma2=1.0, dtype=dtype, steps=1).fit(X)


class Transformer(nn.Module):
    def __init__(self, d):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.up, self.down, self.layers = nn.Linear(2, 24), nn.Linear(24, d), nn.TransformerEncoder(layer, 2)

    def forward(self, z):
        return self.down(self.layers(self.up(z).reshape(len(z), 3, 8)).reshape(len(z), -1))


class Attention(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.up, self.down = nn.Linear(2, 24), nn.Linear(24, d)

    def forward(self, z):
        a = self.up(z).reshape(len(z), 1, 3, 8)
        return self.down(F.scaled_dot_product_attention(a, a, a).reshape(len(z), -1))


@pytest.mark.parametrize("kind", [Transformer, Attention])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_attention_is_differentiated(kind):
    torch.manual_seed(0)
    module = kind(5)
    x = RNG.standard_normal((12, 5))
    fast = torch.backends.mha.get_fastpath_enabled()
    scorer = ManifoldScorer(module, lambda x: x[:, :2], sigma2=1.0).fit(x)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    z = x[:, :2]
    own = copy.deepcopy(module).double().eval()
    step = 1e-6
    with torch.no_grad():
        moved = [
            (own(torch.tensor(z + step * e)) - own(torch.tensor(z - step * e))).numpy() / (2 * step)
            for e in np.eye(2)
        ]
    volume = 0.5 * np.linalg.slogdet(np.einsum("jnd,knd->njk", moved, moved))[1]
    np.testing.assert_allclose(-scorer.score_terms(x, ["proposed"])["decoder_volume"], volume, rtol=1e-5)


def test_a_scripted_module_has_the_scores_of_the_module():
    plain = network(2, 6, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(copy.deepcopy(plain))
    want, got = (
        ManifoldScorer(f, latent_dim=2, sigma2=1.0, steps=5).fit(X).score_samples(X) for f in (plain, scripted)
    )
    np.testing.assert_allclose(got, want, rtol=1e-9)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: nn.Sequential(nn.LazyLinear(3)), "a parameter without a shape, '0.weight': a lazy module"),
        (
            lambda: nn.Linear(2, 3, device="meta"),
            "a parameter without values, 'weight': it is on the device 'meta'",
        ),
        (lambda: nn.Linear(2, 3, dtype=torch.complex64), "must have real parameters; 'weight' is torch.complex64"),
        (lambda: lambda z: z.to_sparse(), "must return a dense tensor of real numbers; got a sparse one"),
        (lambda: lambda z: torch.complex(z, z), "must return a dense tensor of real numbers; got a complex one"),
        (lambda: lambda z: z.to("meta"), "must return a dense tensor of real numbers; got a meta one"),
        (lambda: lambda z: np.ones(3), "must return a tensor with one row for each"),
        (lambda: 3, "must be an nn.Module or a function"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning", "ignore:Complex modules:UserWarning")
def test_modules_that_cannot_be_scored(module, message):
    with pytest.raises(PyscoreError, match=message):
        ManifoldScorer(module(), latent_dim=2, sigma2=1.0).fit(X)
