"""What a case page says of the series that was read, beside its voxels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scan:
    """Of one series. What may tell whose it is stands apart, and is shown where identifiers are asked for alone.

    Attributes:
        spacing_mm: between rows and between columns of the case's pictures; None where nobody knows.
        series_number: SeriesNumber; None where the files have none.
        instance_numbers: InstanceNumber of each slice, in the case's order; None where a file has none.
        series_description: SeriesDescription, free text that anybody may have put a name into.
        study_date: StudyDate, YYYYMMDD; empty where the files have none.
        accession_number: AccessionNumber; empty where the files have none.
    """

    spacing_mm: tuple[float, float] | None = None
    series_number: int | None = None
    instance_numbers: tuple[int | None, ...] = ()
    series_description: str = ""
    study_date: str = ""
    accession_number: str = ""

    @property
    def dated(self) -> str:
        """The date as YYYY-MM-DD."""
        date = self.study_date
        return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 else date
