"""The ingest's tables: account, series and slices, from headers and readings."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.identity import case_id, patient_key, volume_name
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.dicom.series import Group
from ich_pipeline.dicom.study import Verdicts, Volume

ACCOUNT_COLUMNS = ("path", "status", "reason", "detail", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
AIR_BELOW_HU = -900  # air_fraction counts pixels at or below it


@dataclass(frozen=True)
class VolumeFacts:
    """What the tables say of a chosen series beside its headers; small enough to travel between processes."""

    headers: tuple[Header, ...]
    positions_mm: NDArray[np.float64]
    neighbours: NDArray[np.int32]
    spacing_mm: float
    gaps: int
    duplicates: int
    tilt_deg: float
    statistics: list[dict[str, float]]


def volume_facts(volume: Volume) -> VolumeFacts:
    """Facts and HU statistics of a volume."""
    return VolumeFacts(
        volume.headers,
        volume.positions_mm,
        volume.neighbours,
        volume.spacing_mm,
        volume.gaps,
        volume.duplicates,
        volume.tilt_deg,
        [hu_statistics(hu) for hu in volume.hu],
    )


def hu_statistics(hu: NDArray[np.int16]) -> dict[str, float]:
    """Minimum, 1st percentile, median, 99th percentile and maximum (nearest rank, HU), and the fraction of air."""
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
    return values | {"air_fraction": float(np.count_nonzero(hu <= AIR_BELOW_HU) / hu.size)}


def account_table(headers: Iterable[Header], verdicts: Verdicts) -> pd.DataFrame:
    """One row a file, sorted by path.

    Raises:
        KeyError: a file has no verdict (a fault of the program: the account would not add up).
    """
    rows = []
    for path, of_file in itertools.groupby(sorted(headers, key=lambda h: h.path), key=lambda h: h.path):
        slices = list(of_file)
        first = slices[0]
        reason, detail = verdicts[first.name] if first.frame is None else _of_frames(slices, verdicts)
        uids = (first.file_uid, first.series_uid, first.study_uid)
        rows.append((path, str(reason.status), str(reason), detail, *uids))
    return pd.DataFrame(rows, columns=list(ACCOUNT_COLUMNS)).sort_values("path", ignore_index=True)


def _of_frames(frames: Sequence[Header], verdicts: Verdicts) -> tuple[Reason, str]:
    """One reason for a file of several frames: used where one of them is, else what most of them met."""
    counts = Counter(verdicts[h.name] for h in frames)
    order = sorted(counts, key=lambda found: (found[0] is not Reason.USED, -counts[found], found))
    parts = [f"{counts[found]} {found[0]}{f' ({found[1]})' if found[1] else ''}" for found in order]
    return order[0][0], f"{len(frames)} frames: {', '.join(parts[:3])}{', …' if len(parts) > 3 else ''}"


def reason_counts(account: pd.DataFrame) -> pd.DataFrame:
    """Files by status and reason, with the reason's explanation, in the order of :class:`Reason`."""
    counts = account["reason"].value_counts()
    rows = [(str(r.status), str(r), int(counts[r]), r.explanation) for r in Reason if r in counts.index]
    return pd.DataFrame(rows, columns=["status", "reason", "files", "meaning"])


def series_row(group: Group, facts: VolumeFacts | None, reason: Reason, detail: str) -> dict[str, Any]:
    """One row of the series table; ``facts`` for the chosen series only."""
    first = group.first
    spacing = first.spacing_mm or (np.nan, np.nan)
    return {
        "PatientID": first.patient_id,
        "patient_key": patient_key(first.patient_id),
        "case_id": case_id(first.study_uid),
        "StudyInstanceUID": first.study_uid,
        "SeriesInstanceUID": first.series_uid,
        "StudyDate": first.study_date,
        "PatientAge": first.patient_age,
        "PatientSex": first.patient_sex,
        "Manufacturer": first.manufacturer,
        "ConvolutionKernel": first.kernel,
        "SeriesDescription": first.series_description,
        "SliceThickness": np.nan if first.thickness_mm is None else first.thickness_mm,
        "Rows": first.rows,
        "Columns": first.columns,
        "row_spacing_mm": spacing[0],
        "column_spacing_mm": spacing[1],
        "slices": len(facts.headers) if facts else len(group.slots),
        "spacing_mm": facts.spacing_mm if facts else group.spacing_mm,
        "gaps": facts.gaps if facts else 0,
        "duplicates": facts.duplicates if facts else len(group.headers) - len(group.slots),
        "tilt_deg": facts.tilt_deg if facts else 0.0,
        "chosen": facts is not None,
        "reason": f"{'chosen' if facts else reason}: {detail}" if detail else str(reason),
        "volume": volume_name(first.series_uid) if facts else "",
    }


def series_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The table "series/1"."""
    table = pd.DataFrame(rows)
    return table.sort_values(["case_id", "SeriesInstanceUID"], kind="stable", ignore_index=True)


def slice_rows(facts: VolumeFacts) -> list[dict[str, Any]]:
    """Rows of the slice table for one chosen series."""
    return [
        {
            "case_id": case_id(h.study_uid),
            "patient_key": patient_key(h.patient_id),
            "StudyInstanceUID": h.study_uid,
            "SeriesInstanceUID": h.series_uid,
            "SOPInstanceUID": h.sop_instance_uid,
            "volume": volume_name(h.series_uid),
            "index": i,
            "position_mm": float(facts.positions_mm[i]),
            "neighbour_before": int(facts.neighbours[i, 0]),
            "neighbour_after": int(facts.neighbours[i, 1]),
            "InstanceNumber": -1 if h.instance_number is None else h.instance_number,
            "frame": 0 if h.frame is None else h.frame,
            "path": h.path,
            "TransferSyntaxUID": h.transfer_syntax,
            **facts.statistics[i],
        }
        for i, h in enumerate(facts.headers)
    ]


def slice_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The table "slices/1", ordered by case and position."""
    return pd.DataFrame(rows).sort_values(["case_id", "index"], kind="stable", ignore_index=True)
