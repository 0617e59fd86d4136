"""``ich predict``: read every study among some DICOM files, folders, archives and objects with a registered model."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ich_pipeline.alone import INSIDE, alone_with
from ich_pipeline.config import Params
from ich_pipeline.dicom.identity import case_id
from ich_pipeline.dicom.reader import read_header
from ich_pipeline.errors import InputError
from ich_pipeline.files import beside, remove_folder, write_json, write_text
from ich_pipeline.outputs import check_output, refuse_within
from ich_pipeline.progress import Track, quiet
from ich_pipeline.registry import versions
from ich_pipeline.sources.cache import check_cache
from ich_pipeline.sources.listing import Judged, Listing
from ich_pipeline.sources.opened import in_words, list_several, not_read, opened
from ich_pipeline.sources.remote import Remote
from ich_pipeline.sources.source import fetched_beside, is_remote, named

SCRATCH = ".members"  # in the folder for the results


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


def predict(
    sources: Sequence[Path | str],
    out: Path,
    params: Params,
    model: str | None,
    identifiers: bool,
    track: Track = quiet,
    remote: Remote | None = None,
) -> Outcome:
    """Read every study and write ``<case_id>.html``, ``predictions.json`` and ``predictions.csv`` into ``out``.

    Args:
        sources: folders (searched to any depth), archives, DICOMDIRs, files and ``s3://bucket/prefix``. Objects of a store
            lie in ``.NAME.fetched`` beside ``out`` meanwhile, and stay there for the next run where this one does not end well.
        out: folder for the results, made where it is missing; members of archives lie in ``out/.members`` meanwhile.
        params: names the model; limits of archives.
        model: ``NAME/ALIAS`` or ``NAME/NUMBER``; None is the champion, or the challenger while there is none.
        identifiers: also write StudyInstanceUID and SOPInstanceUID. Without them ``case_id`` alone names a study.
        track: shows progress over the studies.
        remote: how stores are reached.

    Raises:
        InputError: a source is missing, another run writes ``out``, there is no study, no model, or no study could be read.
    """
    _check_places(sources, out, remote)
    name = params.registry.model_name
    version = versions.resolve(model, name) if model else versions.live(name)
    fetched = fetched_beside(out)
    with alone_with(out, "--out", inside=True) as lock:
        given = list_several(sources, fetched, remote, track)
        # A source may contain ``out``, and then what this run itself has put there.
        files = (one for one in given.files if one[0].name != lock.name or not one[0].samefile(lock))
        given = Listing(tuple(files), given.judged)
        with opened(given, out / SCRATCH, params.ingest.archives, track) as listing:
            studies, skipped = find_studies(listing, ", ".join(str(source) for source in sources))
            outcome = _read(studies, skipped, not_read(listing), out, version, identifiers, track)
        if any(map(is_remote, sources)):
            remove_folder(fetched)
    return outcome


def _check_places(sources: Sequence[Path | str], out: Path, remote: Remote | None) -> None:
    check_output(out, "--out", replaced=False)
    check_cache(remote, out, "--out ")
    whole = out.resolve()
    for source in map(named, sources):
        if isinstance(source, Path):
            for place in (whole / SCRATCH, whole / INSIDE, beside(whole, "fetched")):
                refuse_within(place, f"SOURCE {source}", source, f"--out {out}")


def _read(
    studies: dict[str, list[Path]],
    skipped: int,
    unread: tuple[Judged, ...],
    out: Path,
    version: versions.Version,
    identifiers: bool,
    track: Track,
) -> Outcome:
    from ich_pipeline.registry.answer import answer
    from ich_pipeline.registry.register import BUNDLE
    from ich_pipeline.registry.system import System
    from ich_pipeline.report.case_page import case_page

    system = System.load(versions.model_folder(version) / BUNDLE)
    answers, failures = [], {}
    for study, files in track(studies.items(), "reading", len(studies)):
        try:
            case = system.read_case(files)
        except InputError as error:
            failures[case_id(study)] = str(error)
            continue
        fraction = system.params.explain.region_fraction
        write_text(out / f"{case.case_id}.html", case_page(case, region_fraction=fraction, caution=version.caution))
        read = answer(case, uids=identifiers, thumbnails=False)
        answers.append({**read, **({"StudyInstanceUID": study} if identifiers else {})})
    outcome = Outcome(
        f"{version.name} version {version.number}",
        system.labels.columns,
        sorted(answers, key=lambda a: a["case_id"]),
        failures,
        skipped,
        {case_id(study): study for study in studies},
        unread,
        version.caution,
    )
    if not answers:
        reasons = "; ".join(f"{case}: {reason}" for case, reason in sorted(failures.items()))
        raise InputError(f"None of {len(studies)} studies could be read ({reasons}).")
    counts = Counter(one.reason.value for one in unread)
    tables = {
        "model": outcome.model,
        "caution": outcome.caution,
        "cases": outcome.answers,
        "failures": failures,
        "files_not_read": dict(counts),
    }
    write_json(out / "predictions.json", tables)
    write_text(out / "predictions.csv", _csv(outcome, identifiers))
    return outcome


def prediction_rows(outcome: Outcome, out: Path) -> list[dict[str, str]]:
    """One row a case for the terminal: case, haemorrhage, a score a label, slices, page."""
    rows = []
    for one in outcome.answers:
        scores = {n: "–" if (p := one["probabilities"][n]) is None else f"{p:.3f}" for n in outcome.labels}
        decision = "suspected" if one["decision"] else "not suspected"
        page = str(out / f"{one['case_id']}.html")
        slices = str(len(one["slices"]))
        rows.append({"case": one["case_id"], "haemorrhage": decision, **scores, "slices": slices, "page": page})
    return rows


def find_studies(listing: Listing, named: str) -> tuple[dict[str, list[Path]], int]:
    """Files by StudyInstanceUID, in order of their names, and the number of files that are no DICOM image of a study.

    Args:
        listing: the files, archives opened.
        named: how a sentence calls the sources.

    Raises:
        InputError: none of the files is DICOM.
    """
    studies: dict[str, list[Path]] = {}
    skipped = 0
    for path, name in listing.files:
        study = read_header(path, name, (0.0, math.inf)).study_uid  # the series are judged when the case is loaded
        if study:
            studies.setdefault(study, []).append(path)
        else:
            skipped += 1
    if not studies:
        unread = in_words(not_read(listing))
        but = f"; not read: {unread}" if unread else ""
        raise InputError(f"{named} holds no DICOM image (files looked at: {skipped}{but}): name another folder.")
    return studies, skipped


def _csv(outcome: Outcome, identifiers: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    extra = ["StudyInstanceUID"] if identifiers else []
    said = outcome.caution  # in every row: tables are cut and joined, and a line above them is lost
    writer.writerow(["case_id", *extra, "decision", *outcome.labels, "slices", "reread", "page", "reason", "caution"])
    for one in outcome.answers:
        scores = ["" if (p := one["probabilities"][label]) is None else f"{p:.6f}" for label in outcome.labels]
        slices = one["slices"]
        reread = sum(s["reread"] for s in slices)
        study = [outcome.studies[one["case_id"]]] if identifiers else []
        page = f"{one['case_id']}.html"
        writer.writerow([one["case_id"], *study, int(one["decision"]), *scores, len(slices), reread, page, "", said])
    for case, reason in sorted(outcome.failures.items()):
        study = [outcome.studies[case]] if identifiers else []
        writer.writerow([case, *study, "", *[""] * len(outcome.labels), "", "", "", reason, said])
    return text.getvalue()
