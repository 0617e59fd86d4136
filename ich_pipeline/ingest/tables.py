"""The ingest's tables: account, series and slices, from headers and readings."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import IngestParams
from ich_pipeline.dicom.geometry import median_step, step_runs
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.identity import case_id, patient_key, volume_name
from ich_pipeline.dicom.kernels import sharpness
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.series.contrast_pixels import Bright, brightness
from ich_pipeline.series.group_volume import Verdicts, Volume
from ich_pipeline.series.likeness import fingerprint
from ich_pipeline.series.series import Group

if TYPE_CHECKING:  # pandas is loaded by what makes a table: serving makes none
    import pandas as pd

_UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
ACCOUNT_COLUMNS = ("path", "status", "reason", "detail", *_UIDS, "frames")
_FATE = ("case_id", "SeriesInstanceUID", "chosen", "place", "reason")
STEP_RUNS = 8  # named in the series table
AIR_BELOW_HU = -900  # air_fraction counts pixels at or below it
SOFT_HU = (0, 100)  # soft_fraction counts pixels from the first up to, not including, the second
HISTOGRAM_FROM_HU, HISTOGRAM_STEP_HU, HISTOGRAM_BINS = (
    -1100,
    20,
    160,
)  # up to 2,100 HU; what is beyond is in the end bins


def counted(number: int, noun: str) -> str:
    """``1 file``, ``1,200 files``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


@dataclass(frozen=True)
class VolumeFacts:
    """What the tables say of a chosen series beside its headers; small enough to travel between processes.

    Attributes:
        volume: the volume; its voxels are gone (``hu`` is empty).
        statistics: of each slice, see :func:`hu_statistics`.
        histogram: voxels of the whole volume in bins of 20 HU from −1100.
        bright: see :func:`ich_pipeline.series.contrast_pixels.brightness`.
        content: the first half of the SHA-256 of the voxels, in hexadecimal digits.
        likeness: see :func:`ich_pipeline.series.likeness.fingerprint`.
        digests: of each slice's voxels, 16 bytes.
    """

    volume: Volume
    statistics: list[dict[str, float]]
    histogram: NDArray[np.int64]
    bright: Bright
    content: str
    likeness: NDArray[np.int16]
    digests: tuple[bytes, ...]


def volume_facts(volume: Volume) -> VolumeFacts:
    """Facts and HU statistics of a volume."""
    return VolumeFacts(
        replace(volume, hu=np.empty((0, *volume.hu.shape[1:]), dtype=np.int16)),
        [hu_statistics(hu) for hu in volume.hu],
        np.sum([hu_histogram(hu) for hu in volume.hu], axis=0),
        brightness(volume.hu, volume.spacing_mm),
        hashlib.sha256(np.ascontiguousarray(volume.hu, dtype="<i2").data).hexdigest()[:32],
        fingerprint(volume.hu, volume.headers, volume.positions_mm, volume.spacing_mm),
        tuple(hashlib.sha256(np.ascontiguousarray(hu, dtype="<i2").data).digest()[:16] for hu in volume.hu),
    )


def hu_statistics(hu: NDArray[np.int16]) -> dict[str, float]:
    """Minimum, 1st percentile, median, 99th percentile and maximum (nearest rank, HU), the fractions of air and soft tissue."""
    last = hu.size - 1
    ranks = {
        "hu_min": 0,
        "hu_p01": round(0.01 * last),
        "hu_median": round(0.5 * last),
        "hu_p99": round(0.99 * last),
        "hu_max": last,
    }
    ordered = np.partition(hu.ravel(), sorted(set(ranks.values())))
    values: dict[str, float] = {name: int(ordered[rank]) for name, rank in ranks.items()}
    soft = (hu >= SOFT_HU[0]) & (hu < SOFT_HU[1])
    return values | {
        "air_fraction": float(np.count_nonzero(hu <= AIR_BELOW_HU) / hu.size),
        "soft_fraction": float(np.count_nonzero(soft) / hu.size),
    }


def hu_histogram(hu: NDArray[np.int16]) -> NDArray[np.int64]:
    """Voxels in bins of 20 HU from −1100 HU; int64 of shape (160,)."""
    bins = (hu.ravel().astype(np.int32) - HISTOGRAM_FROM_HU) // HISTOGRAM_STEP_HU
    return np.bincount(np.clip(bins, 0, HISTOGRAM_BINS - 1), minlength=HISTOGRAM_BINS)


