"""What the ingest knows of one file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.uid import CTImageStorage

from ich_pipeline.dicom.reasons import Reason

Source = Path | bytes


@dataclass(frozen=True)
class Header:
    """What the ingest knows of one file; ``reason`` None while it is a candidate."""

    name: str  # path below the root, with forward slashes
    source: Source
    reason: Reason | None = None
    detail: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    series_uid: str = ""
    study_uid: str = ""
    patient_id: str = ""
    patient_age: str = ""
    patient_sex: str = ""
    study_date: str = ""
    manufacturer: str = ""
    kernel: str = ""
    series_description: str = ""
    transfer_syntax: str = ""
    thickness_mm: float | None = None
    rows: int | None = None
    columns: int | None = None
    spacing_mm: tuple[float, ...] | None = None  # row spacing, column spacing
    orientation: tuple[float, ...] | None = None
    position: tuple[float, ...] | None = None
    series_number: int | None = None
    acquisition_number: int | None = None
    instance_number: int | None = None

    def set(self, reason: Reason, detail: str = "") -> Header:
        """The same header with this verdict."""
        return replace(self, reason=reason, detail=detail)

    @property
    def is_ct_image(self) -> bool:
        """Belongs into the series table: a CT image whose series and matrix are known."""
        return self.sop_class_uid == CTImageStorage and bool(
            self.series_uid and self.study_uid and self.rows and self.columns
        )
