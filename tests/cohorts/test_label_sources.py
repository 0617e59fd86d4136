"""The four forms of label tables: what each reads, and that every row is either in the table or in the account."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ich_pipeline.cohorts.bring import ADAPTERS
from ich_pipeline.cohorts.cq500 import FINDINGS, READERS
from ich_pipeline.cohorts.faults import LabelAccount, LabelFault
from ich_pipeline.cohorts.source_table import ICH_LABELS, KEY, LabelRows
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.progress import quiet
from ich_pipeline.dicom.header import Header
from ich_pipeline.tables.label_tables import UID
from ich_pipeline.tables.labels import Labels

COLUMNS = ICH_LABELS.columns
HEADERS = {
    "folder": ",".join([UID, *COLUMNS]),
    "rsna2019": "ID,Label",
    "cq500": ",".join(["name", "Category", *(f"{r}:{FINDINGS[c]}" for r in READERS for c in COLUMNS)]),
    "physionet-ctich": "PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,"
    "No_Hemorrhage,Fracture_Yes_No",
}
WIDE = [kind for kind in HEADERS if kind != "rsna2019"]
# Hypothesis' own check cannot know that every example writes its own file.
several = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(kind: str, folder: Path, text: str | bytes) -> tuple[LabelRows, LabelAccount]:
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    account = LabelAccount()
    return ADAPTERS[kind](path, ICH_LABELS, account, quiet), account


def values(rows: LabelRows) -> dict[str, list[int]]:
    return dict(zip(rows.table[KEY], rows.table[list(COLUMNS)].to_numpy().tolist(), strict=True))


def found(account: LabelAccount) -> list[tuple[str, str, int | None]]:
    return [(one.code.value, one.identifier, one.line) for one in account.ordered()]


def rsna(name: str, *of: int) -> list[str]:
    return [f"{name}_{label},{value}" for label, value in zip(COLUMNS, of, strict=True)]


def lines(kind: str, *rows: str) -> str:
    return "\n".join([HEADERS[kind], *rows]) + "\n"


# RSNA 2019


def test_rsna_rows_of_a_slice_may_lie_anywhere(tmp_path: Path) -> None:
    rows = [*rsna("ID_a1", 1, 0, 1, 0, 0, 0), *rsna("ID_b2", 0, 0, 0, 0, 0, 0)]
    table, account = read("rsna2019", tmp_path, lines("rsna2019", *rows[::-1]))
    assert values(table) == {"ID_a1": [1, 0, 1, 0, 0, 0], "ID_b2": [0] * 6}
    assert account.findings == [] and table.level == "slice"
    assert table.key_of(Header("f", Path(), sop_instance_uid="ID_a1")) == "ID_a1"


def test_rsna_faults(tmp_path: Path) -> None:
    rows = [
        *rsna("ID_a", 1, 0, 0, 0, 0, 1),  # lines 2–7
        "ID_a_any,1",  # 8: the public table repeats rows of a few slices
        *rsna("ID_b", 0, 0, 0, 0, 0, 0)[:5],  # 9–13: subdural missing
        *rsna("ID_c", 0, 0, 0, 0, 0, 0),  # 14–19
        "ID_c_any,1",  # 20
        *rsna("ID_d", 1, 0, 0, 0, 0, 0),  # 21–26
        "ID_e_any,0.5",  # 27
        "ID_a_chronic,0",  # 28
        "a_any,0",  # 29
        "ID_a_any",  # 30
    ]
    table, account = read("rsna2019", tmp_path, lines("rsna2019", *rows))
    assert values(table) == {"ID_a": [1, 0, 0, 0, 0, 1]}
    assert found(account) == [
        ("row_length", "", 30),
        ("no_identifier", "", 29),
        ("unknown_label", "ID_a", 28),
        ("bad_value", "ID_e", 27),
        ("incomplete", "ID_b", 9),
        ("duplicate_equal", "ID_a", 8),
        ("duplicate_contradicting", "ID_c", 20),
        ("any_contradiction", "ID_d", 21),
    ]
    assert account.left_out == {"ID_b", "ID_c", "ID_d", "ID_e"}


@several
@given(
    st.lists(
        st.tuples(st.sampled_from(["ID_0", "ID_1", "ID_f"]), st.sampled_from(COLUMNS), st.sampled_from("001x")),
        max_size=40,
    ),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_rsna_every_slice_is_used_or_named(tmp_path: Path, rows: list[tuple[str, str, str]], whole: list[bool]) -> None:
    subtypes = [int(flag) for flag in whole[1:]]
    rows = [*rows, *(("ID_w", c, str(v)) for c, v in zip(COLUMNS, [int(any(subtypes)), *subtypes], strict=True))]
    table, account = read("rsna2019", tmp_path, lines("rsna2019", *(f"{n}_{c},{v}" for n, c, v in rows)))
    seen: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, label, value in rows:
        seen[name][label].add(value)
    usable = {}
    for name, by_label in seen.items():
        if all(len(by_label[c]) == 1 for c in COLUMNS) and not any(by_label[c] == {"x"} for c in COLUMNS):
            line = [int(next(iter(by_label[c]))) for c in COLUMNS]
            if line[0] == max(line[1:]):
                usable[name] = line
    assert values(table) == usable
    assert account.left_out == set(seen) - set(usable)
    repeated = sum(n - 1 for (name, label, v), n in Counter(rows).items() if name in usable)
    equal = [one for one in account.findings if one.code is LabelFault.DUPLICATE_EQUAL and one.identifier in usable]
    assert len(equal) == repeated


# PhysioNet CT-ICH


def test_ctich_rows_and_images_meet_by_patient_and_instance_number(tmp_path: Path) -> None:
    text = lines("physionet-ctich", "50,1,0,0,0,0,0,1,0", "050,2,0,1,0,1,0,0,1")
    table, account = read("physionet-ctich", tmp_path, text)
    assert values(table) == {"patient 50 slice 1": [0] * 6, "patient 50 slice 2": [1, 1, 1, 0, 0, 0]}
    assert account.findings == []
    assert table.key_of(Header("f", Path(), patient_id="CTICH-050", instance_number=2)) == "patient 50 slice 2"
    assert table.key_of(Header("f", Path(), patient_id="CTICH", instance_number=2)) is None
    assert table.key_of(Header("f", Path(), patient_id="CTICH-050")) is None
    assert table.aside is not None
    assert table.aside["Fracture_Yes_No"].to_dict() == {"patient 50 slice 1": "0", "patient 50 slice 2": "1"}


def test_ctich_faults(tmp_path: Path) -> None:
    rows = [
        "50,1,0,0,0,0,0,1,0",
        "50,1,0,0,0,0,0,1,0",  # 3 equal
        "50,2,0,0,0,0,0,1,0",
        "50,2,0,0,0,0,0,1,1",  # 5 the fracture differs
        "50,3,0,0,0,0,0,0,0",  # 6 neither haemorrhage nor none
        "50,4,1,0,0,0,0,1,0",  # 7 both
        "50,x,0,0,0,0,0,1,0",  # 8
        "50,5,0,0,0,,0,1,0",  # 9
    ]
    table, account = read("physionet-ctich", tmp_path, lines("physionet-ctich", *rows))
    assert list(values(table)) == ["patient 50 slice 1"]
    assert found(account) == [
        ("no_identifier", "", 8),
        ("bad_value", "patient 50 slice 5", 9),
        ("duplicate_equal", "patient 50 slice 1", 3),
        ("duplicate_contradicting", "patient 50 slice 2", 5),
        ("any_contradiction", "patient 50 slice 3", 6),
        ("any_contradiction", "patient 50 slice 4", 7),
    ]


# CQ500


def reads(name: str, *readers: str) -> str:
    """Each reader's votes as six digits in the order any, EDH, IPH, IVH, SAH, SDH."""
    return ",".join([name, "B1", *(digit for votes in readers for digit in votes)])


