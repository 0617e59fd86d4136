"""Frozen tests: who is tested stays tested, however many patients arrive, and who learned once is never tested.

``frozen.json`` names them; git versions it, and the stage split depends on it. A patient and a study stand there as an HMAC
under the key in ``data/frozen.key``, which goes where the data go and never into git: without it no number can be tried. The
key is no dependency of a stage: the manifest names it by its fingerprint, and another one is refused, so what a stage writes
does not depend on it.

A test is known by the SHA-256 of its sealed label file: which slices, and what they show. The same digest is with every
version, in the test ledger and in every prediction. The split of each run is held against it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import ConfigDict, Field, TypeAdapter

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import write_json, write_text
from ich_pipeline.deidentify.key import Key
from ich_pipeline.splits.patient_cohorts import PERSON
from ich_pipeline.tables.cohort_mark import FROZEN_KEY
from ich_pipeline.tables.cohort_names import PROSPECTIVE, TESTS
from ich_pipeline.tables.label_tables import UID, labels_text
from ich_pipeline.tables.labels import Labels

FILE = Path("frozen.json")
SCHEMA = "frozen/1"
LEARN, WAIT, ASIDE = "learn", "wait", "aside"
_PHANTOM = Key(hashlib.sha256(b"synthetic patients have no secrets").digest())


@dataclass(frozen=True)
class FrozenTest:
    """One version of a test.

    Attributes:
        name: of the cohort.
        version: 1, 2, …
        date: when it was frozen or opened, ISO 8601.
        labels_sha256: of its sealed label file; what it is known by.
        patients, cases: sorted tokens of PatientID and study.
        cautions: what its draw leaves open.
        retired: when another version took its place; empty for the one that counts.
        before: the digest of the version that it was made of by freezing again; empty where its patients are others.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    version: int
    date: str
    labels_sha256: str
    patients: tuple[str, ...]
    cases: tuple[str, ...]
    cautions: tuple[str, ...] = ()
    retired: str = ""
    before: str = ""

    @property
    def called(self) -> str:
        """Name and version."""
        return f"{self.name} version {self.version}"


