"""What can be wrong with a label table that a user brings: the one list of codes, and the account of what was found.

A *fault* stops ``ich cohort``; with ``--lenient`` what it names is left out and counted. A *note* is a known trait of a
source that contradicts nothing: counted, and nothing is left out for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import write_text
from ich_pipeline.tables.formulas import csv_text
from ich_pipeline.tables.sheets import visible

REPORT = "labels_report.csv"
COLUMNS = ("code", "kind", "identifier", "line", "detail")
SHOWN = 3  # items named in a sentence; the count says the rest


class LabelFault(StrEnum):
    """Code of one row of ``data/labels_report.csv``."""

    ROW_LENGTH = "row_length"
    NO_IDENTIFIER = "no_identifier"
    UNKNOWN_LABEL = "unknown_label"
    BAD_VALUE = "bad_value"
    INCOMPLETE = "incomplete"
    DUPLICATE_EQUAL = "duplicate_equal"
    DUPLICATE_CONTRADICTING = "duplicate_contradicting"
    ANY_CONTRADICTION = "any_contradiction"
    NOT_READ = "not_read"
    UNKNOWN_IMAGE = "unknown_image"
    AMBIGUOUS_IMAGE = "ambiguous_image"
    UNLABELLED_SLICE = "unlabelled_slice"
    UNLABELLED_STUDY = "unlabelled_study"
    BAD_BOX = "bad_box"
    MASK_NOT_READ = "mask_not_read"
    MISSING_IMAGE = "missing_image"
    IMAGE_SET_ASIDE = "image_set_aside"
    UNLABELLED_SERIES = "unlabelled_series"
    READER_CONTRADICTION = "reader_contradiction"
    NO_SUBTYPE_AGREED = "no_subtype_agreed"
    MARK_WITHOUT_IMAGE = "mark_without_image"
    MARK_WITHOUT_LABEL = "mark_without_label"

    @property
    def is_note(self) -> bool:
        """Counted, but stops nothing."""
        return _TABLE[self][0] == "note"

    @property
    def kind(self) -> str:
        """``fault`` or ``note``."""
        return _TABLE[self][0]

    @property
    def explanation(self) -> str:
        """What it means and what ``--lenient`` does with it, for a person."""
        return _TABLE[self][2]

    def counted(self, count: int) -> str:
        """The count in words: ``3 rows of another length than the header``."""
        one, many = _TABLE[self][1]
        return f"{count:,} {one if count == 1 else many}"


_Words = tuple[str, tuple[str, str], str]
_TABLE: dict[LabelFault, _Words] = {
    LabelFault.ROW_LENGTH: (
        "fault",
        ("row with another number of values than the header", "rows with another number of values than the header"),
        "the row has another number of values than the header; the row is left out",
    ),
    LabelFault.NO_IDENTIFIER: (
        "fault",
        ("row without a usable identifier", "rows without a usable identifier"),
        "the identifier is empty or not in the form of the source; the row is left out",
    ),
    LabelFault.UNKNOWN_LABEL: (
        "fault",
        ("row with an unknown label", "rows with an unknown label"),
        "the row is of a label that the source does not have; the row is left out",
    ),
    LabelFault.BAD_VALUE: (
        "fault",
        ("row with a value other than 0 or 1", "rows with a value other than 0 or 1"),
        "a label is neither 0 nor 1; the slice or case is left out",
    ),
    LabelFault.INCOMPLETE: (
        "fault",
        ("slice without all its labels", "slices without all their labels"),
        "some of the labels of the slice are nowhere in the table; the slice is left out",
    ),
    LabelFault.DUPLICATE_EQUAL: (
        "fault",
        ("repeated row that says the same", "repeated rows that say the same"),
        "the row says again what an earlier one says; one is kept",
    ),
    LabelFault.DUPLICATE_CONTRADICTING: (
        "fault",
        ("slice or case with rows that contradict one another", "slices or cases with rows that contradict one another"),
        "two rows of the same slice or case differ; it is left out",
    ),
    LabelFault.ANY_CONTRADICTION: (
        "fault",
        ("row whose subtypes contradict its “any”", "rows whose subtypes contradict their “any”"),
        "“any” is 0 and a subtype is 1, or (slices) “any” is 1 and no subtype is; the slice or case is left out",
    ),
    LabelFault.NOT_READ: (
        "fault",
        ("file or archive that cannot be read whole", "files or archives that cannot be read whole"),
        "an archive or a member of one that is damaged, locked or beyond a limit, or a pipe or linked folder; what it holds "
        "counts as absent",
    ),
    LabelFault.UNKNOWN_IMAGE: (
        "fault",
        ("label without an image in the folder", "labels without an image in the folder"),
        "the slice or case is not in the folder; the row is left out",
    ),
    LabelFault.AMBIGUOUS_IMAGE: (
        "fault",
        ("label that fits several images", "labels that fit several images"),
        "the folder has more than one slice or study of this identifier; the row is left out",
    ),
    LabelFault.UNLABELLED_SLICE: (
        "fault",
        ("slice without a label in a labelled series", "slices without a label in labelled series"),
        "other slices of its series are labelled, this one is not; it stays in data/dicom and is in no cohort",
    ),
    LabelFault.UNLABELLED_STUDY: (
        "fault",
        ("study without any label", "studies without any label"),
        "nothing in the study is labelled; it stays in data/dicom and is in no cohort",
    ),
    LabelFault.BAD_BOX: (
        "fault",
        ("box without a place in its image", "boxes without a place in their images"),
        "data is not x, y, width and height in pixels of the image, or lies outside it; the box is left out",
    ),
    LabelFault.MASK_NOT_READ: (
        "fault",
        ("mask that cannot be read or does not fit its image", "masks that cannot be read or do not fit their images"),
        "the file is damaged, has other rows and columns, or too few slices; the slice stays without a mask",
    ),
    LabelFault.MISSING_IMAGE: (
        "note",
        ("label whose image the data set lacks", "labels whose images the data set lacks"),
        "physionet-ctich: other slices of the patient are there, this one is not; its row is not used",
    ),
    LabelFault.IMAGE_SET_ASIDE: (
        "note",
        ("label of a file that the de-identification set aside", "labels of files that the de-identification set aside"),
        "de-identification only: the export has the slice or case, the copies do not; its row is not used",
    ),
    LabelFault.UNLABELLED_SERIES: (
        "note",
        ("series without a label in a labelled study", "series without a label in labelled studies"),
        "another series of the study is labelled",
    ),
    LabelFault.READER_CONTRADICTION: (
        "note",
        ("case in which a reader contradicts himself", "cases in which a reader contradicts himself"),
        "cq500: a reader marked a subtype but no haemorrhage; the vote counts as it was given",
    ),
    LabelFault.NO_SUBTYPE_AGREED: (
        "note",
        ("case with haemorrhage but no subtype", "cases with haemorrhage but no subtype"),
        "cases: “any” is 1 and no subtype is (no subtype reached a majority, or none was named)",
    ),
    LabelFault.MARK_WITHOUT_IMAGE: (
        "note",
        ("study of which images with boxes are not in the folder", "studies of which images with boxes are not in the folder"),
        "boxes of images that are not in the folder; they are not used",
    ),
    LabelFault.MARK_WITHOUT_LABEL: (
        "note",
        ("mask or box of what the labels do not name", "masks or boxes of what the labels do not name"),
        "a slice has a mask or a box of a finding that its labels call 0, or no label; it is not used",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that was found: its code, whose it is, the line of the table (None: not in the table), what was seen."""

    code: LabelFault
    identifier: str
    line: int | None = None
    detail: str = ""

    def __str__(self) -> str:
        place = f"line {self.line}" if self.line is not None else ""
        name = " ".join(part for part in (place, self.identifier) if part)
        # A cell may hold a line break, which a sentence may not, and what nobody can see.
        return visible(" ".join((f"{name}: {self.detail}" if self.detail else name).split()))


