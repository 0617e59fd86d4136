"""``ich predict``: read every study among some DICOM files, folders, archives and objects with a registered model."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import beside, private_folder, remove_folder, write_json, write_text
from ich_pipeline.core.lock import INSIDE, output_locked, was_locked
from ich_pipeline.core.outputs import check_output, json_with, refuse_foreign, refuse_within
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.core.stopping import not_between
from ich_pipeline.core.stopwatch import part, peak_mib
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.identity import case_id
from ich_pipeline.ingest.scan import NO_MEMORY
from ich_pipeline.registry import versions
from ich_pipeline.sources.listing import Judged, Listing
from ich_pipeline.sources.opened import list_several, not_read, opened
from ich_pipeline.sources.remote import Remote, check_cache
from ich_pipeline.sources.source import fetched_beside, is_remote, named
from ich_pipeline.tables.formulas import csv_text

OTHER_CODE = "{} was registered with other code than runs here: its answers may differ from those that were tested."
if TYPE_CHECKING:
    from ich_pipeline.report.worklist import Entry
    from ich_pipeline.serving.system import System
    from ich_pipeline.watch.record import Recorder
    from ich_pipeline.workers.parallel import OneProcess

# In the folder for the results, while a run is at it: members of archives, and pages and tables until all are there.
SCRATCH, STAGED = ".members", ".unfinished"
WORKLIST = "index.html"
TABLES = (WORKLIST, "predictions.csv", "predictions.json")
_OURS = {
    "predictions.csv": lambda content: content.startswith(b"case_id,") and b",decision," in content.partition(b"\n")[0],
    "predictions.json": json_with("model", "cases", "failures"),
}


@dataclass(frozen=True)
class Outcome:
    """What was read: one answer a case (JSON values), and why the others could not be; no identifiers but ``case_id``.

    Names of files, which ``not_read`` holds, are for the terminal alone.
    """

    model: str
    labels: tuple[str, ...]
    answers: list[dict[str, Any]]
    failures: dict[str, str]  # case_id → reason
    skipped: int  # files that are no DICOM image of a study
    studies: dict[str, str] = field(default_factory=dict)  # case_id → StudyInstanceUID
    not_read: tuple[Judged, ...] = ()  # damaged or locked archives and the like
    caution: str = ""  # what the tests of the model do not show
    code: str = ""  # a caution where the model was registered with other code than this
    tests: Mapping[str, str] = field(default_factory=dict)  # of the model, by name: SHA-256 of the sealed labels
    peak_mib: float = 0.0  # memory that this process and the one that reads files took at most, together

    @property
    def cautions(self) -> str:
        """Both, for tables and pages."""
        return " ".join(filter(None, (self.caution, self.code)))


def predict(
    sources: Sequence[Path | str],
    out: Path,
    params: Params,
    model: str | None,
    identifiers: bool,
    track: Track = quiet,
    remote: Remote | None = None,
    demonstration: bool = False,
    process: OneProcess | None = None,
    record: bool = True,
) -> Outcome:
    """Read every study and write ``<case_id>.html``, ``index.html`` and ``predictions.json`` and ``.csv`` into ``out``.

    They appear there together, once all are written: a run that is stopped leaves ``out`` as it was.

    Args:
        sources: folders (searched to any depth), archives, DICOMDIRs, files and ``s3://bucket/prefix``. Objects of a store
            lie in ``.NAME.fetched`` beside ``out`` meanwhile, and stay there for the next run where this one does not end well.
        out: folder for the results, made where it is missing; members of archives lie in ``out/.members`` meanwhile, results
            in ``out/.unfinished``.
        params: names the model; limits of archives.
        model: ``NAME/ALIAS`` or ``NAME/NUMBER``; None is the champion, or the challenger while there is none.
        identifiers: also write StudyInstanceUID and SOPInstanceUID, and show StudyDate, AccessionNumber and SeriesDescription
            on pages. Without them ``case_id`` alone names a study.
        track: shows progress over the studies.
        remote: how stores are reached.
        demonstration: show what a model of synthetic heads makes of others, under the sentence that this is no answer.
        process: for reading cases, where one was begun already.
        record: keep a line of each case (:mod:`ich_pipeline.watch.record`); a demonstration is never kept.

    Raises:
        InputError: a source is missing, another run writes ``out``, there is no study, no model, or its files are not what was
            registered; or no study could be read, and the tables that say why are in ``out``.
    """
    _check_places(sources, out, remote)
    name = params.registry.model_name
    with part("which version"):
        version = versions.resolve(model, name) if model else versions.live(name)
    fetched = fetched_beside(out)
    with output_locked(out, "--out", inside=True) as lock:
        for left in (SCRATCH, STAGED):  # by a run that was killed; before a source that contains ``out`` is listed
            remove_folder(out / left)
        given = list_several(sources, fetched, remote, track)
        # A source may contain ``out``, and then what this run itself has put there.
        files = (one for one in given.files if one[0].name != lock.name or not one[0].samefile(lock))
        given = Listing(tuple(files), given.judged)
        with opened(given, out / SCRATCH, params.ingest.archives, track) as listing:
            with part("imports"):
                from ich_pipeline.serving.bundle import read_system
                from ich_pipeline.serving.code import BUNDLE
                from ich_pipeline.serving.load_case import find_studies
            with part("check files"):
                bundle = versions.verified_folder(version) / BUNDLE
            named = ", ".join(str(source) for source in sources)
            # By the model's settings, for its judgement of a header is the one that counts; processes are this machine's.
            ingest = read_system(bundle).ingest.model_copy(update={"workers": params.ingest.workers})
            with part("find studies"):
                studies, skipped = find_studies(listing, named, ingest, track)
            with _staged(out, [f"{case_id(study)}.html" for study in studies]) as staged:
                unread = not_read(listing)
                shown = (identifiers, demonstration, record and params.watch.record and not demonstration)
                outcome = _read(studies, skipped, unread, staged, version, bundle, *shown, track, process)
        if any(map(is_remote, sources)):
            remove_folder(fetched)
    return outcome


def _check_places(sources: Sequence[Path | str], out: Path, remote: Remote | None) -> None:
    check_output(out, "--out", replaced=False)
    check_cache(remote, out, "--out ")
    from ich_pipeline.report.worklist import is_worklist

    refuse_foreign(out, "--out", {**_OURS, WORKLIST: is_worklist})
    whole = out.resolve()
    for source in map(named, sources):
        if isinstance(source, Path):
            for place in (whole / SCRATCH, whole / STAGED, whole / INSIDE, beside(whole, "fetched")):
                refuse_within(place, f"SOURCE {source}", source, f"--out {out}")
    for name in (SCRATCH, STAGED):
        if os.path.lexists(out / name) and not was_locked(out):
            raise InputError(f"--out {out} holds {name}, where a run works, and no run has left it: rename it.")


@contextlib.contextmanager
def _staged(out: Path, asked: Collection[str]) -> Iterator[Path]:
    """A folder whose files come into ``out`` when the block ends, with a sentence about studies too; not when it is stopped.

    Args:
        out: the folder for the results.
        asked: names of the pages of this run's studies, whether or not they can be read.
    """
    refuse_foreign(out, "--out", {name: _is_page_of(name) for name in asked})
    staged = out / STAGED
    private_folder(staged)
    try:
        try:
            yield staged
        finally:
            if all((staged / name).exists() for name in TABLES):
                with not_between():
                    publish(staged, out, asked)
    finally:
        with not_between():
            remove_folder(staged)


def _is_page_of(name: str) -> Callable[[bytes], bool]:
    title = f"<title>Case {Path(name).stem}</title>".encode()
    return lambda content: title in content[:2000]


def publish(staged: Path, out: Path, asked: Collection[str]) -> None:
    """Move pages and tables into ``out``: the old tables go first, the new ones come last.

    A study that has no page this time loses the one of an earlier run; pages of studies that were not asked for stay.
    """
    for name in (*TABLES, *asked):
        (out / name).unlink(missing_ok=True)
    pages = sorted(path.name for path in staged.iterdir() if path.name not in TABLES)
    for name in (*pages, *TABLES):
        (staged / name).replace(out / name)


def _read(
    studies: dict[str, list[Header]],
    skipped: int,
    unread: tuple[Judged, ...],
    staged: Path,
    version: versions.Version,
    bundle: Path,
    identifiers: bool,
    demonstration: bool,
    record: bool,
    track: Track,
    process: OneProcess | None,
) -> Outcome:
    with part("imports"):
        from ich_pipeline.report.worklist import worklist
        from ich_pipeline.serving.system import System
        from ich_pipeline.watch.record import Recorder

    with part("load"):
        system = System.load(bundle, version.content, process)
    called, said = called_and_cautions(version, bundle)
    recorder = Recorder(version, system.origin, "predict") if record else None
    read = Studies(system, staged, identifiers, demonstration, said, called, version.tests, recorder)
    for study, headers in track(studies.items(), "reading", len(studies)):
        read.study(study, headers)
    outcome = read.outcome(studies, skipped, unread)
    with part("tables and worklist"):
        _write_tables(outcome, staged, identifiers)
        windows, any_ = system.params.windowing.windows, system.labels.any
        page = worklist(read.entries, read.failures, called, windows, caution=outcome.cautions, label=any_)
        write_text(staged / WORKLIST, page)
    if recorder:
        recorder.write()
    if read.fault is not None:
        raise read.fault
    if not read.answers:
        raise InputError(f"{none_read(outcome)}; {staged.parent / 'predictions.csv'} says the same.")
    return outcome


def called_and_cautions(version: versions.Version, bundle: Path) -> tuple[str, tuple[str, str]]:
    """How a version is called, and what to beware of: what its tests do not show, and whether other code runs here."""
    from ich_pipeline.serving.code import runs_other_code

    called = f"{version.name} version {version.number}"
    return called, (version.caution, OTHER_CODE.format(called) if runs_other_code(bundle) else "")


def none_read(outcome: Outcome) -> str:
    """The beginning of a sentence, where no study could be read."""
    reasons = "; ".join(f"{case}: {reason}" for case, reason in sorted(outcome.failures.items()))
    return f"None of {len(outcome.studies)} studies could be read ({reasons})"


class Studies:
    """Reads studies one by one: a page each, and one answer or one failure in words."""

    def __init__(
        self,
        system: System,
        out: Path,
        identifiers: bool,
        demonstration: bool,
        cautions: tuple[str, str],
        called: str,
        tests: Mapping[str, str],
        recorder: Recorder | None,
        *,
        home: str | None = WORKLIST,
        pages: bool = True,
    ) -> None:
        """``recorder`` is told of every study; ``home``: what a page links to as the overview; ``pages``: write them, into ``out``."""
        self.answers: list[dict[str, Any]] = []
        self.entries: list[Entry] = []
        self.failures: dict[str, str] = {}  # case_id → reason
        self.fault: Exception | None = None  # the first of the program's own: raised once the tables are there
        self.cautions, self._called, self._tests = cautions, called, tests
        self._system, self._out, self._identifiers, self._demonstration = system, out, identifiers, demonstration
        self._home, self._pages, self._recorder = home, pages, recorder

    def outcome(
        self, studies: Mapping[str, Sequence[Header]], skipped: int, unread: tuple[Judged, ...] = ()
    ) -> Outcome:
        """What came of them all."""
        return Outcome(
            self._called,
            self._system.labels.columns,
            sorted(self.answers, key=lambda a: a["case_id"]),
            self.failures,
            skipped,
            {case_id(study): study for study in studies},
            unread,
            *self.cautions,
            tests=self._tests,
            peak_mib=peak_mib() + self._system.reader.peak_mib(),
        )

    def study(self, uid: str, headers: Sequence[Header]) -> None:
        """Read one. Only what hinders every other as well is raised: a disk that cannot be written, an interruption."""
        try:
            self._read(uid, headers)
        except InputError as error:
            self.failures[case_id(uid)] = str(error)
            if self._recorder:
                self._recorder.failed(case_id(uid), headers)
        except MemoryError:
            self.failures[case_id(uid)] = f"{NO_MEMORY}: read it on a machine with more."
        except OSError:
            raise
        except Exception as error:
            self.failures[case_id(uid)] = f"a fault of the program ({type(error).__name__})"
            self.fault = self.fault or error

    def _read(self, uid: str, headers: Sequence[Header]) -> None:
        from ich_pipeline.report.case_page import case_page
        from ich_pipeline.report.worklist import entry
        from ich_pipeline.serving.answer import answer

        case = self._system.read_case(headers, self._demonstration)
        fraction = self._system.params.explain.region_fraction
        said = " ".join(filter(None, self.cautions))
        with part("answer and page"):
            read = answer(case, uids=self._identifiers, thumbnails=False)
            if self._pages:
                page = case_page(
                    case,
                    region_fraction=fraction,
                    home=self._home,
                    caution=said,
                    scan_cautions=case.scan_cautions,
                    model=self._called,
                    learned=self._system.origin.words,
                    identifiers=self._identifiers,
                )
                line = entry(case, case.scan_cautions, case.scan.dated if self._identifiers else "", date.today())
                write_text(self._out / f"{case.case_id}.html", page)
                self.entries.append(line)
        self.answers.append({**read, **({"StudyInstanceUID": uid} if self._identifiers else {})})
        if self._recorder:
            self._recorder.read(case)


def document(outcome: Outcome) -> dict[str, Any]:
    """``predictions.json``."""
    return {
        "model": outcome.model,
        "tests": dict(outcome.tests),
        "caution": outcome.cautions,
        "cases": outcome.answers,
        "failures": outcome.failures,
        "files_not_read": dict(Counter(one.reason.value for one in outcome.not_read)),
    }


def _write_tables(outcome: Outcome, staged: Path, identifiers: bool) -> None:
    write_json(staged / "predictions.json", document(outcome))
    write_text(staged / "predictions.csv", _csv(outcome, identifiers))


def prediction_rows(outcome: Outcome, out: Path) -> list[dict[str, str]]:
    """One row a case for the terminal: case, haemorrhage, a score a label, slices, page."""
    rows = []
    for one in outcome.answers:
        scores = {n: "–" if (p := one["probabilities"][n]) is None else f"{p:.3f}" for n in outcome.labels}
        page = str(out / f"{one['case_id']}.html")
        slices = str(len(one["slices"]))
        rows.append({"case": one["case_id"], "haemorrhage": one["verdict"], **scores, "slices": slices, "page": page})
    return rows


def _csv(outcome: Outcome, identifiers: bool) -> str:
    extra = ["StudyInstanceUID"] if identifiers else []
    said = outcome.cautions  # in every row: tables are cut and joined, and a line above them is lost
    rows: list[list[Any]] = []
    for one in outcome.answers:
        scores = ["" if (p := one["probabilities"][label]) is None else f"{p:.6f}" for label in outcome.labels]
        slices = one["slices"]
        reread = sum(s["reread"] for s in slices)
        study = [outcome.studies[one["case_id"]]] if identifiers else []
        page = f"{one['case_id']}.html"
        decision = "" if one["decision"] is None else int(one["decision"])
        beware = " ".join(filter(None, (*(f"{c}." for c in one["scan_cautions"]), said)))
        rows.append([one["case_id"], *study, one["verdict"], decision, *scores, len(slices), reread, page, "", beware])
    for case, reason in sorted(outcome.failures.items()):
        study = [outcome.studies[case]] if identifiers else []
        rows.append([case, *study, "", "", *[""] * len(outcome.labels), "", "", "", reason, said])
    return csv_text(
        ["case_id", *extra, "verdict", "decision", *outcome.labels, "slices", "reread", "page", "reason", "caution"],
        rows,
    )
