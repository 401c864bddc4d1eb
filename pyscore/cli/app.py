"""The commands, each a thin layer over the library."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

from cyclopts import App, Parameter

from pyscore._core.optional import needs_torch
from pyscore.cli import output
from pyscore.cli.net import status_of
from pyscore.cli.reading import DEFAULT_READING, TableOptions
from pyscore.convention import get_convention
from pyscore.data.read_options import TableNote
from pyscore.errors import InvalidInput

__all__ = ["app", "main"]

DEBUG = "--debug"
app = App(
    name="pyscore",
    help="Density-based anomaly scores for autoencoders. Scores are log-densities: higher = more normal.",
    version_flags=["--version"],
    help_epilogue=f"With any command, {DEBUG} prints the traceback of what went wrong.",
    suppress_keyboard_interrupt=False,  # `main` says that the work can go on
)
data_app = App(name="data", help="The paper's ten datasets: fetch, list, where.")
app.command(data_app)
bench_app = App(name="bench", help="Measure kernels, scores, training, datasets, peers; compare files.")
app.command(bench_app)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead of a table.")]
ConventionName = Literal["exact", "original"]
BenchFile = Annotated[Path | None, Parameter(name="--json", help="Write the measurements there, too.")]


@app.command
def demo(*, output_dir: Path = Path("demo"), steps: int = 3000, seed: int = 0, json: Json = False) -> None:
    """Train on the embedded breast-cancer data, print a table of test AUCs, save the model and a figure.

    Parameters
    ----------
    output_dir
        Folder for model.safetensors and demo.png; made if it is missing.
    steps
        Training steps of each of the two models (EXACT and ORIGINAL).
    seed
        Seed of split, model and training.
    """
    from pyscore.cli.demo import run_demo

    run_demo(output_dir, steps=steps, seed=seed, json=json)


@app.command
def fit(
    tables: list[str],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("model.safetensors"),
    label: str | None = None,
    convention: ConventionName = "exact",
    latent_dim: int | None = None,
    hidden_dim: int = 32,
    n_components: int = 4,
    beta: float = 1.0,
    c: float = 0.1,
    steps: int = 3000,
    learning_rate: float = 1e-3,
    batch_size: int = 100,
    seed: int = 0,
    checkpoint: Path | None = None,
    reading: TableOptions = DEFAULT_READING,
    json: Json = False,
) -> None:
    """Train a model on a table and save it.

    Parameters
    ----------
    tables
        A .csv, .tsv, .parquet or .arrow file (texts also compressed), a folder of them, or a pattern; or several.
        Rows are samples, columns are features, all numbers.
    output
        Where the model goes.
    label
        A column that is not a feature (0 normal, 1 anomaly); it is left out of training.
    convention
        exact, what the mathematics asks for; or original, the code of the paper.
    latent_dim
        Dimension of the latent space; by default 4, or the number of features if that is smaller.
    hidden_dim
        Width of the hidden layers.
    n_components
        Components of the prior.
    beta
        Weight of the MMD in the loss.
    c
        Width of the MMD's kernel.
    steps
        Training steps.
    learning_rate
        Of ADAM. The paper's code has 1e-4.
    batch_size
        Rows a batch.
    seed
        Seed of everything drawn.
    checkpoint
        A file to resume from and to write to every 1,000 steps.
    """
    from pyscore.cli.fit import check_outputs
    from pyscore.cli.output import emit, goes_on, score_progress, training_progress
    from pyscore.data.tables import read_rows
    from pyscore.scoring import fitted
    from pyscore.training.config import TrainConfig

    check_outputs(tables, output, checkpoint)
    impute = reading.impute
    keep = () if label is None else (label,)
    with score_progress("reading") as tell:
        rows = read_rows(tables, keep=keep, missing=impute is not None, options=reading, progress=tell)
    config = TrainConfig(
        beta=beta, c=c, steps=steps, learning_rate=learning_rate, batch_size=batch_size, seed=seed,
        convention=get_convention(convention),
    )  # fmt: skip
    hint = "" if checkpoint is None else "The same command goes on from the checkpoint, if one was written."
    with goes_on(hint), training_progress("training") as callback:
        model = fitted.fit(
            rows.frame, config, latent_dim=latent_dim, hidden_dim=hidden_dim, n_components=n_components,
            callback=callback, checkpoint=checkpoint, impute=impute,
        )  # fmt: skip
    model.save(output)
    facts = {"model": str(output), "rows": len(rows.x), "columns": rows.x.shape[1], "steps": steps}
    emit(facts, json=json)


@app.command
def score(
    model: Path,
    tables: list[str],
    /,
    *,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    scores: str = "proposed",
    sigma2: float | Literal["residual"] = 1.0,
    projection: Annotated[bool, Parameter(negative="")] = False,
    convention: ConventionName | None = None,
    backend: str = "numba",
    seed: int = 0,
    keep: str = "",
    threads: int | None = None,
    scheduler: str | None = None,
    reading: TableOptions = DEFAULT_READING,
    json: Json = False,
) -> None:
    """Score the rows of tables of any size with a saved model: log-densities in nats, higher = more normal.

    Rows keep their order; memory does not grow with their number. A run that was killed goes on where it was when
    the same command is given again.

    Parameters
    ----------
    model
        A file of `pyscore fit`.
    tables
        A .csv, .tsv, .parquet or .arrow file (texts also compressed), a folder of them, or a pattern; or several.
        They must have the columns that the model was trained on, in any order.
    output
        A .parquet, .csv or .arrow file for the scores, or a folder (with a slash at its end) for parts; by default
        the first rows are printed.
    scores
        Names separated by commas, or "all".
    sigma2
        Variance of the noise in standardised units: a number, or residual, that of the training residuals.
    projection
        Add how the rows were projected onto the manifold: distance from the encoder's point and from the nearest
        one, the norm of the gradient there, and the number of iterations.
    convention
        exact or original; by default the model's own.
    backend
        See `pyscore doctor`. The default, numba, is the fastest on a CPU; it compiles its kernels once (some ten
        seconds on first use).
    seed
        Seed of the draws of the importance score.
    keep
        Columns to carry along, separated by commas: identifiers, say.
    threads
        Threads that score (numba); by default all cores.
    scheduler
        Address of a Dask scheduler, tcp://…, whose workers do the work; they must see the same paths.
    """
    from pyscore.cli.score import run_score

    run_score(
        model, tables, output, _names(scores), convention, backend=backend, seed=seed, reading=reading,
        keep=_split(keep), sigma2=sigma2, projection=projection, threads=threads, scheduler=scheduler, json=json,
    )  # fmt: skip


@app.command
def explain(
    model: Path,
    tables: list[str],
    /,
    *,
    row: int,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    score: str | None = None,
    convention: ConventionName | None = None,
    backend: str = "torch",
    reading: TableOptions = DEFAULT_READING,
    json: Json = False,
) -> None:
    """Say why a row has its score: the contribution of each feature, and the terms of the score.

    Parameters
    ----------
    model
        A file of `pyscore fit`, or of `SVAEDetector.save`.
    tables
        As for `pyscore score`.
    row
        Number of the row, counted from 0 over all tables.
    output
        A .svg, .png or .pdf file for a figure, or a .csv or .parquet file for the table.
    score
        A score out of `pyscore.SCORES`; by default the detector's own, or proposed.
    convention
        exact or original; by default the model's own.
    backend
        See `pyscore doctor`.
    """
    from pyscore.cli.explain import explain_row

    chosen = get_convention(convention) if convention else None
    explain_row(model, tables, row, output, score, chosen, backend, reading, json=json)


@app.command
def evaluate(
    sources: list[str],
    /,
    *,
    model: Path | None = None,
    label: str | None = None,
    split: int = 0,
    seeds: int = 1,
    scores: str = "all",
    sigma2: float | Literal["residual"] = 1.0,
    convention: ConventionName | None = None,
    latent_dim: int | None = None,
    hidden_dim: int = 32,
    n_components: int = 4,
    beta: float = 1.0,
    c: float = 0.1,
    steps: int = 3000,
    learning_rate: float = 1e-3,
    backend: str = "torch",
    reading: TableOptions = DEFAULT_READING,
    json: Json = False,
) -> None:
    """Print AUCs: of a saved model on a labelled table, or of models trained on one of the ten datasets.

    Parameters
    ----------
    sources
        Labelled tables, as for `pyscore score` (with --model and --label), or the name of a dataset (see
        `pyscore data list`).
    model
        A file of `pyscore fit`.
    label
        The column of a table that is 0 for normal and 1 for anomalous rows.
    split
        Seed of the train/test split of a dataset.
    seeds
        Number of models trained on that split, seeds 0, 1, …; the table gives mean and deviation.
    scores
        Names separated by commas, or "all".
    sigma2
        See `pyscore score`.
    convention
        exact or original; by default the saved model's, or exact.
    latent_dim, hidden_dim, n_components, beta, c, steps, learning_rate
        See `pyscore fit`.
    backend
        See `pyscore doctor`.
    """
    from pyscore.cli import evaluate as evaluation

    names = _names(scores)
    if model is not None:
        evaluation.saved_model(
            sources, model, label, names, convention, backend, reading, sigma2=sigma2, json=json
        )
        return
    if len(sources) > 1:
        raise InvalidInput(f"`evaluate` trains on one dataset at a time; got {', '.join(sources[:8])}.")
    from pyscore.training.config import TrainConfig

    config = TrainConfig(
        beta=beta, c=c, steps=steps, learning_rate=learning_rate, convention=get_convention(convention or "exact")
    )
    sizes = {"latent_dim": latent_dim, "hidden_dim": hidden_dim, "n_components": n_components}
    evaluation.dataset(sources[0], split, seeds, names, config, sizes, backend, sigma2=sigma2, json=json)


@data_app.command(name="fetch")
def data_fetch(*names: str, json: Json = False) -> None:
    """Download datasets (all ten by default), check them by SHA-256 and cache them.

    Parameters
    ----------
    names
        Names of datasets; see `pyscore data list`.
    """
    from pyscore.cli.output import emit, file_progress
    from pyscore.data import datasets as data

    chosen = names or data.DATASETS
    with file_progress("fetching", chosen) as advance:
        folders = {name: str(data.fetch(name)) for name in advance(chosen)}
    emit(folders, json=json)


@data_app.command(name="list")
def data_list(*, json: Json = False) -> None:
    """List the datasets with their sizes and whether they are on this machine."""
    from pyscore.cli.output import emit, print_frame
    from pyscore.data import datasets as data

    frame = data.overview()
    if json:
        emit(frame.to_dict("records"), json=True)
    else:
        shown = frame.drop(columns="note")
        print_frame(shown, title="datasets: rows of normal data, features, anomalies by difficulty")
        emit(data.NOTES, json=False)


@data_app.command(name="where")
def data_where(*, json: Json = False) -> None:
    """Print the folder of the dataset files (PYSCORE_DATA, or the cache)."""
    from pyscore.cli.output import emit
    from pyscore.data import datasets as data

    emit({"folder": str(data.location())}, json=json)


@app.command
def doctor(*, json: Json = False) -> None:
    """Print versions, backends (and why one is missing), and folders."""
    from pyscore.cli.doctor import report

    report(json=json)


@app.command
def verify(
    *,
    backends: str | None = None,
    dtype: Literal["float64", "float32"] | None = None,
    seeds: int = 3,
    json: Annotated[Path | None, Parameter(name="--json", help="Write the table to this file, too.")] = None,
    html: Annotated[Path | None, Parameter(name="--html", help="Write the table of --model as a page.")] = None,
    model: Path | None = None,
    data: Path | None = None,
    name: str | None = None,
    activation: str | None = None,
    original: Path | None = None,
) -> None:
    """Compare every function of every backend with the float64 reference and with the original's outputs.

    With --model and --data: the scores of your own model on your own rows, through every backend. Exit status 1 if
    a function is out of its stated bound.

    Parameters
    ----------
    backends
        Names separated by commas; by default all that run here.
    dtype
        float64 or float32; by default both.
    seeds
        Number of random inputs of each size.
    model
        A model that Julia saved (BSON of an SVAEvampmeans or of a Flux Chain of Dense layers), or pyscore's own.
    data
        A table of the model's inputs, its columns in the model's order.
    name
        Which value of the file, where several are models.
    activation
        What follows the hidden layers, where the file does not say it (Flux.state).
    original
        A Julia project that has FewShotAnomalyDetection.jl: its own functions are compared, too.
    """
    named = [part.strip() for part in backends.split(",")] if backends else None
    dtypes: list[str] | None = [dtype] if dtype else None
    if (model is None) != (data is None):
        raise InvalidInput("`--model` and `--data` must be given together.")
    if model is None or data is None:
        if html is not None or original is not None:
            raise InvalidInput("`--html` and `--original` need `--model` and `--data`.")
        from pyscore.cli.verify import run_verify

        run_verify(named, dtypes, seeds, json)
        return
    from pyscore.cli.verify_model import run_verify_model

    targets = [target for target in (json, html) if target is not None]
    run_verify_model(model, data, named, dtypes, targets, name=name, activation=activation, original=original)


@app.command
def reproduce(
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    datasets: str = "all",
    splits: str = "0",
    grid: Literal["paper", "small", "latent"] = "paper",
    steps: int = 10_000,
    learning_rate: float = 1e-4,
    convention: ConventionName = "original",
    costly_rows: int = 300,
    disc_steps: int = 500,
    jobs: int = 1,
    scheduler: str | None = None,
    backend: Literal["numba", "torch"] = "numba",
    device: str = "cpu",
    threads: int | None = None,
    ablation: Literal["scoring", "all"] | None = None,
    status: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Run the paper's experiment: train and measure a grid of models on its datasets; resumable at any moment.

    Results are rows of Parquet files in the output folder, one file a finished stack (all models of one dataset,
    split and shape). Called again, it goes on where it was stopped, however it was stopped.

    Parameters
    ----------
    output
        Folder of the results; made if it is missing.
    datasets
        Names separated by commas (see `pyscore data list`), or "all" for the paper's ten.
    splits
        Seeds of the train/test splits, separated by commas; the paper has five.
    grid
        paper, its 288 configurations; small, 32 of them; latent, the sweep over latent dimensions of Figure 3.
    steps
        Training steps of each model.
    learning_rate
        Of ADAM.
    convention
        Of the training. Every model is scored under both conventions.
    costly_rows
        Rows of training and of test set on which the importance score is evaluated; 0 leaves it out.
    disc_steps
        Training steps of the classifier two-sample test; 0 leaves it out.
    jobs
        Worker processes of a Dask cluster on this machine; 1 computes in this process.
    scheduler
        Address of a Dask scheduler, tcp://host:port, whose workers compute.
    backend
        What trains the models: numba or torch.
    device
        Where torch trains: cpu, cuda, cuda:1.
    threads
        Threads of the training; by default all cores.
    ablation
        Instead: switch each field of the convention alone. scoring, on the models of finished stacks; all, also
        train the small grid with each training field switched.
    status
        Print what is done and missing in the output folder, and compute nothing.
    """
    from pyscore.cli import reproduce as command
    from pyscore.experiment.grid import Options
    from pyscore.experiment.runs import Place

    if status:
        command.show_status(output, json=json)
        return
    options = Options(
        steps=steps, learning_rate=learning_rate, train_convention=get_convention(convention),
        costly_rows=costly_rows, disc_steps=disc_steps,
    )  # fmt: skip
    request = command.Request(
        datasets=_names(datasets, "datasets"),
        splits=[_whole(text) for text in _names(splits, "splits") or ["0", "1", "2", "3", "4"]],
        grid=grid,
        options=options,
        jobs=jobs,
        scheduler=scheduler,
        place=Place(backend=backend, device=device, threads=threads),
    )
    if ablation is not None:
        command.ablate(output, request, training=ablation == "all", json=json)
    else:
        command.reproduce(output, request, json=json)


