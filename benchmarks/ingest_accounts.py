"""What the ingest makes of real files, beside an independent decoder, as a page: docs/ingest-accounts.md.

    python benchmarks/ingest_accounts.py DATA > docs/ingest-accounts.md

DATA is a folder with ctich_dicom, dicom_pacs and dicom_odd (what they hold: docs/ingest-accounts.md); the CT files of the
packages pydicom and pydicom-data are always read. Every CT file whose compression is lossless is decoded by SimpleITK as
well and its Hounsfield units are compared one by one.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import SimpleITK
from pydicom.uid import HTJ2K, JPEG2000, UID, CTImageStorage, JPEGLSNearLossless

from ich_pipeline.config import IngestParams, load_params
from ich_pipeline.core.progress import Track, terminal
from ich_pipeline.dicom.decode import AIR_HU, SliceReader
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.multiframe import ENHANCED_CT
from ich_pipeline.dicom.opening import read_whole_dataset
from ich_pipeline.dicom.reader import read_slice_headers
from ich_pipeline.dicom.stored import PixelError, transfer_syntax
from ich_pipeline.ingest.scan import scan
from ich_pipeline.ingest.tables import account_table
from ich_pipeline.series.study import read_study

PROFILE = Path(__file__).parents[1] / "ich_pipeline" / "profiles" / "paper.yaml"
LOSSY = {JPEG2000, HTJ2K, JPEGLSNearLossless}


@dataclass(frozen=True)
class Row:
    """One CT file: where it is, what became of it, how it compares."""

    path: str
    series: str
    syntax: str
    reason: str
    detail: str
    agreement: str


def main() -> None:
    """Print the page."""
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    params = load_params(PROFILE).ingest
    print(HEAD)
    for title, root, by_series in _sources(Path(sys.argv[1]) if len(sys.argv) > 1 else None):
        rows, others = read_source(root, params, terminal)
        print(f"\n## {title}\n")
        print(by_series_table(rows) if by_series else by_file_table(rows))
        if others:
            print("\nOther files: " + ", ".join(f"{n} `{reason}`" for reason, n in sorted(others.items())) + ".")


def package_roots() -> dict[str, Path]:
    """Where the packages keep their files."""
    import data_store  # the package pydicom-data

    return {
        "pydicom": Path(pydicom.__file__).parent / "data",
        "pydicom-data": Path(next(iter(data_store.__path__))) / "data",
    }


def read_source(root: Path, params: IngestParams, track: Track) -> tuple[list[Row], Counter[str]]:
    """Ingest a folder without writing: its CT files, and the reasons of the others."""
    found = scan(root, params)
    verdicts = dict(found.verdicts)
    for study in found.studies:
        verdicts |= read_study(study, params).verdicts
    account = account_table(found.headers, verdicts).set_index("path")
    first = {h.path: h for h in reversed(found.headers)}
    rows, others = [], Counter[str]()
    for path, header in track(sorted(first.items()), root.name, len(first)):
        if header.sop_class_uid != CTImageStorage and header.sop_class_uid not in ENHANCED_CT:
            others[str(account.loc[path, "reason"])] += 1
            continue
        reason, detail = (str(account.loc[path, name]) for name in ("reason", "detail"))
        syntax = UID(header.transfer_syntax).name if header.transfer_syntax else "not named"
        series = f"{header.series_number} {header.series_description} ({header.kernel or 'no kernel'})"
        rows.append(Row(path, series, syntax, reason, detail, agreement(header)))
    return rows, others


def agreement(header: Header) -> str:
    """Ours against SimpleITK, over all frames of a file."""
    assert isinstance(header.source, Path)
    if header.reason == "pixels_missing" or header.rows is None:
        return "no pixels"
    reader = SliceReader()
    frames = read_slice_headers(header.source, header.path, (0.0, 1e9))
    try:
        decoded = [reader.read(frame) for frame in frames]
    except PixelError as error:
        return f"not decoded ({error.reason})"
    hu = np.stack([one.hu for one in decoded]).astype(np.int64)
    ds, _ = read_whole_dataset(header.source.read_bytes(), 512)
    lossy = transfer_syntax(ds) in LOSSY
    try:
        theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(header.source))).astype(np.int64)
    except RuntimeError:
        return "SimpleITK cannot read it"
    counted = np.ones(hu.shape, bool)
    if "PixelPaddingValue" in ds and "RescaleSlope" in ds:
        # Both see the same padding: where we have air and they have the padding value.
        counted = ~((hu == AIR_HU) & (np.abs(theirs - _padding_hu(ds)) <= (8 if lossy else 0)))
    differ = hu[counted] != np.clip(theirs, -32768, 32767)[counted]
    beside = "" if counted.all() else f", {(~counted).sum():,} padding"
    kind = "lossy, " if lossy else ""
    if not differ.any():
        return f"{kind}equal{beside}"
    if decoded[0].note and not ((hu - theirs)[counted] % 65536).any():
        return f"{kind}equal modulo 2^16: theirs is not repaired"
    return f"{kind}{differ.sum():,} pixels differ by up to {np.abs(hu - theirs)[counted].max()} HU{beside}"


def _padding_hu(ds: pydicom.Dataset) -> float:
    return float(ds.PixelPaddingValue) * float(ds.RescaleSlope) + float(ds.RescaleIntercept)


def by_file_table(rows: list[Row]) -> str:
    """One line a file."""
    lines = ["| file | transfer syntax | reason | detail | against SimpleITK |", "|---|---|---|---|---|"]
    lines += [f"| {r.path} | {r.syntax} | `{r.reason}` | {r.detail} | {r.agreement} |" for r in _folded(rows)]
    return "\n".join(lines)


def by_series_table(rows: list[Row]) -> str:
    """One line for the files of a series in one syntax that met the same."""
    table = pd.DataFrame([vars(row) for row in rows])
    table["agreement"] = table["agreement"].str.replace(r", [\d,]+ padding", " outside padding", regex=True)
    keys = ["series", "syntax", "reason", "detail", "agreement"]
    lines = ["| series | transfer syntax | files | reason | detail | against SimpleITK |", "|---|---|---|---|---|---|"]
    for (series, syntax, reason, detail, same), group in table.groupby(keys, sort=True):
        lines.append(f"| {series} | {syntax} | {len(group):,} | `{reason}` | {detail} | {same} |")
    return "\n".join(lines)


def _folded(rows: list[Row]) -> Iterator[Row]:
    """Many files of one folder that met the same become one line."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault((Path(row.path).parent, row.syntax, row.reason, row.detail, row.agreement), []).append(row)
    for group in groups.values():
        if len(group) < 4:
            yield from group
        else:
            first = group[0]
            path = f"{Path(first.path).parent.as_posix()}/ ({len(group)} files)"
            yield Row(path, first.series, first.syntax, first.reason, first.detail, first.agreement)


