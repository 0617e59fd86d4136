"""How many slices of real heads show brain inside a skull? `python benchmarks/brain.py EXPORT…`, folders that hold heads.

Reads what the ingest reads, and prints for all, and for the upper four fifths of each head, the share that
`ich_pipeline.series.looking.shows_brain` sees. docs/decisions.md has what came out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ich_pipeline.config import load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.progress import terminal
from ich_pipeline.series.looking import shows_brain
from ich_pipeline.serving.load_case import find_studies, load_case
from ich_pipeline.sources.folder import list_folder

PARAMS = load_params(Path(__file__).resolve().parents[1] / "ich_pipeline" / "profiles" / "laptop.yaml")


def main(exports: list[Path]) -> None:
    """Print the counts."""
    seen, upper, heads = [], [], 0
    for export in exports:
        studies, _ = find_studies(list_folder(export), str(export), PARAMS.ingest)
        for headers in terminal(studies.values(), export.name, len(studies)):
            try:
                case = load_case(headers, PARAMS.ingest)
            except InputError:
                continue
            found = np.array([shows_brain(hu, case.pixel_spacing_mm) for hu in case.hu])
            heads += 1
            seen.append(found)
            upper.append(found[len(found) // 5 :])
    if not heads:
        sys.exit("no head could be read there: name folders that hold CT heads.")
    whole, above = np.concatenate(seen), np.concatenate(upper)
    print(
        f"{heads} heads: {whole.sum():,} of {len(whole):,} slices show brain, of the upper four fifths {above.sum():,} of {len(above):,}"
    )
    print(
        f"fewest slices of one head: {min(int(one.sum()) for one in seen)}, most {max(int(one.sum()) for one in seen)}"
    )


if __name__ == "__main__":
    main([Path(one) for one in sys.argv[1:]])