@app.command
def results(
    run: Path | None = None,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("docs/results.md"),
    tables: Path = Path("docs/results"),
    from_summary: Path | None = None,
    check: bool = False,
    json: Json = False,
) -> None:
    """Make the page of results: what the paper claims, what the experiment gave, tables and figures.

    Parameters
    ----------
    run
        Output folder of the experiment; it may still be running.
    output
        The page, in Markdown.
    tables
        Folder for the tables (CSV) and figures (SVG, PNG) that the page is made of.
    from_summary
        Make the page again from such a folder, without the run.
    check
        Write nothing; exit status 1 unless the page is what the tables give.
    """
    from pyscore.cli.results import run_results

    run_results(run, output, tables, from_summary, check=check, json=json)


@app.command
def unreliable(
    part: Literal["linear", "plane", "images", "tabular", "all"] = "all",
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("unreliable"),
    datasets: str | None = None,
    baselines: str = "fast",
    seed: int = 0,
    repeats: int = 1,
    quick: Annotated[bool, Parameter(negative="")] = False,
    mnist: Path | None = None,
    page: Path | None = None,
    json: Json = False,
) -> None:
    """Search for anomalies far from all data that reconstruction error calls normal, and score them otherwise.

    Writes tables, figures and report.md.

    Parameters
    ----------
    part
        linear (PCA and linear autoencoders), plane (2-d maps), images (digits), tabular (the datasets), or all.
    output
        Folder for everything; made if it is missing.
    datasets
        Names separated by commas; by default the paper's ten. breast-cancer needs no download.
    baselines
        fast, all, or names separated by commas.
    seed
        Seed of splits, networks and searches.
    repeats
        Seeds for each of the datasets, counted from --seed; their points are pooled, and finished ones are kept.
    quick
        Shorter training and search.
    mnist
        Folder with MNIST's idx files, for images; by default scikit-learn's digits.
    page
        A Markdown page whose part between the markers is replaced by the report.
    """
    from pyscore.cli.unreliable import run_unreliable

    run_unreliable(
        part,
        output,
        datasets=datasets,
        baselines=baselines,
        seed=seed,
        repeats=repeats,
        quick=quick,
        mnist=mnist,
        page=page,
        json=json,
    )


