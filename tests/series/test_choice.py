"""Which series is read: each rule alone, its sentence, and what is recognised and set aside before."""

from __future__ import annotations

import itertools

import pytest
from pydantic import ValidationError

from ich_pipeline.config import IngestParams
from ich_pipeline.dicom.contrast_header import named_by_header
from ich_pipeline.ingest.scan import scan
from ich_pipeline.series.study import read_study


def chosen_and_other(root, params):
    """Reason texts of the chosen series and of the runner-up, and the chosen one's row."""
    [study] = scan(root, params).studies
    reading = read_study(study, params)
    texts = {
        place: (group, why[1]) for group, why, place in zip(study, reading.group_reasons, reading.places, strict=True)
    }
    return texts[1], texts[2]


def positions(step, count, start=0.0):
    return [(-80.0, -80.0, start + step * i) for i in range(count)]


@pytest.fixture
def write(tmp_path, make_slice, save_slice):
    def series(name, places, **fields):
        for n, place in enumerate(places, start=1):
            save_slice(make_slice(series=name, number=n, position=place, **fields), tmp_path / "dicom" / name / f"{n}")

    return series


# At equal coverage; what goes first, what stands behind, and the words that say so.
RULES = {
    "preferred thickness": (
        {"places": positions(5, 8)},
        {"places": positions(1, 40), "SliceThickness": "1"},
        "is 1 mm thick, the chosen series 5 mm, 5 mm is preferred",
    ),
    "kernel": (
        {"places": positions(5, 8)},
        {"places": positions(5, 12), "ConvolutionKernel": "11"},
        "has 11, and kernel_preference names the chosen series' kernel earlier (soft)",
    ),
    "coverage": (
        {"places": positions(1, 40), "SliceThickness": "1"},
        {"places": positions(5, 6)},
        "covers 30 mm, the chosen series 40 mm",
    ),
    "a gap covers nothing": (
        {"places": positions(1, 40), "SliceThickness": "1"},
        {"places": [*positions(5, 3), *positions(5, 3, start=35)]},
        "covers 30 mm, the chosen series 40 mm",
    ),
    "gaps": (
        {"places": positions(1, 40), "SliceThickness": "1"},
        {"places": [*positions(5, 4), *positions(5, 3, start=25)]},
        "has gaps (1), the chosen series has none",
    ),
    "positions": (
        {"places": positions(2.5, 16)},
        {"places": positions(5, 8)},
        "has 8 positions, the chosen series 16",
    ),
    "number": (
        {"places": positions(5, 8), "SeriesNumber": 2},
        {"places": positions(5, 8), "SeriesNumber": 3},
        "is equal to the chosen series; the lower SeriesNumber, then SeriesInstanceUID, goes first",
    ),
}


@pytest.mark.parametrize(("rule", "swapped"), itertools.product(RULES, (False, True)))
def test_each_rule(tmp_path, write, ingest_params, rule, swapped):
    first, second, words = RULES[rule]
    names = ("b", "a") if swapped else ("a", "b")
    write(names[0], **first)
    write(names[1], **second)
    (chosen, why), (_, behind) = chosen_and_other(tmp_path / "dicom", ingest_params)
    assert chosen.first.name.startswith(f"{names[0]}/")
    assert behind == words
    assert why == f"first of 2 usable series; the runner-up {words}"


def test_settings_turn_the_choice(tmp_path, write, ingest_params):
    write("thin", positions(1, 40), SliceThickness="1", ConvolutionKernel="H30s")
    write("thick", positions(5, 8), ConvolutionKernel="H40s")
    root = tmp_path / "dicom"

    def chosen(**update):
        return chosen_and_other(root, ingest_params.model_copy(update=update))[0][0].first.name.split("/")[0]

    assert chosen() == "thick"
    assert chosen(preferred_thickness_mm=1.0) == "thin"
    assert chosen(kernel_preference=("H3?s", "soft")) == "thin"
    assert chosen(kernel_preference=("h40*", "soft"), preferred_thickness_mm=1.0) == "thick"
    # A series whose kernel no entry names comes last, but it is still read.
    assert chosen(kernel_preference=("H40s",), preferred_thickness_mm=1.0) == "thick"
    assert chosen(kernel_preference=("none such",)) == "thick"


def test_too_little_of_the_head_is_set_aside(tmp_path, write, ingest_params, read_in_process):
    write("slab", positions(1, 20), SliceThickness="1")
    write("head", positions(5, 8), SliceThickness="5", ConvolutionKernel="11")
    params = ingest_params.model_copy(update={"minimum_coverage_mm": 25.0})
    reading = read_in_process(tmp_path / "dicom", params)
    counts, account = reading.counts, reading.account
    assert counts == {"coverage_too_small": 20, "used": 8}
    detail = account.loc[account["reason"] == "coverage_too_small", "detail"].unique().tolist()
    assert detail == ["covers 20 mm, at least 25 mm are needed"]


