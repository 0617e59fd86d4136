"""Stage window: every slice of the cohorts clipped, resized and memory-mapped, once for each picture size; no labels."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flows.engine import layout
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult

if TYPE_CHECKING:
    import pandas as pd

    from ich_pipeline.config import Params
    from ich_pipeline.windowing.crop import Focused
    from ich_pipeline.windowing.frame import Millimetres

SCHEMA = "windows/1"


def body(stage: Stage) -> StageResult:
    """Read work/ingest and work/split/cohorts.parquet, write work/window."""
    import pandas as pd

    from ich_pipeline.core.files import atomic_dir, write_json, write_table
    from ich_pipeline.tables.schemas import WINDOW_INDEX
    from ich_pipeline.tables.slice_index import INDEX_FILE, make_index
    from ich_pipeline.windowing.windows import clip_range

    params = stage.params
    windows = params.windowing.windows
    sizes = sorted(set(params.windowing.sizes))
    slices = _cohort_slices()
    read = _Focused(params, slices)
    with atomic_dir(layout.WINDOW) as folder:
        _write_arrays(slices, sizes, folder, stage, read)
        write_table(folder / INDEX_FILE, make_index(slices), WINDOW_INDEX)
        settings = {
            "schema": SCHEMA,
            "windows": [window.model_dump() for window in windows],
            "clip_range_hu": list(clip_range(windows)),
            "image_sizes": sizes,
            "slices": len(slices),
        }
        write_json(folder / "windows.json", settings)
        example = _example(slices)
        series = slices.loc[slices["volume"] == example["volume"], "index"].to_numpy()
        hu = read(str(example["volume"]), series).shown
        _picture(hu[int(np.flatnonzero(series == example["index"])[0])], params, folder / "windows.png")
    counts = (
        slices.groupby("cohort", sort=False).agg(cases=("case_id", "nunique"), slices=("row", "size")).reset_index()
    )
    table = pd.DataFrame([(w.name, w.center, w.width) for w in windows], columns=["window", "center HU", "width HU"])
    side_mm = params.windowing.field_of_view_mm
    scale = "" if side_mm is None else f", each {side_mm:g} mm wide"
    return StageResult(
        summary=f"{len(slices):,} slices of {slices['case_id'].nunique():,} cases at {', '.join(map(str, sizes))} pixels{scale}",
        tables={"windows": table, "slices a cohort": counts},
        pictures={"windows": layout.WINDOW / "windows.png"},
    )


def _cohort_slices() -> pd.DataFrame:
    """Slices of the cohorts' cases in the order of slices.parquet, with ``cohort`` and ``row``."""
    from ich_pipeline.core.errors import InputError
    from ich_pipeline.core.files import read_table
    from ich_pipeline.tables.schemas import COHORTS_TABLE, SLICES_TABLE

    slices = read_table(layout.INGEST / "slices.parquet", SLICES_TABLE)
    cohorts = read_table(layout.SPLIT / "cohorts.parquet", COHORTS_TABLE)
    slices["cohort"] = slices["case_id"].map(cohorts.set_index("case_id")["cohort"])
    slices = slices.loc[slices["cohort"].notna()].reset_index(drop=True)
    if slices.empty:
        raise InputError(
            f"{layout.SPLIT / 'cohorts.parquet'} names no case of {layout.INGEST / 'slices.parquet'}: run `dvc repro -f split`."
        )
    slices["row"] = np.arange(len(slices))
    return slices


class _Focused:
    """The cohorts' series as the networks see them, volume by volume."""

    def __init__(self, params: Params, slices: pd.DataFrame) -> None:
        """Look up the PixelSpacing of every series, where it counts.

        Raises:
            InputError: one of them is missing or implausible.
        """
        self._windowing = params.windowing
        self._spacing_mm: dict[str, Millimetres] = {}
        if params.windowing.field_of_view_mm is not None:
            self._spacing_mm = _spacings(slices, params.validate_.pixel_spacing_mm)

    def __call__(self, volume: str, indices: np.ndarray) -> Focused:
        """Some slices of a volume, which are all of a series."""
        from ich_pipeline.ingest.volumes import read_volume
        from ich_pipeline.windowing.crop import focus

        hu = read_volume(_volume(volume))[indices]
        return focus(hu, self._windowing, self._spacing_mm.get(volume))


