"""The series that shows the head is read, however much of the neck another one shows, and only what must be is looked at."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ich_pipeline.ingest.page import remarks
from ich_pipeline.series.looking import Look
from tests.made.heads import head, neck, place

LAST = [
    {"ImageType": ["ORIGINAL", "SECONDARY", "AXIAL"]},
    {"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]},
    {"SeriesDescription": "Mono 40 keV"},
]
LITTLE = {
    "a long neck": [(-150 + 4.0 * i, neck) for i in range(34)],
    "a long neck and an end of the head": [(5.0 * i - 100, neck if i < 20 else head) for i in range(24)],
    "the top of the head": [(75 + 5.0 * i, head) for i in range(5)],
}


@pytest.fixture
def write(tmp_path, make_slice, save_slice) -> Callable[..., None]:
    def series(name: str, slices, **fields) -> None:
        for i, (z, picture) in enumerate(slices):
            ds = make_slice(series=name, number=i, hu=picture(i), **place(z), **fields)
            save_slice(ds, tmp_path / "in" / name / f"{i}")

    return series


def whole(count: int = 20, start: float = 0.0):
    return [(start + 5.0 * i, head if start + 5.0 * i >= 0 else neck) for i in range(count)]


@pytest.mark.parametrize("little", LITTLE)
@pytest.mark.parametrize("fields", LAST, ids=["secondary", "reformatted", "virtual"])
def test_a_whole_head_that_is_a_last_resort_goes_before_a_candidate_with_little_brain(
    tmp_path, write, ingest_params, read_in_process, little, fields
):
    write("little", LITTLE[little], BodyPartExamined="HEAD")
    write("head", whole(), **fields)
    found = read_in_process(tmp_path / "in", ingest_params)
    assert found.counts == {"used": 20, "not_chosen": len(LITTLE[little])}
    row = found.series[found.series["chosen"]].to_dict("records")[0]
    assert row["slices"] == 20 and "read as a last resort" in " ".join(remarks(row))
    assert "first of 2 usable series; the runner-up shows" in row["reason"]


@pytest.mark.parametrize(("below", "number"), [(40, 1), (90, 3), (150, 1)])
def test_a_neck_below_the_head_earns_nothing(tmp_path, write, ingest_params, read_in_process, below, number):
    write("head", whole(), SeriesNumber=2)
    write("both", whole(20 + below // 5, -below), SeriesNumber=number)
    found = read_in_process(tmp_path / "in", ingest_params)
    assert found.counts == {"used": 20, "not_chosen": 20 + below // 5}
    [why] = found.series.loc[~found.series["chosen"], "reason"]
    assert "beyond the brain, the chosen series" in why


@pytest.mark.parametrize(
    ("also", "looked_at"),
    [(None, []), (LAST[0], ["head"]), ({"ConvolutionKernel": "H20s"}, ["head", "also"])],
    ids=["alone", "beside a last resort", "beside a candidate"],
)
def test_only_what_can_turn_the_choice_is_looked_at(
    tmp_path, write, ingest_params, read_in_process, monkeypatch, also, looked_at
):
    write("head", whole())
    if also is not None:
        write("also", whole(), **also)
    seen: set[str] = set()
    look = Look.brain_mm
    monkeypatch.setattr(
        Look, "brain_mm", lambda self, group: seen.add(group.first.name.split("/")[0]) or look(self, group)
    )
    assert read_in_process(tmp_path / "in", ingest_params).counts["used"] == 20
    assert seen == set(looked_at)
