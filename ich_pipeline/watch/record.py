"""The record of what is served: a line a case, appended to, without an identifier, its owner's alone.

``mlruns/served/YYYY-MM.jsonl``, a file a month. Case, patient and accession number are HMACs under a key that lies beside it and
is made with the first line: whoever has a StudyInstanceUID and the key finds its line again (``ich feedback``), nobody finds a UID.

Several processes may append: each takes the lock and writes its lines at the end. What a kill cuts off becomes a line of its own,
which a reader skips and counts. Nothing is synchronised with the disk: a loss of power may cost the last seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import private_folder
from ich_pipeline.deidentify.key import Key, load_key, new_key
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.identity import patient_key
from ich_pipeline.dicom.makers import maker
from ich_pipeline.phantom.scanners import is_synthetic
from ich_pipeline.registry import store
from ich_pipeline.registry.remembered import Version
from ich_pipeline.serving.origin import Origin
from ich_pipeline.tables.cohort_mark import SYNTHETIC

if TYPE_CHECKING:
    from ich_pipeline.serving.file_pixels import ReadCase

SCHEMA = "served/1"
KEY, LOCK = "key", ".lock"
Outcome = Literal["suspected", "not suspected", "not read", "failed"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """One line.

    Attributes:
        time: UTC, ISO 8601, to the second.
        by: ``predict`` or ``serve``.
        model, version: whose answer it was.
        case, patient, accession: tokens under the record's key; ``accession`` is empty where there is no such number.
        outcome: ``not read`` is a scan that is unlike all of training, ``failed`` one that has no series to read.
        scores: case score by label; None where there is no answer, as in what follows.
        called: by label, whether the score reaches the threshold.
        measured: by name, :attr:`ich_pipeline.precedent.model.Judgement.described`; None where the scan has no such number.
        reasons: files by reason code, those used too.
        slices: that were read.
        thickness_mm: SliceThickness.
        kernel: ``soft``, ``bone``, ``unknown``.
        manufacturer: one spelling a maker.
    """

    time: str
    by: str
    model: str
    version: int
    case: str
    patient: str
    accession: str
    outcome: Outcome
    scores: Mapping[str, float | None] | None = None
    called: Mapping[str, bool] | None = None
    measured: Mapping[str, float | None] | None = None
    reasons: Mapping[str, int] | None = None
    slices: int | None = None
    thickness_mm: float | None = None
    kernel: str | None = None
    manufacturer: str | None = None


@dataclass(frozen=True)
class Log:
    """The lines in their order, and how many could not be read."""

    lines: tuple[Served, ...]
    unread: int


class Recorder:
    """Collects what one command or request reads, and appends it at the end.

    Kept is what a version is for: patients, or, of one that learned from synthetic heads, such heads. So neither a phantom that
    somebody tries a hospital's version with, nor a patient that a version of phantoms declines, stands in the record.
    """

    def __init__(self, version: Version, origin: Origin, by: Literal["predict", "serve"]) -> None:
        self._version, self._by, self._of_synthetic = version, by, origin.data == SYNTHETIC
        self._found: list[tuple[dict[str, str], Outcome, dict[str, Any]]] = []

    def read(self, case: ReadCase) -> None:
        """A case that has an answer, or is not read."""
        facts = case.facts
        if facts is None or facts.synthetic != self._of_synthetic:
            return
        answered, judged = case.decision is not None, case.judged
        columns = case.labels.columns
        reached = zip(columns, case.case_scores, case.case_thresholds, strict=True)
        # The decision of "any" also asks whether the first reading let the case through.
        called = {
            **{name: bool(score >= limit) for name, score, limit in reached},
            case.labels.any: bool(case.decision),
        }
        names = _names(case.case_id, facts.patient_key, case.scan.accession_number)
        outcome: Outcome = ("suspected" if case.decision else "not suspected") if answered else "not read"
        about = {
            "scores": {n: _number(s) for n, s in zip(columns, case.case_scores, strict=True)} if answered else None,
            "called": called if answered else None,
            "measured": judged and {name: _number(value) for name, value in judged.described.items()},
            "reasons": dict(facts.reasons),
            "slices": len(case.final),
            "thickness_mm": _number(facts.thickness_mm),
            "kernel": facts.kernel,
            "manufacturer": maker(facts.manufacturer),
        }
        self._found.append((names, outcome, about))

    def failed(self, case: str, headers: Sequence[Header]) -> None:
        """A study without a series that can be read; of it the line says no more."""
        if any(is_synthetic(one.manufacturer, one.kernel) for one in headers) == self._of_synthetic:
            first = headers[0]
            names = _names(case, patient_key(first.patient_id), first.accession_number)
            self._found.append((names, "failed", {}))

    def write(self) -> None:
        """Append; where that is impossible, an answer is worth more than its line, and the log says so."""
        found, self._found = self._found, []
        if not found:
            return
        now = datetime.now(UTC)
        try:
            private_folder(place())
            with locked():
                known = key()
                append(
                    [
                        Served(
                            now.isoformat(timespec="seconds"),
                            self._by,
                            self._version.name,
                            self._version.number,
                            outcome=outcome,
                            **{kind: known.token(kind, name) if name else "" for kind, name in names.items()},
                            **about,
                        )
                        for names, outcome, about in found
                    ],
                    place() / f"{now:%Y-%m}.jsonl",
                )
        except (OSError, InputError) as error:
            log.warning("%d cases are not in the record of what is served: %s", len(found), error)


def place() -> Path:
    """The folder of the record."""
    return store.MLRUNS / "served"


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the record alone."""
    with open(os.open(place() / LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "w") as file:  # noqa: PTH123
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def key() -> Key:
    """The record's key, made where there is none yet; the caller holds the lock.

    Raises:
        InputError: it is there and is no key, or others may read it.
    """
    path = place() / KEY
    if not path.exists():
        partial = path.with_suffix(".partial")  # a kill leaves no key that is cut off
        partial.unlink(missing_ok=True)
        new_key(partial)
        partial.rename(path)
    return load_key(path)


def append(lines: Sequence[Served], file: Path) -> None:
    """Write at the end of a month's file; the caller holds the lock."""
    text = "".join(_text(line) + "\n" for line in lines).encode()
    descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":  # what a kill, or a full disk, cut off
            text = b"\n" + text
        while text:
            text = text[os.write(descriptor, text) :]
    finally:
        os.close(descriptor)


def read() -> Log:
    """Everything that is kept."""
    if not place().is_dir():
        return Log((), 0)
    with locked():
        raw = [path.read_bytes() for path in sorted(place().glob("*.jsonl"))]
    found = [_line(line) for text in raw for line in text.splitlines() if line.strip()]
    return Log(tuple(line for line in found if line is not None), found.count(None))


def one_a_patient(lines: Sequence[Served], model: str, version: int) -> list[Served]:
    """What a version served, the first case of each patient: follow-ups look alike, and would count as if they said more."""
    first: dict[str, Served] = {}
    for line in lines:
        if (line.model, line.version) == (model, version):
            first.setdefault(line.patient, line)
    return list(first.values())


def _names(case: str, patient: str, accession: str) -> dict[str, str]:
    """A patient without a number is one of their own."""
    return {"case": case, "patient": case if patient == patient_key("") else patient, "accession": accession.strip()}


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _text(line: Served) -> str:
    return json.dumps({"schema": SCHEMA, **asdict(line)}, allow_nan=False, separators=(",", ":"))


def _line(text: bytes) -> Served | None:
    try:
        values = json.loads(text)
        if values.pop("schema") != SCHEMA or values.keys() != {one.name for one in fields(Served)}:
            return None
        datetime.fromisoformat(values["time"])
        return Served(**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
