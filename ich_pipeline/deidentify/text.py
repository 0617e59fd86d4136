"""Rows of letter-like shapes beside the head: a hint that something was written into the picture. None proves nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GLYPH_PX = (5, 40)  # height of a letter
FEWEST = 5  # letters in a row
BODY_HU = -300
INK_HU = 250  # above the surroundings
MOST_SHAPES = 2000  # more are noise


def text_rows(hu: NDArray[np.int16]) -> int:
    """How many rows of at least five letter-like shapes of equal height lie outside the largest body in a slice.

    Text over the head itself is not searched for: bone has letter-like shapes too.

    Args:
        hu: int16 of shape (Rows, Columns).
    """
    from scipy import ndimage

    eight = np.ones((3, 3), int)
    bodies = np.empty(hu.shape, np.int32)
    if ndimage.label(hu > BODY_HU, structure=eight, output=bodies) == 0:
        return 0
    largest = 1 + int(np.argmax(np.bincount(bodies.ravel())[1:]))
    outside = ndimage.maximum_filter((bodies == largest).astype(np.uint8), size=7) == 0
    if not outside.any():
        return 0
    ink = (hu > float(np.median(hu[outside])) + INK_HU) & outside
    shapes = np.empty(hu.shape, np.int32)
    if not 1 <= int(ndimage.label(ink, structure=eight, output=shapes)) <= MOST_SHAPES:  # pyright: ignore[reportArgumentType]
        return 0
    glyphs = []
    for i, (rows, columns) in enumerate(ndimage.find_objects(shapes), start=1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if GLYPH_PX[0] <= height <= GLYPH_PX[1] and width <= 20 * height:
            letters = _letters(shapes[rows, columns] == i)
            if letters:
                glyphs.append((rows.start, rows.stop, columns.start, columns.stop, letters))
    return _lines(sorted(glyphs, key=lambda g: (g[2], g[0])))


def _letters(shape: NDArray[np.bool_]) -> int:
    """How many letters a shape may be: one, or several where letters touch; 0 for what is none."""
    height, width = shape.shape
    solid = float(shape.mean())
    if width <= 1.6 * height:
        return int(solid < 0.95 or 3 * width <= height)
    strokes = float(np.count_nonzero(np.diff(shape, axis=1, prepend=False) & shape, axis=1).mean())
    return round(width / height) if 0.3 <= solid <= 0.8 and strokes >= 0.8 * width / height else 0


def _lines(glyphs: list[tuple[int, int, int, int, int]]) -> int:
    """Rows among shapes (top, bottom, left, right, letters), which come from left to right."""
    used: set[int] = set()
    lines = 0
    for i in range(len(glyphs)):
        line = [i]
        for j in range(i + 1, len(glyphs)):
            if j in used or i in used:
                continue
            last, new = glyphs[line[-1]], glyphs[j]
            height = last[1] - last[0]
            level = abs(last[1] - new[1]) <= max(1, 0.2 * height)
            alike = abs(height - (new[1] - new[0])) <= max(1, 0.25 * height)
            if level and alike and 0 <= new[2] - last[3] <= 1.5 * height:
                line.append(j)
        if sum(glyphs[k][4] for k in line) >= FEWEST:
            used.update(line)
            lines += 1
    return lines
