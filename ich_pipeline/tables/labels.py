"""The labels, their order and the rule of "any", once.

The names come from ``params.yaml``, so another finding needs no new code. Column order everywhere (label tables, network
outputs, prediction tables) is ``any`` first, then the subtypes in the order of params.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Labels:
    """Label names: ``any`` (at least one subtype is present) and the ``subtypes``."""

    any: str
    subtypes: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """All names in the order of every label column and network output."""
        return (self.any, *self.subtypes)

    def __len__(self) -> int:
        return 1 + len(self.subtypes)

    def index(self, name: str) -> int:
        """Position of ``name`` among :attr:`columns`; ValueError for an unknown one."""
        return self.columns.index(name)

    def any_of(self, subtypes: NDArray[np.integer]) -> NDArray[np.int8]:
        """The rule of "any": 1 where at least one of the subtypes is 1.

        Args:
            subtypes: array of shape (n, len(self.subtypes)) of 0 and 1.

        Returns:
            int8 array of shape (n,).
        """
        return np.any(np.asarray(subtypes) > 0, axis=1).astype(np.int8)
