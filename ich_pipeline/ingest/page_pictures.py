"""Pictures of the ingest's page, as text that goes into it: thumbnails and the histogram of Hounsfield units."""

from __future__ import annotations

import base64
import io

import markupsafe
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ich_pipeline.ingest.tables import HISTOGRAM_FROM_HU, HISTOGRAM_STEP_HU

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
