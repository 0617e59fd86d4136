"""``ich deidentify``: an export of DICOM files without what tells whose they are."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from ich_pipeline.cohorts.faults import LabelAccount
from ich_pipeline.commands.deidentify_labels import ExportLabels, of_copies, read_export_labels, write_new_labels
from ich_pipeline.config import ArchiveParams, Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir
from ich_pipeline.core.lock import output_locked
from ich_pipeline.core.outputs import check_apart, check_new_file, check_output, lies_in
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.deidentify import folder, key, report, scan
from ich_pipeline.deidentify.options import Options
from ich_pipeline.ingest.tables import counted
from ich_pipeline.sources.listing import Listing
from ich_pipeline.sources.opened import in_words, not_read, opened
from ich_pipeline.sources.remote import Remote, check_cache
from ich_pipeline.sources.source import fetched_beside, is_remote, named, open_source

NAMED_AT_MOST = 3  # outcomes in a sentence
SCRATCH = "ich-check-"  # then the process that works there


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        source: a folder in any layout, an archive, a DICOMDIR, or ``s3://bucket/prefix``; only read.
        out: a new folder for ``dicom/``, the account and the report.
        key: the key file.
        linkage: where to write which file became which; None writes it nowhere.
        labels: a label table with UIDs; becomes ``out/labels.csv``.
        remote: how S3 is reached.
        fetched: where the objects of S3 lie meanwhile, as they came. None is ``.NAME.fetched`` beside ``out``, which is gone
            when the run ends well, and else stays for the next one to go on with; a folder that is named stays.
        accept_faults: rows of ``labels`` that are at fault are left out, instead of all being refused.
        faults_option: the option that does so, which the refusal names; "" where there is none.
    """

    source: Path | str
    out: Path
    key: Path
    linkage: Path | None = None
    labels: Path | None = None
    remote: Remote | None = None
    fetched: Path | None = None
    accept_faults: bool = False
    faults_option: str = ""


def deidentify(
    request: Request, options: Options, params: Params, track: Track = quiet, account: LabelAccount | None = None
) -> folder.Result:
    """De-identify an export atomically: ``out`` is whole, or not there. Archives are opened.

    ``account`` gets what is to be said of the label table, with the identifiers of the export.

    Raises:
        InputError: a place or the key is missing or wrong, another run writes ``out``, there is no file, or the label table is
            no such table, has faults that are not accepted, or labels what is not in the export; or no file could be
            de-identified, and account and report are in ``out``.
    """
    result = write_copies(request, options, params, track, account)
    if not result.copied:
        raise InputError(
            f"{request.source} holds no file that could be de-identified ({reasons_in_words(result)}); every file has a row in "
            f"{request.out / report.ACCOUNT}."
        )
    if request.fetched is None and is_remote(request.source):
        shutil.rmtree(fetched_beside(request.out), ignore_errors=True)
    return result


def reasons_in_words(result: folder.Result) -> str:
    """The commonest outcomes with their counts and meanings."""
    common = result.outcomes.most_common(NAMED_AT_MOST)
    return "; ".join(f"{counted(n, 'file')} {outcome.value} ({outcome.explanation})" for outcome, n in common)


def write_copies(
    request: Request, options: Options, params: Params, track: Track = quiet, account: LabelAccount | None = None
) -> folder.Result:
    """:func:`deidentify`, which may find nothing to de-identify, and leaves what it fetched.

    Raises:
        InputError: as there, but for an export of which nothing is de-identified.
    """
    account = LabelAccount() if account is None else account
    if options.ocr:
        import rapidocr  # noqa: F401  # what is missing is said before any work, not by every file

    secret = key.load_key(request.key)
    listed = open_source(request.source, request.remote, track)
    _check_places(request)
    if options.longest_shift < 1:
        raise InputError(f"--longest-shift {options.longest_shift}: name a number of days from 1.")
    labels = read_export_labels(request.labels, params.label_set, account) if request.labels else None
    _refuse_faults(request, account)
    with output_locked(request.out, "--out"):
        _check_empty(request.out)
        given = listed.collect(request.fetched or fetched_beside(request.out), track)
        return _write(request, given, secret, labels, account, options, params, track)


