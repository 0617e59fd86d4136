"""Free text kept word by word: a word stays when it is on the list of words that describe a CT, else it goes.

PS3.15 E.3.4 (clean descriptors) leaves the method open. A list of what may stay is the one that fails to the safe side.
"""

from __future__ import annotations

import re
import unicodedata

from ich_pipeline.dicom.contrast_header import AGENTS, ALLERGY, NO_AGENT
from ich_pipeline.dicom.spelling import parted
from ich_pipeline.dicom.verdict import LOCALIZER_VALUES, REFORMATTED_VALUES

_LISTS = (
    # anatomy
    "HEAD SKULL BRAIN CEREBRAL CEREBRUM CRANIAL CRANIUM INTRACRANIAL NEURO NEUROCRANIUM FACE FACIAL ORBIT ORBITS SINUS "
    "SINUSES TEMPORAL PETROUS MASTOID NECK CERVICAL SPINE CSPINE BODY TRUNK CHEST ABDOMEN PELVIS POSTERIOR FOSSA VERTEX "
    "BASE KOPF SCHADEL SCHAEDEL HIRN GEHIRN CCT NCCT CTA CTP CTV CRANE CEREBRO CRANEO CABEZA TETE CERVEAU CRANIO TESTA "
    "TOTAL B L R A P H F LEFT RIGHT",
    # acquisition and reconstruction
    "CT AXIAL AX CORONAL COR SAGITTAL SAG OBLIQUE SPIRAL HELIX HELICAL SEQUENTIAL SEQUENCE SEQ INCREMENTAL CONSTANT ANGLE "
    "STATIONARY FREE VOLUME ROUTINE STANDARD STD STND DETAIL SOFT SMOOTH MEDIUM SHARP BONE EDGE LUNG ULTRA PLUS TISSUE "
    "KERNEL FILTER BOWTIE LARGE SMALL WEDGE FLAT FILT FIL THIN THICK SLICE SLICES SLAB RECON REC RECONSTRUCTION IR FBP "
    "IDOSE ASIR SAFIRE ADMIRE AIDR AIDR3D IMR DLR MPR MIP MINIP MAXIP AVERAGE MEAN ADD LOW HIGH DOSE CARE MODULATION "
    "ANGULAR NORMAL MODE SCAN SERIES STUDY PHASE TRAUMA STROKE EMERGENCY ADULT CHILD PAEDIATRIC PEDIATRIC INFANT GANTRY "
    "TILT TILTED SURVIEW SCOUT TOPOGRAM TOPO WINDOW SUBDURAL CTDI DLP XYZ XY Z X Y MM CM KV KVP MA MAS SEC HU CW CC "
    "NATIVE NATIV PLAIN UNENHANCED ENHANCED PRE POST WITH WITHOUT W WO CONTRAST CONTRASTE KONTRAST KM OHNE MIT SANS AVEC "
    "SIN CON SENZA IV ORAL VENOUS ARTERIAL ANGIO DUAL ENERGY MONOENERGETIC DERIVED ORIGINAL PRIMARY SECONDARY OTHER NONE "
    "CSA RESAMPLED IMAGE IMAGES SPI SOM5 SOM7 STATISTICAL MONOCHROME2 OM SN LINEAR SIGMOID EXACT IDENTITY US HFS HFP FFS "
    "FFP HFDL HFDR FFDL FFDR YES NO OF AND THE FROM TO AT FOR UNKNOWN UNSPECIFIED",
    # what the ingest judges by: contrast agent or none, another part of the body, images of two energies
    "NON NECT CECT NONIONIC IONIC GIVEN ML CCS MLS CONTRASTED KONTRASTMITTEL ANGIOGRAPHY ANGIOGRAM SECOND HALS HWS CSP LSP TSP CSPINE "
    "LSPINE TSPINE THORAX SHOULDER CAROTID CAROTIDS CERVIX BONEPLUS VMI VNC VNCA VIRTUAL NONCONTRAST IODIN IODINE IOD "
    "IODWATER IODMAP IODKARTE IODBILD IODDICHTE IODE JOD JODKARTE JODBILD JODDICHTE YODO CASUPP CA SUPP URIC ACID KEV MONO MONOE MONOPLUS MONOCHROMATIC ZEFF EFF EFFECTIVE ATOMIC NUMBER NUM ELECTRON DENSITY "
    "ELECTRONDENSITY ELEKTRONENDICHTE ELECTRONIQUE ELECTRONICA RHO RHOZ MATERIAL DECOMPOSITION MAP MAPS MAT SPECIFIC REMOVED FRACTIONAL VALUE BASED MODIFIED",
    # contrast agents
    "IOPAMIDOL IOPAMIRO IOPAMIRON IOPROMIDE IOXAGLATE AGENT BOLUS VOR AVANT NACH INJ PORTAL VENOS VENOES VENOSE VENOESE VENOSA VEINEUX OP "
    "CON CONT CONTR CE MDC MDK CIV UTAN UDEN UTEN BEZ ILMAN NATIF DELAYED LATE VUE IODIO PURE CALCIUM LUMEN WATER PER SECONDS SECS "
    "KEIN KEINS KEINE KEINEM KEINEN KEINER KEINES KEINERLEI NICHT NEIN PAS SEM ZONDER GEEN VOOR BEFORE ANTES PRIMA PRA PRAE APRES AFTER FASE",
    # makers and their machines
    "GE GEMS MEDICAL SYSTEMS SYSTEM SIEMENS HEALTHINEERS HEALTHCARE PHILIPS TOSHIBA CANON HITACHI FUJIFILM NEUSOFT UNITED "
    "IMAGING SHIMADZU SAMSUNG NEUROLOGICA MEC LIGHTSPEED BRIGHTSPEED OPTIMA REVOLUTION DISCOVERY HISPEED VCT EVO APEX "
    "SOMATOM SENSATION DEFINITION EMOTION SCOPE PERSPECTIVE FORCE DRIVE EDGE GO TOP UP ALL NAEOTOM ALPHA BRILLIANCE "
    "INGENUITY ICT IQON MX8000 MX16 SPECTRAL INCISIVE ACCESS AQUILION ONE PRIME LIGHTNING GENESIS ASTEION ACTIVION "
    "SCENARIA SUPRIA XPRESS GX RHAPSODE CERETOM PHANTOM SYNTHETIC CORE PRO",
)
_STEMS = (
    "ANGIO CONTRAST KONTRAST INJECT INJEKT INYECT INIETT ARTERI PORTALVEN CRANI CEREBR NEURO CAROTID BONE VIRTUAL VIRTUEL "
    "IODINE DENSIT MONOENERG MONOCHROM IONI OPERAT THROMB MALFORM FISTUL INFAR VNC " + AGENTS.replace("|", " ")
)
_EXACT = frozenset(w for text in (*_LISTS, _STEMS) for w in text.split())
_INGEST = frozenset(
    part
    for value in LOCALIZER_VALUES | REFORMATTED_VALUES | NO_AGENT
    for part in re.split(r"[^A-Z0-9]+", value)
    if part
)
VOCABULARY = _EXACT | _INGEST
# Siemens and Canon kernels; a number of up to three digits with decimals and a unit of CT.
_KERNEL = re.compile(r"(?:[A-Z]{1,2}\d{2}[A-Z]?|FC\d{2})")
_NUMBER = re.compile(r"\d{1,3}(?:\.\d{1,4})?(?:MM|CM|KEV|KV|KVP|MA|MAS|SEC|S|HU|CC|ML|%)?")
# By these beginnings the ingest judges a word, whatever follows them.
_STEM = re.compile(rf"{_STEMS.replace(' ', '|')}|MONO(?![A-Z])")
# Signs that the separators below would take away, and with them the meaning: W/O CONTRAST, C-, o. KM, KM-, 4 ml/s.
_MEDIUM = r"(?:KM(?![A-Z0-9])|[CK]ONTRAST[A-Z0-9]*)"
_GAP = r"[^A-Z0-9+/-]"
_SPELT = tuple(
    (re.compile(sign, re.IGNORECASE), spelt)
    for sign, spelt in (
        (r"(?<![A-Z0-9])W(?: ?[/.-]? ?O(?:UT)?|/0)(?![A-Z0-9])", "WO"),
        (r"(?<![A-Z0-9])S/C(?!-?[A-Z])", "SIN CONTRAST"),
        (r"(?<![A-Z0-9])[WC]/C(?![A-Z0-9-])", "CON CONTRAST"),
        (rf"(?<![A-Z0-9])(C|{_MEDIUM}){_GAP}*\+/-", r" WO \1 "),
        (rf"\+/-{_GAP}*(?={_MEDIUM})", " WO "),
        (r"(?<![A-Z0-9])C-(?![A-Z0-9])", "NO C"),
        (r"(?<![A-Z0-9])IV?-(?![A-Z0-9])", "NO IV "),
        (r"(?<![A-Z0-9])I\+(?![A-Z])", "IV+"),
        (r"(?<![A-Z0-9])I[ -]NO[ -]WATER(?![A-Z0-9])", "IODINE"),
        (rf"(?<![A-Z0-9])(ART|VEN|PORTAL){_GAP}*[ -]+(?=(?:PHASE|FASE)(?![A-Z0-9]))", "arterial "),
        (r"(?<![A-Z0-9])C\+(?=\w)", "C+ "),
        (rf"(?<![A-Z0-9])I{_GAP}+V(?![A-Z0-9])", "IV"),
        (r"(?<![A-Z0-9])O[^A-Z0-9+]+(?=(?:IV[^A-Z0-9+/]+)?(?:KM(?![A-Z0-9])|KONTRAST))", "ohne "),
        (rf"(?<![A-Z0-9+-])-+(?={_MEDIUM})", " ohne "),
        (rf"(?<![A-Z0-9])({_MEDIUM})(?:-(?![A-Z0-9])|{_GAP}+-{_GAP}*$)", r"ohne \1 "),
        (
            r"(?<=\d)( ?(?:CC|ML))S? ?(?:(?:/|PER) ?(?:\d{1,2} ?)?S(?:ECS?|ECONDS?)?|SECS?|SECONDS?)(?![A-Z0-9])",
            r"\1 sec",
        ),
    )
)
_PHILIPS_KERNELS = frozenset({"A", "B", "C", "D", "E", "L", "UA", "UB", "UC", "YA", "YB", "YC", "YD", "EB", "EC"})
_SIGNS = re.compile(r"[^\w+]+|(?=\+\w)")
_SEPARATORS = re.compile(r"([\s,;:_/()\[\]^=&|-]+)")


