"""The first reason, if any, not to use a file, from its own header alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from ich_pipeline.dicom import fields
from ich_pipeline.dicom.contrast_header import named_by_header, told
from ich_pipeline.dicom.geometry import axial_normal, is_orthonormal
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.kernels import sharpness
from ich_pipeline.dicom.reasons import Reason

MATRIX_RANGE = (16, 4096)
SPACING_RANGE_MM = (1e-3, 100.0)  # beyond it lies no scanner, and arithmetic overflows somewhere
FARTHEST_MM = 1e6  # from the origin, along any axis
SECONDARY_CAPTURE_ROOT = "1.2.840.10008.5.1.4.1.1.7"
LOCALIZER_VALUES = frozenset({"LOCALIZER", "SCOUT", "SURVIEW", "TOPOGRAM"})
REFORMATTED_VALUES = frozenset(
    {"MPR", "MPVR", "MIP", "MINIP", "MAXIP", "PROJECTION", "VRT", "SSD", "RESAMPLED", "REFORMATTED", "CPR", "AVERAGE"}
    | {"PERFUSION", "CBF", "CBV", "RCBF", "RCBV", "MTT", "TTP", "TMAX", "TTD", "MASK", "SUBTRACTION"}
)

# Of those, what still is a slice in Hounsfield units when it lies axially: an average, or cut anew. As a last resort.
RESAMPLED_VALUES = frozenset({"MPR", "REFORMATTED", "RESAMPLED", "AVERAGE"})


NEVER_READ = frozenset({Reason.CONTRAST, Reason.BONE_KERNEL})  # whatever else its study has

# Images computed from two energies: monochromatic (keV), virtual non-contrast, and maps of a material.

# ImageType, value 4 of a multi-energy image (PS3.3 C.8.15.3.1.2); the material ones begin alike.
_VALUES = frozenset({"VMI", "EFF_ATOMIC_NUM", "ELECTRON_DENSITY"})
_MATERIAL = "MAT_"
_WORDS = re.compile(
    r"\b(VMI|VNC\w*|VUE(?! (AX|COR|SAG|DE|DU|EN)|S)|VIRTU[AE]L\w*|IODINE?|IODE|IODIO|[IJ]OD(WATER|MAP|KARTE|BILD|DICHTE)?|YODO|\d*KEV"
    r"|MONO[ -]?(E|\+|PLUS|\d+|ENERG\w*|CHROM\w*)?|Z ?-?EFF\w*|EFF\w*[ -]?(Z|ATOMIC\w*)|ATOMIC NUM\w*|ELECTRON[ -]?DENS\w*"
    r"|ELEKTRONENDICHTE|DENSIT\w* ELECTRON\w*|CA ?SUPP|URIC ?ACID|RHO ?/? ?Z|MATERIAL[ -]?(DENS\w*|DECOMP\w*|MAP)|IODINE\w+"
    r"|I[ -]NO[ -]WATER|PURE ?(CALCIUM|LUMEN))(?![\w])"
)


def named_virtual(image_type: Sequence[str], description: str) -> str:
    """Which field says that an image was computed from two energies; empty where none does.

    Args:
        image_type: ImageType's values, in upper case.
        description: SeriesDescription.
    """
    said = f"ImageType {'/'.join(image_type)}"
    further = image_type[2:]
    if any(value in _VALUES or value.startswith(_MATERIAL) for value in further):
        return said
    if any(_WORDS.search(told(value)) for value in further):
        return said
    if _WORDS.search(told(description)):
        return f"{said}, and SeriesDescription names a virtual or material image"
    return ""


@dataclass(frozen=True)
class Verdict:
    """Why a file is set aside or rejected; a last resort is read all the same where its study has nothing better."""

    reason: Reason
    detail: str = ""
    last_resort: bool = False


def judge(header: Header, ds: Dataset, has_pixels: bool, thickness_range_mm: tuple[float, float]) -> Verdict | None:
    """Reason and detail, or None for a file that may be used.

    Args:
        header: what was read so far.
        ds: the file's data set without pixels.
        has_pixels: PixelData begins after the header.
        thickness_range_mm: allowed SliceThickness.
    """
    image_type = [v.strip().upper() for v in fields.text(ds, "ImageType").split("\\")]
    if found := _object_verdict(header, ds, image_type):
        return found
    computed = _secondary(image_type) or _computed(image_type, header)
    wrong = _image_verdict(header, ds, has_pixels) or _series_verdict(header, ds, thickness_range_mm)
    if computed:
        a_slice = not _projected(image_type, header)
        if a_slice and wrong and wrong.reason in NEVER_READ:
            # An original slice is set aside for it as well: that, and not how the image was made, is why it is never read.
            return replace(wrong, detail=f"{wrong.detail}; {computed.detail}")
        return replace(computed, last_resort=a_slice and wrong is None)
    if wrong:
        return wrong
    virtual = named_virtual(image_type, header.series_description)
    return Verdict(Reason.VIRTUAL, virtual, last_resort=True) if virtual else None


def _object_verdict(header: Header, ds: Dataset, image_type: list[str]) -> Verdict | None:
    """What kind of object is it?"""
    modality = fields.text(ds, "Modality")
    sop_class = header.sop_class_uid
    if sop_class == MediaStorageDirectoryStorage:
        return Verdict(Reason.MEDIA_DIRECTORY)
    if sop_class.startswith(SECONDARY_CAPTURE_ROOT):
        return Verdict(Reason.SECONDARY, f"ImageType {'/'.join(image_type)}")
    if sop_class not in (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage):
        return Verdict(Reason.NOT_CT, f"Modality {modality or 'missing'}, {UID(sop_class).name}")
    if modality != "CT":
        return Verdict(Reason.NOT_CT, f"Modality {modality or 'missing'}")
    if LOCALIZER_VALUES & set(image_type):
        return Verdict(Reason.LOCALIZER, f"ImageType {'/'.join(image_type)}")
    if header.frame is None and ((fields.integer(ds, "NumberOfFrames") or 1) > 1 or sop_class != CTImageStorage):
        return Verdict(Reason.MULTI_FRAME, f"NumberOfFrames {fields.integer(ds, 'NumberOfFrames')}")
    return None


def _secondary(image_type: list[str]) -> Verdict | None:
    """Made after the examination, says ImageType: a reconstruction from raw data as well as a copy (PS3.3 C.7.6.1.1.2)."""
    if "SECONDARY" in image_type[1:2]:
        return Verdict(Reason.SECONDARY, f"ImageType {'/'.join(image_type)}")
    return None


def _computed(image_type: list[str], header: Header) -> Verdict | None:
    """Is it computed from other slices? ImageType says so; where it does not say ORIGINAL, the description may."""
    said = f"ImageType {'/'.join(image_type)}"
    if REFORMATTED_VALUES & _words(*image_type[2:]):
        return Verdict(Reason.REFORMATTED, said)
    # VOLUME, in an enhanced object or an original slice, says that slices are evenly spaced; else that one was rendered.
    if image_type[0] == "DERIVED" and "VOLUME" in image_type[2:] and not header.frame:
        return Verdict(Reason.REFORMATTED, said)
    if image_type[0] != "ORIGINAL" and REFORMATTED_VALUES & _words(told(header.series_description)):
        return Verdict(Reason.REFORMATTED, f"{said}, and SeriesDescription names what was computed")
    return None


def _projected(image_type: list[str], header: Header) -> bool:
    """Does anything name a projection, a rendering or a map, whose values are not those of a slice?"""
    said = _words(*image_type[2:], told(header.series_description) if image_type[0] != "ORIGINAL" else "")
    rendered = image_type[0] == "DERIVED" and "VOLUME" in image_type[2:] and not header.frame
    return rendered or bool(said & (REFORMATTED_VALUES - RESAMPLED_VALUES))


def _words(*texts: str) -> set[str]:
    return {word for text in texts for word in re.split(r"[^A-Z0-9]+", text)}


def _image_verdict(header: Header, ds: Dataset, has_pixels: bool) -> Verdict | None:
    """Is it a complete CT image?"""
    needed = {
        "SOPInstanceUID": header.sop_instance_uid,
        "SeriesInstanceUID": header.series_uid,
        "StudyInstanceUID": header.study_uid,
        "Rows": header.rows,
        "Columns": header.columns,
        "PixelSpacing": header.spacing_mm,
        "ImageOrientationPatient": header.orientation,
        "ImagePositionPatient": header.position,
        "BitsAllocated": fields.integer(ds, "BitsAllocated"),
        "PixelRepresentation": "0" if fields.integer(ds, "PixelRepresentation") in (0, 1) else None,
        "RescaleSlope": fields.numbers(ds, "RescaleSlope", 1),
        "RescaleIntercept": fields.numbers(ds, "RescaleIntercept", 1),
    }
    missing = [keyword for keyword, value in needed.items() if not value]
    if missing:
        return Verdict(Reason.HEADER_INCOMPLETE, f"missing or malformed: {', '.join(missing)}")
    # judged just above
    assert header.rows and header.columns and header.spacing_mm and header.orientation and header.position
    low, high = MATRIX_RANGE
    if not (low <= header.rows <= high and low <= header.columns <= high):
        return Verdict(Reason.MATRIX_OUT_OF_RANGE, f"{header.rows} x {header.columns}")
    if min(header.spacing_mm) < SPACING_RANGE_MM[0] or max(header.spacing_mm) > SPACING_RANGE_MM[1]:
        return Verdict(Reason.GEOMETRY_INVALID, f"PixelSpacing {header.spacing_mm[0]:g}, {header.spacing_mm[1]:g}")
    if max(map(abs, header.position)) > FARTHEST_MM:
        return Verdict(Reason.GEOMETRY_INVALID, f"ImagePositionPatient {', '.join(f'{v:g}' for v in header.position)}")
    if not is_orthonormal(header.orientation):
        return Verdict(
            Reason.GEOMETRY_INVALID, f"ImageOrientationPatient {', '.join(f'{v:g}' for v in header.orientation)}"
        )
    if not has_pixels:
        return Verdict(Reason.PIXELS_MISSING)
    return None


def _series_verdict(header: Header, ds: Dataset, thickness_range_mm: tuple[float, float]) -> Verdict | None:
    """Is it of a kind of series that the system reads?"""
    assert header.orientation
    rescale_type = fields.text(ds, "RescaleType").upper()
    samples = fields.integer(ds, "SamplesPerPixel") or 1
    agent = fields.text(ds, "ContrastBolusAgent")
    low, high = thickness_range_mm
    if axial_normal(header.orientation) is None:
        return Verdict(Reason.NOT_AXIAL, f"ImageOrientationPatient {', '.join(f'{v:g}' for v in header.orientation)}")
    if rescale_type not in ("", "HU", "US") or samples != 1:
        return Verdict(Reason.NOT_HU, f"RescaleType {rescale_type or 'HU'}, SamplesPerPixel {samples}")
    if header.thickness_mm is not None and not low <= header.thickness_mm <= high:
        return Verdict(
            Reason.THICKNESS_OUT_OF_RANGE, f"SliceThickness {header.thickness_mm:g} mm, allowed {low:g} to {high:g}"
        )
    if sharpness(header.kernel, header.series_description) == "bone":
        return Verdict(Reason.BONE_KERNEL, f"ConvolutionKernel {header.kernel or 'missing'}")
    volume = fields.numbers(ds, "ContrastBolusVolume", 1)
    if contrast := named_by_header(agent, volume[0] if volume else None, header.series_description):
        return Verdict(Reason.CONTRAST, contrast)
    return None
