"""The ingest's page: complete, self-contained, the same bytes each time, and without anyone's name."""

from __future__ import annotations

import base64
import html.parser
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ich_pipeline.core.errors import InputError
from ich_pipeline.ingest import page as summary
from ich_pipeline.ingest.ingest import ingest
from ich_pipeline.ingest.page import histogram_svg, thumbnail
from tests.made.browser import browser

SECRETS = ("Secret", "P1", "NAMED HEAD", "19991231", "DOE_JOHN")


class Loads(html.parser.HTMLParser):
    """Collects whatever a browser would fetch, and checks that tags close."""

    VOID = frozenset({"meta", "br", "img", "rect", "path", "link", "input", "hr"})

    def __init__(self):
        super().__init__()
        self.open, self.loads = [], []

    def handle_starttag(self, tag, attrs):
        self.loads += [v for k, v in attrs if k in ("src", "href", "srcset") and v]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture
def mixed(tmp_path, save_series):
    root = tmp_path / "dicom"
    common = {"SeriesDescription": "NAMED HEAD", "StudyDate": "19991231"}
    save_series(root / "DOE_JOHN" / "thick", 8, **common)
    save_series(root / "DOE_JOHN" / "thin", 8, series="thin", SliceThickness="1", SeriesNumber=1, **common)
    save_series(root / "bone", 5, patient="P3", study="three", ConvolutionKernel="H60s", **common)
    gap = save_series(root / "gap", 7, patient="P2", study="two", ConvolutionKernel="<b>&", **common)
    gap[3].unlink()
    (root / "empty").write_bytes(b"")
    return root


def test_the_page_says_what_became_of_all(mixed, tmp_path, ingest_params):
    report = ingest(mixed, tmp_path / "out", ingest_params)
    page = (tmp_path / "out" / "index.html").read_text()
    parser = Loads()
    parser.feed(page)
    assert parser.open == []
    assert len(parser.loads) == 2 and all(v.startswith("data:image/png;base64,") for v in parser.loads)
    assert not re.search(r"https?://|<script src|@import|url\(", page)
    assert not [secret for secret in SECRETS if secret in page]
    for reason, count in report.account["reason"].value_counts().items():
        assert re.search(rf"<code>{reason}</code></td><td class=\"n\">{count}</td>", page)
    table = page[page.index('id="studies"') : page.index('id="without"')]
    assert table.count("<tr>") == 3
    assert table.index("1 gap: 15.00 to 25.00 mm") < table.index("the runner-up is 1 mm thick")  # remarks first
    assert "&lt;b&gt;&amp;" in table
    assert "bone_kernel (1 series)" in page[page.index('id="without"') :]
    chosen = report.series[report.series["chosen"]]
    assert all(case in table for case in chosen["case_id"])


def test_pictures_are_capped_and_half_are_left_to_plain_studies():
    def study(n, remarked):
        return summary.Study({"case_id": f"C{n:03d}"}, None, ("a gap",) if remarked else ())

    plain, remarked = [study(n, False) for n in range(80)], [study(n, True) for n in range(80)]

    def counts(studies):
        found = summary._pictured(studies)
        return sum(bool(s.remarks) for s in found), len(found)

    assert counts(remarked + plain) == (30, 60)
    assert counts(remarked + plain[:5]) == (55, 60)
    assert counts(remarked[:3] + plain) == (3, 60)
    assert counts(plain[:7]) == (0, 7)


def test_a_thumbnail_is_the_brain_window_in_true_proportions():
    hu = np.zeros((40, 80), np.int16)
    hu[:, 40:] = 40
    uri = thumbnail(hu, (2.0, 1.0))
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
    assert picture.shape == (150, 150)
    assert (picture[:, :70] == 0).all() and (picture[:, 80:] == 128).all()


def test_the_histogram_draws_every_bin_that_holds_something():
    counts = np.zeros(160, np.int64)
    counts[[5, 55]] = 100, 25
    svg = str(histogram_svg(counts))
    heights = re.findall(r'<rect[^>]*height="([\d.]+)"', svg)
    assert [float(h) for h in heights] == [180.0, 90.0]  # square roots


