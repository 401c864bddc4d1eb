"""Training of the model: seeded, replayable, resumable; one model or a stack of them."""

from pyscore._core.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "TrainConfig": "config",
        "Trained": "config",
        "StackMember": "config",
        "TrainingRun": "run",
        "new_run": "train",
        "train_stack": "stack",
    },
)
