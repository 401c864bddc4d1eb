"""What a backend made of the model that it saw last: its layers packed, or as tensors on a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from pyscore.reference.model import SVAE

__all__ = ["LastModel"]

T = TypeVar("T")


class LastModel(Generic[T]):
    """Holds one value with the model that it belongs to.

    A backend is shared by threads that score different models. The pair is therefore read once and replaced
    whole: at worst two threads make their values in turn, but neither is handed the other's.
    """

    def __init__(self, make: Callable[[SVAE], T]) -> None:
        self._make = make
        self._last: tuple[SVAE, T] | None = None

    def __call__(self, model: SVAE) -> T:
        """Return the value of a model, made now unless it was the last one."""
        last = self._last
        if last is None or last[0] is not model:
            last = self._last = (model, self._make(model))
        return last[1]
