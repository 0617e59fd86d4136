"""docs/case-*.png and docs/results.png: three case pages of phantoms and the page of results, as a browser shows them.

    python .ci/case_pictures.py    # `make case-pictures`; needs chromium, and what `make repro` leaves

The registered version reads three patients of the synthetic cohort's retrospective test, as ``ich predict`` does. The page of
results is reports/index.html.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))

from ich_pipeline.commands.predict import predict  # noqa: E402
from ich_pipeline.config import load_params  # noqa: E402
from tests.made.browser import Page, browser  # noqa: E402

COLOURS = 255  # of a picture: greys of a CT and few others
# The patient's folder, the picture, width and height of the window, dark, keys to press.
PICTURES = (
    ("1007363530", "case-desktop.png", 1280, 960, False, ""),
    ("2630309921", "case-dark.png", 1280, 960, True, "a"),
    ("2872563893", "case-narrow.png", 390, 844, False, ""),
)
RESULTS = (1280, 1600)  # width and height of the window for the page of results


def main() -> int:
    """Read the three studies and draw their pages, then the page of results."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("chromium is missing: run .ci/system-packages", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        for patient, name, width, height, dark, keys in PICTURES:
            out = Path(scratch) / patient
            done = predict([Path("data") / "dicom" / patient], out, load_params(), None, False)
            with browser(chromium, Path(scratch) / f"{patient}.profile") as page:
                page.open(out / f"{done.answers[0]['case_id']}.html", width, height, dark)
                if page.ready() != "ready":
                    raise SystemExit(page.value("document.getElementById('fallback').textContent"))
                _draw(page, keys, TOP / "docs" / name)
        with browser(chromium, Path(scratch) / "results.profile") as page:
            page.open(Path("reports").resolve() / "index.html", *RESULTS)
            _draw(page, "", TOP / "docs" / "results.png")
    return 0


def _draw(page: Page, keys: str, target: Path) -> None:
    for key in keys:
        page.key(key)
    page.value("new Promise(done => setTimeout(done, 1500))")
    page.picture(target)
    Image.open(io.BytesIO(target.read_bytes())).convert("RGB").quantize(COLOURS).save(target, "PNG", optimize=True)
    print(f"{target}: {target.stat().st_size // 1000} kB")


if __name__ == "__main__":
    raise SystemExit(main())
