"""A network and its head reading whole cases: the one implementation for evaluation and serving."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.sequence.cases import groups, rows_of_cases
from ich_pipeline.sequence.features import FeatureReader
from ich_pipeline.sequence.spec import Head
from ich_pipeline.training.spec import Readable


class SequenceReader:
    """Reads slices with a network, then with its head; built once, used for many cases."""

    def __init__(self, network: Readable, head: Head) -> None:
        """Join them.

        Raises:
            InputError: the head is of another network.
        """
        self._features = FeatureReader(network)
        spec = head.spec
        if (spec.architecture, spec.labels, spec.features) != (
            network.spec.architecture,
            tuple(network.spec.labels),
            self._features.count,
        ):
            raise InputError(
                f"The sequence head of {spec.architecture} ({spec.features} features, labels {', '.join(spec.labels)}) does not "
                f"fit the network {network.spec.architecture} ({self._features.count} features, labels "
                f"{', '.join(network.spec.labels)}): run `dvc repro sequence`."
            )
        self.head = head

    def probabilities(
        self, hu: Any, case_index: NDArray[np.integer]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities (n, labels) of the network alone, and with its head; uncalibrated, without slice interpolation.

        Args:
            hu: slices (n, s, s) in HU, prepared for the network; of a memory map some cases at a time are read.
            case_index: (n,) case of each slice, 0 to cases - 1; the slices of a case come in order of position.
        """
        labels = len(self.head.spec.labels)
        alone, joined = (np.empty((len(case_index), labels), np.float32) for _ in range(2))
        for group in groups(rows_of_cases(case_index)):
            rows = np.concatenate(group)
            read = self._features(hu[rows])
            which = np.repeat(np.arange(len(group)), [len(case) for case in group])
            alone[rows] = read.probabilities
            joined[rows] = self.head.probabilities(read.features, read.logits, which)
        return alone, joined
