"""The exceptions and the warning of pyscore. Each message says what was wanted and what to do."""

__all__ = [
    "BackendUnavailable",
    "ClusterError",
    "DataIntegrityError",
    "DataUnavailable",
    "InvalidInput",
    "InvalidType",
    "JuliaError",
    "ModelFileError",
    "NumericalWarning",
    "OutOfMemory",
    "PyscoreError",
    "ShapeError",
    "TrainingDiverged",
    "WriteError",
]


class PyscoreError(Exception):
    """Base of every exception that pyscore raises on purpose."""


class InvalidInput(PyscoreError, ValueError):
    """An argument has a value that cannot be used."""


class InvalidType(InvalidInput, TypeError):
    """An argument is of a type that cannot be used."""


class ShapeError(InvalidInput):
    """An array has the wrong number of axes or the wrong length along one."""


class OutOfMemory(PyscoreError, MemoryError):
    """A call needs more memory than is available."""


class BackendUnavailable(PyscoreError, ImportError):
    """A backend cannot be loaded on this machine; the text says what to install."""


class DataUnavailable(PyscoreError, OSError):
    """A data set is neither on this machine nor reachable."""


class DataIntegrityError(PyscoreError, ValueError):
    """A data file does not have the SHA-256 that it must have."""


class ModelFileError(PyscoreError, ValueError):
    """A model file is corrupt, truncated, foreign or of an unknown version."""


class JuliaError(PyscoreError, RuntimeError):
    """Julia raised an exception, or its worker process died or hung."""


class ClusterError(PyscoreError, RuntimeError):
    """A Dask cluster cannot be reached, or was lost."""


class TrainingDiverged(PyscoreError, ArithmeticError):
    """Training stopped because the loss became NaN or infinite."""


class WriteError(PyscoreError, OSError):
    """A file cannot be written, for example because the disk is full. `errno` is the system's."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class NumericalWarning(UserWarning):
    """A result follows the formula but has no useful meaning, such as the logarithm of a volume of zero."""
