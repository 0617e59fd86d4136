"""HU volumes: our blosc2 file against gzip level 1 of the same bytes. Prints ratios; run as ``python benchmarks/volumes.py FOLDER``."""

from __future__ import annotations

import gzip
import sys
import tempfile
from pathlib import Path

import numpy as np
from timing import seconds

from ich_pipeline.ingest.volumes import read_volume, write_volume


def main(folder: Path) -> None:
    """Compare on the first volumes of a folder that the ingest wrote (``work/ingest/volumes``)."""
    volumes = [read_volume(path) for path in sorted(folder.glob("*.b2nd"))[:20]]
    hu = np.concatenate([volume.reshape(-1, *volume.shape[1:]) for volume in volumes])
    with tempfile.TemporaryDirectory() as temporary:
        ours, theirs = Path(temporary) / "v.b2nd", Path(temporary) / "v.gz"
        write = seconds(lambda: write_volume(ours, hu))
        gz_write = seconds(lambda: theirs.write_bytes(gzip.compress(hu.tobytes(), 1)))
        read = seconds(lambda: read_volume(ours))
        gz_read = seconds(lambda: np.frombuffer(gzip.decompress(theirs.read_bytes()), np.int16))
        print(f"{hu.nbytes / 1e6:.0f} MB of HU in {len(volumes)} volumes; blosc2 against gzip -1:")
        print(f"  size   {theirs.stat().st_size / ours.stat().st_size:.2f} times smaller")
        print(f"  write  {gz_write / write:.1f} times faster")
        print(f"  read   {gz_read / read:.1f} times faster")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "work/ingest/volumes"))