@app.command
def report(
    results: Path, /, *, output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("report.html")
) -> None:
    """Make one self-contained HTML page of all results in a folder: measurements, experiment, agreement.

    Parameters
    ----------
    results
        Folder with files of `pyscore bench --json`, `pyscore verify --json` and tables of `pyscore results`.
    output
        The page.
    """
    from pyscore.cli.report import run_report

    run_report(results, output)


@bench_app.command(name="kernels")
def bench_kernels(*, json: BenchFile = None, threads: int = 2, quick: bool = False) -> None:
    """Time the compiled kernels against what they replace, as ratios measured in one run, errors beside them.

    Parameters
    ----------
    threads
        Threads of Numba, torch and BLAS alike.
    quick
        Fewer repeats, a tenth of the stream, no compile times.
    """
    from pyscore.cli.bench import run_suites

    run_suites(["kernels"], json, threads=threads, quick=quick)


@bench_app.command(name="scores")
def bench_scores(*, json: BenchFile = None, threads: int = 2, quick: bool = False) -> None:
    """Time every score on every backend that runs here: rows a second, memory, error, AUC.

    Parameters
    ----------
    threads
        Threads of Numba, torch and BLAS alike.
    quick
        A smaller table and model, the default dtypes, memory of one score.
    """
    from pyscore.cli.bench import run_suites

    run_suites(["scores"], json, threads=threads, quick=quick)


