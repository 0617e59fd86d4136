"""What `ich cohort` refuses before it copies: names that DVC cannot track, and labels of another export."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from ich_pipeline.cohorts import bring as adapters
from ich_pipeline.commands.cohort import withdraw_synthetic
from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import write_json
from ich_pipeline.tables.cohort_mark import data_words

WriteExport = Callable[[Path, Sequence[Mapping[str, object]]], Path]


def bring(tmp_path: Path, uids: Sequence[str], params: Params, lenient: bool = False) -> None:
    names = params.labels.subtypes
    lines = [",".join(("SOPInstanceUID", *names)), *(",".join((uid, *"0" * len(names))) for uid in uids)]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    target = tmp_path / "data"
    adapters.bring("folder", tmp_path / "export", tmp_path / "labels.csv", target, params, lenient=lenient)


@pytest.mark.parametrize("place", [b"Kopf_M\xfcller/IM", b"disc 0/\xb5\xa3"])
def test_a_name_that_is_no_utf8_is_refused_before_anything_is_copied(
    tmp_path: Path, write_export: WriteExport, tiny_params: Callable[..., Params], place: bytes
) -> None:
    export = write_export(tmp_path / "export", [{"SOPInstanceUID": "2.25.100"}])
    odd = export / os.fsdecode(place)
    odd.parent.mkdir(exist_ok=True)
    (export / "disc 0/IMAGES/IM0").rename(odd)
    with pytest.raises(InputError) as caught:
        bring(tmp_path, ["2.25.100"], tiny_params())
    said = str(caught.value)
    assert (
        said.isprintable()
        and "is no UTF-8" in said
        and place.split(b"/")[0].decode("ascii", "backslashreplace") in said
    )
    assert not (tmp_path / "data").exists() and not (tmp_path / ".data.partial").exists()


@pytest.mark.parametrize("lenient", [False, True])
def test_labels_of_another_export_are_refused_lenient_or_not(
    tmp_path: Path, write_export: WriteExport, tiny_params: Callable[..., Params], lenient: bool
) -> None:
    uids = [f"2.25.{10**17 + 7 * n}" for n in range(8)]
    write_export(tmp_path / "export", [{"SOPInstanceUID": uid} for uid in uids])
    with pytest.raises(InputError, match="only 3 of 8 images find their like, so nothing is brought, --lenient or not"):
        bring(tmp_path, [*uids[:3], *(f"2.25.{n}" for n in range(6))], tiny_params(), lenient)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("content", "before", "stays"),
    [
        ({"data": "synthetic"}, "folder", False),
        ({"data": "folder"}, "phantom", True),
        ({"test": {}}, "phantom", False),  # of a run from before the mark
        ({"test": {}}, None, False),
        ({"test": {}}, "folder", True),
    ],
)
def test_figures_of_synthetic_heads_do_not_stay_beside_data_of_ones_own(
    tmp_path: Path, content: dict, before: str | None, stays: bool
) -> None:
    write_json(tmp_path / "metrics.json", content)
    withdraw_synthetic(tmp_path, before)
    withdraw_synthetic(tmp_path, before)  # a second cohort finds nothing to withdraw
    assert (tmp_path / "metrics.json").exists() == stays


def test_the_words_for_a_cohort(tmp_path: Path) -> None:
    for kind, words in (("phantom", "synthetic"), ("cq500", "cq500")):
        write_json(tmp_path / "cohort.json", {"kind": kind})
        assert data_words(tmp_path) == words
    assert data_words(tmp_path / "none") == "folder"