def test_coverage_lost_to_broken_files_gives_the_next_series_its_turn(tmp_path, write, ingest_params, read_in_process):
    write("first", positions(5, 8))
    write("second", positions(5, 7), ConvolutionKernel="11")
    for n in (1, 2, 3):
        path = tmp_path / "dicom" / "first" / f"{n}"
        path.write_bytes(path.read_bytes()[:-300])
    params = ingest_params.model_copy(update={"minimum_coverage_mm": 30.0})
    table = read_in_process(tmp_path / "dicom", params).series.set_index("ConvolutionKernel")
    assert table.loc["11", "reason"] == "chosen: the only usable series of the study"
    assert table.loc["H31s", "reason"].startswith(
        "coverage_too_small: 3 of 8 slices cannot be read; the rest: covers 25 mm"
    )
    assert table["place"].to_dict() == {"11": 1, "H31s": 0}


def test_single_slices_without_thickness_come_last(tmp_path, make_slice, save_slice, ingest_params, read_in_process):
    save_slice(make_slice(study="s", series="a", SliceThickness=None), tmp_path / "in" / "a")
    save_slice(make_slice(study="s", series="b", SliceThickness="0.5"), tmp_path / "in" / "b")
    params = ingest_params.model_copy(update={"minimum_slices": 1})
    found = read_in_process(tmp_path / "in", params)
    assert sorted(found.account["reason"]) == ["not_chosen", "used"]
    assert found.account.set_index("path").loc["a", "detail"] == "has one slice without SliceThickness"


def test_bone_cannot_be_preferred(ingest_params):
    with pytest.raises(ValidationError, match="bone"):
        IngestParams(**{**ingest_params.model_dump(), "kernel_preference": ("bone", "soft")})


def test_thin_and_thick_copies_under_one_series_uid_stay_apart(
    tmp_path, make_slice, save_slice, ingest_params, read_in_process
):
    for n, place in enumerate(positions(1, 40), start=1):
        save_slice(make_slice(number=n, position=place, SliceThickness="1"), tmp_path / "d" / f"thin{n}")
    for n, place in enumerate(positions(5, 8), start=101):
        thickness = "5" if n % 2 else "4.998"
        save_slice(make_slice(number=n, position=place, SliceThickness=thickness), tmp_path / "d" / f"thick{n}")
    assert read_in_process(tmp_path / "d", ingest_params).counts == {"not_chosen": 40, "used": 8}


def test_two_kernels_under_one_series_uid_stay_apart(tmp_path, make_slice, save_slice, ingest_params, read_in_process):
    for n, kernel in itertools.product(range(1, 7), ("H31s", "H20s")):
        ds = make_slice(number=n + 100 * (kernel == "H20s"), position=(-80, -80, 5 * n), ConvolutionKernel=kernel)
        save_slice(ds, tmp_path / "d" / f"{kernel}{n}")
    reading = read_in_process(tmp_path / "d", ingest_params)
    assert reading.counts == {"used": 6, "not_chosen": 6}
    assert sorted(reading.series["place"]) == [1, 2]


def test_a_stretch_taken_many_times_is_no_series_to_read(
    tmp_path, make_slice, save_slice, ingest_params, read_in_process
):
    for n, time in itertools.product(range(1, 5), range(4)):
        ds = make_slice(number=10 * time + n, position=(-80, -80, 5 * n), AcquisitionNumber=time)
        save_slice(ds, tmp_path / "d" / f"{n}_{time}")
    for n in range(1, 7):
        save_slice(make_slice(series="plain", number=n), tmp_path / "d" / f"plain{n}")
    assert read_in_process(tmp_path / "d", ingest_params).counts == {"dynamic": 16, "used": 6}


COMPUTED = [
    ({"ImageType": ["DERIVED", "PRIMARY", "REFORMATTED", "AVERAGE"]}, "reformatted"),
    ({"ImageType": ["DERIVED", "PRIMARY", "MIN IP"], "SeriesDescription": "MinIP thick"}, "reformatted"),
    ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "CT_PERFUSION"]}, "reformatted"),
    ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL"], "SeriesDescription": "rCBF_map"}, "reformatted"),
    ({"ImageType": ["DERIVED", "PRIMARY", "VOLUME"]}, "reformatted"),
    ({"ImageType": None, "SeriesDescription": "MPR ax 3mm"}, "reformatted"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "VOLUME"]}, "used"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "SeriesDescription": "Head 5mm for MPR"}, "used"),
    ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL"], "SeriesDescription": "Head 5mm"}, "used"),
    ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "secondary"),
    ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"], "SeriesDescription": "Head C+"}, "contrast"),
    ({"ImageType": ["DERIVED", "PRIMARY", "AVERAGE"], "ContrastBolusAgent": "Ultravist"}, "contrast"),
    ({"ImageType": ["ORIGINAL", "SECONDARY", "AXIAL"], "ConvolutionKernel": "BONEPLUS"}, "bone_kernel"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "SURVIEW"]}, "localizer"),
    ({"SeriesDescription": "CTA head"}, "contrast"),
    ({"ContrastBolusVolume": "80"}, "contrast"),
    ({"ContrastBolusAgent": "NON-IONIC"}, "contrast"),
    ({"ContrastBolusAgent": "NONE", "SeriesDescription": "CTA head"}, "used"),
]


