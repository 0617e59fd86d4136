"""Key, dates, words, values and labels by themselves."""

from __future__ import annotations

import hashlib
import hmac
import os
from datetime import datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.uid import UID, CTImageStorage

from ich_pipeline.core.errors import InputError
from ich_pipeline.deidentify import dates, retained, table, values, words
from ich_pipeline.deidentify.key import HEADING, PATIENT_ID, Key, load_key, new_key
from ich_pipeline.deidentify.labels import pseudonymise_labels
from ich_pipeline.deidentify.options import Options
from ich_pipeline.dicom.kernels import sharpness

KEY = Key(bytes(range(32)))


def test_the_key_is_hmac_sha256_and_never_shown():
    expected = hmac.new(bytes(range(32)), b"patient\0P1", hashlib.sha256).hexdigest()[:16]
    assert KEY.patient_id("P1 ") == f"ICH{expected}"
    assert PATIENT_ID.fullmatch(KEY.patient_id("P1"))
    assert KEY.patient_id("") == ""
    assert "secret" not in repr(KEY) and KEY.secret.hex() not in repr(KEY)
    assert KEY.fingerprint != Key(bytes(32)).fingerprint


@given(st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=64))
def test_uids_are_valid_and_differ_where_the_values_do(one, other):
    new = KEY.uid(one)
    assert UID(new).is_valid and len(new) <= 64 and new.startswith("2.25.")
    number = int(new[5:])
    assert (number >> 76) & 0xF == 8 and (number >> 62) & 0b11 == 0b10, "a UUID of version 8"
    assert (KEY.uid(other) == new) == (one.strip(" \0") == other.strip(" \0"))
    assert Key(bytes(32)).uid(one) != new


def test_key_files(tmp_path):
    path = tmp_path / "deep" / "key"
    new_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path) == load_key(path)
    with pytest.raises(InputError, match="exists: a key is never overwritten"):
        new_key(path)
    new_key(tmp_path / "other")
    assert load_key(tmp_path / "other") != load_key(path)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_can_read_is_refused(tmp_path, mode):
    new_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(InputError, match=f"mode {mode:04o}.*chmod 600"):
        load_key(tmp_path / "key")


@pytest.mark.parametrize(
    "text", ["", "secret", f"{HEADING} 00ff", f"{HEADING} {'0' * 64}\nmore", f"{HEADING} {'G' * 64}"]
)
def test_what_is_no_key_is_refused_without_showing_it(tmp_path, text):
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(InputError, match="is no key file") as raised:
        load_key(path)
    assert text == "" or text not in str(raised.value)


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
    st.timedeltas(timedelta(0), timedelta(days=900)),
    st.integers(1, 20000),
)
def test_order_and_distance_stay_past_midnight_too(first, later, days):
    second = first + later
    moved = []
    for moment in (first, second):
        day = dates.shift("DA", moment.strftime("%Y%m%d").zfill(8), days)
        time = dates.shift("TM", moment.strftime("%H%M%S.%f"), days)
        both = dates.shift("DT", moment.strftime("%Y%m%d").zfill(8) + moment.strftime("%H%M%S.%f") + "+0100", days)
        assert day is not None and time is not None and both is not None and both == day + time
        moved.append(datetime.strptime(both, "%Y%m%d%H%M%S.%f"))
    assert moved[1] - moved[0] == later
    assert first - moved[0] == timedelta(days=days)


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("DA", "2020.03.01", "20200229"),  # the form of ACR-NEMA
        ("DA", "00010101", None),
        ("DA", "20200230", None),
        ("DA", "20200301-20200302", None),
        ("TM", "10:11:12", "10:11:12"),
        ("TM", "25", None),
        ("TM", "Jane", None),
        ("DT", "20200301", "20200229"),
        ("DT", "202003012", None),
    ],
)
def test_odd_dates(vr, value, expected):
    assert dates.shift(vr, value, 1) == expected


