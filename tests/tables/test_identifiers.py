"""Keys that a spreadsheet spoilt are suspected, and a join that is not one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.core.errors import InputError
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


def test_a_table_of_a_whole_archive_may_judge_a_few(tmp_path: Path) -> None:
    predictions = table(tmp_path / "p.csv", [str(n) for n in LONG[:10]], "0.2")
    labels = table(tmp_path / "l.csv", [str(n) for n in LONG], "0")
    assert len(match_tables(predictions, labels, None, Choices(ids="accession", allow_missing=True)).names) == 10


def test_rows_of_nothing_and_characters_of_no_width_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("case,any,,\nA\u200b,0.1,,\n\ufeffB\u00a0,0.2,,\n,,,\n \u200b,,,\n")
    found = read_text_table(path)
    assert (found.columns, found.lines, found.nameless) == ({"case": ["A", "B"], "any": ["0.1", "0.2"]}, [2, 3], 2)
