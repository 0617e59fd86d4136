"""The same head under two patients, though no byte is the same: by the fingerprints of :mod:`ich_pipeline.series.likeness`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.series.likeness import CELLS, LEVELS, UNSEEN

UNLIKE = 0.02  # root mean square difference of two scans by their root mean square value, up to which they are one head
FEWEST_LEVELS = 5  # that two scans share, of 10 mm
BLOCK = 256  # scans that are compared with all others at once
_CELLS = CELLS * CELLS


def twin_pairs(series: pd.DataFrame) -> list[tuple[int, int]]:
    """Rows (by number) of chosen series of different patients that show one head.

    Args:
        series: chosen rows of the series table; ``fingerprint`` and ``patient_key`` count. A row without a fingerprint (an
            empty list) is like no other.
    """
    known = np.flatnonzero(series["fingerprint"].map(len).to_numpy() > 0)
    if len(known) < 2:
        return []
    prints = np.stack([np.asarray(one, dtype=np.float64) for one in series["fingerprint"].iloc[known]])
    patients = series["patient_key"].to_numpy()[known]
    return [
        (int(known[i]), int(known[j]))
        for i, j, distance in distances(prints)
        if distance <= UNLIKE and patients[i] != patients[j]
    ]


def distances(prints: NDArray[np.float64], most: float = UNLIKE) -> Iterator[tuple[int, int, float]]:
    """Pairs (i < j) of fingerprints, at most ``most`` apart, that share enough planes, with their distance.

    All numbers are whole and small enough for float64 to add them exactly, so the verdict is the same on every machine.

    Args:
        prints: (scans, 24 · 12 · 12).
        most: largest distance of interest.
    """
    cubes = prints.reshape(len(prints), LEVELS, _CELLS)
    seen = (cubes[:, :, 0] != UNSEEN).astype(np.float64)
    values = np.where(seen[:, :, None] > 0, cubes, 0.0)
    squares = (values**2).sum(axis=2)  # of each plane
    flat = values.reshape(len(prints), -1)
    levels = seen.sum(axis=1)
    for start in range(0, len(prints), BLOCK):
        mine = slice(start, start + BLOCK)
        common = seen[mine] @ seen.T
        both = squares[mine] @ seen.T + seen[mine] @ squares.T
        apart = both - 2 * (flat[mine] @ flat.T)
        enough = (
            (common >= FEWEST_LEVELS) & (2 * common >= np.minimum(levels[mine][:, None], levels[None, :])) & (both > 0)
        )
        near = enough & (apart <= most**2 * both / 2)
        for i, j in zip(*np.nonzero(near), strict=True):
            if start + i < j:
                yield int(start + i), int(j), float(np.sqrt(max(0.0, apart[i, j]) * 2 / both[i, j]))


def persons(series: pd.DataFrame) -> dict[str, str]:
    """patient_key → the key that stands for all patients whose scans show one head; every patient of the rows has one.

    Args:
        series: chosen rows of the series table.
    """
    of = {str(key): str(key) for key in series["patient_key"]}

    def first(key: str) -> str:
        while of[key] != key:
            of[key] = of[of[key]]
            key = of[key]
        return key

    keys = series["patient_key"].astype(str).tolist()
    for i, j in twin_pairs(series):
        a, b = sorted((first(keys[i]), first(keys[j])))
        of[b] = a
    return {key: first(key) for key in of}


def twins_in_words(pairs: Sequence[tuple[int, int]], case_ids: pd.Series) -> str:
    """``2 pairs: C… and C…; C… and C…``; at most three are named.

    Args:
        pairs: of :func:`twin_pairs`.
        case_ids: of the same rows.
    """
    if not pairs:
        return "none like another"
    each = "; ".join(f"{case_ids.iloc[i]} and {case_ids.iloc[j]}" for i, j in pairs[:3])
    more = f"; and {len(pairs) - 3} more" if len(pairs) > 3 else ""
    return f"{len(pairs)} pair{'' if len(pairs) == 1 else 's'}: {each}{more}"


def twin_cautions(series: pd.DataFrame) -> list[str]:
    """What the report says of the pairs; empty where there is none.

    Args:
        series: chosen rows of the series table.
    """
    pairs = twin_pairs(series)
    if not pairs:
        return []
    return [
        f"One head stands under two patients ({twins_in_words(pairs, series['case_id'])}): such patients lie in one cohort, but "
        "number of patients and intervals by patient count them as two."
    ]
