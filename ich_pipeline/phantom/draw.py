"""Random draws that give the same bits on every machine.

Only the raw 64-bit stream of PCG64 is used (numpy promises that stream for good) and turned into numbers by integer
arithmetic and one exact scaling. numpy's own distributions may change between versions, and its normal deviates go through
the mathematical library of the machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
FloatArray = NDArray[np.floating]  # float32 wherever the phantom computes


class Draw:
    """A stream of draws named by a key: equal keys give equal streams, whatever was drawn elsewhere."""

    def __init__(self, *key: object) -> None:
        self.key = "|".join(str(part) for part in key)
        digest = hashlib.sha256(self.key.encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest[:16], "big"))

    def child(self, *key: object) -> Draw:
        """An independent stream below this one."""
        return Draw(self.key, *key)

    def unit(self) -> float:
        """Uniform in [0, 1): 53 bits, scaled exactly."""
        return (int(self._bits.random_raw()) >> 11) / 9007199254740992.0

    def uniform(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self.unit()

    def bell(self, low: float, high: float) -> float:
        """The mean of three uniforms: in [low, high), mostly near the middle."""
        return low + (high - low) * ((self.unit() + self.unit() + self.unit()) / 3.0)

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self.unit() < probability

    def sign(self) -> int:
        """-1 or 1."""
        return 1 if self.chance(0.5) else -1

    def integer(self, low: int, high: int) -> int:
        """Uniform in low … high, both included."""
        return low + int(self._bits.random_raw()) % (high - low + 1)

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.integer(0, len(items) - 1)]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order (Fisher–Yates)."""
        result = list(items)
        for last in range(len(result) - 1, 0, -1):
            other = self.integer(0, last)
            result[last], result[other] = result[other], result[last]
        return result

    def octets(self, count: int) -> NDArray[np.uint8]:
        """``count`` uniform bytes."""
        raw = np.asarray(self._bits.random_raw((count + 7) // 8), dtype="<u8")
        return raw.view(np.uint8)[:count]

    def lattice(self, *shape: int) -> FloatArray:
        """Uniform in [-1, 1) on a grid, in steps of 2⁻¹⁵."""
        count = 1
        for length in shape:
            count *= length
        words = self.octets(2 * count).view("<i2").reshape(shape)
        return words.astype(np.float32) * np.float32(1 / 32768)
