"""Identifiers that are ordinary numbers too: no patient drops out by a number, and none that is one stays."""

from __future__ import annotations

import io
from collections.abc import Callable

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from ich_pipeline.deidentify.file import deidentify_bytes
from ich_pipeline.deidentify.key import Key
from ich_pipeline.deidentify.options import Options
from ich_pipeline.deidentify.reasons import Outcome

MakeCt = Callable[..., Dataset]
KEY = Key(bytes(range(32)))


def as_bytes(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    number=st.integers(1000, 9_999_999), where=st.sampled_from(["PatientID", "StudyID", "AccessionNumber"]),
    attribute=st.sampled_from(["WindowWidth", "ExposureTime", "XRayTubeCurrent", "WindowCenter"]),
)  # fmt: skip
def test_a_number_of_the_machine_stays_though_it_is_a_patients(
    number: int, where: str, attribute: str, make_ct: MakeCt
) -> None:
    done = deidentify_bytes(as_bytes(make_ct(**{where: str(number), attribute: str(number)})), KEY, Options())
    assert (done.outcome, done.detail) == (Outcome.DEIDENTIFIED, "")
    assert done.data is not None
    written = pydicom.dcmread(io.BytesIO(done.data))
    assert float(written[attribute].value) == number
    assert str(written.get(where, "")) != str(number)


@pytest.mark.parametrize("where", ["PatientID", "StudyID", "AccessionNumber"])
def test_an_age_stays_though_an_identifier_is_written_alike(where: str, make_ct: MakeCt) -> None:
    done = deidentify_bytes(as_bytes(make_ct(**{where: "061Y", "PatientAge": "061Y"})), KEY, Options())
    assert done.data is not None, done.detail
    written = pydicom.dcmread(io.BytesIO(done.data))
    assert written.PatientAge == "061Y" and str(written.get(where, "")) != "061Y"


def test_a_long_number_of_the_patient_is_still_found(make_ct: MakeCt) -> None:
    done = deidentify_bytes(as_bytes(make_ct(PatientID="20240115", ExposureTime="20240115")), KEY, Options())
    assert done.outcome is Outcome.IDENTIFIER_LEFT


@pytest.mark.parametrize("cut", [12, 400, 2000])  # without the delimiter alone it is whole
def test_a_file_that_ends_before_its_end_is_called_damaged(make_ct: MakeCt, cut: int) -> None:
    from pydicom.uid import ExplicitVRLittleEndian, RLELossless

    ds = make_ct()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    ds["PixelData"].is_undefined_length = True
    done = deidentify_bytes(as_bytes(ds)[:-cut], KEY, Options())
    assert done.outcome is Outcome.BROKEN_HEADER
    assert "damaged" in done.detail