def _write(
    request: Request,
    given: Listing,
    secret: key.Key,
    labels: ExportLabels | None,
    account: LabelAccount,
    options: Options,
    params: Params,
    track: Track,
) -> folder.Result:
    with atomic_dir(request.out) as partial:
        copies = partial / "dicom"
        copies.mkdir()
        with opened(given, partial / ".members", params.ingest.archives, track) as listing:
            if not listing.files:
                raise InputError(
                    f"{request.source} holds no file that can be read ({in_words(listing.judged)}): name your DICOM export."
                )
            workers = params.ingest.workers
            result = folder.deidentify_files(listing.files, copies, secret, options, workers, track, listing.judged)
        report.write_report(partial, result)
        if labels is not None and result.copied:  # else all of them would be said to label nothing
            labels = of_copies(labels, result, account)
            _refuse_faults(request, account)
            write_new_labels(partial / "labels.csv", labels, result)
        if request.linkage is not None:
            report.write_linkage(request.linkage, result)
    return result


def _refuse_faults(request: Request, account: LabelAccount) -> None:
    if request.labels is not None and not request.accept_faults:
        account.refuse_faults(request.labels, request.source, request.faults_option)


def check(
    source: Path | str, limits: ArchiveParams, track: Track = quiet, remote: Remote | None = None
) -> dict[str, list[str]]:
    """The second pass alone, over any export.

    Objects of S3 and members of archives lie in a folder for temporary files meanwhile. What a run that was killed left
    there is removed by the next.

    Returns:
        Name below the source → what PS3.15 would still remove, or why it could not be looked at. Files without a finding
        are left out.

    Raises:
        InputError: the source is missing or holds no file.
    """
    listed = open_source(source, replace(remote or Remote(), kept=False), track)
    _remove_abandoned()
    with (
        tempfile.TemporaryDirectory(prefix=f"{SCRATCH}{os.getpid()}-") as place,
        opened(listed.collect(Path(place) / "fetched", track), Path(place) / "members", limits, track) as listing,
    ):
        files = listing.files
        found = {name: scan.scan_file(path) for path, name in track(files, "checking", len(files))}
    found |= {one.name: [f"not looked at: {one.reason.explanation}"] for one in not_read(listing)}
    return {name: findings for name, findings in sorted(found.items()) if findings}


def _remove_abandoned() -> None:
    for left in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        owner = left.name.removeprefix(SCRATCH).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            shutil.rmtree(left, ignore_errors=True)  # another user's stays


def _check_places(request: Request) -> None:
    check_output(request.out, "--out")
    out, source = request.out.resolve(), named(request.source)
    if isinstance(source, str):
        check_cache(request.remote, request.out, "--out ")
    elif out.is_relative_to(source.resolve()) or lies_in(source, out):
        raise InputError(f"{request.source} and {request.out} contain one another: name another --out.")
    _check_empty(request.out)
    for option, path in (("--key", request.key), ("--linkage", request.linkage)):
        if path is not None and lies_in(path, out):
            raise InputError(f"{option} {path} lies in --out {request.out}, which is given away: keep it elsewhere.")
    named_paths = (
        ("SOURCE", source),
        ("--key", request.key),
        ("--labels", request.labels),
        ("--linkage", request.linkage),
    )
    check_apart(request.out, "--out", *((what, path) for what, path in named_paths if isinstance(path, Path)))
    if request.linkage is not None:
        if isinstance(source, Path) and lies_in(request.linkage, source.resolve()):
            raise InputError(
                f"--linkage {request.linkage} lies in SOURCE {source}, which is only read: keep it elsewhere."
            )
        check_new_file(request.linkage, "--linkage")


def _check_empty(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise InputError(f"--out {out} exists and is not empty: name a new folder.")
