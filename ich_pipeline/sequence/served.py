"""A sequence head in numpy: serving runs it without TensorFlow.

Its recurrent network is small, and a case is one short sequence, so that the steps of a gated recurrent unit (Cho et al. 2014, in
the form of cuDNN: the reset gate acts after the recurrent product) are a few lines, where an exported loop would be a graph of its
own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ich_pipeline.core.described_arrays import read_arrays, write_arrays
from ich_pipeline.sequence.cases import Batch, by_cases
from ich_pipeline.sequence.spec import HeadSpec

if TYPE_CHECKING:
    from ich_pipeline.sequence.head import SequenceHead

FILE = "head.npz"
WAYS = ("forward", "backward")
Arrays = dict[str, NDArray[np.float32]]


def arrays_of(head: SequenceHead) -> Arrays:
    """The weights of a head, by name."""
    model = head.model
    scale, both = model.get_layer("scale"), model.get_layer("both_ways")
    mean, variance = scale.get_weights()
    found = {"mean": mean, "deviation": np.sqrt(variance + np.float32(scale.epsilon))}
    for name in ("project", "change"):
        found[f"{name}.kernel"], found[f"{name}.bias"] = model.get_layer(name).get_weights()
    for way in WAYS:
        weights = getattr(both, f"{way}_layer").get_weights()
        found |= {f"{way}.{name}": w for name, w in zip(("kernel", "recurrent", "bias"), weights, strict=True)}
    return {name: np.asarray(values, np.float32) for name, values in found.items()}


class ServedHead:
    """What :class:`ich_pipeline.sequence.head.SequenceHead` answers."""

    def __init__(self, spec: HeadSpec, arrays: Arrays) -> None:
        self.spec = spec
        self._arrays = arrays

    @classmethod
    def load(cls, folder: Path, again: str) -> ServedHead:
        """Read ``head.json`` and ``head.npz``.

        Args:
            folder: holds them.
            again: what makes them anew, for people.

        Raises:
            InputError: one is missing, broken, or of another version.
        """
        spec = HeadSpec.load(folder)
        return cls(spec, read_arrays(folder / FILE, again))

    def save(self, folder: Path) -> None:
        """Write ``head.npz`` into an existing folder; equal weights give equal bytes."""
        write_arrays(folder / FILE, self._arrays)

    def probabilities(
        self, features: NDArray[np.floating], logits: NDArray[np.floating], case_index: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Probabilities of slices (n, labels), without calibration; arguments as of Keras' head. A case at a time."""
        return by_cases(self._answer, features, logits, case_index, 1)

    def _answer(self, batch: Batch) -> NDArray[np.float32]:
        """One case: (1, length, labels)."""
        a, held = self._arrays, batch.mask[0]
        x = (batch.features[0] - a["mean"]) / a["deviation"]
        x = np.maximum(x @ a["project.kernel"] + a["project.bias"], 0)
        x = np.concatenate([x, batch.logits[0]], axis=1)[held]
        # Padding lies at the end, where a unit that runs backwards begins: it stays as it is until the first slice.
        states = np.concatenate([self._run(x, WAYS[0]), self._run(x[::-1], WAYS[1])[::-1]], axis=1)
        answer = np.zeros(batch.logits.shape, np.float32)
        answer[0, held] = expit(batch.logits[0][held] + states @ a["change.kernel"] + a["change.bias"])
        return answer

    def _run(self, x: NDArray[np.float32], way: str) -> NDArray[np.float32]:
        """States (t, units) of a gated recurrent unit over a sequence (t, inputs)."""
        kernel, recurrent, bias = (self._arrays[f"{way}.{name}"] for name in ("kernel", "recurrent", "bias"))
        given = x @ kernel + bias[0]
        units = recurrent.shape[0]
        state, states = np.zeros(units, np.float32), np.empty((len(x), units), np.float32)
        for step, (update_in, reset_in, new_in) in enumerate(np.split(row, 3) for row in given):
            update_back, reset_back, new_back = np.split(state @ recurrent + bias[1], 3)
            update, reset = expit(update_in + update_back), expit(reset_in + reset_back)
            state = update * state + (1 - update) * np.tanh(new_in + reset * new_back)
            states[step] = state
        return states
