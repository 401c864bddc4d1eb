"""The Julia backend: `julia/` run in a worker process, never inside the caller's.

Two ways to run the same Julia files: *juliacall* in a Python child, or the *executable* `julia` (1.5 or newer,
standard library only). Python's (n, d) arrays in C order are Julia's (d, n) arrays, byte for byte.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
import threading
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.backends import _julia_where as where
from pyscore.backends._iterations import ReferenceIterations
from pyscore.backends._julia_worker import HeldModel, JuliaWorker, Spawn
from pyscore.backends._protocol import Pass, compose_pass
from pyscore.convention import EXACT, Convention
from pyscore.errors import BackendUnavailable, InvalidInput, ShapeError
from pyscore.reference.model import SVAE

__all__ = ["JuliaBackend", "JuliaOptions", "create", "julia_backend", "package_folder", "probe"]

logger = logging.getLogger(__name__)

Transport = Literal["auto", "juliacall", "executable"]

IDLE_SECONDS = 600.0
"""A worker that was not called for so long ends itself; the next call starts another."""


def package_folder() -> Path:
    """Return the folder of the Julia package: beside `pyscore/` in a checkout, inside it when installed."""
    inside = Path(__file__).resolve().parents[1]
    for folder in (inside.parent / "julia", inside / "julia"):
        if (folder / "Project.toml").is_file():
            return folder
    raise BackendUnavailable(f"julia: the Julia package is missing beside {inside}. Reinstall pyscore.")


# ── Choosing and starting ────────────────────────────────────────────────────────────────────────────────


def _choose(transport: str, executable: str | None) -> str:
    """Turn "auto" into a transport; nothing is downloaded unasked, and the choice is logged."""
    check.choice("transport", transport, ("auto", "juliacall", "executable"))
    if transport != "auto":
        return transport
    juliacall = importlib.util.find_spec("juliacall") is not None
    if executable is None and juliacall and os.environ.get("PYTHON_JULIACALL_EXE"):
        chosen, why = "juliacall", "PYTHON_JULIACALL_EXE names its Julia"
    elif executable is None and juliacall and where.resolved_executable() is not None:
        chosen, why = "juliacall", "its Julia is resolved already"
    elif executable is not None or shutil.which("julia"):
        chosen, why = "executable", executable or str(shutil.which("julia"))
    else:
        raise BackendUnavailable(
            "julia: neither transport can run: juliacall has no Julia yet (PYTHON_JULIACALL_EXE is not set and "
            f"juliapkg has resolved none), and there is no `julia` on the PATH. {where.HOW_TO_INSTALL}"
        )
    logger.info("julia backend: transport %r (%s)", chosen, why)
    return chosen


class JuliaOptions(NamedTuple):
    """The arguments of `julia_backend` but for the dtype: two equal ones start equal workers."""

    transport: str = "auto"
    executable: str | None = None
    project: str | None = None
    flux: bool = False
    timeout: float = 600.0
    start_timeout: float = 600.0
    idle_timeout: float = IDLE_SECONDS


def julia_backend(
    transport: Transport = "auto",
    *,
    executable: str | os.PathLike[str] | None = None,
    project: str | os.PathLike[str] | None = None,
    flux: bool = False,
    dtype: Any = np.float64,
    timeout: float = 600.0,
    start_timeout: float = 600.0,
    idle_timeout: float = IDLE_SECONDS,
) -> JuliaBackend:
    """Return a backend with a Julia of its own. Nothing is started before its first call.

    Its Julia ends when the backend is closed, or collected, or was not called for `idle_timeout` seconds.
    `get_backend("julia")` shares one Julia among all who ask for it.

    Parameters
    ----------
    transport : {"auto", "juliacall", "executable"}
        ``"auto"`` takes juliacall if PYTHON_JULIACALL_EXE is set or its Julia is resolved already, else the
        `julia` on the PATH; it downloads nothing. ``"juliacall"`` may: that is how juliacall works.
    executable : path, optional
        Julia to run. With juliacall it sets PYTHON_JULIACALL_EXE and needs `project`, too.
    project : path, optional
        Julia project to run in: by default that of pyscore's Julia package (or juliapkg's).
    flux : bool
        Whether the calls of the Flux extension are wanted (``backend.call("zygote_jacobian_decoder", model, z)``).
        juliacall then installs Flux into a Julia project of pyscore's own; an executable needs a `project` that
        has it.
    dtype : float32 or float64
        Type of the arithmetic.
    timeout, start_timeout : float, seconds
        Longest time of a call and of the start, after which the worker is ended.
    idle_timeout : float, seconds

    Raises
    ------
    BackendUnavailable
        If there is no Julia; the text says how to get one.

    Examples
    --------
    >>> from pyscore.backends.julia_ import julia_backend
    >>> with julia_backend("executable") as julia:  # doctest: +SKIP
    ...     print(julia.call("versions")[0])
    1.10.4
    """
    options = JuliaOptions(
        transport,
        None if executable is None else os.fspath(executable),
        None if project is None else os.fspath(project),
        bool(flux),
        check.real("timeout", timeout, above=0.0),
        check.real("start_timeout", start_timeout, above=0.0),
        check.real("idle_timeout", idle_timeout, above=0.0),
    )
    worker, chosen = _worker(options)
    return JuliaBackend(worker, np.dtype(dtype), chosen, options)


def _worker(options: JuliaOptions) -> tuple[JuliaWorker, str]:
    """Return a worker that is yet to start, and its transport."""
    if os.name != "posix":
        raise BackendUnavailable("julia: the worker talks over POSIX pipes. Use it on Linux, macOS or WSL.")
    chosen = _choose(options.transport, options.executable)
    prepare = _executable_spawn if chosen == "executable" else _juliacall_spawn
    worker = JuliaWorker(
        prepare(package_folder(), options),
        f"Julia by {chosen}",
        timeout=options.timeout,
        start_timeout=options.start_timeout,
    )
    return worker, chosen


_shared: tuple[str, JuliaWorker] | None = None
_shared_lock = threading.Lock()


def _shared_worker() -> tuple[str, JuliaWorker]:
    """Return transport and worker of all backends that `create` makes: one Julia for both types."""
    global _shared
    with _shared_lock:
        if _shared is None:
            worker, chosen = _worker(JuliaOptions())
            _shared = chosen, worker
        return _shared


def _forget_lock() -> None:
    """After a fork: the lock may be held by a thread that the child does not have."""
    global _shared_lock
    _shared_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)


def _executable_spawn(folder: Path, options: JuliaOptions) -> Spawn:
    found = shutil.which(options.executable or "julia")
    if found is None:
        name = options.executable or "julia"
        raise BackendUnavailable(f"julia: there is no executable {name!r}. {where.HOW_TO_INSTALL}")
    found = os.path.abspath(found)  # a relative one would change with the working folder
    project = folder if options.project is None else os.path.abspath(options.project)

    def spawn(read_fd: int, write_fd: int) -> tuple[list[str], dict[str, str]]:
        switches = ["--startup-file=no", "--history-file=no", "--color=no", f"--project={project}"]
        worker = str(folder / "worker" / "worker.jl")
        # The package must be found whatever project runs it, and nothing of the user's own environment.
        environment = dict(os.environ, JULIA_LOAD_PATH=os.pathsep.join(["@", str(folder), "@stdlib"]))
        descriptors = [str(read_fd), str(write_fd), str(os.getpid()), str(options.idle_timeout)]
        return [found, *switches, worker, *descriptors], environment

    return spawn


def _juliacall_spawn(folder: Path, options: JuliaOptions) -> Spawn:
    if importlib.util.find_spec("juliacall") is None:
        raise BackendUnavailable("julia: juliacall is not installed. Install it: pip install 'juliacall>=0.9.28'.")
    executable, project = options.executable, options.project
    if (executable is None) != (project is None):
        raise InvalidInput(
            "`executable` and `project` must be given together for juliacall, which needs PYTHON_JULIACALL_EXE "
            f"and PYTHON_JULIACALL_PROJECT both or none; got executable={executable!r}, project={project!r}."
        )
    child = Path(__file__).with_name("_julia_child.py")

    def spawn(read_fd: int, write_fd: int) -> tuple[list[str], dict[str, str]]:
        environment = dict(os.environ)
        if executable is not None and project is not None:
            environment |= {"PYTHON_JULIACALL_EXE": executable, "PYTHON_JULIACALL_PROJECT": project}
        if options.transport != "juliacall":  # nobody asked for it by name: what is not here is not fetched
            environment["PYTHON_JULIAPKG_OFFLINE"] = "yes"
        julia = where.known(environment.get("PYTHON_JULIACALL_EXE") or "")
        if julia is not None and julia.library:  # what juliacall would start a Julia to ask
            environment.setdefault("PYTHON_JULIACALL_LIB", julia.library)
            environment.setdefault("PYTHON_JULIACALL_BINDIR", julia.folder)
        if options.flux:
            environment["PYSCORE_JULIA_FLUX"] = "yes"
        descriptors = [str(read_fd), str(write_fd), str(os.getpid()), str(options.idle_timeout)]
        return [sys.executable, "-P", str(child), str(folder), *descriptors], environment

    return spawn


def probe() -> str | None:
    """Return None if "auto" finds a Julia that starts, or why not."""
    try:
        chosen = _worker(JuliaOptions())[1]
    except BackendUnavailable as error:
        return str(error).removeprefix("julia: ")
    trouble = where.examine("julia").trouble if chosen == "executable" else where.why_not_juliacall()
    return None if trouble is None else f"{trouble}. {where.HOW_TO_INSTALL}"


def create(dtype: np.dtype[Any] | None, device: str | None) -> JuliaBackend:
    """Return a backend on the one Julia that all share, transport "auto"; it knows the CPU only."""
    if device not in (None, "cpu"):
        raise InvalidInput(f"`device` must be 'cpu' for the julia backend; got {device!r}.")
    transport, worker = _shared_worker()
    return JuliaBackend(worker, np.dtype(dtype or np.float64), transport)


# ── The backend ──────────────────────────────────────────────────────────────────────────────────────────


class JuliaBackend(ReferenceIterations):
    """See `Backend`; shapes are checked here, so that errors are the same as everywhere else."""

    name = "julia"
    device = "cpu"

    def __init__(
        self,
        worker: JuliaWorker,
        dtype: np.dtype[Any],
        transport: str,
        options: JuliaOptions | None = None,
    ) -> None:
        if dtype not in (np.dtype("float32"), np.dtype("float64")):
            raise InvalidInput(f"`dtype` must be float32 or float64; got {dtype}.")
        self.worker, self.dtype, self.transport, self._options = worker, dtype, transport, options

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as how it was made: the other side has a Julia of its own (or its shared one)."""
        return _remade, (self._options, self.dtype.name)

    def __enter__(self) -> JuliaBackend:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        shared = " (shared)" if self._options is None else ""
        return f"<julia backend, {self.dtype}, by {self.transport}{shared}>"

    def close(self) -> None:
        """End the worker; the next call starts another."""
        self.worker.close()

    def call(self, name: str, *args: Any, **keywords: Any) -> Any:
        """Call any function of `julia/worker/exposed.jl`; models are `SVAE`s, arrays have rows as samples."""
        return self.worker.call(name, *(self._held(a) if isinstance(a, SVAE) else a for a in args), **keywords)

    def _held(self, model: SVAE) -> HeldModel:
        """Name the model by a hash of its arrays, so that a change in place is a new model."""
        arrays = [np.ascontiguousarray(a, dtype=self.dtype) for a in model.parameters().values()]
        state = blake2b(f"{self.dtype.str}{model.activation}{[a.shape for a in arrays]}".encode(), digest_size=16)
        for array in arrays:
            state.update(array.data.cast("B"))
        return HeldModel(state.hexdigest(), lambda: (len(model.encoder), model.activation, *arrays))

    def _array(self, name: str, value: ArrayLike, shape: tuple[int | str | None, ...]) -> Array:
        return check.array(name, value, shape, dtype=self.dtype)

    # ── on arrays ──

    def normalize(self, v: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `Backend.normalize`."""
        return self.call("normalize", self._array("v", v, ("n", "k")), convention=convention)

    def householder(self, z: ArrayLike, mu: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `Backend.householder`."""
        mu = self._array("mu", mu, ("n", "k"))
        return self.call("householder", self._array("z", z, mu.shape), mu, convention=convention)

    def sample_vmf(
        self, mu: ArrayLike, kappa: ArrayLike, epsilon: ArrayLike, v: ArrayLike, *, convention: Convention = EXACT
    ) -> Array:
        """See `Backend.sample_vmf`."""
        mu = self._array("mu", mu, ("n", "k"))
        n, k = mu.shape
        if k < 2:
            raise ShapeError(f"`mu` must have at least 2 columns; got shape {mu.shape}.")
        draws = (self._array("kappa", kappa, (n,)), self._array("epsilon", epsilon, (n,)))
        return self.call("sample_vmf", mu, *draws, self._array("v", v, (n, k - 1)), convention=convention)

    def log_likelihood(
        self, x: ArrayLike, x_hat: ArrayLike, sigma2: ArrayLike = 1.0, *, convention: Convention = EXACT
    ) -> Array:
        """See `Backend.log_likelihood`."""
        x = self._array("x", x, ("n", "d"))
        variance = np.asarray(sigma2, dtype=np.float64)
        if variance.ndim and variance.shape != x.shape[1:]:
            raise ShapeError(f"`sigma2` must be a number or have shape {x.shape[1:]}; got {variance.shape}.")
        if not (np.isfinite(variance).all() and (variance > 0).all()):
            raise InvalidInput(f"`sigma2` must be positive and finite; got {sigma2!r}.")
        noise = variance if variance.ndim else float(variance)
        return self.call("log_likelihood", x, self._array("x_hat", x_hat, x.shape), noise, convention=convention)

    def latent_error(self, z: ArrayLike, z_hat: ArrayLike) -> Array:
        """See `Backend.latent_error`."""
        z = self._array("z", z, ("n", "k"))
        return self.call("latent_error", z, self._array("z_hat", z_hat, z.shape))

    def log_prior(
        self, z: ArrayLike, mu_u: ArrayLike, kappa_u: ArrayLike | None = None, *, convention: Convention = EXACT
    ) -> Array:
        """See `Backend.log_prior`."""
        mu_u = self._array("mu_u", mu_u, ("p", "k"))
        z = self._array("z", z, ("n", mu_u.shape[1]))
        if mu_u.shape[0] == 0:
            raise ShapeError("`mu_u` must have at least one row (a prior component); got none.")
        if kappa_u is None and convention.prior_density == "vmf_mixture":
            raise InvalidInput(
                "`kappa_u` must be given for the mixture of vMF densities (prior_density='vmf_mixture'); "
                "got None. Pass the second output of encode(pseudo_inputs), or use the ORIGINAL convention."
            )
        kappas = None if kappa_u is None else self._kappas("kappa_u", kappa_u, (mu_u.shape[0],))
        return self.call("log_prior", z, mu_u, kappas, convention=convention)

    def _kappas(self, name: str, value: ArrayLike, shape: tuple[int | str | None, ...]) -> Array:
        kappa = self._array(name, value, shape)
        if not (kappa >= 0).all():
            raise InvalidInput(f"`{name}` must be at least 0; got a smallest value of {np.min(kappa)!r}.")
        return kappa

    def log_vmf(self, z: ArrayLike, mu: ArrayLike, kappa: ArrayLike) -> Array:
        """See `Backend.log_vmf`."""
        mu = self._array("mu", mu, ("n", "k"))
        return self.call("log_vmf", self._array("z", z, mu.shape), mu, self._kappas("kappa", kappa, mu.shape[:1]))

    def vmf_entropy(self, kappa: ArrayLike, k: int) -> Array:
        """See `Backend.vmf_entropy`."""
        return self.call("vmf_entropy", self._kappas("kappa", kappa, ("n",)), check.integer("k", k, at_least=2))

    def vmf_kl(self, kappa: ArrayLike, k: int) -> Array:
        """See `Backend.vmf_kl`."""
        return self.call("vmf_kl", self._kappas("kappa", kappa, ("n",)), check.integer("k", k, at_least=2))

    def log_volume(self, jacobian: ArrayLike) -> Array:
        """See `Backend.log_volume`."""
        return self.call("log_volume", self._array("jacobian", jacobian, ("n", "d", "k")))

    def log_importance(
        self,
        log_px_given_z: ArrayLike,
        log_pz: ArrayLike,
        cosine: ArrayLike,
        kappa: ArrayLike,
        k: int,
        *,
        convention: Convention = EXACT,
    ) -> Array:
        """See `Backend.log_importance`."""
        likelihood = self._array("log_px_given_z", log_px_given_z, ("n", "s"))
        others = (self._array("log_pz", log_pz, likelihood.shape), self._array("cosine", cosine, likelihood.shape))
        kappa = self._kappas("kappa", kappa, likelihood.shape[:1])
        return self.call("log_importance", likelihood, *others, kappa, k, convention=convention)

    def imq_kernel_mean(
        self, x: ArrayLike, y: ArrayLike | None = None, c: ArrayLike = 1.0, *, convention: Convention = EXACT
    ) -> Array:
        """See `Backend.imq_kernel_mean`."""
        x = self._array("x", x, ("n", "k"))
        _at_least("x", x, 2 if y is None else 1)
        other = None if y is None else self._array("y", y, ("m", x.shape[1]))
        if other is not None:
            _at_least("y", other, 1)
        widths = _widths(c)
        result = self.call("imq_kernel_mean", x, other, widths.ravel(), convention=convention)
        return np.reshape(result, widths.shape)

    def mmd_imq(self, x: ArrayLike, y: ArrayLike, c: ArrayLike = 1.0, *, convention: Convention = EXACT) -> Array:
        """See `Backend.mmd_imq`."""
        x = self._array("x", x, ("n", "k"))
        y = self._array("y", y, ("m", x.shape[1]))
        _at_least("x", x, 2)
        _at_least("y", y, 2)
        widths = _widths(c)
        return np.reshape(self.call("mmd_imq", x, y, widths.ravel(), convention=convention), widths.shape)

    # ── on models ──

    def encode(self, model: SVAE, x: ArrayLike, *, convention: Convention = EXACT) -> tuple[Array, Array]:
        """See `Backend.encode`."""
        x = self._array("x", x, ("n", model.input_dim))
        mu, kappa = self.call("encode", model, x, convention=convention)
        return mu, kappa

    def decode(self, model: SVAE, z: ArrayLike) -> Array:
        """See `Backend.decode`."""
        return self.call("decode", model, self._array("z", z, ("n", model.latent_dim)))

    def decoder_log_volume(self, model: SVAE, z: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `Backend.decoder_log_volume`."""
        z = self._array("z", z, ("n", model.latent_dim))
        return self.call("decoder_log_volume", model, z, convention=convention)

    def encoder_log_volume(self, model: SVAE, x: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """See `Backend.encoder_log_volume`."""
        x = self._array("x", x, ("n", model.input_dim))
        return self.call("encoder_log_volume", model, x, convention=convention)

    def run_pass(
        self,
        model: SVAE,
        x: ArrayLike,
        wanted: frozenset[str],
        *,
        sigma2: ArrayLike = 1.0,
        convention: Convention = EXACT,
    ) -> Pass:
        """See `Backend.run_pass`."""
        return compose_pass(self, model, x, wanted, sigma2, convention)


def _remade(options: JuliaOptions | None, dtype: str) -> JuliaBackend:
    """Return the backend that was pickled, on this side."""
    if options is None:
        return create(np.dtype(dtype), None)
    worker, chosen = _worker(options)
    return JuliaBackend(worker, np.dtype(dtype), chosen, options)


def _at_least(name: str, value: Array, rows: int) -> None:
    if value.shape[0] < rows:
        raise ShapeError(f"`{name}` must have at least {rows} row(s) for a kernel mean; got {value.shape[0]}.")


def _widths(c: ArrayLike) -> Array:
    widths = np.asarray(c, dtype=np.float64)
    if not (np.isfinite(widths).all() and (widths > 0).all()):
        raise InvalidInput(f"`c` must be positive and finite; got {c!r}.")
    return widths