@given(st.text(max_size=30))
def test_shifts_stay_in_their_range(patient):
    assert 1 <= KEY.day_shift(patient, 30) <= 30
    assert KEY.day_shift(patient, 1) == 1


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Head 5.0 H31s for Jane Doe", "Head 5.0 H31s for"),
        ("CCT nativ, Müller 12.03.1950", "CCT nativ"),
        ("Schädel ohne KM", "Schadel ohne KM"),
        ("call 5550199 at ward 7b", "at"),
        ("HeadRoutine_Adult", "Head Routine_Adult"),
        ("HeadSmith_McDonald7", "Head"),
        ("", ""),
    ],
)
def test_only_known_words_stay(text, kept):
    assert words.clean(text) == kept


def test_a_patient_called_head_is_no_head():
    own = frozenset(words.words_of("Head^Anna"))
    assert words.clean("Head CT Anna", own) == "CT"


@given(st.text(max_size=60))
def test_cleaning_twice_changes_nothing_more(text):
    once = words.clean(text)
    assert words.clean(once) == once and once.isascii()


@pytest.mark.parametrize(
    "kernel", ["H31s", "Hr40f", "B70f", "FC21", "FC81", "STANDARD", "BONEPLUS", "YA", "UB", "C", "STD+", "SOFT"]
)
def test_kernels_are_judged_as_before(kernel):
    cleaned = values.kept(DataElement(0x00181210, "SH", kernel), frozenset(), False) or [""]
    assert sharpness(cleaned[0]) == sharpness(kernel)


@pytest.mark.parametrize(
    ("tag", "vr", "value", "kept"),
    [
        (0x00101010, "AS", "091Y", ["090Y"]),
        (0x00101010, "AS", "089Y", ["089Y"]),
        (0x00101010, "AS", "999W", ["999W"]),
        (0x00101010, "AS", "Jane", None),
        (0x00100040, "CS", "F", ["F"]),
        (0x00100040, "CS", "JANE", None),
        (0x00080008, "CS", ["DERIVED", "PRIMARY", "JANE", "MPR"], ["DERIVED", "PRIMARY", "OTHER", "MPR"]),
        (0x00200011, "IS", "2", ["2"]),
        (0x00200011, "IS", "1234567890", None),
        (0x00280030, "DS", ["0.5", "0.50"], ["0.5", "0.50"]),
        (0x00280010, "US", 512, [512]),
        (0x00104000, "LT", "brain", None),
    ],
)
def test_values(tag, vr, value, kept):
    assert values.kept(DataElement(tag, vr, value), frozenset(), False) == kept


def test_the_table_is_whole_and_its_options_are_ours():
    assert table.code(0x0010, 0x0010) == "Z" and table.code(0x0010, 0x0020) == "Z/D"
    assert table.code(0x6002, 0x3000) == "X" and table.code(0x50FE, 0x1234) == "X"
    assert table.code(0x0028, 0x0010) is None
    for tag in retained.DATES | retained.CHARACTERISTICS | retained.DESCRIPTORS:
        assert table.code(tag >> 16, tag & 0xFFFF), f"{tag:08X} would need no option"
    strict = retained.retained(Options("remove", 1, False, False))
    removed = [tag for tag in strict if table.code(tag >> 16, tag & 0xFFFF) in ("X", "X/D", "X/Z", "X/Z/D")]
    assert removed == []


def test_options_say_their_codes():
    assert [code for code, _ in Options().codes] == ["113100", "113105", "113107", "113108"]
    assert [code for code, _ in Options("remove", 1, False, False, True).codes] == ["113100", "113109"]


def test_registered_uids_stay():
    assert values.registered(CTImageStorage) and not values.registered("1.2.840.10008.9999.1")


def test_labels_follow_the_files_and_lose_other_columns():
    labels = pd.DataFrame(
        {"SOPInstanceUID": ["1.2.3", "1.2.4"], "PatientID": ["P1", ""], "name": ["Doe", "Roe"], "any": [1, 0]}
    )
    out = pseudonymise_labels(labels, KEY, ("any",))
    assert out.columns.tolist() == ["SOPInstanceUID", "PatientID", "any"]
    assert out["SOPInstanceUID"].tolist() == [KEY.uid("1.2.3"), KEY.uid("1.2.4")]
    assert out["PatientID"].tolist() == [KEY.patient_id("P1"), ""]
