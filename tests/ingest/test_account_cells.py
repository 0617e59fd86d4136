"""What a spreadsheet shows of an account: names of files, and no formulas."""

from __future__ import annotations

import csv

from ich_pipeline.ingest.ingest import ingest
from ich_pipeline.tables.formulas import plain


def test_a_file_whose_name_is_a_formula(tmp_path, save_slice, make_slice, ingest_params):
    root = tmp_path / "in"
    names = ("=cmd|' C calc'!A0", "-2+3", "plain")
    for number, name in enumerate(names):
        save_slice(make_slice(number=number), root / name)
    (root / "@SUM(1)").write_text("no DICOM")
    account = ingest(root, tmp_path / "out", ingest_params).account
    assert sorted(account["path"]) == sorted([*names, "@SUM(1)"])
    rows = list(csv.DictReader((tmp_path / "out" / "account.csv").open(newline="")))
    assert sorted(plain(row["path"]) for row in rows) == sorted(account["path"])
    assert not [cell for row in rows for cell in row.values() if cell[:1] in {"=", "+", "-", "@"}]