def _spacings(slices: pd.DataFrame, allowed_mm: Millimetres) -> dict[str, Millimetres]:
    """PixelSpacing by volume, in the standard view as the series table has it, checked."""
    from ich_pipeline.core.files import read_table
    from ich_pipeline.tables.schemas import SERIES_TABLE
    from ich_pipeline.windowing.frame import check_spacing

    series = read_table(layout.INGEST / "series.parquet", SERIES_TABLE)
    series = series[series["chosen"]].set_index("volume")[["row_spacing_mm", "column_spacing_mm"]]
    found = {}
    for name, case in slices.groupby("volume", sort=False)["case_id"].first().items():
        volume = str(name)
        spacing = tuple(map(float, series.to_numpy()[series.index.get_loc(volume)])) if volume in series.index else None
        found[volume] = check_spacing(spacing, allowed_mm, f"the series {volume} of case {case}")
    return found


def _write_arrays(slices: pd.DataFrame, sizes: list[int], folder: Path, stage: Stage, read: _Focused) -> None:
    """Read every volume once and write its slices into one array a size; a volume a thread is in memory."""
    from ich_pipeline.training.data import hu_file

    shapes = {size: (len(slices), size, size) for size in sizes}
    arrays: dict[int, Any] = {
        size: np.lib.format.open_memmap(folder / hu_file(size), mode="w+", dtype=np.int16, shape=shape)
        for size, shape in shapes.items()
    }

    def convert(volume: str, rows: np.ndarray, indices: np.ndarray) -> None:
        seen = read(volume, indices)
        for size, array in arrays.items():
            array[rows] = seen.prepare(size, stage.params.windowing.windows)

    # Threads, because numpy and blosc2 let go of the interpreter while they work, and the arrays are shared.
    with ThreadPoolExecutor(stage.params.ingest.workers or os.cpu_count() or 1) as pool:
        groups = slices.groupby("volume", sort=False)
        jobs = [pool.submit(convert, str(v), g["row"].to_numpy(), g["index"].to_numpy()) for v, g in groups]
        for job in stage.track(as_completed(jobs), "volumes", total=len(jobs)):
            job.result()
    for array in arrays.values():
        array.flush()


def _volume(name: str) -> Path:
    from ich_pipeline.ingest.volumes import SUFFIX

    return layout.INGEST / "volumes" / f"{name}{SUFFIX}"


def _example(slices: pd.DataFrame) -> pd.Series:
    """The slice two thirds up the first training case: at the height of the lateral ventricles."""
    train = slices.loc[slices["cohort"] == "train"]
    case = train.loc[train["case_id"] == train["case_id"].iloc[0]]
    return case.iloc[len(case) * 2 // 3]


def _picture(hu: np.ndarray, params: Params, path: Path) -> None:
    """Draw a slice (Rows, Columns) in every window, and the channels together as red, green and blue."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from ich_pipeline.core.files import atomic_file
    from ich_pipeline.windowing.windows import window_channels

    windows = params.windowing.windows
    channels = window_channels(hu, windows)
    figure, axes = plt.subplots(1, len(windows) + 1, figsize=(3 * (len(windows) + 1), 3.8), layout="constrained")
    for position, (window, axis) in enumerate(zip(windows, axes[:-1], strict=True)):
        axis.imshow(channels[..., position], cmap="gray", vmin=0, vmax=1)
        axis.set_title(f"{window.name}\nlevel {window.center:g}, width {window.width:g} HU", fontsize=9)
    shown = [min(k, len(windows) - 1) for k in range(3)]
    axes[-1].imshow(channels[..., shown])
    axes[-1].set_title("what the network sees\n" + ", ".join(windows[k].name for k in shown) + " as RGB", fontsize=9)
    for axis in axes:
        axis.axis("off")
    with atomic_file(path) as partial:
        figure.savefig(partial, dpi=110, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main("window", body)
