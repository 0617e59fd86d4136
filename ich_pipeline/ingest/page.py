"""The ingest's page: one self-contained HTML file about what became of every file and every study.

It shows counts, geometry and pictures, and names studies and patients by their keys alone: no PatientID, no date, no free
text of a header, no file name.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import markupsafe
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from ich_pipeline.config import IngestParams
from ich_pipeline.core.files import write_text
from ich_pipeline.core.html import environment
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.dicom.orientation import AS_STORED
from ich_pipeline.ingest.tables import HISTOGRAM_FROM_HU, HISTOGRAM_STEP_HU, counted, reason_counts
from ich_pipeline.ingest.volumes import SUFFIX, read_slice
from ich_pipeline.series.cautions import why_and_cautions
from ich_pipeline.series.shear import MINIMUM_TILT_DEG

PAGE = "index.html"
PICTURES = 60  # half of them at most for studies with a remark
ROWS = 5000  # studies listed, 50 of them at a time; the tables hold them all
TEMPLATES = Path(__file__).with_name("templates")

Row = dict[Hashable, Any]


# Pictures of the ingest's page, as text that goes into it: thumbnails and the histogram of Hounsfield units.

THUMBNAIL_PX = 150
BRAIN = (40, 80)  # WindowCenter, WindowWidth
CHART_WIDTH, CHART_HEIGHT, FOOT = 960, 190, 22
TICKS_HU = (-1000, -500, 0, 500, 1000, 1500, 2000)


def thumbnail(hu: NDArray[np.int16], spacing_mm: tuple[float, float]) -> str:
    """A slice in the brain window (40/80) as a data URI of a PNG, at most 150 pixels a side, true in its proportions.

    Args:
        hu: shape (rows, columns).
        spacing_mm: between rows, between columns.
    """
    center, width = BRAIN
    grey = np.clip((hu.astype(np.float32) - (center - width / 2)) / width, 0, 1) * 255
    height_mm, width_mm = hu.shape[0] * spacing_mm[0], hu.shape[1] * spacing_mm[1]
    scale = THUMBNAIL_PX / max(height_mm, width_mm)
    size = (max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))
    picture = Image.fromarray(np.rint(grey).astype(np.uint8)).resize(size, Image.Resampling.BOX)
    data = io.BytesIO()
    picture.save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def histogram_svg(counts: NDArray[np.int64]) -> markupsafe.Markup:
    """Bars of 20 HU over all voxels; the height is the root of the count, so that soft tissue shows beside air.

    Args:
        counts: of :func:`ich_pipeline.ingest.tables.hu_histogram`, summed.
    """
    heights = np.sqrt(counts / max(1, counts.max())) * (CHART_HEIGHT - 10)
    step = CHART_WIDTH / len(counts)

    def x(hu: float) -> float:
        return (hu - HISTOGRAM_FROM_HU) / HISTOGRAM_STEP_HU * step

    bars = [
        f'<rect x="{i * step:.1f}" y="{CHART_HEIGHT - h:.1f}" width="{step - 1:.1f}" height="{h:.1f}"/>'
        for i, h in enumerate(heights.tolist())
        if h > 0
    ]
    ticks = [
        f'<path d="M{x(hu):.1f} {CHART_HEIGHT}v5"/><text x="{x(hu):.1f}" y="{CHART_HEIGHT + 18}">{hu:,}</text>'
        for hu in TICKS_HU
    ]
    label = "Histogram of Hounsfield units of all chosen series"
    return markupsafe.Markup(
        f'<svg class="chart" viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT + FOOT}" role="img" aria-label="{label}">'
        f'<path class="axis" d="M0 {CHART_HEIGHT}H{CHART_WIDTH}"/>{"".join(bars)}{"".join(ticks)}</svg>'
    )


@dataclass(frozen=True)
class Study:
    """One row of the page: the chosen series, the runner-up (None where no other was usable), and remarks."""

    chosen: Row
    runner_up: Row | None
    remarks: tuple[str, ...]

    @property
    def why(self) -> str:
        """Why the chosen series was chosen."""
        return why_and_cautions(str(self.chosen["reason"]))[0].removeprefix("chosen: ")


def write_summary(
    folder: Path, account: pd.DataFrame, series: pd.DataFrame, ingest: IngestParams, track: Track = quiet
) -> None:
    """Write ``index.html`` into a folder that holds ``volumes/``, or the account alone where no series is chosen.

    Args:
        folder: the ingest's output.
        account: see :func:`ich_pipeline.ingest.tables.account_table`.
        series: see :func:`ich_pipeline.ingest.tables.series_table`.
        ingest: what is told of the rules.
        track: shows progress over the pictures.
    """
    studies = _studies(series)
    pictured = _pictured(studies)
    pictures = [(s, _picture(folder, s)) for s in track(pictured, "drawing the summary", len(pictured))]
    voxels = np.sum([s.chosen["hu_histogram"] for s in studies], axis=0).astype(np.int64) if studies else None
    status = account["status"].value_counts()
    page = (
        environment(TEMPLATES)
        .get_template("summary.html.j2")
        .render(
            files=len(account),
            status={name: int(status.get(name, 0)) for name in ("used", "set_aside", "rejected")},
            reasons=reason_counts(account).to_dict("records"),
            studies=studies[:ROWS],
            rows=ROWS,
            study_count=len(studies),
            patients=len({s.chosen["patient_key"] for s in studies}),
            remarked=sum(bool(s.remarks) for s in studies),
            without=without_choice(series),
            pictures=pictures,
            histogram="" if voxels is None else histogram_svg(voxels),
            air=_share(studies, "air_share"),
            soft=_share(studies, "soft_share"),
            ingest=ingest,
        )
    )
    write_text(folder / PAGE, page)


def remarks(row: Row) -> tuple[str, ...]:
    """What a person should know of a chosen series before its slices are trusted; empty for a plain one."""
    found = list(why_and_cautions(row["reason"])[1])
    if row["gaps"]:
        found.append(f"{counted(row['gaps'], 'gap')}: {row['gaps_at']}")
    if row["duplicates"]:
        found.append(f"{counted(row['duplicates'], 'further slice')} where one is: {row['duplicates_at']}")
    if abs(row["tilt_deg"]) >= MINIMUM_TILT_DEG:
        done = ", sheared back" if row["tilt_corrected"] else ""
        lost = (
            f" ({row['tilt_lost_voxels']:,} voxels of the patient left the picture)" if row["tilt_lost_voxels"] else ""
        )
        found.append(f"gantry tilted by {row['tilt_deg']:.1f}°{done}{lost}")
    if row["uneven_steps"]:
        found.append("several spacings, kept as they are")
    if row["reorientation"] != AS_STORED:
        found.append(f"turned to the standard view: {row['reorientation'].replace('_', ' ').replace('+', ', ')}")
    if row["contrast_suspected"]:
        found.append(f"contrast agent suspected: {row['bright_share']:.2%} of the brain is brighter than blood")
    return tuple(found)


def _studies(series: pd.DataFrame) -> list[Study]:
    """Studies with a chosen series: those with remarks first, then by case."""
    chosen = series[series["chosen"]].to_dict("records")
    second = {row["case_id"]: row for row in series[series["place"] == 2].to_dict("records")}
    studies = [Study(row, second.get(row["case_id"]), remarks(row)) for row in chosen]
    return sorted(studies, key=lambda s: (not s.remarks, s.chosen["case_id"]))


def _pictured(studies: list[Study]) -> list[Study]:
    """Up to 60 studies; a case's name is a hash, so the first by name are a random sample that stays the same."""
    with_remarks = [s for s in studies if s.remarks]
    plain = [s for s in studies if not s.remarks]
    first = with_remarks[: max(PICTURES // 2, PICTURES - len(plain))]
    return first + plain[: PICTURES - len(first)]


def _picture(folder: Path, study: Study) -> str:
    row = study.chosen
    middle = read_slice(folder / "volumes" / f"{row['volume']}{SUFFIX}", int(row["slices"]) // 2)
    return thumbnail(middle, (float(row["row_spacing_mm"]), float(row["column_spacing_mm"])))


def without_choice(series: pd.DataFrame) -> list[dict[str, Any]]:
    """Studies of which no series is read: case, and how many series fell to each reason."""
    read = set(series.loc[series["chosen"], "case_id"])
    rest = series[~series["case_id"].isin(read)]
    found = []
    for case, group in rest.groupby("case_id", sort=True):
        codes = group["reason"].str.partition(":")[0].value_counts().sort_index()
        found.append({"case_id": case, "reasons": ", ".join(f"{code} ({n} series)" for code, n in codes.items())})
    return found


def _share(studies: list[Study], column: str) -> tuple[float, float, float] | None:
    """Least, median and largest share over the chosen series; None where there is none."""
    if not studies:
        return None
    values = np.array([s.chosen[column] for s in studies], dtype=np.float64)
    return float(values.min()), float(np.median(values)), float(values.max())