@bench_app.command(name="scaling")
def bench_scaling(*, json: BenchFile = None, threads: int = 2, quick: bool = False) -> None:
    """Time the kernels over n = 10² … 10⁷, d, h and k, and what the machine allows.

    Parameters
    ----------
    threads
        Threads of Numba, torch and BLAS alike.
    quick
        Fewer sizes, up to 10⁵ rows.
    """
    from pyscore.cli.bench import run_suites

    run_suites(["scaling"], json, threads=threads, quick=quick)


@bench_app.command(name="training")
def bench_training(*, json: BenchFile = None, threads: int = 2, quick: bool = False) -> None:
    """Time the three trainers on the same stack of models, in model-steps a second.

    Parameters
    ----------
    threads
        Threads of Numba, torch and BLAS alike.
    quick
        The smallest stack only, fewer steps and repeats.
    """
    from pyscore.cli.bench import run_suites

    run_suites(["training"], json, threads=threads, quick=quick)


@bench_app.command(name="datasets")
def bench_datasets(*, json: BenchFile = None, threads: int = 2, quick: bool = False) -> None:
    """Time every score on the paper's ten datasets, as far as they are on this machine, on every backend.

    Parameters
    ----------
    threads
        Threads of Numba, torch and BLAS alike.
    quick
        Two datasets, the two main scores, a model of few steps.
    """
    from pyscore.cli.bench import run_suites

    run_suites(["datasets"], json, threads=threads, quick=quick)


