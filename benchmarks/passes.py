"""Are two passes over one stretch told apart, and is one scan left whole? `python benchmarks/passes.py [3000]`.

Draws headers of random pairs of passes (numbering, thickness, direction, offset, lost slices, an aborted pass) and of single scans of
which slices are lost, and prints how many pairs end in one volume and how many single scans in two. docs/decisions.md has what came out.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

from ich_pipeline.config import load_params
from ich_pipeline.dicom.header import Header
from ich_pipeline.series.grouping import group_series
from tests.made.heads import header
from tests.series.test_acquisitions import TOLD

INGEST = load_params(Path(__file__).resolve().parents[1] / "ich_pipeline" / "profiles" / "phantom.yaml").ingest
BORDER = 2  # slices by which two stretches may overlap and still be one scan


def passes(draw: random.Random, count: int) -> list[Header]:
    """Headers of so many passes; names begin with the number of the pass."""
    told = draw.choice(sorted(TOLD))
    step, length = draw.choice([2.5, 4.0, 5.0, 7.0]), draw.randint(18, 30)
    thickness = step * draw.uniform(0.6 if told == "instance goes on" else 0.4, 1)
    offset = step * (draw.uniform(0.02, 0.98) + draw.choice([0, 0, 1, 3]))
    aborted, lost = draw.choice([None, 0, 1]) if count > 1 else None, draw.sample(range(length), draw.randint(0, 3))
    found = []
    for k in range(count):
        places = [offset * k + step * i for i in range(length)]
        places = places[::-1] if draw.random() < 0.5 else places
        places = places[: draw.randint(5, 14)] if k == aborted else places
        for i, z in enumerate(places):
            if i not in lost or draw.random() < 0.5:
                found.append(header(z, f"{k}/{i}", thickness_mm=thickness, **TOLD[told](k, i, length)))
    draw.shuffle(found)
    return found


def one_stretch(headers: list[Header]) -> bool:
    """Do the passes overlap by more than scans that adjoin may?"""
    first, second = ([h.position[2] for h in headers if h.name[0] == k and h.position] for k in "01")
    on = (sum(min(b) <= z <= max(b) for z in a) for a, b in ((first, second), (second, first)))
    return min(on) > BORDER


def main(count: int) -> None:
    """Print both shares."""
    pairs = [two for seed in range(count) if one_stretch(two := passes(random.Random(seed), 2))]
    wrong: Counter[str] = Counter()
    for two in pairs:
        volumes = [{h.name[0] for h in group.headers} for group in group_series(two, INGEST)]
        wrong["mixed"] += any(len(one) > 1 for one in volumes)
        wrong["mixed whole"] += len(volumes) == 1
    parted = sum(len(group_series(passes(random.Random(seed), 1), INGEST)) > 1 for seed in range(count))
    print(
        f"{len(pairs):,} pairs of passes over one stretch: {wrong['mixed']} mixed, {wrong['mixed whole']} of them whole"
    )
    print(f"{count:,} single scans: {parted} parted")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
