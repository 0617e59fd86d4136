"""Names of cases, patients and volumes: long enough, and refused where two identifiers share one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_pipeline.core.errors import InputError
from ich_pipeline.dicom import identity
from ich_pipeline.ingest.ingest import ingest

UIDS = st.text(st.characters(), max_size=64)


@given(UIDS, UIDS)
def test_names_have_96_bits_and_depend_on_the_identifier_alone(one: str, other: str):
    for of in (identity.case_id, identity.patient_key, identity.volume_name):
        assert re.fullmatch(r"[CPV][0-9a-f]{24}", of(one))
        assert (of(one) == of(other)) == (one == other)
    identity.refuse_shared_names([one, other, one], [one, other], [other, one])


def short(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Names of 8 bits, and two identifiers of one name in each kind."""
    monkeypatch.setattr(identity, "DIGITS", 2)
    return "2.25.1", next(
        f"2.25.{n}" for n in range(2, 10**4) if identity.case_id(f"2.25.{n}") == identity.case_id("2.25.1")
    )


def test_two_studies_of_one_name_are_refused(monkeypatch):
    one, other = short(monkeypatch)
    with pytest.raises(InputError, match=f"StudyInstanceUID '{one}' and '{other}' have the same case_id C.*take one"):
        identity.refuse_shared_names([one, other])
    with pytest.raises(InputError, match=r"PatientID .* patient_key"):
        identity.refuse_shared_names([], map(str, range(300)))


def test_the_ingest_writes_nothing_of_two_studies_of_one_name(
    tmp_path, save_slice, make_slice, ingest_params, monkeypatch
):
    one, other = short(monkeypatch)
    for name, study in (("a", one), ("b", other)):
        for number in range(4):
            ds = make_slice(patient=name, study=name, series=name, ImagePositionPatient=[0, 0, 5 * number])
            ds.StudyInstanceUID = study
            save_slice(ds, tmp_path / "in" / name / str(number))
    with pytest.raises(InputError, match="have the same case_id"):
        ingest(tmp_path / "in", tmp_path / "out", ingest_params)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
