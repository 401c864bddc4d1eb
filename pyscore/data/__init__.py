"""The paper's datasets and their splits, and the reading of a user's tables and frames."""

from pyscore._core.lazy import attach

__getattr__, __dir__ = attach(
    __name__, {"DATASETS": "datasets", "Dataset": "datasets", "Split": "datasets", "load_dataset": "datasets"}
)