@bench_app.command(name="stream")
def bench_stream(*, json: BenchFile = None, threads: int = 2, quick: bool = False) -> None:
    """Time `proposed` from Parquet to Parquet beside pandas and the bare kernel.

    Parameters
    ----------
    threads
        Threads of Numba, torch and BLAS alike.
    quick
        Half a million rows instead of two million.
    """
    from pyscore.cli.bench import run_suites

    run_suites(["stream"], json, threads=threads, quick=quick)


@bench_app.command(name="peers")
def bench_peers(*, json: BenchFile = None, threads: int = 2, quick: bool = False) -> None:
    """Time ours beside torch.func, JAX, KeOps, alibi-detect and PyOD on the same rows of the ten datasets.

    alibi-detect asks for NumPy below 2: PYSCORE_ALIBI_PYTHON names the Python of an environment that has it.

    Parameters
    ----------
    threads
        Threads of Numba, torch and BLAS alike.
    quick
        Two datasets, and models of few steps.
    """
    from pyscore.cli.bench import run_suites

    run_suites(["peers"], json, threads=threads, quick=quick)


@bench_app.command(name="all")
def bench_all(*, json: BenchFile = None, threads: int = 2, quick: bool = False) -> None:
    """Measure everything, one suite after the other, into one file.

    Parameters
    ----------
    threads
        Threads of Numba, torch and BLAS alike.
    quick
        The quick form of each.
    """
    from pyscore.cli.bench import SUITES, run_suites

    run_suites(list(SUITES), json, threads=threads, quick=quick)


