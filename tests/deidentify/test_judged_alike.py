"""The ingest judges a de-identified copy as it judges the original: what it reads out of words must survive their cleaning."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.deidentify import words
from ich_pipeline.deidentify.file import deidentify_bytes
from ich_pipeline.deidentify.options import Options
from ich_pipeline.dicom.contrast_header import named_by_header
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.kernels import sharpness
from ich_pipeline.dicom.reader import read_header
from ich_pipeline.dicom.verdict import named_virtual
from ich_pipeline.series.study import named_elsewhere

CONTRAST = [
    "HEAD C+", "Head w/o contrast", "HEAD W/WO CONTRAST", "HEAD W / O CONTRAST", "W&W/O CONTRAST", "non contrast head",
    "Non-Contrast", "NON-ENHANCED", "NECT", "CECT", "Kontrastmittel", "nonionic contrast", "C-/C+", "no contrast",
    "CT-Angiographie", "angiography", "contrasted", "4cc sec 150cc", "Head 3.5 ml/s", "Head 3 ml / s", "100ML 5mm", "5cc",
    "CTA head", "sin contraste", "mit KM", "ohne KM", "Head w/o and with contrast", "KM portalvenös", "nach KM", "vor KM",
    "après injection", "sans injection", "avant inj", "venöse Phase", "Venous phase", "Kopf.KM", "Kopf+KM", "Kopf+C", "C+Smith", "4ccsec", "C++VNC", "w/o_contrast", "CT_C-_5mm", "STD+40keV", "Kopf*KM", "a.KM!", "l'angio", "fase arterial", "CTA pre-op", "CTA vor OP",
    "iniettato", "inyección", "Injury", "CCT o. KM", "CCT o.KM", "CCT o.i.v.KM", "Kopf -KM", "CT KM-", "CT KM -", "KM: nein", "kein KM", "keinerlei KM", "o/KM",
    "nicht KM", "vor i.v. KM", "prä KM", "KM +/-", "+/- KM", "pas d'injection", "AVANT-INJECTION", "before inj", "Head Inj", "post inj",
    "i.v. Inj.", "venous sinus thrombosis", "Sinus, venöse Phase", "zonder contrast", "sem contraste", "Kopf - KM", "KM-Gabe",
    "HEAD W CON", "Head w/con", "HEAD W CONT5.0", "post con", "W IV cont", "Head W/C", "W/C-spine", "S/C", "Head CE5.0", "+CE", "NON CE", "sans CIV", "con CIV",
    "dopo MDC", "IV+", "I+ 5mm", "IV- 5mm", "I-", "Omnipaque350", "IOPAMIRON", "Iopamidol", "no Iohexol", "Joheksol", "4cc per sec", "4ml/2s", "150 cc's",
    "150 mls", "Art. Phase", "Art Garfunkel", "ven. phase", "portal phase", "delayed phase", "ICH 30cc", "utan kontrast", "uden kontrast", "bez kontrastu", "KM-Allergie",
    "contrast allergy", "Allergie KM", "Allergy to contrast", "W.O. CONT", "w/out CONT", "W/0 CONT", "ohneKM", "mitKM3", "HeadCTA", "natif CE",
    "KM - venös", "vor OP mit KM", "CTA préopératoire", "CTA pre-operative", "nicht-ionisches KM", "Head -contrast", "õ KM",
]  # fmt: skip
ENERGIES = [
    "Mono 40 keV", "40keV", "MonoE 40keV", "Mono+ 70", "MonoPlus", "Monoenergetisch", "Monochromatic 65", "Head VNC 5.0", "VNCa",
    "Iodine map", "Iodine(Water)", "IodineNoWater", "IodMap", "Jod", "Z-eff", "Zeff", "Z Effective", "Electron Density", "Rho/Z",
    "Material density", "Virtual Non Contrast", "VirtualNonContrast", "Virtual Unenhanced", "Monopole", "Virtuell nativ",
    "Mono70keV", "MonoE40keV", "E70keV", "VNCPlus", "VNCplus5", "VUE", "CaSupp75", "CASUPP75", "UricAcid", "I-No-Water", "Iodkarte", "Jod-Allergie", "iodine allergy",
    "allergie à l'iode", "mappa iodio", "PureCalcium", "EffectiveZ", "RhoZ", "ThickMPR", "AxialMIP5", "SharpHead", "HeadBone",
    "Virtuel", "Jodkarte", "Jodl", "carte d'iode", "Elektronendichte", "densité électronique", "CaSupp", "Ca Supp 40", "Uric acid", "Electron-density", "mono-energetic 40", "eff-Z",
]  # fmt: skip
PLACES = [
    "C-Spine 3.0", "CSP", "LSP", "T spine", "Hals", "HWS", "Thorax", "shoulder", "Carotids", "carotis", "Cervix", "Cranioplasty",
    "NeckRoutine", "HeadNeck", "ChestHead", "Neurocranium", "neck and head", "Cerebral",
]  # fmt: skip
KERNELS = ["Bone 1mm", "boneplus", "BONE+", "Head Std", "soft brain", "bones", "Head_Bone"]
VALUES = [
    "VMI",
    "VNC",
    "MAT_SPECIFIC",
    "MAT_REMOVED",
    "MAT_FRACTIONAL",
    "MAT_VALUE_BASED",
    "MAT_MODIFIED",
    "EFF_ATOMIC_NUM",
]
VALUES += ["VNCPLUS", "ATOMIC_NUM", "MONO_70KEV"]
VALUES += ["ELECTRON_DENSITY", "IODINE", "MPR", "MIP", "LOCALIZER"]
AGENTS = [
    "Iomeron",
    "Foo",
    "none",
    "None Given",
    "N/A",
    "W/O",
    "NO CONTRAST",
    "ohne KM",
    "without",
    "0",
    "-",
    "non-ionic",
    "ISOVUE300/100",
    "CE",
    "NON CE",
    "C+",
    "C-",
    "KM nein",
    "o. KM",
    "KM-",
    "nicht-ionisch",
]
CASES = [
    *({"SeriesDescription": text, "ConvolutionKernel": ""} for text in (*CONTRAST, *ENERGIES, *PLACES, *KERNELS)),
    *({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", value]} for value in VALUES),
    *({"ContrastBolusAgent": text} for text in AGENTS),
    *({"ConvolutionKernel": text} for text in ("BONEPLUS", "BONEPLUS2", "STD+", "Hr68h", "FC30", "YB", "CHST")),
    *({"RescaleType": text} for text in ("HU", "hu", "US", "MGML", "Z_EFF", "HU_MOD", "Jane")),
    *({"BodyPartExamined": text, "SeriesDescription": "5.0"} for text in ("TSPINE", "SHOULDER", "CAROTID", "HEAD")),
]


def judged(header: Header) -> tuple[object, ...]:
    sharp = sharpness(header.kernel, header.series_description)
    return header.reason, header.last_resort, bool(named_elsewhere(header)), sharp


@pytest.mark.parametrize("fields", CASES, ids=lambda fields: "-".join(map(str, fields.values())))
def test_a_copy_is_judged_as_the_original(make_ct, to_bytes, key, fields):
    original = to_bytes(make_ct(**fields))
    done = deidentify_bytes(original, key, Options())
    assert done.data is not None, (done.outcome, done.detail)
    assert judged(read_header(done.data, "", (0.5, 15))) == judged(read_header(original, "", (0.5, 15)))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Angiolino Jane", "ANGIO"),
        ("Carotidova", "CAROTID"),
        ("Bonehill", "BONE"),
        ("Monopole", ""),
        ("Jane w/o", "WO"),
        ("Jane.Doe*Virtual", "Virtual"),
        ("12.KM.1999", "KM"),
        ("3.4.1999", ""),
        ("O'Hirn", "Hirn"),
    ],
)
def test_of_an_unknown_word_no_more_stays_than_what_the_ingest_judges_by(text, kept):
    assert words.clean(text) == kept


@pytest.mark.parametrize("agent", ["NONE", "no contrast", "N/A", "Iomeron"])
def test_an_agent_without_descriptors(make_ct, to_bytes, from_bytes, key, agent):
    done = deidentify_bytes(to_bytes(make_ct(ContrastBolusAgent=agent)), key, Options(descriptors=False))
    assert done.data is not None, done.detail
    assert from_bytes(done.data).ContrastBolusAgent == ("ANONYMIZED" if agent == "Iomeron" else "")


def test_of_the_patient_s_own_name_nothing_stays():
    own = frozenset(words.words_of("Bonehill^Virtual^Bone"))
    assert words.clean("Bonehill virtual Boneyard 5.0", own) == "5.0"


TERMS = [
    "Head", "Kopf", "KM", "C+", "C-", "w/o", "without", "contrast", "CTA", "angio", "nativ", "VNC", "mono", "keV", "40keV",
    "70", "iodine", "bone", "Bone+", "soft", "STD", "MonoE", "Zeff", "pre", "op", "post", "venous", "100", "4cc", "sec",
    "5mm", "injury", "Smith", "Jane", "non", "enhanced", "MPR", "MIP", "map", "ohne", "mit", "electron", "density",
    "CE", "CON", "cont", "W", "MDC", "IV+", "I+", "Art.", "Omnipaque300", "per", "4ml/2s", "VUE", "VNCPlus", "CaSupp75", "I-No-Water", "Allergie",
    "Jod", "utan", "S/C", "W/C", "MonoE", "Mono70keV",
    "Virtual", "vor", "avant", "pas", "inj", "i.v.", "o.", "nein", "sinus", "phase",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(TERMS), st.sampled_from(" _-/.,'*#&+()~")), min_size=1, max_size=4))
def test_whatever_stands_between_the_words(pairs):
    """A word more is not one less: where a name between two words goes, they may say more together than before."""
    text = "".join(part for pair in pairs for part in pair).rstrip()
    copy = words.clean(text, kernel=True)

    def said(description: str) -> list[bool]:
        contrast = bool(named_by_header("", None, description))
        return [
            contrast or bool(named_virtual(["DERIVED", "PRIMARY", "AXIAL"], description)),
            sharpness("", description) == "bone",
        ]

    assert all(found >= wanted for found, wanted in zip(said(copy), said(text), strict=True)), (text, copy)


@pytest.mark.parametrize(
    "text", ["ICH 5.0", "DICOM export, clean", "basic profile", "anonymized by pipeline", "Longitudinal"]
)
def test_a_word_that_every_copy_says_of_itself_tells_nobody(make_ct, to_bytes, key, text):
    done = deidentify_bytes(to_bytes(make_ct(SeriesDescription=text)), key, Options())
    assert done.data is not None, (done.outcome, done.detail)
