"""What the ingest knows of one file."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.uid import CTImageStorage

from ich_pipeline.dicom.frames import frame_name, frame_path
from ich_pipeline.dicom.reasons import Reason

Source = Path | bytes


# What the slices of a series have in common.
_SHARED = (
    "series_uid",
    "study_uid",
    "sop_class_uid",
    "patient_id",
    "patient_age",
    "patient_sex",
    "birth_date",
    "study_date",
    "accession_number",
    "manufacturer",
    "kernel",
    "series_description",
    "body_part",
    "frame_of_reference",
    "transfer_syntax",
    "thickness_mm",
    "spacing_mm",
    "orientation",
)


@dataclass(frozen=True, slots=True)
class Header:
    """What the ingest knows of one file; ``reason`` None while it is a candidate.

    A ``last_resort`` has a reason, and is read all the same where its study has nothing better.
    """

    name: str  # path below the root, with forward slashes; of a frame with its number, see below
    source: Source
    reason: Reason | None = None
    detail: str = ""
    last_resort: bool = False
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    series_uid: str = ""
    study_uid: str = ""
    patient_id: str = ""
    patient_age: str = ""
    patient_sex: str = ""
    birth_date: str = ""
    study_date: str = ""
    accession_number: str = ""  # for a page with identifiers; no table has it
    manufacturer: str = ""
    kernel: str = ""
    series_description: str = ""
    body_part: str = ""
    frame_of_reference: str = ""
    transfer_syntax: str = ""
    lossy: bool = False  # its pixels went through a lossy compression, now or before
    thickness_mm: float | None = None
    rows: int | None = None
    columns: int | None = None
    spacing_mm: tuple[float, ...] | None = None  # row spacing, column spacing
    orientation: tuple[float, ...] | None = None
    position: tuple[float, ...] | None = None
    series_number: int | None = None
    acquisition_number: int | None = None
    acquired: float | None = (
        None  # AcquisitionDateTime or AcquisitionTime, as a number: it orders, and measures nothing
    )
    instance_number: int | None = None
    frame: int | None = None  # from 1, of an enhanced object; its name and SOPInstanceUID then end in it, see frames.py
    frames: int = 0  # that an enhanced object describes, where it cannot be read frame by frame and so has one header

    remark: str = ""  # what a person must know of a study that this slice is read with

    def set(self, reason: Reason, detail: str = "", *, last_resort: bool = False) -> Header:
        """The same header with this verdict."""
        return replace(self, reason=reason, detail=detail, last_resort=last_resort)

    @property
    def may_be_read(self) -> bool:
        """A candidate, or a last resort."""
        return self.reason is None or self.last_resort

    @property
    def is_ct_image(self) -> bool:
        """Belongs into the series table: a CT image, or a frame of one, whose series and matrix are known."""
        is_image = self.sop_class_uid == CTImageStorage or self.frame is not None
        return is_image and bool(self.series_uid and self.study_uid and self.rows and self.columns)

    def sharing(self, seen: dict[Hashable, object]) -> Header:
        """The same header, holding the values of ``seen`` that equal its own: those of a series then lie in memory once.

        A million files are held as headers at once, each of which came alone from a file or another process.
        """
        values = {name: getattr(self, name) for name in _SHARED}
        # By their text: 0.0 and -0.0 are equal, and differ in what is written of them.
        keys = {name: value if isinstance(value, str) else (repr(value),) for name, value in values.items()}
        return replace(self, **{name: seen.setdefault(keys[name], value) for name, value in values.items()})

    def slices(self) -> Iterator[Header]:
        """What a label may be of: this header, or one for every frame of an object that has one header for all."""
        if not self.frames:
            yield self
        for n in range(1, self.frames + 1):
            uid = frame_name(self.sop_instance_uid, n)
            yield replace(
                self,
                name=frame_path(self.name, n),
                sop_instance_uid=uid if self.sop_instance_uid else "",
                frame=n,
                frames=0,
                instance_number=n,
            )

    @property
    def path(self) -> str:
        """The file's name in the account, which all frames of a file share."""
        return self.name if self.frame is None else self.name.removesuffix(frame_path("", self.frame))

    @property
    def file_uid(self) -> str:
        """SOPInstanceUID of the file."""
        uid = self.sop_instance_uid
        return uid if self.frame is None else uid.removesuffix(frame_name("", self.frame))