@bench_app.command(name="compare")
def bench_compare(old: Path, new: Path, /, *, json: Json = False) -> None:
    """List what became slower than the noise between two files; exit status 1 if something did.

    Parameters
    ----------
    old, new
        Files of `pyscore bench ... --json`.
    """
    from pyscore.cli.bench import run_compare

    run_compare(old, new, json=json)


@bench_app.command(name="merge")
def bench_merge(files: list[Path], /, *, output: Annotated[Path, Parameter(name=["--output", "-o"])]) -> None:
    """Put files of different suites, measured on one machine, into one.

    Parameters
    ----------
    files
        Files of `pyscore bench ... --json`.
    output
        The file that holds them all.
    """
    from pyscore.cli.bench import run_merge

    run_merge(files, output)


@bench_app.command(name="table")
def bench_table(file: Path, /, *, update: Path | None = None, check: bool = False, short: bool = False) -> None:
    """Print a file of measurements as Markdown, or put it into a page.

    Parameters
    ----------
    file
        A file of `pyscore bench ... --json`.
    update
        A page with the lines `<!-- bench: begin -->` and `<!-- bench: end -->`; what is between them is replaced.
    check
        Write nothing; exit status 1 unless the page is what the file gives.
    short
        The headlines alone, one table.
    """
    from pyscore.cli.bench import run_table

    run_table(file, update, check=check, short=short)


def _names(text: str, argument: str = "scores") -> list[str] | None:
    """Names of a comma-separated list; None for "all"."""
    if text == "all":
        return None
    names = _split(text)
    if not names:
        raise InvalidInput(f"`{argument}` must name at least one, or be 'all'; got {text!r}.")
    return names


def _whole(text: str) -> int:
    """Seed of a split, from the command line."""
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(f"`splits` must be whole numbers separated by commas; got {text!r}.") from None


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as one, and what was left aside in a table as a note."""
    if issubclass(category, TableNote):
        output.print_note(str(message))
    else:
        output.show_warning(message, category, filename, lineno, file, line)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; what goes wrong is said on stderr, with the exit status of `pyscore.cli.net`."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = DEBUG in arguments or os.environ.get("PYSCORE_DEBUG") == "1"
    output.ready_streams()
    with warnings.catch_warnings():  # what a program shows of its warnings is its own again afterwards
        warnings.showwarning = _show
        warnings.filterwarnings("always", category=TableNote)  # a note is no error where warnings are
        result: Any = None
        status: str | int | None = None
        try:
            try:
                with needs_torch("this command"):
                    result = app(
                        [argument for argument in arguments if argument != DEBUG], exit_on_error=False,
                        print_error=False, console=output.console(), error_console=output.console(stderr=True),
                    )  # fmt: skip
            except SystemExit as stop:
                status = stop.code
            output.finish_stdout()
        except (Exception, KeyboardInterrupt) as error:
            status = status_of(error, debug=debug) or status
            with contextlib.suppress(OSError, ValueError):
                output.finish_stdout()
    if status is None:
        return result
    sys.exit(status)
