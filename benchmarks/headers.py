"""What does a header of the ingest take in memory, with what a series has in common held once, and without?

Run as ``python benchmarks/headers.py FOLDER [COUNT]`` with any folder of DICOM files (``data/dicom``): they are read over and over
under new names until there are COUNT headers. Each way has a process of its own; prints kB a header and their ratio.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path
from unittest import mock

from ich_pipeline.config import load_params
from ich_pipeline.dicom.header import Header
from ich_pipeline.ingest.scan import read_headers

FILES = 300


def main(folder: Path, count: int) -> None:
    """Measure both ways."""
    kib = {}
    for way in ("apart", "shared"):
        command = [sys.executable, __file__, str(folder), str(count), way]
        kib[way] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"  {way:6} {kib[way]:.2f} kB a header ({count:,} headers)")
    print(f"  {kib['apart'] / kib['shared']:.1f} times smaller")


def kib_a_header(folder: Path, count: int, shared: bool) -> float:
    """Growth of this process while the headers of so many files are read and kept."""
    files = sorted(path for path in islice(folder.rglob("*"), 2 * FILES) if path.is_file())[:FILES]
    named = [(path, f"patient {n // FILES}/{n}") for n, path in enumerate(islice(cycle(files), count))]
    before = _resident_kib()
    with mock.patch.object(Header, "sharing", Header.sharing if shared else lambda header, seen: header):
        headers = read_headers(named, load_params().ingest)
    return (_resident_kib() - before) / len(headers)


def _resident_kib() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


if __name__ == "__main__":
    place, number = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    if len(sys.argv) > 3:
        print(kib_a_header(place, number, sys.argv[3] == "shared"))
    else:
        main(place, number)