AccountRow = tuple[str, str, str, str, str, str, str, int]  # ACCOUNT_COLUMNS


def account_rows(headers: Iterable[Header], verdicts: Verdicts) -> list[AccountRow]:
    """One row a file, sorted by path; ``frames`` counts those of an enhanced object, 0 for any other file.

    Raises:
        KeyError: a file has no verdict (a fault of the program: the account would not add up).
    """
    rows: list[AccountRow] = []
    for path, of_file in itertools.groupby(sorted(headers, key=lambda h: h.path), key=lambda h: h.path):
        slices = list(of_file)
        first = slices[0]
        reason, detail = verdicts[first.name] if first.frame is None else _of_frames(slices, verdicts)
        uids = (first.file_uid, first.series_uid, first.study_uid)
        frames = first.frames if first.frame is None else len(slices)
        rows.append((path, str(reason.status), str(reason), detail, *uids, frames))
    return rows


def account_table(headers: Iterable[Header], verdicts: Verdicts) -> pd.DataFrame:
    """:func:`account_rows` as a table."""
    return account_of(account_rows(headers, verdicts))


def account_of(rows: Sequence[AccountRow]) -> pd.DataFrame:
    """The table of :func:`account_rows`."""
    import pandas as pd

    return pd.DataFrame(rows, columns=list(ACCOUNT_COLUMNS)).sort_values("path", ignore_index=True)


def _of_frames(frames: Sequence[Header], verdicts: Verdicts) -> tuple[Reason, str]:
    """One reason for a file of several frames: used where one of them is, else what most of them met."""
    counts = Counter(verdicts[h.name] for h in frames)
    order = sorted(counts, key=lambda found: (found[0] is not Reason.USED, -counts[found], found))
    parts = [f"{counts[found]} {found[0]}{f' ({found[1]})' if found[1] else ''}" for found in order]
    return order[0][0], f"{len(frames)} frames: {', '.join(parts[:3])}{', …' if len(parts) > 3 else ''}"


def reason_counts(account: pd.DataFrame) -> pd.DataFrame:
    """Files by status and reason, with the reason's explanation, in the order of :class:`Reason`."""
    import pandas as pd

    counts = account["reason"].value_counts()
    rows = [(str(r.status), str(r), int(counts[r]), r.explanation) for r in Reason if r in counts.index]
    return pd.DataFrame(rows, columns=["status", "reason", "files", "meaning"])


def series_row(
    group: Group, facts: VolumeFacts | None, reason: Reason, detail: str, ingest: IngestParams, place: int = 0
) -> dict[str, Any]:
    """One row of the series table.

    Args:
        group: the series.
        facts: for the chosen series only.
        reason: why it is, or is not, used.
        detail: what was seen.
        ingest: contrast_share, pixels.contrast_quartile and spacing_tolerance count.
        place: in the choice among the study's usable series: 1 chosen, 2 the runner-up, 0 for one that was no candidate.
    """
    first = group.first
    volume = facts.volume if facts else None
    spacing = volume.spacing_mm if volume else first.spacing_mm or (np.nan, np.nan)
    turned = bool(volume and volume.turn.transpose)
    bright = facts.bright if facts else Bright(np.nan, np.nan)
    gaps = volume.gaps if volume else group.gaps
    duplicates = volume.duplicates if volume else _further(group)
    positions = volume.positions_mm if volume else group.positions_mm
    return {
        "PatientID": first.patient_id,
        "patient_key": patient_key(first.patient_id),
        "case_id": case_id(first.study_uid),
        "StudyInstanceUID": first.study_uid,
        "SeriesInstanceUID": first.series_uid,
        "StudyDate": first.study_date,
        "PatientAge": first.patient_age,
        "PatientSex": first.patient_sex,
        "PatientBirthDate": first.birth_date,
        "Manufacturer": first.manufacturer,
        "ConvolutionKernel": first.kernel,
        "kernel_class": sharpness(first.kernel, first.series_description),
        "SeriesDescription": first.series_description,
        "SliceThickness": np.nan if first.thickness_mm is None else first.thickness_mm,
        "Rows": first.columns if turned else first.rows,
        "Columns": first.rows if turned else first.columns,
        "row_spacing_mm": spacing[0],
        "column_spacing_mm": spacing[1],
        "slices": len(volume.headers) if volume else len(group.slots),
        "spacing_mm": median_step(positions),
        "steps": steps_text(positions),
        "uneven_steps": bool(volume and volume.uneven(ingest.spacing_tolerance)),
        "coverage_mm": volume.coverage_mm if volume else group.coverage_mm,
        "gaps": len(gaps),
        "gaps_at": "; ".join(f"{before:.2f} to {after:.2f} mm" for before, after in gaps),
        "duplicates": len(duplicates),
        "duplicates_at": "; ".join(f"{position:.2f} mm" for position in duplicates),
        "tilt_deg": volume.tilt_deg if volume else 0.0,
        "tilt_corrected": bool(volume and volume.shifts_px.any()),
        "tilt_lost_voxels": volume.lost if volume else 0,
        "reorientation": volume.turn.code if volume else "",
        "bright_share": bright.median,
        "contrast_suspected": bright.suspected(ingest.contrast_share, ingest.pixels.contrast_quartile),
        "air_share": _mean(facts, "air_fraction"),
        "soft_share": _mean(facts, "soft_fraction"),
        "hu_histogram": facts.histogram.tolist() if facts else [],
        "content": facts.content if facts else "",
        "fingerprint": facts.likeness.tolist() if facts else [],
        "chosen": facts is not None,
        "place": place,
        "reason": f"{'chosen' if facts else reason}: {detail}" if detail else str(reason),
        "volume": volume_name(first.series_uid) if facts else "",
    }


