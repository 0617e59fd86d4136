"""``ich tests``: what is frozen, freeze the tests, open the next prospective one."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_json, read_table, sha256_of
from ich_pipeline.core.lock import project_locked
from ich_pipeline.deidentify.key import Key
from ich_pipeline.splits.frozen import (
    FILE,
    Manifest,
    Placed,
    assign,
    find_key,
    frozen_test,
    label_digest,
    make_key,
    opened,
    patient_tokens,
    read_manifest,
    write_manifest,
)
from ich_pipeline.splits.patient_cohorts import PERSON, case_table
from ich_pipeline.tables.cohort_mark import PHANTOM, cohort_kind
from ich_pipeline.tables.cohort_names import CAUTIONS, PROSPECTIVE, TESTS
from ich_pipeline.tables.label_tables import UID, read_labels
from ich_pipeline.tables.schemas import COHORTS_TABLE, SERIES_TABLE, SLICES_TABLE

DATA, INGEST, SPLIT = Path("data"), Path("work/ingest"), Path("work/split")
COMMIT = f"Next: `make repro`, then commit {FILE} and data.dvc."


def show(params: Params) -> list[str]:
    """Sentences: each frozen test with the looks at it, and how full the next one is."""
    from ich_pipeline.registry import ledger

    manifest = read_manifest()
    if not manifest.tests:
        return [f"No test is frozen: each new patient draws them anew. `ich tests freeze` freezes those of {SPLIT}/."]
    looks = ledger.looks()
    said = []
    for test in manifest.tests:
        seen = ledger.count(test.name, manifest.line(test.name, test.labels_sha256), looks)
        said.append(
            f"{test.called}, {test.date}{f', retired {test.retired}' if test.retired else ''}: {len(test.patients):,} patients, "
            f"{len(test.cases):,} studies, {test.labels_sha256[:12]}; "
            + (seen.sentence_after(params.retrain.looks) if seen.looks else "no look at it yet.")
        )
    said.append(f"{len(manifest.learners):,} patients learned, and enter no test.")
    if (INGEST / "series.parquet").is_file():
        placed, _ = _placed(params, manifest, find_key(DATA, manifest))
        said += placed.notes
        if placed.waiting[PERSON].nunique() >= manifest.size:
            said.append("The next prospective test is full: `ich tests next` opens it.")
    return said


def freeze(params: Params) -> str:
    """Freeze the tests of the last split; of frozen ones that lost patients, or changed, make a version more."""
    with project_locked():
        manifest = read_manifest()
        if manifest.tests:
            return _freeze_again(params, manifest)
        cohorts = read_table(SPLIT / "cohorts.parquet", COHORTS_TABLE)
        known = set(read_labels(DATA / "labels.csv", params.label_set)[UID])
        sealed = {name: SPLIT / "sealed" / f"{name}.csv" for name in TESTS}
        if not all(known.issuperset(read_labels(path, params.label_set)[UID]) for path in sealed.values()):
            raise InputError(f"{SPLIT}/ is of another cohort than {DATA}/ holds: `make repro` first.")
        # No day of a study goes into git.
        said = [re.sub(r" \(\d{8}\)", "", one) for one in read_json(SPLIT / CAUTIONS)]
        key = make_key(DATA, cohort_kind(DATA) == PHANTOM)
        begun = params.retrain.next_test
        manifest = Manifest(key.fingerprint, begun.patients, begun.share)
        for name in TESTS:
            digest = sha256_of(sealed[name])
            cautions = [one for one in said if one.startswith(f"{name}:")]
            of_test = cohorts[cohorts["cohort"] == name]
            manifest = manifest.with_test(frozen_test(name, of_test, key, _today(), digest, cautions))
        write_manifest(_with_learners(manifest, key))
        return f"{' and '.join(t.called for t in manifest.tests)} are frozen. {COMMIT}"


def _freeze_again(params: Params, manifest: Manifest) -> str:
    key = find_key(DATA, manifest)
    manifest = _with_learners(manifest, key)
    placed, digests = _placed(params, manifest, key)
    made = []
    for name, test in manifest.active.items():
        if digests[name] == test.labels_sha256:
            continue
        left = placed.cases[placed.cases[PERSON].map(placed.tests) == name]
        if left.empty:
            raise InputError(
                f"data/ holds no study of {test.called}: bring it back, or write {{}} into {FILE} to draw anew."
            )
        new = frozen_test(name, left, key, _today(), digests[name], test.cautions, test.labels_sha256)
        manifest = manifest.with_test(new)
        made.append(f"{manifest.active[name].called} ({len(new.patients):,} of {len(test.patients):,} patients)")
    if not made:
        return "The tests are frozen as they are; nothing was changed."
    write_manifest(manifest)
    return f"{' and '.join(made)} takes the place of what was frozen. {COMMIT}"


def open_next(params: Params) -> str:
    """Make the patients who wait the prospective test; those of the test before may learn from now on."""
    with project_locked():
        manifest = read_manifest()
        if not manifest.tests:
            raise InputError("no test is frozen yet: `ich tests freeze` does it.")
        key = find_key(DATA, manifest)
        manifest = _with_learners(manifest, key)
        placed, _ = _placed(params, manifest, key)
        cases = opened(manifest, placed)
        _, slices, table = _tables(params)
        digest = label_digest(cases["case_id"], slices, table, params.label_set)
        manifest = manifest.with_test(frozen_test(PROSPECTIVE, cases, key, _today(), digest))
        write_manifest(manifest)
        new = manifest.active[PROSPECTIVE]
        return (
            f"{new.called} is open, with {len(new.patients):,} patients and {len(new.cases):,} studies; those of version "
            f"{new.version - 1} may learn from now on. {COMMIT}"
        )


def note_learners() -> None:
    """Keep in the manifest, where tests are frozen, who learned in the last split: nobody of them enters a test."""
    manifest = read_manifest()
    if manifest.tests:
        after = _with_learners(manifest, find_key(DATA, manifest))
        if after != manifest:
            write_manifest(after)


def _with_learners(manifest: Manifest, key: Key) -> Manifest:
    path = SPLIT / "cohorts.parquet"
    if not path.is_file():
        return manifest
    cohorts = read_table(path, COHORTS_TABLE)
    return manifest.with_learners(patient_tokens(key, cohorts.loc[~cohorts["cohort"].isin(TESTS), "patient_key"]))


def _placed(params: Params, manifest: Manifest, key: Key) -> tuple[Placed, dict[str, str]]:
    """Every case that is here where it belongs, and the digest of each test as it is here."""
    series, slices, table = _tables(params)
    placed = assign(case_table(series, slices, table, params.label_set), manifest, key)
    return placed, placed.digests(slices, table, params.label_set)


def _tables(params: Params) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    series = read_table(INGEST / "series.parquet", SERIES_TABLE)
    slices = read_table(INGEST / "slices.parquet", SLICES_TABLE)
    return series, slices, read_labels(DATA / "labels.csv", params.label_set)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
