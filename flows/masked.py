"""Slices of training and validation whose lesions are known, for the stages that choose and check maps by them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from flows.engine import layout
from ich_pipeline.config import Params
from ich_pipeline.core.files import read_table
from ich_pipeline.explain.lesions import MaskedSlice, lesions_of
from ich_pipeline.ingest.volumes import SUFFIX, read_volume
from ich_pipeline.series.placement import Placement
from ich_pipeline.tables.masks import read_masks
from ich_pipeline.tables.schemas import SERIES_TABLE, SLICES_TABLE
from ich_pipeline.windowing.crop import focus

PLACE = ["reorientation", "shift_rows_px", "shift_columns_px"]


def masked_slices(params: Params, index: pd.DataFrame) -> dict[int, MaskedSlice]:
    """The slices of a part of the window index that have a mask of a subtype: row of the prepared images → slice.

    Args:
        params: all parameters.
        index: rows of the window index.
    """
    masks = read_masks(layout.MASKS)
    wanted = index[index["SOPInstanceUID"].isin(masks.keys())].set_index("SOPInstanceUID")
    if wanted.empty:
        return {}
    known = {uid: of for uid, *of in wanted[["row", "case_id", "patient_key"]].itertuples(name=None)}
    slices = read_table(layout.INGEST / "slices.parquet", SLICES_TABLE)
    series = read_table(layout.INGEST / "series.parquet", SERIES_TABLE)
    spacings = series[series["chosen"]].set_index("volume")[["row_spacing_mm", "column_spacing_mm"]]
    slices = slices[slices["case_id"].isin(wanted["case_id"])]
    found: dict[int, MaskedSlice] = {}
    for volume, rows in slices.groupby("volume", sort=True):
        rows = rows.sort_values("index", kind="stable")
        at = [k for k, uid in enumerate(rows["SOPInstanceUID"]) if uid in wanted.index]
        if not at:
            continue
        down, right = spacings.loc[str(volume)].to_numpy(np.float64)
        spacing = (float(down), float(right))
        hu = read_volume(layout.INGEST / "volumes" / f"{volume}{SUFFIX}")[rows["index"].to_numpy()]
        seen = focus(hu, params.windowing, spacing)
        shown = seen.shown
        for k in at:
            uid = str(rows["SOPInstanceUID"].iloc[k])
            place = Placement(*rows[PLACE].iloc[k].tolist())
            lesions = lesions_of(masks[uid], place, params.label_set)
            if lesions:
                row, case, patient = known[uid]
                found[row] = MaskedSlice.of_volume(case, patient, k + 1, shown[k], seen.frame, spacing, lesions)
    return found
