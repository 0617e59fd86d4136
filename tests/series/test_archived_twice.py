"""A study that an archive holds twice is read once, however incomplete each copy is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.ingest.page import remarks
from ich_pipeline.ingest.scan import settle
from ich_pipeline.series.archived_twice import homes
from ich_pipeline.serving.load_case import find_studies, load_case
from ich_pipeline.sources.folder import list_folder
from tests.made.ct import ct_slice, read, save
from tests.made.heads import head, header, place

COUNT = 20


def copies(first, second, moved=(), patient="P1"):
    """Headers of one head under two studies: numbers of the slices of each, and those of the second that lie elsewhere."""
    return [
        header(
            5.0 * i + (0.2 if study == 8 and i in moved else 0.0), f"{study}/{i}", study_uid=f"2.25.{study}",
            series_uid=f"2.25.{study}.1", sop_instance_uid=f"2.25.5.{i}", frame_of_reference=f"2.25.{study}.4",
            patient_id="P1" if study == 7 else patient,
        )
        for study, numbers in ((7, first), (8, second))
        for i in sorted(numbers)
    ]  # fmt: skip


few = st.sets(st.integers(0, COUNT - 1), max_size=4)


@settings(max_examples=25, deadline=None)
@given(lost=few, lost_too=few, moved=few, random=st.randoms())
def test_two_incomplete_copies_are_one_head(params, lost, lost_too, moved, random):
    everything = set(range(COUNT))
    headers = copies(everything - lost, everything - lost_too, moved)
    random.shuffle(headers)
    found = settle(headers, params)
    [[group]] = found.studies
    assert {slot[0].sop_instance_uid for slot in group.slots} == {f"2.25.5.{i}" for i in everything - (lost & lost_too)}
    assert {reason for reason, _ in found.verdicts.values()} == {"duplicate_study"}
    [remark] = {h.remark for h in group.headers}
    assert "under 2 StudyInstanceUIDs" in remark
    larger = lost if len(lost) <= len(lost_too) else lost_too
    assert ("were added" in remark) == bool(larger - (lost & lost_too))


@pytest.mark.parametrize(
    ("headers", "studies"),
    [
        (copies(range(COUNT), range(COUNT), patient="P2"), 0),  # two patients
        (copies(range(COUNT), range(COUNT), moved=range(COUNT)), 0),  # the same UIDs, and nothing at its place
        (copies(range(COUNT), range(COUNT - 2, 2 * COUNT)), 2),  # two slices in common
    ],
)
def test_what_is_not_mostly_the_same_stays_in_doubt(params, headers, studies):
    found = settle(headers, params)
    assert len(found.studies) == studies and "mixed_identity" in {reason for reason, _ in found.verdicts.values()}
    assert homes(headers) == {}


def test_a_last_resort_of_the_copy_is_no_second_head(params):
    """Both copies hold a reformat too: it must not be read for want of the slices that were set aside."""
    more = [
        header(5.0 * i, f"r{s}/{i}", study_uid=f"2.25.{s}", series_uid=f"2.25.{s}.2", sop_instance_uid=f"2.25.6.{i}")
        .set(Reason.REFORMATTED, last_resort=True)
        for s in (7, 8) for i in range(COUNT)
    ]  # fmt: skip
    assert len(settle(copies(range(COUNT), range(COUNT)) + more, params).studies) == 1


@pytest.mark.parametrize("lost", [(), (0, 1), (19,)])
def test_an_incomplete_copy_is_read_once_everywhere(tmp_path, ingest_params, lost):
    for study in "ab":
        for i in range(COUNT):
            if not (i in lost and study == "a") and not (i == 5 and study == "b"):
                ds = ct_slice(study=study, number=i, hu=head(i), SOPInstanceUID=f"2.25.5.{i}", **place(5.0 * i))
                save(ds, tmp_path / study / f"{i}")
    found = read(tmp_path, ingest_params)
    assert found.counts["used"] == COUNT and set(found.counts) == {"used", "duplicate_study"}
    [row] = found.series[found.series["chosen"]].to_dict("records")
    assert "under 2 StudyInstanceUIDs" in " ".join(remarks(row))
    studies, _ = find_studies(list_folder(tmp_path), "x", ingest_params)
    [headers] = studies.values()
    case = load_case(headers, ingest_params)
    assert len(case.positions_mm) == COUNT and "under 2 StudyInstanceUIDs" in " ".join(case.cautions)
    assert len(case.files) == len(headers)
    np.testing.assert_array_equal(case.hu, next(iter(found.volumes.values())))
