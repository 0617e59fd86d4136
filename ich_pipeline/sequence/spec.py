"""What a sequence head is, without Keras."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_versioned

SCHEMA = "sequence_head/1"
AGAIN = "run `dvc repro -f sequence`"
SPEC_FILE = "head.json"
CASES = 16  # in one forward pass; always full, so that a case's answer does not depend on its company


@dataclass(frozen=True)
class HeadSpec:
    """Everything that builds a head, but for its trained weights.

    Attributes:
        architecture: the network whose features it reads.
        features: how many a slice has.
        labels: output columns, those of the network.
        units: of the projection of the features, and of the recurrent layer each way.
        dropout: share of the features, and of the recurrent layer's outputs, that is dropped while training.
        seed: of weights, dropout and order of the cases.
        epoch: whose weights were kept; 0 is before training, when the head changes nothing.
    """

    architecture: str
    features: int
    labels: tuple[str, ...]
    units: int
    dropout: float
    seed: int
    epoch: int = 0

    def to_json(self) -> dict[str, Any]:
        """JSON values; :meth:`load` reads them back."""
        return {"schema": SCHEMA, **dataclasses.asdict(self), "labels": list(self.labels)}

    @staticmethod
    def load(folder: Path) -> HeadSpec:
        """The spec in ``head.json`` of a head's folder; InputError where it is missing, broken or of another schema."""
        source = folder / SPEC_FILE
        values = read_versioned(source, SCHEMA, AGAIN)
        try:
            return HeadSpec(**{**values, "labels": tuple(values["labels"])})
        except (KeyError, TypeError) as error:
            raise InputError(f"{source} is no sequence head ({error}): {AGAIN}.") from None


class Head(Protocol):
    """A sequence head that answers: Keras' (:class:`ich_pipeline.sequence.head.SequenceHead`) or what serving runs."""

    @property
    def spec(self) -> HeadSpec: ...

    def probabilities(
        self, features: NDArray[np.floating], logits: NDArray[np.floating], case_index: NDArray[np.integer]
    ) -> NDArray[np.float32]: ...
