from __future__ import annotations

import numpy as np

from ich_pipeline.training.interpolated import CHUNK, interpolated_probabilities


class Square:
    """Stands for a network: its answer is the square of the slice's first pixel, so that a mean of answers is no answer of a mean."""

    calls = 0

    def probabilities(self, hu: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.stack([hu[:, 0, 0].astype(np.float32) ** 2], axis=1)


HU = np.array([1, 3, 7, 20], np.int16).reshape(4, 1, 1)
# Slice 2 ends the series after a gap; slice 3 stands alone.
NEIGHBOURS = np.array([[-1, 1], [0, 2], [1, -1], [-1, -1]])


def test_by_hand() -> None:
    found = interpolated_probabilities(Square(), HU, NEIGHBOURS, (0.0, 0.5))[..., 0]  # type: ignore[arg-type]
    np.testing.assert_allclose(found[0], [1, 9, 49, 400])
    np.testing.assert_allclose(found[1], [(1 + 4) / 2, (9 + 4 + 25) / 3, (49 + 25) / 2, 400])


def test_the_slices_own_answer_is_computed_once_or_never() -> None:
    network = Square()
    interpolated_probabilities(network, HU, NEIGHBOURS, (0.0, 0.2, 0.4))  # type: ignore[arg-type]
    assert network.calls == 1 + 2 * 2
    network.calls = 0
    known = np.zeros((4, 1), np.float32)
    found = interpolated_probabilities(network, HU, NEIGHBOURS, (0.0,), known)  # type: ignore[arg-type]
    assert network.calls == 0 and (found == 0).all()


def test_chunks_do_not_matter() -> None:
    n = CHUNK + 3
    hu = np.arange(n, dtype=np.int16).reshape(n, 1, 1)
    neighbours = np.stack([np.arange(n) - 1, np.where(np.arange(n) + 1 < n, np.arange(n) + 1, -1)], axis=1)
    found = interpolated_probabilities(Square(), hu, neighbours, (0.5,))[0, :, 0]  # type: ignore[arg-type]
    x = np.arange(n, dtype=float)
    np.testing.assert_allclose(found[1:-1], ((x**2 + (x - 0.5) ** 2 + (x + 0.5) ** 2) / 3)[1:-1], rtol=1e-6)