def test_cq500_majority_is_by_finding_and_slips_are_noted(tmp_path: Path) -> None:
    text = lines(
        "cq500",
        reads("CQ500-CT-3", "110000", "101000", "100001"),  # blood by all, no kind by two
        reads("CQ500-CT-10", "001000", "101000", "000000"),  # R1 forgot "any": IPH by two, any by one
        reads("CQ500CT11", "000000", "000000", "111111"),
        reads("CQ500-CT-12", "000001", "100001", "100001"),
    )
    table, account = read("cq500", tmp_path, text)
    assert table.level == "case"
    assert values(table) == {
        "CQ500-CT-3": [1, 0, 0, 0, 0, 0],
        "CQ500-CT-11": [0] * 6,
        "CQ500-CT-12": [1, 0, 0, 0, 0, 1],
    }
    assert found(account) == [
        ("any_contradiction", "CQ500-CT-10", 3),
        ("reader_contradiction", "CQ500-CT-10", 3),
        ("reader_contradiction", "CQ500-CT-12", 5),
        ("no_subtype_agreed", "CQ500-CT-3", 2),
    ]
    assert table.key_of(Header("f", Path(), patient_id="CQ500-CT-310")) == "CQ500-CT-310"
    assert table.key_of(Header("f", Path(), patient_id="310")) is None