@pytest.mark.parametrize(("fields", "reason"), COMPUTED)
def test_what_headers_say_of_a_series(tmp_path, make_slice, save_slice, ingest_params, fields, reason):
    for n in range(1, 5):
        save_slice(make_slice(series="x", number=n, **fields), tmp_path / f"x{n}")
    found = scan(tmp_path, ingest_params)
    assert {r for r, _ in found.verdicts.values()} == (set() if reason == "used" else {reason})


NOT_GIVEN = [
    "CCT o. KM", "CCT o.KM", "CCT o.i.v.KM", "Kopf -KM", "CT Schädel KM-", "KM- 5mm", "CT KM -", "KM nein", "KM: nein", "kein KM", "keinerlei KM", "o/KM",
    "keine KM Gabe", "nicht KM", "CCT vor i.v. KM", "vor der KM-Gabe", "vor Injektion", "prä KM", "KM +/-", "CCT +/- KM", "C+/-",
    "pas d'injection", "pas de produit de contraste", "avant l'injection", "AVANT-INJECTION", "non injecté", "before inj",
    "before contrast", "Head Inj", "TRAUMA HEAD INJ", "Dural venous sinus thrombosis", "Sinus venosus thrombosis",
    "arteriovenous malformation", "zonder contrast", "geen contrast", "sem contraste", "antes del contraste",
    "senza contrasto", "prima del contrasto", "Head -contrast",
]  # fmt: skip
GIVEN = [
    "mit KM", "Kopf-KM", "Kopf - KM", "KM-Gabe", "KM - portalvenös", "Kopf KM i.v.", "Kopf+KM", "Venous phase", "Kopf venös",
    "Sinus, venöse Phase", "post inj", "après l'inj", "i.v. Inj.", "vor OP mit KM", "injection, pas 0.6", "CTA pre-operative",
    "nicht-ionisches KM", "post-contrast",
]  # fmt: skip


@pytest.mark.parametrize(
    ("agent", "volume", "description", "named"),
    [
        ("", None, "", False), ("NONE", None, "", False), ("No contrast", None, "", False), ("W/O", None, "", False),
        ("Ultravist 370", None, "", True), ("IV", None, "", True), ("NON IONIC", None, "", True), ("n/a", 80.0, "", False),
        ("", 0.0, "", False), ("", 70.0, "", True),
        ("", None, "HEAD C+", True), ("", None, "Head w/o contrast", False), ("", None, "HEAD W/WO CONTRAST", False),
        ("", None, "Post contrast 5mm", True), ("", None, "Nativ", False), ("", None, "C-SPINE", False),
        ("", None, "UNENHANCED", False), ("", None, "non-enhanced", False), ("", None, "Angio 0.6", True),
        ("", None, "4cc sec 150cc", True), ("", None, "Head 3.5 ml/s", True), ("", None, "100ML 5mm", False),
        ("", None, "Kopf KM portalvenös", True), ("", None, "nach KM", True), ("", None, "vor KM", False),
        ("", None, "après injection", True), ("", None, "crâne sans injection", False), ("", None, "venöse Phase", True),
        ("", None, "fase arterial", True), ("", None, "CTA pre-op", True), ("", None, "CTA vor OP", True),
        ("", None, "Trauma, injury", False), ("", None, "5cc", False), ("", None, "no 4cc sec", False), ("NONE", None, "4cc sec 150cc", False),
        ("nein KM", None, "", False), ("nein", None, "", False), ("C-", None, "", False), ("o. KM", None, "", False),
        ("nicht-ionisch", None, "", True), ("non ionique", None, "", True),
        *(("", None, text, False) for text in NOT_GIVEN), *(("", None, text, True) for text in GIVEN),
    ],
)  # fmt: skip
def test_contrast_by_the_header(agent, volume, description, named):
    assert bool(named_by_header(agent, volume, description)) == named


def test_the_table_names_places_gaps_and_duplicates(tmp_path, make_slice, save_slice, ingest_params, read_in_process):
    for n in (1, 2, 3, 6, 7):
        save_slice(make_slice(number=n), tmp_path / "d" / f"{n}")
    save_slice(make_slice(number=30, position=(-80, -80, 15.02)), tmp_path / "d" / "again")
    row = read_in_process(tmp_path / "d", ingest_params).series.iloc[0]
    assert (row["gaps"], row["gaps_at"]) == (1, "15.00 to 30.00 mm")
    assert (row["duplicates"], row["duplicates_at"]) == (1, "15.00 mm")
    assert row["steps"] == "2 × 5.00, 1 × 15.00, 1 × 5.00 mm"
    assert row["coverage_mm"] == pytest.approx(25)
    assert not row["uneven_steps"]
    assert sum(row["hu_histogram"]) == 5 * 32 * 32
    assert 0.5 < row["air_share"] < 0.8 and 0.2 < row["soft_share"] < 0.5
