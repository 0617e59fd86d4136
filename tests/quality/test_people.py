"""One PatientID that stands for several people."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.quality.people import doubted_patients, person_cautions

Study = tuple[str, str, str, str]  # StudyDate, PatientAge, PatientSex, PatientBirthDate


def studies(*of_one: Study, key: str = "P1") -> pd.DataFrame:
    columns = pd.Index(["StudyDate", "PatientAge", "PatientSex", "PatientBirthDate"])
    return pd.DataFrame(list(of_one), columns=columns).assign(patient_key=key)


@pytest.mark.parametrize(
    ("of_one", "words"),
    [
        ([("20230101", "050Y", "F", ""), ("20230201", "050Y", "M", "")], "both sexes"),
        ([("20230101", "003M", "F", ""), ("20230201", "080Y", "F", "")], "ages from 0 to 80"),
        ([("20100101", "050Y", "", ""), ("20230201", "050Y", "", "")], "ages from 50 to 50"),
        ([("20230101", "", "", "19500101"), ("20230201", "", "", "19530101")], "birth dates more than 2 years apart"),
        ([("", "053Y", "f", ""), ("", "080Y", "m", "")], "both sexes"),  # without dates ages tell no birth
        ([("20230101", "050Y", "W", ""), ("20230201", "050Y", "Male ", "")], "both sexes"),
        ([("", "003Y", "", ""), ("", "080Y", "", "")], "ages from 3 to 80"),
    ],
)
def test_what_contradicts_is_said(of_one: list[Study], words: str) -> None:
    [found] = doubted_patients(studies(*of_one))
    assert (found.patient_key, found.studies, found.words) == ("P1", 2, words)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1930, 2000),
    st.lists(
        st.tuples(st.dates(pd.Timestamp(2005, 1, 1).date(), pd.Timestamp(2024, 12, 31).date()), st.booleans()),
        min_size=1,
    ),
)
def test_a_person_who_grows_older_is_one_person(born: int, visits: list) -> None:
    """Whatever is left empty, written in lower case, or the same placeholder of a birth date for all."""
    of_one = [
        (f"{day:%Y%m%d}", f"{day.year - born:03d}Y" if full else "Amadeus", "F" if full else "O", "19000101")
        for day, full in visits
    ]
    assert doubted_patients(studies(*of_one)) == []


def test_ages_far_apart_are_doubted_only_without_dates() -> None:
    followed = [("19800101", "030Y", "F", ""), ("20230101", "073Y", "F", "")]
    assert doubted_patients(studies(*followed)) == []
    [found] = doubted_patients(studies(*followed, ("", "005Y", "F", "")))
    assert found.words == "ages from 5 to 73"


def test_the_report_counts_without_naming_anyone() -> None:
    twelve = [("20230101", f"{3 + 7 * i:03d}Y", "FM"[i % 2], "") for i in range(12)]
    rows = pd.concat([studies(*twelve, key="Psecret"), studies(("20230101", "050Y", "F", ""), key="P2")])
    [said] = person_cautions(doubted_patients(rows))
    assert said == (
        "One PatientID is not one person's (12 studies of both sexes and ages from 3 to 80): number of patients and intervals by "
        "patient count several people as one."
    )
    assert person_cautions([]) == []