def _sources(data: Path | None) -> Iterator[tuple[str, Path, bool]]:
    if data is not None:
        yield "PhysioNet CT-ICH, half of its patients as DICOM (ctich_dicom)", data / "ctich_dicom", True
        yield "A tilted gantry (dicom_pacs/ge_tilt)", data / "dicom_pacs" / "ge_tilt", True
        yield (
            "A whole scanner disc of a plastic head (dicom_pacs/philips_export)",
            data / "dicom_pacs" / "philips_export",
            True,
        )
        yield "Odd files (dicom_odd)", data / "dicom_odd", False
    for name, root in package_roots().items():
        yield f"CT files of the package {name}", root, False


HEAD = """# Real files and what the ingest makes of them

Made by `python benchmarks/ingest_accounts.py DATA > docs/ingest-accounts.md` with the settings of the `paper` profile. Each
section is one folder, ingested by itself; [reason codes](reason-codes.md). The last column compares the Hounsfield units with
those of SimpleITK, pixel by pixel, also where a file is set aside; *padding* are pixels of PixelPaddingValue, which are −1024 HU
here and are not rescaled padding as there. SimpleITK reads through a GDCM of its own, so for JPEG lossless, which GDCM decodes
here too, it is the same program twice; there liblj92 was compared once more."""


if __name__ == "__main__":
    main()
