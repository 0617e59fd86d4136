"""``ich cohort``: bring a cohort into ``data/``."""

from __future__ import annotations

import contextlib
import functools
import shlex
from collections.abc import Callable
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import put_back, read_json, remove_folder
from ich_pipeline.core.lock import project_locked
from ich_pipeline.core.outputs import check_output, refuse_within
from ich_pipeline.core.progress import terminal
from ich_pipeline.deidentify.report import ACCOUNT, REMOVED, REPORT
from ich_pipeline.dicom.header import Header
from ich_pipeline.sources.remote import Remote
from ich_pipeline.sources.source import fetched_beside, named
from ich_pipeline.tables.cohort_mark import PHANTOM, SYNTHETIC, cohort_kind, note_tracked_kind, tracked_kind

DATA = Path("data")
REPORTS = Path("reports")
POINTER = Path("data.dvc")
STATE, WORK = Path(".state"), Path("work")
DEIDENTIFIED = STATE / "deidentified"
NEXT = "Next: `make repro`."


def withdraw_synthetic(reports: Path, before: str | None) -> None:
    """Remove the figures of synthetic heads that a clone comes with: beside data of one's own they would pass for its own.

    They stay in git's history, and the next run of the stage report writes those of the data that is here.

    Args:
        reports: the project's ``reports/``.
        before: the kind of cohort that they are of where they do not say it; None: that of a clone as it comes.
    """
    for name in ("headline.json", "metrics.json"):
        path = reports / name
        try:
            made_of = read_json(path).get("data", SYNTHETIC if before in (None, PHANTOM) else before)
        except InputError:  # there is none, or none that could be shown
            continue
        if made_of == SYNTHETIC:
            path.unlink()


def make_phantom(params: Params, replace: bool) -> str:
    """Make the synthetic cohort in ``data/``; never over what a user brought, unless ``replace``."""
    with project_locked():
        put_back(DATA)
        if cohort_kind(DATA) not in (None, PHANTOM) and not replace:
            raise InputError(
                f"{DATA}/ holds a cohort of your own: add --replace to delete it and make the phantom in its place."
            )
        from ich_pipeline.phantom import create_phantom

        check_output(DATA, "")
        create_phantom(params, DATA, terminal)
    note_tracked_kind(POINTER, PHANTOM)
    return f"{DATA}/ holds {params.phantom.patients} synthetic patients. {NEXT}"


def bring_deidentified(
    source: Path | str,
    labels: Path,
    key: Path,
    params: Params,
    replace: bool,
    lenient: bool,
    remote: Remote,
    ocr: bool = False,
) -> str:
    """The same for a plain table, from copies without what tells whose they are; only those enter ``data/``.

    The de-identified export lies in ``.state/deidentified`` until it is in, so the disk must hold it twice for a while. What
    tells whose it is lies there (members of archives) and in ``.data.fetched`` (objects of S3) meanwhile; both are gone
    when the run ends well, and of a run that was killed the next removes the first and goes on with the second.
    """
    from ich_pipeline.cohorts.copies import check_places, check_replaceable
    from ich_pipeline.cohorts.faults import LabelAccount
    from ich_pipeline.cohorts.plain import read_plain
    from ich_pipeline.commands.deidentify import Request, reasons_in_words, write_copies
    from ich_pipeline.commands.deidentify_labels import pseudonymise_account
    from ich_pipeline.deidentify.key import load_key
    from ich_pipeline.deidentify.options import Options

    if not labels.is_file():
        raise InputError(f"{labels} is missing: name your label table.")
    with project_locked():
        source = named(source)
        check_places(source, DATA, remote, labels, key)
        for path in (source, labels, key):
            if isinstance(path, Path):
                refuse_within(DEIDENTIFIED.resolve(), str(path), path, f"{DATA}/")
        check_replaceable(DATA, replace)
        left = left_of_an_identified_cohort()
        secret = load_key(key)
        read_plain(labels, params.label_set, LabelAccount())  # what is no such table is said before hours of reading
        remove_folder(DEIDENTIFIED)
        DEIDENTIFIED.mkdir(parents=True)
        try:
            clean = DEIDENTIFIED / "export"
            tolerant = changed(remote, accept_missing=lenient, missing_option="--lenient")
            request = Request(
                source,
                clean,
                key,
                labels=labels,
                remote=tolerant,
                fetched=fetched_beside(DATA),
                accept_faults=lenient,
                faults_option="--lenient",
            )
            account = LabelAccount()
            result = write_copies(request, Options(ocr=ocr), params, terminal, account)
            if not result.copied:
                raise InputError(
                    f"{source}: no file could be de-identified ({reasons_in_words(result)}): nothing enters {DATA}/."
                )
            pseudonymise_account(account, secret)  # it is written into data/
            besides = {f"deidentification_{name}": clean / name for name in (ACCOUNT, REMOVED, REPORT)}
            said = _bring(
                "folder",
                clean / "dicom",
                clean / "labels.csv",
                params,
                replace=replace,
                lenient=lenient,
                called=(source, labels),
                besides=besides,
                account=account,
            )
        finally:
            remove_folder(DEIDENTIFIED)
    return " ".join([f"{result.summary} ({DATA}/deidentification_{ACCOUNT} accounts for each). {said}", *left])


