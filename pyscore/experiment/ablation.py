"""The ablation: each field of Convention switched alone, from ORIGINAL and from EXACT.

*Scoring fields* are switched on the trained models of a finished stack (`rescore`); only the scores and measures
that depend on the field are computed again (`TOUCHES`). Two kinds take too long to be computed for all models:

- the goodness of fit (0.2 s for each of five fields and two conventions) is measured again for the models
  that are selected for any score (`selected_models`);
- the scores that search for a minimum at every row (`DEAR`, up to 15 s) are measured for the models selected by
  `proposed`, on the sample of `costly_rows`, under both conventions and with `projection` and `corrected_volume`
  switched.

`known_anomalies` is not switched; `schema.NOT_SWITCHED` says why. `schema.PARTLY_SWITCHED` names the fields that
are switched on some of the models only, and which models these are.

*Training fields* need new models: stacks of the small grid whose training convention has one field switched
(`training_tasks`), measured like any other.

Rows have one column more than results: ``switched``, the name of the field. ``""`` marks rows for comparison: the
`DEAR` scores under the two conventions, and models trained under EXACT.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pyscore.convention import EXACT, ORIGINAL, Convention
from pyscore.data.datasets import Split
from pyscore.experiment.grid import GRIDS, Options, StackTask, tasks_of
from pyscore.experiment.measures import AREAS, CHEAP, COSTLY, DEAR, FIT, NOT_MEASURABLE, Meter, Rows
from pyscore.experiment.runs import Place, Progress, spread
from pyscore.experiment.schema import ABLATION_SCHEMA
from pyscore.experiment.selection import GROUP, SELECTIONS, select
from pyscore.reference.model import SVAE
from pyscore.scoring.scores import available_scores

__all__ = ["TOUCHES", "rescore", "selected_models", "training_tasks"]

BASES = (ORIGINAL, EXACT)
NAN = float("nan")

_WITH_PRIOR = tuple(name for name in CHEAP if name not in ("reconstruction", "latent_reconstruction"))
_WITH_LIKELIHOOD = ("reconstruction", "joint", "proposed_encoder", "proposed")
TOUCHES: dict[str, tuple[str, ...]] = {
    "volume_weight": ("jacobian_encoder", "jacobian_decoder", "proposed_encoder", "proposed"),
    "jacobian": ("jacobian_decoder", "proposed"),
    "encoder_jacobian": ("jacobian_encoder", "proposed_encoder"),
    "prior_density": (*_WITH_PRIOR, *COSTLY),
    "importance": COSTLY,
    "latent_error_sign": ("latent_reconstruction",),
    "log_two_pi": (*_WITH_LIKELIHOOD, *COSTLY),
    "norm_eps": (*CHEAP, *COSTLY),
}
"""Scoring field → the scores whose values depend on it."""
FIT_FIELDS = ("width_distance", "mmd_variance", "p_value", "goodness_rows", "norm_eps")
"""Scoring fields that change the goodness of fit; it is measured again for selected models."""
DEAR_FIELDS: dict[str, tuple[str, ...]] = {"projection": DEAR, "corrected_volume": ("corrected",)}
"""Scoring field → the `DEAR` scores that are measured with it switched."""


def selected_models(rows: pd.DataFrame, scores: Sequence[str] | None = None) -> set[str]:
    """Hashes of the models that one of the paper's criteria selects by one of these scores (by default any)."""
    if scores is not None:
        rows = rows[rows["score"].isin(scores)]
    group = ("difficulty", *GROUP)
    return {key for criterion in SELECTIONS for key in select(rows, criterion, group)["config_hash"]}