def test_cq500_keeps_other_columns_and_counts_those_that_all_readers_have(tmp_path: Path) -> None:
    header = (
        HEADERS["cq500"] + ",R1:MassEffect,R2:MassEffect,R3:MassEffect,R1:Fracture,R2:Fracture,R1:Old,R2:Old,R3:Old"
    )
    text = f"{header}\n{reads('CQ500-CT-1', '000000', '000000', '000000')},1,0,1,1,1,0,,0\n"
    table, _ = read("cq500", tmp_path, text)
    assert table.aside is not None and table.votes is not None
    assert table.aside[["Category", "R1:Fracture", "R2:Old"]].to_numpy().tolist() == [["B1", "1", ""]]
    assert list(table.votes["R3"].columns) == [*COLUMNS, "MassEffect"]
    assert [table.votes[reader]["MassEffect"].tolist() for reader in READERS] == [[1], [0], [1]]


# All of them

GOOD = {
    "folder": "2.25.1,0,0,0,0,0,0",
    "cq500": reads("CQ500-CT-1", "000000", "000000", "000000"),
    "physionet-ctich": "50,1,0,0,0,0,0,1,0",
}


@pytest.mark.parametrize("kind", HEADERS)
def test_what_is_no_such_table_is_one_sentence(kind: str, tmp_path: Path) -> None:
    header = HEADERS[kind]
    first = header.partition(",")[0]
    wrong: dict[str, tuple[str | bytes, str]] = {
        "empty": ("", r"table\.csv is empty: its first line must be "),
        "semicolons": (header.replace(",", ";") + "\n", "separates its columns by semicolon or tab: save it with commas"),
        "a column twice": (f"{header},{first}\n", f"has the column {first} more than once: keep one"),
        "filled columns without a name": (
            f"{header},,\n{',' * header.count(',')},,x\n", r"without a name, and a value in one of them \(line 2\)",
        ),
        "no name between names": (f",{header}\n", "column 1 has no name: name it, or delete it"),
        "another separator": (f"sep=;\n{header}\n", r"says in its first line \(sep=\) that ';' separates its columns: save"),
        "tabs": (f"sep=\t\n{header}\n", r"that '\\t' separates its columns: save it with commas"),
        "a column less": (header.replace("Label", "x").replace("ntraventricular", "x").replace("R2:IVH", "x"), "lacks the columns"),
        "UTF-16": (f"{header}\n".encode("utf-16"), "is not UTF-8 text: save the table as CSV"),
        "Latin-1": (f"{header}\né\n".encode("latin-1"), "is not UTF-8 text: save the table as CSV"),
        "open quote": (f'{header}\n"1\n', "line 2 is not CSV"),
    }  # fmt: skip
    for name, (text, sentence) in wrong.items():
        with pytest.raises(InputError, match=sentence) as caught:
            read(kind, tmp_path, text)
        assert "\n" not in str(caught.value) and "table.csv" in str(caught.value), name
    with pytest.raises(InputError, match=r"none\.csv is missing"):
        ADAPTERS[kind](tmp_path / "none.csv", ICH_LABELS, LabelAccount(), quiet)


@pytest.mark.parametrize("kind", HEADERS)
def test_a_byte_order_mark_windows_line_ends_blanks_and_case_do_not_matter(kind: str, tmp_path: Path) -> None:
    rows = [GOOD[kind]] if kind in GOOD else rsna("ID_a", 0, 0, 0, 0, 0, 0)
    plain, _ = read(kind, tmp_path, lines(kind, *rows))
    head, *body = lines(kind, *rows).splitlines()
    text = "\r\n".join([head.upper().replace(",", " , "), *(row.replace(",", " ,") for row in body), "", ""])
    other, account = read(kind, tmp_path, b"\xef\xbb\xbf" + text.encode())
    assert values(other) == values(plain) and len(values(plain)) == 1 and account.findings == []


@pytest.mark.parametrize("kind", HEADERS)
def test_what_spreadsheets_leave_does_not_matter(kind: str, tmp_path: Path) -> None:
    """Columns and rows of nothing, a line for the spreadsheet itself, characters of no width."""
    rows = [GOOD[kind]] if kind in GOOD else rsna("ID_a", 0, 0, 0, 0, 0, 0)
    plain, _ = read(kind, tmp_path, lines(kind, *rows))
    head, *body = lines(kind, *rows).splitlines()
    blank = "," * head.count(",")
    text = "\n".join(
        ["sep=,", f"\u200b{head}", *(f"\u200b{row}\ufeff" for row in body), blank, " ,  , ", "  ", "\u00a0"]
    )
    wide = "\n".join([f"SEP=,,,,{blank}", f"{head},,", *(f"\u00a0{row}, ," for row in body), f"{blank},,"])
    for table in (text, wide, "\n".join([f"{head},", *body])):
        other, account = read(kind, tmp_path, table)
        assert values(other) == values(plain) and len(values(plain)) == 1 and account.findings == []