def left_of_an_identified_cohort() -> list[str]:
    """What still tells whose the cohort was that ``data/`` holds, or DVC tracks, and how it goes; empty for none."""
    kinds = {cohort_kind(DATA), tracked_kind(POINTER)} - {None, PHANTOM}
    if not kinds or (DATA / f"deidentification_{REPORT}").is_file():
        return []
    cache = dvc_cache()
    kept = [place for place in STATE.glob("*") if place.is_dir() and place.name not in ("prefect", DEIDENTIFIED.name)]
    places = [place for place in (WORK, *sorted(kept), cache) if place.is_dir() and any(place.iterdir())]
    places += [seen for seen in (STATE / "patients.json",) if seen.is_file()]  # patient_keys, which can be guessed
    if not places:
        return []
    own = [place for place in places if place.resolve().is_relative_to(Path.cwd())]
    how = [f"`rm -rf {' '.join(shlex.quote(str(place)) for place in own)}` removes it"] if own else []
    if cache in places and cache not in own:
        how.append(
            f"after `make repro`, `.venv/bin/dvc gc --workspace --force` takes it out of {cache}, and with it what other "
            "projects or versions keep there"
        )
    return [
        f"The cohort that was here before still lies in {', '.join(map(str, places))}, with what tells whose it is: "
        f"{'; '.join(how)}. A DVC remote to which it was pushed keeps it too."
    ]


def dvc_cache() -> Path:
    """Where DVC keeps every version of the data: ``cache.dir`` of its settings, else ``.dvc/cache``."""
    found = ConfigParser(strict=False)
    with contextlib.suppress(ConfigError):
        found.read([".dvc/config", ".dvc/config.local"], encoding="utf-8")
    return Path(".dvc") / found.get("cache", "dir", fallback="cache")


def bring(
    kind: str,
    source: Path | str,
    labels: Path,
    params: Params,
    replace: bool,
    lenient: bool,
    remote: Remote,
    marks: Path | None = None,
) -> str:
    """Copy DICOM files, a label table of this kind, and masks or boxes of lesions, into ``data/``."""
    with project_locked():
        return _bring(kind, source, labels, params, replace=replace, lenient=lenient, remote=remote, marks=marks)


def add(source: Path | str, labels: Path, params: Params, lenient: bool, remote: Remote) -> str:
    """Add what is new of a source and its plain label table to the cohort in ``data/``."""
    from ich_pipeline.cohorts.add import add as add_to

    with project_locked():
        put_back(DATA)
        said = add_to(
            source, labels, DATA, params, terminal, lenient=lenient, remote=remote, of_test=_of_frozen_tests()
        )
    return f"{said} {NEXT}"


def _of_frozen_tests() -> Callable[[Header], bool]:
    """Is a file of a patient or a study of a frozen test that counts? Of any, where nothing is frozen: no."""
    from ich_pipeline.dicom.identity import case_id, patient_key
    from ich_pipeline.splits.frozen import find_key, read_manifest

    manifest = read_manifest()
    if not manifest.tests:
        return lambda _: False
    key = find_key(DATA, manifest)
    tests = manifest.active.values()
    patients = {token for test in tests for token in test.patients}
    cases = {token for test in tests for token in test.cases}

    @functools.cache
    def known(patient: str, study: str) -> bool:
        return key.token("patient", patient_key(patient)) in patients or key.token("case", case_id(study)) in cases

    return lambda header: known(header.patient_id, header.study_uid)


def _bring(kind: str, source: Path | str, labels: Path, params: Params, **options: Any) -> str:
    from ich_pipeline.cohorts import bring as adapters

    summary, level = adapters.bring(kind, source, labels, DATA, params, terminal, **options)
    withdraw_synthetic(REPORTS, tracked_kind(POINTER))
    note_tracked_kind(POINTER, kind)  # from now on a lost data/ is never replaced by a phantom
    if level == "case":
        return f"{summary} These are labels of cases: no network can be trained on them, they can only test one."
    if params.profile == PHANTOM:
        summary += (
            " The settings are the phantom's: `ich profile laptop` (a CPU) or `ich profile paper` (a GPU) sets yours."
        )
    return f"{summary} {NEXT}"
