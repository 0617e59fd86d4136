"""What serving reads, it reads in a process of its own: a bad study costs that study, and gives what the ingest gives."""

from __future__ import annotations

import io
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from ich_pipeline.core.errors import InputError
from ich_pipeline.ingest.ingest import ingest
from ich_pipeline.ingest.scan import read_headers
from ich_pipeline.serving.case_process import CaseReader
from ich_pipeline.serving.load_case import load_case
from tests.made.mutations import mutated, seeds, written

DEADLY = Path(__file__).parents[1] / "made" / "deadly"


@pytest.fixture
def reader(ingest_params) -> CaseReader:
    return CaseReader(ingest_params)


def child_of(reader: CaseReader) -> int:
    process = reader._process._child._process
    assert process is not None
    return process.pid


def declares(frames: int, side: int, make_enhanced, slices) -> bytes:
    """An enhanced object of some bytes that declares many large frames."""
    ds = dcmread(io.BytesIO(written(make_enhanced(slices))))
    [shared, first] = ds.SharedFunctionalGroupsSequence[0], ds.PerFrameFunctionalGroupsSequence[0]
    for name in ("PixelValueTransformationSequence", "CTImageFrameTypeSequence"):
        if name in first:
            shared[name] = first[name]
    items = []
    for number in range(frames):
        place, item = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, number]
        item.PlanePositionSequence = [place]
        items.append(item)
    ds.PerFrameFunctionalGroupsSequence, ds.NumberOfFrames = items, frames
    ds.Rows = ds.Columns = side
    ds.PixelData = bytes(512)
    return written(ds)


def test_the_same_as_in_this_process_and_in_the_ingest(tmp_path, save_series, ingest_params, reader):
    files = save_series(tmp_path / "in", 6)
    report = ingest(tmp_path / "in", tmp_path / "out", ingest_params)
    here = load_case(files, ingest_params)
    for sources in (files, [path.read_bytes() for path in files], [tmp_path / "in"]):
        case = reader.read(sources)
        np.testing.assert_array_equal(case.hu, here.hu)
        assert case.SOPInstanceUIDs == here.SOPInstanceUIDs == tuple(report.slices["SOPInstanceUID"])
        assert case.account["reason"].tolist() == here.account["reason"].tolist()
    with pytest.raises(InputError, match="no DICOM file"):
        reader.read([])
    assert reader.read(files).case_id == here.case_id


def test_headers_that_were_read_are_not_read_again(tmp_path, save_series, ingest_params, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(DEADLY))
    files = save_series(tmp_path / "in", 5)
    files[2] = files[2].rename(files[2].with_name("kills"))
    headers = read_headers([(path, path.name) for path in files], ingest_params)
    case = CaseReader(ingest_params).read([replace(header, manufacturer="told before") for header in headers])
    assert case.series["Manufacturer"] == "told before"
    assert case.account.set_index("path")["reason"].to_dict()["kills"] == "decoder_crashed"
    assert set(case.SOPInstanceUIDs) == {header.sop_instance_uid for header in headers if header.name != "kills"}


def test_a_file_that_kills_or_hangs_costs_itself(tmp_path, save_series, ingest_params, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(DEADLY))
    pixels = ingest_params.pixels.model_copy(update={"seconds_per_file": 2.0})
    params = ingest_params.model_copy(update={"pixels": pixels})
    files = save_series(tmp_path / "in", 6)
    files[2] = files[2].rename(files[2].with_name("kills"))
    files[4] = files[4].rename(files[4].with_name("hangs"))
    reader = CaseReader(params)
    case = reader.read(files)
    by_path = case.account.set_index("path")["reason"].to_dict()
    assert (by_path["kills"], by_path["hangs"]) == ("decoder_crashed", "timed_out")
    report = ingest(tmp_path / "in", tmp_path / "out", params)
    assert case.SOPInstanceUIDs == tuple(report.slices["SOPInstanceUID"])


def test_a_process_that_was_ended_while_it_waited_costs_nothing(tmp_path, save_series, reader):
    files = save_series(tmp_path / "in", 4)
    before = reader.read(files)
    os.kill(child_of(reader), signal.SIGKILL)
    time.sleep(0.1)
    assert reader.read(files).SOPInstanceUIDs == before.SOPInstanceUIDs


def test_a_small_file_that_declares_gigabytes(tmp_path, make_slice, make_enhanced, save_series, ingest_params):
    pixels = ingest_params.pixels.model_copy(
        update={"seconds_per_file": 600.0}
    )  # 1,500 headers on a machine that is busy
    ingest_params = ingest_params.model_copy(update={"pixels": pixels})
    reader = CaseReader(ingest_params)
    slices = [make_slice(patient="P9", study="huge", series="huge", number=n) for n in range(1, 4)]
    data = declares(1500, 4096, make_enhanced, slices)
    assert len(data) < 200_000
    with pytest.raises(InputError, match=r"too_large"):
        reader.read([data])
    root = tmp_path / "in"
    good = save_series(root / "good", 4)
    (root / "huge").write_bytes(data)
    account = ingest(root, tmp_path / "out", ingest_params).account.set_index("path")
    assert account.loc["huge", "reason"] == "too_large" and "volume_mib (2,048)" in str(account.loc["huge", "detail"])
    assert (account.drop(index="huge")["reason"] == "used").sum() == len(good) == len(reader.read(good).SOPInstanceUIDs)


def test_memory_that_does_not_suffice_is_the_study_s_verdict(tmp_path, save_series, ingest_params, monkeypatch):
    from ich_pipeline.ingest import scan

    def full(*_):
        raise MemoryError

    files = save_series(tmp_path / "in", 4)
    [study] = scan.scan(tmp_path / "in", ingest_params).studies
    with monkeypatch.context() as patch:
        patch.setattr("ich_pipeline.series.group_volume.implausible_volume", full)
        reading = scan._read_and_finish(((study, ()), {}), ingest_params, lambda found: found)
    assert reading.volume is None and {reason for reason, _ in reading.verdicts.values()} == {"too_large"}
    assert len(reading.verdicts) == len(files)


@pytest.mark.parametrize("count", [40, pytest.param(2000, marks=pytest.mark.long)])
def test_mutated_files_give_what_the_ingest_gives(
    tmp_path, phantom_head, make_enhanced, save_series, ingest_params, count
):
    params = ingest_params.model_copy(update={"minimum_slices": 1, "workers": 2})
    root = tmp_path / "in"
    root.mkdir()
    good = save_series(root / "good", 4, patient="P2", study="good")
    rng = np.random.default_rng(count)
    sources = seeds(phantom_head, make_enhanced)
    files = [root / f"{number:05d}" for number in range(count)]
    for number, path in enumerate(files):
        path.write_bytes(mutated(sources[number % len(sources)], number, rng))
    account = ingest(root, tmp_path / "out", params).account.set_index("path")["reason"].to_dict()
    reader, read = CaseReader(params), set()
    for path in files:
        try:
            reader.read([path])
            read.add(path.name)
        except InputError:
            pass
    used = {path.name for path in files if account[path.name] == "used"}
    assert used <= read
    # Beside others a file may be set aside that is fine alone; and cohorts need a PatientID.
    assert {account[name] for name in read - used} <= {
        "no_patient_id",
        "mixed_identity",
        "duplicate_instance",
        "not_chosen",
    }
    assert len(reader.read(good).SOPInstanceUIDs) == 4
