"""Tables that people open: no cell of them is a formula, and what is read back is what was written."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.cohorts.faults import LabelAccount, LabelFault
from ich_pipeline.tables.formulas import csv_text, harmless, plain, table_text
from ich_pipeline.tables.label_tables import csv_rows
from ich_pipeline.tables.text_tables import read_text_table

STARTS = "=+-@\t\r\n"
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.text("='+-@\t\r\n1.2e; \"")


@settings(max_examples=60, deadline=None)
@given(CELLS)
def test_no_cell_begins_a_formula_and_all_come_back(cell: str):
    safe = harmless(cell)
    assert plain(safe) == cell or safe == cell
    assert plain(harmless(cell)) == cell
    if safe[:1] and safe[0] in STARTS:
        float(safe)  # a number, which stays one
    for part in safe.split(";")[1:]:  # as a spreadsheet with decimal commas sees it
        assert part.strip('\t\r\n "')[:1] not in set("=+-@"), safe
    for text in (csv_text(["c"], [[cell]]), table_text(pd.DataFrame({"c": [cell]}))):
        assert [plain(row[0]) if row else "" for row in csv.reader(io.StringIO(text, newline=""))] == ["c", cell]


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_stay(number: float):
    assert harmless(number) == number
    assert harmless(str(number)) == str(number)


@pytest.mark.parametrize(
    "cell", ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "-1+cmd|' /C calc'!A0", "=", "-", "' =1"]
)
def test_every_writer_makes_a_formula_harmless(cell: str, tmp_path):
    for text in (csv_text((cell, "n"), [(cell, -1.5)]), table_text(pd.DataFrame({cell: [cell], "n": [-1.5]}))):
        [header, row] = csv.reader(io.StringIO(text, newline=""))
        assert header == [f"'{cell}", "n"] and row == [f"'{cell}", "-1.5"]
        (tmp_path / "t.csv").write_text(text, newline="")
        assert [row for _, row in csv_rows(tmp_path / "t.csv")] == [[cell, "n"], [cell, "-1.5"]]
        assert read_text_table(tmp_path / "t.csv").columns[cell.strip()] == [cell.strip()]
    account = LabelAccount()
    account.add(LabelFault.NOT_READ, cell, detail=cell)
    account.write(tmp_path / "report.csv")
    assert f"'{cell}" in next(csv.DictReader((tmp_path / "report.csv").open(newline=""))).values()