@pytest.mark.parametrize("pixels", [True, False], ids=["series that cannot be decoded", "no CT image at all"])
def test_without_a_usable_series_account_and_page_are_there_all_the_same(tmp_path, save_series, ingest_params, pixels):
    root = tmp_path / "dicom"
    root.mkdir()
    (root / "empty").write_bytes(b"")
    if pixels:
        for path in save_series(root / "DOE_JOHN", 5, SeriesDescription="NAMED HEAD"):
            path.write_bytes(path.read_bytes()[:-100])
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"no usable CT series: .* every file has a row in .*out/account\.csv"):
        ingest(root, out, ingest_params)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dicom", "out"]
    assert sorted(p.name for p in out.iterdir()) == ["account.csv", "index.html"]
    account = pd.read_csv(out / "account.csv", keep_default_na=False)
    assert len(account) == (6 if pixels else 1) and "used" not in set(account["status"])
    page = (out / "index.html").read_text()
    parser = Loads()
    parser.feed(page)
    assert parser.open == [] and parser.loads == [] and not [secret for secret in SECRETS if secret in page]
    assert "No series of this source is usable" in page and 'id="pictures"' not in page
    assert ('id="without"' in page) == pixels
    for reason, count in account["reason"].value_counts().items():
        assert re.search(rf"<code>{reason}</code></td><td class=\"n\">{count}</td>", page)
    first = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(InputError):
        ingest(root, out, ingest_params)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == first


def test_the_table_of_5000_studies_is_searched_and_paged(mixed, tmp_path, ingest_params, chromium):
    report = ingest(mixed, tmp_path / "out", ingest_params)
    one = report.series[report.series["chosen"]].head(1)
    listed = [f"C{n:05d}" for n in range(5000)]
    many = one.loc[one.index.repeat(5000)].assign(case_id=listed, reason="chosen: the only one")
    summary.write_summary(tmp_path / "out", report.account, many, ingest_params)
    with browser(chromium, tmp_path / "profile") as tab:
        tab.open(tmp_path / "out" / "index.html")

        def cases() -> list[str]:
            rows = "[...document.querySelectorAll('#studies tbody tr:not([hidden])')]"
            return tab.value(f"{rows}.map(row => row.querySelector('code').textContent)")

        def search(words: str) -> None:
            tab.value(
                "(() => { const e = document.querySelector('#studies input');"
                f"e.value = {words!r}; e.dispatchEvent(new Event('input')); }})()"
            )

        assert cases() == listed[:50]
        tab.value("document.querySelectorAll('#studies button')[1].click()")
        assert cases() == listed[50:100] and "51–100 of 5,000" in tab.value("document.body.textContent")
        search("c0012")
        assert cases() == listed[120:130]
        search("C00120 mm")
        assert cases() == ["C00120"]
        search("no such study")
        assert cases() == [] and "nothing found" in tab.value("document.body.textContent")
        search("")
        assert cases() == listed[:50] and tab.errors == [] and tab.requests == []


def test_studies_of_which_nothing_is_read_are_named(tmp_path, make_slice, save_slice, ingest_params, read_in_process):
    from ich_pipeline.commands.ingest import lost_studies

    for number in range(1, 5):
        save_slice(make_slice(number=number), tmp_path / f"read{number}")
    assert lost_studies(read_in_process(tmp_path, ingest_params).series) == []
    for study in range(5):
        for number in range(1, 5):
            ds = make_slice(study=f"bone{study}", series=f"bone{study}", number=number, ConvolutionKernel="BONE")
            save_slice(ds, tmp_path / f"bone{study}" / f"{number}")
    [said] = lost_studies(read_in_process(tmp_path, ingest_params).series)
    assert said.startswith("Of 5 studies no series is read (C") and said.count("bone_kernel (1 series)") == 3
    assert said.endswith("; 2 more in index.html).")
