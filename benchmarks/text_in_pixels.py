"""Writing in the picture, found by shapes beside the head and by the character reader: `python benchmarks/text_in_pixels.py FOLDER [EVERY]`.

FOLDER holds DICOM slices; every EVERYth (default 75) is taken. Prints how many are suspected as they are, and how many of names
written over the head and beside it, in several heights and directions, are seen. Needs the extra ocr.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ich_pipeline.core.progress import terminal
from ich_pipeline.deidentify.pixels import lines_read
from ich_pipeline.deidentify.text import text_rows
from ich_pipeline.dicom.decode import read_hu

FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
NAMES = ("MUELLER ANNA", "Doe^John 1961", "ID 4711-0815", "Peeters, J. 12.03.1950")
HEIGHTS_PX = (8, 10, 12, 16, 20)
TURNS_DEG = (0, 90, 180, 270, 45)
PLACES = {"over the head": 0.5, "beside it": 0.03}
INK_HU = 2000


def write(hu: NDArray[np.int16], name: str, height: int, turn: int, down: float) -> NDArray[np.int16]:
    font = ImageFont.truetype(str(FONT), round(height / 0.73))  # of capital letters
    picture = Image.new("L", hu.shape[::-1])
    middle = (hu.shape[1] // 2, round(down * hu.shape[0]))
    ImageDraw.Draw(picture).text(middle, name, fill=255, font=font, anchor="mm")
    ink = np.asarray(picture.rotate(turn)) / 255
    return np.rint(hu * (1 - ink) + INK_HU * ink).astype(np.int16)


def main(folder: Path, every: int) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())[::every]
    slices = [read_hu(path.read_bytes()) for path in files]
    plain = [(text_rows(hu) > 0, lines_read(hu) > 0) for hu in terminal(slices, "as they are", len(slices))]
    print(
        f"{len(slices)} slices as they are: {sum(a for a, _ in plain)} by shapes, {sum(b for _, b in plain)} by the reader"
    )
    print("| writing | height px | by shapes | by the reader |\n|---|---:|---:|---:|")
    rows = [
        (place, down, turn, height)
        for place, down in PLACES.items()
        for turn in TURNS_DEG
        for height in HEIGHTS_PX
        if down == 0.5 or turn in (0, 180)
    ]
    for place, down, turn, height in terminal(rows, "kinds of writing", len(rows)):
        written = [write(hu, NAMES[k % len(NAMES)], height, turn, down) for k, hu in enumerate(slices)]
        seen = [sum(look(hu) > 0 for hu in written) for look in (text_rows, lines_read)]
        print(f"| {place}, {turn}° | {height} | {seen[0]} of {len(slices)} | {seen[1]} of {len(slices)} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 75)