@dataclass
class LabelAccount:
    """Everything that was found in one label table, in the order of finding."""

    findings: list[Finding] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)  # identifiers whose label is known to be unusable

    def add(self, code: LabelFault, identifier: str, line: int | None = None, detail: str = "") -> None:
        """Note one thing; nothing is left out for it alone."""
        self.findings.append(Finding(code, identifier, line, detail))

    def leave_out(self, code: LabelFault, identifier: str, line: int | None = None, detail: str = "") -> None:
        """Note a fault for which the whole slice or case is left out."""
        self.add(code, identifier, line, detail)
        self.left_out.add(identifier)

    def counts(self, *, notes: bool) -> dict[LabelFault, int]:
        """How often each note, or each fault, was found; in the order of the codes."""
        found = Counter(finding.code for finding in self.findings if finding.code.is_note == notes)
        return {code: found[code] for code in LabelFault if code in found}

    def refuse_faults(self, table: Path, source: Path | str, option: str = "--lenient") -> None:
        """Raise :class:`InputError` with every class of fault, its count and its first items, if there is any.

        ``option`` is what goes on without them; "" where nothing does.
        """
        found = self.counts(notes=False)
        if not found:
            return
        parts = [f"{code.counted(count)} ({self._first(code)})" for code, count in found.items()]
        way_out = f", or add {option} to go on without them, each named in {REPORT}" if option else ""
        raise InputError(f"{table} cannot be used for {source} as it is: {'; '.join(parts)}; mend these{way_out}.")

    def _first(self, code: LabelFault) -> str:
        named = [str(finding) for finding in self.ordered() if finding.code is code]
        return ", ".join(named[:SHOWN]) + (", …" if len(named) > SHOWN else "")

    def ordered(self) -> list[Finding]:
        """By code, line and identifier: file names and the order of reading do not count."""
        codes = list(LabelFault)
        return sorted(self.findings, key=lambda one: (codes.index(one.code), one.line or 0, one.identifier))

    def sentences(self) -> Iterator[str]:
        """What was left out and what was noted, in words; nothing where nothing was found."""
        for title, notes in (("Left out", False), ("Noted", True)):
            found = self.counts(notes=notes)
            if found:
                yield f"{title}: {', '.join(code.counted(count) for code, count in found.items())}."

    def write(self, path: Path) -> None:
        """Write the report, one row a finding; header-only when there is none."""
        rows = ((one.code.value, one.code.kind, one.identifier, one.line, one.detail) for one in self.ordered())
        write_text(path, csv_text(COLUMNS, rows))
