"""Stage precedent: what scans the system learned from, and from where on one is unlike all of them. No label is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flows.engine import layout
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from ich_pipeline.config import Params
from ich_pipeline.core.files import atomic_dir
from ich_pipeline.core.progress import Track

if TYPE_CHECKING:
    from ich_pipeline.precedent.model import Precedent, Seen
    from ich_pipeline.precedent.scans import Scans


@dataclass(frozen=True)
class Material:
    """What the scans are measured on.

    Attributes:
        params: all parameters.
        track: shows how far it is.
        index: the window index of all slices.
        array: the window stage's largest pictures.
        lowest, highest: ends of their range, HU.
    """

    params: Params
    track: Track
    index: pd.DataFrame
    array: Path
    lowest: float
    highest: float

    @classmethod
    def of(cls, params: Params, track: Track) -> Material:
        """What the window stage wrote."""
        from ich_pipeline.training.data import hu_file, open_slices
        from ich_pipeline.windowing.windows import clip_range

        size = max(params.windowing.sizes)
        index, _ = open_slices(layout.WINDOW, size)
        return cls(params, track, index, layout.WINDOW / hu_file(size), *clip_range(params.windowing.windows))

    @property
    def seen(self) -> Seen:
        """What is measured of a scan, and how."""
        from ich_pipeline.precedent.model import Seen

        size, near = max(self.params.windowing.sizes), self.params.precedent.neighbours
        return Seen(self.params.explain.architecture, size, self.lowest, self.highest, near)


def body(stage: Stage) -> StageResult:
    """Read work/window, write work/precedent/precedent.npz."""
    from ich_pipeline.precedent.model import FILE, fit_precedent
    from ich_pipeline.splits.fold_table import folds_of, read_folds

    material = Material.of(stage.params, stage.track)
    dealt = read_folds(layout.SPLIT / "folds.parquet")
    cases = _cases(material, ("train", "validation") if len(dealt) else ("train",))
    held_out: Scans | list[NDArray[np.bool_]]
    if len(dealt):
        learned, fold = scans_of(material, cases), folds_of(cases["patient_key"], dealt)
        held_out = [fold == k for k in np.unique(fold)]
    else:
        every = pd.concat([cases, _cases(material, ("validation",))], ignore_index=True)
        scans, learning = scans_of(material, every), np.arange(len(every)) < len(cases)
        learned, held_out = scans.of(learning), scans.of(~learning)
    precedent = fit_precedent(material.seen, learned, held_out, stage.params.precedent.false_alarms)
    with atomic_dir(layout.PRECEDENT) as folder:
        precedent.save(folder / FILE)
    words = (
        f"{len(cases)} training cases described; of {precedent.held_out} held out, {precedent.false_alarms:.0%} may be turned "
        f"away: from {precedent.limit:.1f} spreads on a scan is not read"
    )
    return StageResult(words, tables={"scans": _table(precedent)})


def _cases(material: Material, cohorts: tuple[str, ...]) -> pd.DataFrame:
    """case_id and patient_key of cases of these cohorts, at most ``precedent.maximum_cases``, by the seed."""
    of = material.index.loc[material.index["cohort"].isin(cohorts), ["case_id", "patient_key"]].drop_duplicates(
        "case_id"
    )
    of = of.sort_values("case_id", kind="stable")
    most = material.params.precedent.maximum_cases
    if len(of) > most:
        rng = np.random.default_rng([material.params.seed, len(of)])
        of = of.iloc[np.sort(rng.choice(len(of), most, replace=False))]
    return of.reset_index(drop=True)


def scans_of(material: Material, cases: pd.DataFrame) -> Scans:
    """What is known of cases (``case_id``, ``patient_key``), in their order."""
    from ich_pipeline.precedent.nearest import layouts
    from ich_pipeline.precedent.scan_numbers import looked_at, measure_cases
    from ich_pipeline.precedent.scans import Scans

    index = material.index
    rows_of = {case: rows["row"].to_numpy() for case, rows in index.sort_values("row").groupby("case_id", sort=False)}
    rows = [rows_of[case][looked_at(len(rows_of[case]))] for case in cases["case_id"]]
    ends = (material.lowest, material.highest)
    every = np.concatenate(rows)
    return Scans(
        numbers=measure_cases(material.array, rows, *ends, material.params.ingest.workers, material.track),
        features=_features(material, every),
        layouts=layouts(np.load(material.array, mmap_mode="r")[every], material.lowest),
        case=np.repeat(np.arange(len(rows)), [len(of_case) for of_case in rows]),
        owners=pd.factorize(cases["patient_key"], sort=True)[0],
    )


def _features(material: Material, rows: NDArray[np.integer]) -> NDArray[np.float32]:
    """Pooled features of these rows of the window index: stored ones where the backbone is frozen, else the network's."""
    from flows.networks import MULTI
    from ich_pipeline.features.store import AS_IT_IS, TOLD, read
    from ich_pipeline.training.data import hu_file
    from ich_pipeline.training.network import Network

    name = material.params.explain.architecture
    stored = layout.FEATURES / name / MULTI
    if (stored / TOLD).is_file():
        uids = material.index.set_index("row")["SOPInstanceUID"].loc[list(rows)]
        return read(stored, list(uids)).views[AS_IT_IS]
    network = Network.load(layout.TRAIN / name)
    hu = np.load(layout.WINDOW / hu_file(network.spec.image_size), mmap_mode="r")
    model = network.pooled_features()
    blocks = range(0, len(rows), BLOCK)
    parts = [
        network.run_batched(model, hu[rows[start : start + BLOCK]])[0]
        for start in material.track(blocks, "features of scans", len(blocks))
    ]
    return np.concatenate(parts)


BLOCK = 256  # slices between two signs of progress


def _table(precedent: Precedent) -> pd.DataFrame:
    from ich_pipeline.precedent.model import NAMES, WORDS

    return pd.DataFrame(
        {
            "number": NAMES,
            "what": WORDS,
            "middle": precedent.centre.round(3),
            "spread": precedent.spread.round(3),
            "every scan has it": ["yes" if known else "no" for known in precedent.expected],
        }
    )


if __name__ == "__main__":
    main("precedent", body)