def steps_text(positions: NDArray[np.float64]) -> str:
    """The steps between slices in words: ``13 × 4.00, 1 × 1.08, 13 × 7.00 mm``; at most eight runs, towards the head."""
    if len(positions) < 2 or not np.isfinite(positions).all():
        return ""
    runs = step_runs(positions)
    text = ", ".join(f"{count} × {step:.2f}" for count, step in runs[:STEP_RUNS])
    return f"{text} mm" if len(runs) <= STEP_RUNS else f"{text} mm, and {len(runs) - STEP_RUNS} more runs"


def _further(group: Group) -> tuple[float, ...]:
    """Positions of further slices where one is there already."""
    pairs = zip(group.slots, group.positions_mm.tolist(), strict=True)
    return tuple(position for slot, position in pairs for _ in slot[1:])


def _mean(facts: VolumeFacts | None, name: str) -> float:
    return float(np.mean([s[name] for s in facts.statistics])) if facts else float("nan")


def series_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The table "series/3"; without rows it has only the columns that tell what became of a series."""
    import pandas as pd

    if not rows:
        return pd.DataFrame(columns=list(_FATE)).astype({"chosen": bool, "place": int})
    table = pd.DataFrame(rows)
    return table.sort_values(["case_id", "SeriesInstanceUID"], kind="stable", ignore_index=True)


def slice_rows(facts: VolumeFacts) -> list[dict[str, Any]]:
    """Rows of the slice table for one chosen series.

    ``reorientation`` and ``shift_…_px`` lead from the stored slice back to the file's own picture, and so from an attention
    map to the pixels of its SOPInstanceUID: undo the turn, then move by the shifts' opposite.
    """
    volume = facts.volume
    return [
        {
            "case_id": case_id(h.study_uid),
            "patient_key": patient_key(h.patient_id),
            "StudyInstanceUID": h.study_uid,
            "SeriesInstanceUID": h.series_uid,
            "SOPInstanceUID": h.sop_instance_uid,
            "volume": volume_name(volume.series_uid),
            "index": i,
            "position_mm": float(volume.positions_mm[i]),
            "neighbour_before": int(volume.neighbours[i, 0]),
            "neighbour_after": int(volume.neighbours[i, 1]),
            "SliceThickness": np.nan if h.thickness_mm is None else h.thickness_mm,
            "reorientation": volume.turn.code,
            "shift_rows_px": float(volume.shifts_px[i, 0]),
            "shift_columns_px": float(volume.shifts_px[i, 1]),
            "InstanceNumber": -1 if h.instance_number is None else h.instance_number,
            "frame": 0 if h.frame is None else h.frame,
            "path": h.path,
            "TransferSyntaxUID": h.transfer_syntax,
            **facts.statistics[i],
        }
        for i, h in enumerate(volume.headers)
    ]


def slice_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The table "slices/2", ordered by case and position."""
    import pandas as pd

    return pd.DataFrame(rows).sort_values(["case_id", "index"], kind="stable", ignore_index=True)