def test_what_nobody_can_see_within_an_identifier_is_shown(tmp_path: Path) -> None:
    _, account = read("folder", tmp_path, lines("folder", "2.25\u200b.1,0,0,0,0,0,x"))
    assert [str(one) for one in account.findings] == ["line 2 2.25\\u200b.1: subdural is 'x'"]


def test_a_line_break_in_a_cell_does_not_break_a_sentence(tmp_path: Path) -> None:
    text = f'{HEADERS["folder"]}\n"2.25\n.1",0,0,0,0,0,x\n'
    table, account = read("folder", tmp_path, text)
    assert table.table.empty
    assert [str(one) for one in account.findings] == ["line 3 2.25 .1: subdural is 'x'"]
    with pytest.raises(InputError, match="column any subdural more than once"):
        read("folder", tmp_path, text.replace("any,epidural", '"any\nsubdural",any subdural'))


@pytest.mark.parametrize("kind", ["rsna2019", "cq500", "physionet-ctich"])
def test_other_labels_in_params_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"params\.yaml names the labels any, calcification, but " + kind):
        ADAPTERS[kind](tmp_path / "x", Labels("any", ("calcification",)), LabelAccount(), quiet)


CELL = st.sampled_from(["0", "1", "0", "1", "0", "", "2", "x", "1.0"])
IDENTIFIER = {
    "folder": st.sampled_from(["2.25.1", "2.25.2", "2.25.3", ""]),
    "cq500": st.sampled_from(["CQ500-CT-1", "CQ500CT1", "CQ500-CT-2", "someone"]),
    "physionet-ctich": st.sampled_from(["50,1", "050,1", "50,2", "x,1", "-5,1"]),
}


@pytest.mark.parametrize("kind", WIDE)
@several
@given(data=st.data())
def test_every_row_is_used_or_named_by_its_line(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    width = len(HEADERS[kind].split(",")) - (2 if kind == "physionet-ctich" else 1)
    cells = st.lists(st.one_of(st.sampled_from("01"), CELL), min_size=width - 1, max_size=width)
    mostly = st.sampled_from([["0"] * width, ["0"] * (width - 2) + ["1", "0"], ["1"] * width])
    rows = data.draw(st.lists(st.tuples(IDENTIFIER[kind], st.one_of(mostly, cells)), max_size=12))
    rows = [(name, of) for name, of in rows if name or any(of)]  # others are blank
    text = lines(kind, *(",".join([name, *of]) for name, of in rows))
    table, account = read(kind, tmp_path, text)
    used = set(table.table["line"].tolist())
    # A contradiction names the later row; the earlier one is out under the same identifier.
    named = {one.line for one in account.findings if not one.code.is_note}
    rest = set(range(2, 2 + len(rows))) - used - named
    contradicted = {one.identifier for one in account.findings if one.code is LabelFault.DUPLICATE_CONTRADICTING}
    assert len(rest) == len(contradicted)
    assert not used & named
    keys = table.table[KEY].tolist()
    assert len(set(keys)) == len(keys) and not set(keys) & account.left_out
    labels = table.table[list(COLUMNS)].to_numpy()
    assert ((labels == 0) | (labels == 1)).all()
    if len(labels):
        assert (labels[:, 0] >= labels[:, 1:].max(axis=1)).all()


@pytest.mark.parametrize("kind", HEADERS)
@several
@given(st.one_of(st.binary(max_size=80), st.text(alphabet="01,;\"'\n\r\t xID_anyé\x00", max_size=80)), st.booleans())
def test_any_file_is_read_or_refused_in_one_sentence(
    kind: str, tmp_path: Path, content: bytes | str, with_header: bool
) -> None:
    raw = content if isinstance(content, bytes) else content.encode()
    try:
        table, account = read(kind, tmp_path, HEADERS[kind].encode() + b"\n" + raw if with_header else raw)
    except InputError as error:
        assert "table.csv" in str(error) and "\n" not in str(error)
    else:
        assert all("\n" not in str(one) for one in account.findings)
        assert table.table[KEY].is_unique