def rescore(
    task: StackTask,
    models: Sequence[SVAE | None],
    base: pd.DataFrame,
    split: Split,
    *,
    fitted: frozenset[str] = frozenset(),
    dear: frozenset[str] = frozenset(),
    place: Place | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Score a finished stack again with each scoring field switched alone; return its rows.

    Parameters
    ----------
    task : StackTask
    models : its models, None where training failed
    base : DataFrame, the rows of its result file
    split : Split
    fitted : hashes of the models whose goodness of fit is also measured
    dear : hashes of the models whose `DEAR` scores are also measured
    place, progress : see `run_stack`
    """
    rows = Rows.of(split, task.split)
    sample = rows.sample(task.options.costly_rows, task.split) if task.options.costly_rows else None
    report = progress or (lambda phase, share: None)
    configs = task.configs()

    def switched(seed: int, key: str, model: SVAE | None) -> list[dict[str, Any]]:
        if model is None:
            return []
        own = base[base["config_hash"] == key]
        own = own[own["failure"].isna() | (own["rows_train"] > 0)]
        if own.empty:
            return []
        return _model_rows(Meter(model, split, rows, sample, seed), own, key in fitted, key in dear)

    table: list[dict[str, Any]] = []
    arguments = [c.seed for c in configs], [task.model_hash(c) for c in configs], models
    for index, part in enumerate(spread(switched, *arguments, threads=place.threads if place else None)):
        table += part
        report("re-scoring", (index + 1) / len(configs))
    return pd.DataFrame(table, columns=ABLATION_SCHEMA.names)


def _model_rows(meter: Meter, own: pd.DataFrame, fitted: bool, dear: bool) -> list[dict[str, Any]]:
    """All rows of one model; `own` holds its rows under the two conventions."""
    table: list[dict[str, Any]] = []
    for base in BASES:
        records: list[dict[Any, Any]] = own[own["convention"] == base.name].to_dict("records")
        known: dict[str, dict[str, Any]] = {row["score"]: row for row in records}
        if not known:
            continue
        blank = {**next(iter(known.values())), "failure": None}
        if dear:
            table += [{**blank, **row, "switched": ""} for row in _areas(meter, base, _defined(DEAR, base))]
        for name in Convention.fields("scoring"):
            changed = base.switched(name)
            found = _switched(meter, name, changed, known, fitted)
            if dear:
                more = _areas(meter, changed, _defined(DEAR_FIELDS.get(name, ()), changed))
                found += [{**blank, **row} for row in more]
            table += [{**row, "convention": changed.name, "switched": name} for row in found]
    return table


def _switched(
    meter: Meter, name: str, changed: Convention, known: dict[str, dict[str, Any]], fitted: bool
) -> list[dict[str, Any]]:
    """Rows of the scores and measures that depend on one field; `known` are the unswitched rows, by score."""
    touched = _areas(meter, changed, [score for score in TOUCHES.get(name, ()) if score in known])
    found = [{**known[row["score"]], **row} for row in touched]
    if fitted and name in FIT_FIELDS:
        fit = _fit(meter, changed)
        found = [{**row, **fit} for row in found or known.values()]
    return found


def _areas(meter: Meter, convention: Convention, names: Sequence[str]) -> list[dict[str, Any]]:
    """Measured rows, or one with the reason for each score that cannot be computed."""
    try:
        return meter.areas(convention, names)
    except NOT_MEASURABLE as error:
        if len(names) > 1:  # the other scores may still work
            return [row for name in names for row in _areas(meter, convention, [name])]
        return [{"score": name, **dict.fromkeys(AREAS, NAN), "failure": _reason(error)} for name in names]


def _fit(meter: Meter, convention: Convention) -> dict[str, Any]:
    """Measured goodness of fit, or the reason why it cannot be computed."""
    try:
        return meter.fit(convention)
    except NOT_MEASURABLE as error:
        return {**dict.fromkeys(FIT, NAN), "failure": _reason(error)}


def _reason(error: Exception) -> str:
    return f"not measurable: {error}"


def _defined(names: Sequence[str], convention: Convention) -> tuple[str, ...]:
    return tuple(name for name in names if name in available_scores(convention))


# ── training fields ──


@dataclass(frozen=True)
class TrainingVariant:
    """A training convention, and which of its fields is switched."""

    convention: Convention
    switched: str


def training_variants() -> list[TrainingVariant]:
    """EXACT, for comparison with ORIGINAL in results/, and each training field switched from both."""
    variants = [TrainingVariant(EXACT, "")]
    for base in BASES:
        variants += [TrainingVariant(base.switched(f), f) for f in Convention.fields("training")]
    return variants


def training_tasks(
    datasets: Sequence[str], splits: Sequence[int], options: Options
) -> list[tuple[StackTask, str]]:
    """Stacks of the small grid for every training variant, with the switched field."""
    return [
        (task, variant.switched)
        for variant in training_variants()
        for task in tasks_of(
            GRIDS["small"], datasets, splits, dataclasses.replace(options, train_convention=variant.convention)
        )
    ]
