"""What a SeriesDescription says of contrast agent and of images of two energies, in the words that hospitals write."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.dicom.contrast_header import named_by_header, volume_named
from ich_pipeline.dicom.verdict import named_virtual

ENHANCED = [
    "HEAD W CON", "HEAD W CONT 5.0", "HEAD W/CON", "Head w/cont", "W IV CONT", "POST CON 5.0", "PostCont5", "HEAD W/C", "C/C", "Head W/IV",
    "HEAD CE 5.0", "Head CE5", "Head +CE", "IV+", "Crane IV+ 1mm", "I+", "Crane I+ 1.25", "dopo MDC", "CON MDC", "cranio mdc", "con CIV",
    "Omnipaque 350", "OMNIPAQUE300", "IOPAMIRON", "Iopamidol 370", "iohexol", "iodixanol", "Visipaque", "Iomeprol", "IOMERON400",
    "iopromide", "Ultravist", "ioversol", "Optiray 320", "Xenetix", "Jopamidol", "80 ML OMNIPAQUE 300",
    "4cc per sec", "4ml/2s", "4 cc/sec", "3.5ML/S 80ML", "1.5 cc/s x 15 cc", "Art. Phase", "ART PHASE 1.0", "Delayed Phase", "late venous phase",
    "AngioHead", "HeadCTA", "KopfMitKM", "CTA5", "Kopf KM3", "C+5",
]  # fmt: skip
PLAIN = [
    "CT Head wo", "Head wo 5.0", "HEAD WO CONT", "W/O CON", "W/OCONT 5", "w/out cont", "W.O. CONT", "W/0 CONT", "o. KM", "pas d'injection", "NON CE", "Head NON-CE 5",
    "no CE", "Head Inj", "HEAD INJURY 5.0", "S/C", "IV- 5.0", "I-", "ohneKM", "utan kontrast", "uden kontrast", "bez kontrastu", "senza MDC", "pre MDC", "sans CIV", "no Omnipaque",
    "IV ventricle", "CON FRACTURA", "POST OP", "post fossa", "HEAD CONT", "Cont. spiral", "Concussion", "CERVICAL", "Cerebral", "W CONE", "with contusion",
    "ICH 30cc", "Haematoma 45cc", "SDH 120 ml", "ICH vol 30 ml 5 s", "HEAD 25 cc helmet", "150 mls", "KM-Allergie", "Allergie: KM", "allergic to contrast",
    "Art Garfunkel", "Monitor", "Vue axiale", "Jod-Allergie", "allergie à l'iode",
]  # fmt: skip
VIRTUAL = [
    "Mono70keV 5.0", "MonoE40keV", "E70keV", "MonoPlus70", "Monoenergetic70", "VNCPlus", "VNC5", "VUE", "Head VUE 2.5", "CaSupp75", "CASUPP75", "CaSupp Index 25",
    "UricAcid", "I-No-Water", "Iodine no Water", "Iodkarte", "IodMap", "Jodbild", "mappa iodio", "EffectiveZ", "RhoZ", "VirtualNonContrast",
    "BrainHemorrhage VNC", "PureCalcium",
]  # fmt: skip


@pytest.mark.parametrize("text", ENHANCED)
def test_contrast_agent_is_named(text):
    assert named_by_header("", None, text), text


@pytest.mark.parametrize("text", PLAIN)
def test_a_plain_series_is_left_alone(text):
    assert not named_by_header("", None, text), text
    assert not named_virtual(["ORIGINAL", "PRIMARY", "AXIAL"], text), text


@pytest.mark.parametrize("text", VIRTUAL)
def test_an_image_of_two_energies_is_named(text):
    assert named_virtual(["DERIVED", "PRIMARY", "AXIAL"], text), text


@pytest.mark.parametrize("value", ["VNCPLUS", "VNC_PLUS", "MONO_70KEV", "MONO70KEV", "ATOMIC_NUM", "IODKARTE", "VUE"])
def test_so_does_a_later_value_of_image_type(value):
    assert named_virtual(["DERIVED", "PRIMARY", "AXIAL", value], "")


def cased(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from([text, text.upper(), text.lower(), text.title()])


STEMS = [
    "KM",
    "CE",
    "MDC",
    "CIV",
    "contrast",
    "CONT",
    "CON",
    "Kontrastmittel",
    "contraste",
    "injection",
    "Omnipaque",
    "iopamidol",
    "Iomeron",
]
DENIALS = [
    "w/o",
    "WO",
    "W/O",
    "without",
    "non",
    "no",
    "ohne",
    "kein",
    "sans",
    "sin",
    "senza",
    "sem",
    "geen",
    "pre",
    "nicht",
    "utan",
    "uden",
    "bez",
    "native",
    "unenhanced",
]
GIVEN = ["with", "post", "mit", "nach", "avec", "con", "after"]
GLUED = st.sampled_from(["", "", "5", "3.0", "0.625", "120"])


def described(words: Sequence[str]) -> st.SearchStrategy[str]:
    """Head, then one of ``words``, then a name of the agent, in any case, between any separators, digits stuck to the end."""
    return st.builds(
        lambda head, first, stem, gaps, end: f"{head}{gaps[0]}{first}{gaps[1]}{stem}{end}",
        st.sampled_from(["Head", "CCT", "5.0", "H31s"]),
        st.sampled_from(words).flatmap(cased),
        st.sampled_from(STEMS).flatmap(cased),
        st.tuples(st.sampled_from([" ", "_", ", ", " - "]), st.sampled_from([" ", "_", "-", "  ", ". "])),
        GLUED,
    )


@settings(max_examples=400, deadline=None)
@given(described(DENIALS))
def test_whoever_says_that_none_was_given_is_believed(text):
    assert not named_by_header("", None, text)
    assert not named_virtual(["ORIGINAL", "PRIMARY", "AXIAL"], text)


@settings(max_examples=400, deadline=None)
@given(described(GIVEN))
def test_whoever_says_that_it_was_given_is_believed(text):
    assert named_by_header("", None, text)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["Mono", "MonoE", "VNC", "VNCPlus", "VUE", "Iodine", "Iodkarte", "Jodkarte", "CaSupp", "Zeff", "UricAcid", "MonoPlus"]).flatmap(cased),
    st.sampled_from(["", " ", "_", "-", "+"]),
    st.sampled_from(["", "5", "70", "40keV", "70KEV", "3.0"]),
    st.sampled_from(["", "Head ", "DE_", "5.0 "]),
)  # fmt: skip
def test_glued_digits_do_not_hide_two_energies(word, gap, number, before):
    assert named_virtual(["DERIVED", "PRIMARY", "AXIAL"], f"{before}{word}{gap}{number}")


@settings(max_examples=200, deadline=None)
@given(
    st.integers(20, 199), st.sampled_from(["cc", "ml", " ml", " CC", "mL"]), st.sampled_from(["ICH", "SDH", "Head", ""])
)
def test_a_volume_alone_is_a_remark(volume, unit, before):
    text = f"{before} {volume}{unit} 5.0"
    assert not named_by_header("", None, text)
    assert volume_named(text) and not volume_named(f"without {text}")


PAIRS = {
    "contrast": ("HEAD W CONT 5.0", "HEAD WO 3.0"),
    "virtual": ("Mono70keV 5.0", "Mixed 3.0"),
}


@pytest.mark.parametrize("reason", PAIRS)
def test_the_plain_series_is_read_though_the_other_has_the_better_thickness(
    tmp_path, make_slice, save_slice, ingest_params, read_in_process, reason
):
    for name, description, thickness, count in zip("ab", PAIRS[reason], ("5", "3"), (8, 14), strict=True):
        for n in range(1, count + 1):
            place = (-80.0, -80.0, n * float(thickness))
            ds = make_slice(
                series=name, number=n, position=place, SliceThickness=thickness, SeriesDescription=description
            )
            save_slice(ds, tmp_path / "d" / f"{name}{n}")
    assert read_in_process(tmp_path / "d", ingest_params).counts == {reason: 8, "used": 14}


def test_a_volume_is_said_beside_what_was_read(tmp_path, make_slice, save_slice, ingest_params, read_in_process):
    for n in range(1, 9):
        save_slice(make_slice(number=n, SeriesDescription="Head 30cc"), tmp_path / "d" / f"{n}")
    reading = read_in_process(tmp_path / "d", ingest_params)
    assert reading.counts == {"used": 8}
    assert "caution: SeriesDescription names a volume (30CC)" in reading.series.iloc[0]["reason"]
