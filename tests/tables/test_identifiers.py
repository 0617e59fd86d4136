"""Keys that a spreadsheet spoilt are suspected, and a join that is not one is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.cohorts.matching import refuse_broken_key
from ich_pipeline.cohorts.source_table import KEY, LabelRows
from ich_pipeline.core.errors import InputError
from ich_pipeline.dicom.header import Header
from ich_pipeline.studies.match import match_tables
from ich_pipeline.studies.matched import Choices
from ich_pipeline.tables.identifiers import spoilt
from ich_pipeline.tables.text_tables import read_text_table

LONG = [202401150000000123 + 1111 * i for i in range(40)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(10**15, 10**19), min_size=3, max_size=40, unique=True))
def test_what_a_spreadsheet_leaves_of_long_numbers_is_suspected(numbers: list[int]) -> None:
    rounded = [str(n)[:15] + "0" * (len(str(n)) - 15) for n in numbers]
    assert "all end in 0" in spoilt(rounded)
    assert "exponent" in spoilt([f"{n:.5E}" for n in numbers])
    assert "exponent" in spoilt([f"{n:.5E}".replace(".", ",") for n in numbers])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.uuids().map(str), st.integers(1, 10**14).map(str), st.from_regex(r"2\.25\.[1-9]\d{29}", fullmatch=True)
        )
    )
)
def test_names_that_are_whole_are_not(names: list[str]) -> None:
    assert spoilt(names) == ""


def table(path: Path, names: list[str], value: str) -> Path:
    path.write_text("accession,any\n" + "".join(f"{name},{value if i % 3 else 1}\n" for i, name in enumerate(names)))
    return path


@pytest.mark.parametrize("allow", [False, True])
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([str(n // 1000 * 1000) for n in LONG[:33]] + [str(n) for n in LONG[33:]], "only 7 of 40 rows find their like"),
        ([str(n // 1000 * 1000) for n in LONG], "all end in 000"),
        ([f"{n:.14E}" for n in LONG], "exponent"),
    ],
)
def test_a_broken_key_is_refused_whatever_may_be_missing(
    tmp_path: Path, labels: list[str], said: str, allow: bool
) -> None:
    predictions = table(tmp_path / "p.csv", [str(n) for n in LONG], "0.2")
    with pytest.raises(InputError) as caught:
        match_tables(
            predictions, table(tmp_path / "l.csv", labels, "0"), None, Choices(ids="accession", allow_missing=allow)
        )
    assert said in str(caught.value)
    assert "add them, or --allow-missing" not in str(caught.value)


SHORT = [20240115000 + 13 * i for i in range(24)]


@pytest.mark.parametrize("allow", [False, True])
@pytest.mark.parametrize("spoil", ["labels", "predictions", "against"])
@pytest.mark.parametrize("how", [lambda n: str(n // 1000 * 1000), lambda n: f"{n:.14E}"])
def test_long_names_that_were_spoilt_among_short_ones_are_not_merely_missing(tmp_path: Path, allow, spoil, how) -> None:
    whole = [str(n) for n in (*SHORT, *LONG[:16])]
    bad = [str(n) for n in SHORT] + [how(n) for n in LONG[:16]]
    assert len(set(bad)) == 40
    names = {what: bad if what == spoil else whole for what in ("predictions", "labels", "against")}
    paths = {
        what: table(tmp_path / f"{what}.csv", own, "0" if what == "labels" else "0.2") for what, own in names.items()
    }
    with pytest.raises(InputError, match="export the table anew, as text") as caught:
        match_tables(
            paths["predictions"], paths["labels"], None, Choices(ids="accession", allow_missing=allow), paths["against"]
        )
    assert f"{spoil}.csv has" in str(caught.value) and "lacks 16 of the 40 rows" in str(caught.value)


def test_a_doubt_about_all_names_stands_beside_what_is_left_out(tmp_path: Path) -> None:
    bad = [str(n // 1000 * 1000) for n in LONG]
    predictions, labels = table(tmp_path / "p.csv", bad, "0.2"), table(tmp_path / "l.csv", bad[:-2], "0")
    with pytest.raises(InputError, match="all end in 000"):
        match_tables(predictions, labels, None, Choices(ids="accession"))
    found = match_tables(predictions, labels, None, Choices(ids="accession", allow_missing=True))
    assert "all end in 000" in found.excluded[0].what and str(tmp_path) not in found.excluded[0].what


def test_a_name_that_stands_twice_for_its_rounding_says_so(tmp_path: Path) -> None:
    bad = [str(n // 10**6 * 10**6) for n in LONG]
    with pytest.raises(InputError, match=r"stands twice.*all end in 000"):
        match_tables(
            table(tmp_path / "p.csv", bad, "0.2"), table(tmp_path / "l.csv", bad, "0"), None, Choices(ids="accession")
        )


@pytest.mark.parametrize("good", [20, 39])
def test_labels_under_spoilt_keys_are_not_merely_without_an_image(good: int) -> None:
    names = [str(n) for n in LONG]
    labels = names[:good] + [str(n // 1000 * 1000) for n in LONG[good:]] + [str(n) for n in SHORT]
    headers = [
        SimpleNamespace(slices=lambda n=n: [SimpleNamespace(is_ct_image=True, name=n)])
        for n in [*names, *map(str, SHORT)]
    ]
    rows = SimpleNamespace(key_of=lambda one: one.name, table=pd.DataFrame({KEY: labels}))

    def ask() -> None:
        refuse_broken_key(cast(LabelRows, rows), cast("list[Header]", headers), Path("l.csv"), "export")

    if good == 39:  # one number alone may end in zeros
        ask()
        return
    with pytest.raises(InputError, match=r"l.csv has 20 labels without an image in export.*all end in 000"):
        ask()


def test_a_table_of_a_whole_archive_may_judge_a_few(tmp_path: Path) -> None:
    predictions = table(tmp_path / "p.csv", [str(n) for n in LONG[:10]], "0.2")
    labels = table(tmp_path / "l.csv", [str(n) for n in LONG], "0")
    assert len(match_tables(predictions, labels, None, Choices(ids="accession", allow_missing=True)).names) == 10


def test_rows_of_nothing_and_characters_of_no_width_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("case,any,,\nA\u200b,0.1,,\n\ufeffB\u00a0,0.2,,\n,,,\n \u200b,,,\n")
    found = read_text_table(path)
    assert (found.columns, found.lines, found.nameless) == ({"case": ["A", "B"], "any": ["0.1", "0.2"]}, [2, 3], 2)