def fold(text: str) -> str:
    """Upper case without accents: how words are compared."""
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    return "".join(c for c in plain if not unicodedata.combining(c)).upper()


def is_known(word: str, kernel: bool = False) -> bool:
    """Does this word describe a CT, whoever is in it?"""
    folded = fold(word).strip("+.'\"*#!?<>")
    return (
        folded in VOCABULARY
        or bool(_NUMBER.fullmatch(folded))
        or (kernel and (folded in _PHILIPS_KERNELS or bool(_KERNEL.fullmatch(folded))))
        or bool(re.fullmatch(r"(?:[HJBTQU][A-Z]?\d{2}[A-Z]?|FC\d{2})", folded))
    )


def clean(text: str, own: frozenset[str] = frozenset(), kernel: bool = False) -> str:
    """The known words of ``text`` in their order, as ASCII, joined by spaces (underscores stay).

    Of an unknown word the beginning stays by which the ingest judges it, so that it judges a copy as the original.

    Args:
        text: one value of an attribute.
        own: words of the patient's names and numbers, folded: these never stay.
        kernel: single letters and makers' kernel names may stay too.
    """
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    text = ALLERGY.sub(" ", text)
    for sign, spelt in _SPELT:
        text = sign.sub(spelt, text)
    kept: list[str] = []
    joint = ""
    for i, part in enumerate(_SEPARATORS.split(text)):
        if i % 2:
            joint = "_" if part == "_" else " "
        elif plain := _kept_of(part, own, kernel):
            kept += [joint, plain] if kept else [plain]
    return "".join(kept)


def _kept_of(word: str, own: frozenset[str], kernel: bool) -> str:
    """A known word; of an unknown one the known parts between signs, or the beginning that the ingest judges by; else nothing."""
    folded = fold(word).strip("+.")
    if not folded or folded in own:
        return ""
    if is_known(word, kernel):
        return unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode()
    # The ingest parts words at any sign, and where they are written together; numbers may be a date, and go.
    for parts in (_SIGNS.split(word), [part for part in parted(word).split() if len(part) > 1 or part in "Zz"]):
        said = (part for part in parts if part and part != word and not part.strip("+").isdigit())
        if kept := " ".join(filter(None, (_kept_of(part, own, kernel) for part in said))):
            return kept
    stem = _STEM.match(folded)
    return "" if stem is None or stem[0] in own else stem[0]


def words_of(text: str) -> set[str]:
    """The words of a name or number, folded."""
    return {w for w in re.split(r"[^A-Z0-9]+", fold(text)) if w}