@dataclass(frozen=True)
class Manifest:
    """What ``frozen.json`` holds.

    Attributes:
        key: fingerprint of the key that made the tokens; empty while nothing is frozen.
        size: patients of the next prospective test.
        share: of the new patients who wait for it; the others learn.
        learners: sorted tokens of patients who trained or validated, or were tested by a version that is retired.
        tests: all versions, in the order in which they were made.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    key: str = ""
    size: Annotated[int, Field(ge=0)] = 0
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    learners: tuple[str, ...] = ()
    tests: tuple[FrozenTest, ...] = ()

    @property
    def active(self) -> dict[str, FrozenTest]:
        """The version of each test that counts; empty while nothing is frozen."""
        return {test.name: test for test in self.tests if not test.retired}

    def line(self, name: str, digest: str) -> set[str]:
        """The digests of a test and of those that it was made of by freezing again: looks at one are looks at all."""
        found = {digest}
        for test in reversed(self.tests):
            if test.name == name and test.labels_sha256 in found and test.before:
                found.add(test.before)
        return found

    def with_learners(self, tokens: Iterable[str]) -> Manifest:
        """The same with more who never enter a test."""
        return replace(self, learners=tuple(sorted({*self.learners, *tokens})))

    def with_test(self, new: FrozenTest) -> Manifest:
        """The same with a version more; the one before it retires, and its patients may learn from now on."""
        gone = self.active.get(new.name)
        if gone is None:
            return replace(self, tests=(*self.tests, new))
        new = replace(new, version=gone.version + 1)
        tests = tuple(replace(test, retired=new.date) if test == gone else test for test in self.tests)
        free = set(gone.patients) - set(new.patients)
        return replace(self, tests=(*tests, new)).with_learners(free)


@dataclass(frozen=True)
class Placed:
    """Where the frozen tests put every case.

    Attributes:
        cases: those that are in a cohort.
        tests: :data:`~ich_pipeline.splits.patient_cohorts.PERSON` of each test patient → the test.
        waiting: cases of the patients who wait for the next prospective test, earliest first.
        notes: what a person should know.
        cautions: those of the notes without which the figures of a test mislead.
        here: token of every case, in a cohort or not.
    """

    cases: pd.DataFrame
    tests: dict[str, str]
    waiting: pd.DataFrame
    notes: tuple[str, ...]
    cautions: tuple[str, ...]
    here: frozenset[str]

    def digests(self, slices: pd.DataFrame, table: pd.DataFrame, labels: Labels) -> dict[str, str]:
        """SHA-256 of the label file that each test has now."""
        test = self.cases[PERSON].map(self.tests)
        return {name: label_digest(self.cases.loc[test == name, "case_id"], slices, table, labels) for name in TESTS}


def read_manifest(path: Path = FILE) -> Manifest:
    """Read ``frozen.json``; a missing file and ``{}`` freeze nothing.

    Raises:
        InputError: the file is broken or of another schema, or it is missing and the ``data/`` beside it has a key.
    """
    path = Path(path)
    cure = f"`git checkout {path}` brings back the one that was committed; never remove it."
    damaged = InputError(f"{path} is damaged: {cure}")
    try:
        values = json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        key = path.parent / "data" / FROZEN_KEY
        if key.exists():
            raise InputError(f"{path} is missing, and {key} says that tests are frozen: {cure}") from None
        values = {}
    except ValueError:  # no JSON, or no UTF-8
        raise damaged from None
    if values == {}:
        return Manifest()
    try:
        if values.pop("schema") != SCHEMA:
            raise ValueError
        manifest = TypeAdapter(Manifest).validate_json(json.dumps(values), strict=True)
        counting = [test.name for test in manifest.tests if not test.retired]
        if sorted(counting) != sorted({*TESTS} if manifest.tests else ()):
            raise ValueError  # two of one name, or one that nobody knows
    except (ValueError, KeyError, AttributeError, TypeError):
        raise damaged from None
    return manifest


def write_manifest(manifest: Manifest, path: Path = FILE) -> None:
    """Write ``frozen.json`` atomically; :func:`read_manifest` reads it."""
    write_json(path, {"schema": SCHEMA, **asdict(manifest)})


def find_key(data: Path, manifest: Manifest) -> Key:
    """The key of the manifest's tokens.

    Args:
        data: ``data/``.
        manifest: with frozen tests.

    Raises:
        InputError: data/ has another key, or none.
    """
    path = data / FROZEN_KEY
    key = _read_key(path) if path.exists() else _PHANTOM
    if key.fingerprint != manifest.key:
        raise InputError(
            f"{FILE} names the tests of another cohort: {path} is {'another' if path.exists() else 'missing'}. Bring that cohort "
            f"back (`git checkout data.dvc` and `dvc checkout`), or write {{}} into {FILE} to draw tests of this one."
        )
    return key


def make_key(data: Path, synthetic: bool) -> Key:
    """The key that is there, or a new one; synthetic patients need no secret."""
    path = data / FROZEN_KEY
    if not synthetic and not path.exists():
        write_text(path, secrets.token_hex(32) + "\n")
    return _PHANTOM if synthetic else _read_key(path)


def _read_key(path: Path) -> Key:
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (ValueError, OSError):
        secret = b""
    if len(secret) != 32:
        raise InputError(f"{path} is no key of frozen tests: `dvc checkout data.dvc` brings it back.")
    return Key(secret)


def patient_tokens(key: Key, patients: Iterable[str]) -> set[str]:
    """Tokens of patient_keys."""
    return {key.token("patient", patient) for patient in patients}


def assign(cases: pd.DataFrame, manifest: Manifest, key: Key) -> Placed:
    """Put every case where the frozen tests want it.

    Patients whose scans show one head are one here. Theirs are, by the first rule that fits:

    1. one is a test patient: the studies of the frozen test are in it, all others in no cohort, studies that came later too;
    2. one has learned: they learn;
    3. all are new, their first study is later than the first one of any patient of the frozen prospective test, and the key draws them: they wait for the
       next one;
    4. else they learn.

    With more patients and studies nobody goes from learning to a test or to waiting: what is drawn depends on the patient
    alone, the first date can only become earlier, and a head can only gain patients.

    Args:
        cases: of :func:`~ich_pipeline.splits.patient_cohorts.case_table`.
        manifest: with frozen tests.
        key: of :func:`find_key`.
    """
    patient = cases["patient_key"].map(lambda one: key.token("patient", str(one)))
    case = cases["case_id"].map(lambda one: key.token("case", str(one)))
    tests = manifest.active
    of_patient = {token: TESTS.index(test.name) for test in tests.values() for token in test.patients}
    of_case = {token: test.name for test in tests.values() for token in test.cases}
    frozen = case.map(of_case)
    # Of patients, not of heads, and of frozen studies alone: it stays the same for as long as the test counts.
    dated = cases[(frozen == PROSPECTIVE) & (cases["StudyDate"] != "")]
    after = dated.groupby("patient_key")["StudyDate"].min().max()  # NaN without any date: then nobody is later
    drawn = patient.isin({token for token in set(patient) if _drawn(key, token, manifest.share)})
    rows = pd.DataFrame(
        {
            "test": patient.map(of_patient),
            "learned": patient.isin(manifest.learners),
            "new": drawn & (cases["StudyDate"] > after) if isinstance(after, str) else False,
        }
    )
    heads = rows.groupby(cases[PERSON])
    test = heads["test"].transform("min").map(dict(enumerate(TESTS)))  # of the head; NaN for none
    learned, waits = heads["learned"].transform("any"), heads["new"].transform("all")
    places = pd.Series(LEARN, index=cases.index).mask(~learned & waits, WAIT)
    places = places.mask(test.notna(), frozen.where(frozen == test, ASIDE))
    again = cases.loc[test.notna() & learned, PERSON].nunique()
    kept = places.isin([LEARN, *TESTS])
    waiting = cases.loc[places == WAIT]
    first = waiting.groupby(PERSON)["StudyDate"].transform("min") if len(waiting) else waiting["StudyDate"]
    waiting = waiting.assign(first=first).sort_values(["first", PERSON, "case_id"]).drop(columns="first")
    cautions = [caution for test in tests.values() for caution in test.cautions]
    if again:
        cautions.append(
            f"{again} head{' of the frozen tests also stands' if again == 1 else 's of the frozen tests also stand'} under "
            "patients from whom earlier versions learned: they learn no more, but what those versions reach on these heads flatters."
        )
    notes = [*cautions]
    if aside := int((places == ASIDE).sum()):
        studies = "study of a test patient is" if aside == 1 else "studies of test patients are"
        notes.append(f"{aside:,} later {studies} in no cohort: a frozen test gains none.")
    if waits_now := waiting[PERSON].nunique():
        who = "new patient waits" if waits_now == 1 else "new patients wait"
        notes.append(f"{waits_now:,} {who} for the next prospective test, of {manifest.size:,}.")
    tested = places[places.isin(TESTS)]
    of_person = {str(person): str(test) for person, test in zip(cases.loc[tested.index, PERSON], tested, strict=True)}
    return Placed(
        cases.loc[kept].reset_index(drop=True), of_person, waiting, tuple(notes), tuple(cautions), frozenset(case)
    )


def _drawn(key: Key, token: str, share: float) -> bool:
    return int.from_bytes(key.digest("next test", token)[:8], "big") < share * 2**64


def refuse_changed(placed: Placed, manifest: Manifest, digests: Mapping[str, str]) -> None:
    """Stop where a test is not what was frozen: a figure of it would be compared with those of another.

    Args:
        placed: of :func:`assign`.
        manifest: what was frozen.
        digests: of :meth:`Placed.digests`.

    Raises:
        InputError: a test lacks patients or studies, or its labels or slices are others.
    """
    for name, test in manifest.active.items():
        if digests[name] == test.labels_sha256:
            continue
        there = int(placed.cases[PERSON].map(placed.tests).eq(name).sum())
        lost = len(set(test.cases) - placed.here)
        moved = len(test.cases) - there - lost
        what = "its labels or slices are others"
        if lost:
            what = f"data/ lacks {lost} of its {len(test.cases)} studies"
        elif moved:
            what = f"{moved} of its {len(test.cases)} studies now show{'s' * (moved == 1)} a head of the other test too"
        raise InputError(
            f"{FILE}: {test.called} is not as it was frozen: {what}. Bring back data/ and the settings of then, or "
            f"`ich tests freeze` makes version {test.version + 1} of what is here, of which no earlier figure holds."
        )


def label_digest(case_ids: Collection[str], slices: pd.DataFrame, table: pd.DataFrame, labels: Labels) -> str:
    """SHA-256 of the label file that these cases have as a cohort."""
    rows = slices.loc[slices["case_id"].isin(set(case_ids)), [UID]].merge(table, on=UID, how="inner", sort=False)
    return hashlib.sha256(labels_text(rows, labels).encode()).hexdigest()


def frozen_test(
    name: str,
    cases: pd.DataFrame,
    key: Key,
    date: str,
    digest: str,
    cautions: Iterable[str] = (),
    before: str = "",
) -> FrozenTest:
    """Version 1 of a test of these cases.

    Args:
        name: of the cohort.
        cases: ``patient_key`` and ``case_id`` count.
        key: of the tokens.
        date: ISO 8601.
        digest: of :func:`label_digest`.
        cautions: what the draw leaves open.
        before: as in :class:`FrozenTest`.
    """
    of_cases = {key.token("case", one) for one in cases["case_id"]}
    patients = patient_tokens(key, cases["patient_key"])
    return FrozenTest(
        name, 1, date, digest, tuple(sorted(patients)), tuple(sorted(of_cases)), tuple(cautions), before=before
    )


def opened(manifest: Manifest, placed: Placed) -> pd.DataFrame:
    """The cases of the next prospective test: of the earliest ``size`` patients who wait.

    Raises:
        InputError: fewer wait.
    """
    everyone = placed.waiting[PERSON].drop_duplicates()
    if len(everyone) < manifest.size:
        raise InputError(
            f"the next prospective test opens with {manifest.size:,} patients, and {len(everyone):,} wait for it: add patients "
            "(`ich cohort add`)."
        )
    return placed.waiting[placed.waiting[PERSON].isin(everyone.head(manifest.size))]
