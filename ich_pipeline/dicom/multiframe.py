"""Enhanced CT: several frames in one object, each with its functional groups (PS3.3 A.38 and C.7.6.16).

A frame is described by a data set with the keywords of a single-frame CT image, so that everything after this module
treats both alike. A slice of an enhanced object has no SOPInstanceUID of its own: it is named ``UID#frame``.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from ich_pipeline.dicom import fields

ENHANCED_CT = frozenset({EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
KEYWORDS = (  # that a header's reading needs for it
    "ConcatenationUID",
    "ContrastBolusAgentSequence",
    "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence",
)
_GROUPS = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope", "RescaleType"),
    "CTReconstructionSequence": ("ConvolutionKernel",),
}
# Of a legacy converted object: what every frame's own file said, under the keywords of a single-frame image.
_UNASSIGNED = ("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")
_CONVERTED = ("AcquisitionNumber", "ContrastBolusAgent", "ConvolutionKernel", "InstanceNumber")


def is_enhanced(ds: Dataset) -> bool:
    """Is it an enhanced CT object whose frames are described one by one?"""
    return fields.text(ds, "SOPClassUID") in ENHANCED_CT and "PerFrameFunctionalGroupsSequence" in ds


def frame_count(ds: Dataset) -> int:
    """Frames that the functional groups describe; their number never exceeds what the file holds."""
    return len(ds.PerFrameFunctionalGroupsSequence)


def problem(ds: Dataset) -> str:
    """Why the frames cannot be taken one by one, empty where they can."""
    if fields.text(ds, "ConcatenationUID"):
        return "a part of a concatenation"
    said, described = fields.integer(ds, "NumberOfFrames"), frame_count(ds)
    return "" if said == described else f"NumberOfFrames {said}, {described} frames are described"


def frame_dataset(ds: Dataset, frame: int) -> Dataset:
    """One frame under the keywords of a single-frame CT image.

    Args:
        ds: the object; elements that it lacks are lacking in the result.
        frame: from 1.
    """
    flat = Dataset()
    # As they lie in the file: whoever asks for a value converts it, and does so with care (see fields.text).
    flat.update({element.tag: element for element in ds.values() if element.VR != "SQ" and element.tag.group < 0x7FE0})
    if "NumberOfFrames" in flat:
        del flat.NumberOfFrames
    flat.InstanceNumber = str(frame)
    groups = list(_groups(ds, frame))
    for sequence, keywords in _GROUPS.items():
        _copy(groups, sequence, keywords, flat)
    for sequence in _UNASSIGNED:
        _copy(groups, sequence, _CONVERTED, flat)
    for item in _items(groups, "CTImageFrameTypeSequence"):
        if fields.text(item, "FrameType"):
            flat.ImageType = item.FrameType
    for item in _items(groups, "FrameContentSequence"):
        if fields.integer(item, "FrameAcquisitionNumber") is not None:
            flat.AcquisitionNumber = str(item.FrameAcquisitionNumber)
    agent = _agent(ds, groups)
    if agent:
        flat.ContrastBolusAgent = agent
    return flat


def _groups(ds: Dataset, frame: int) -> Iterator[Dataset]:
    """What all frames share, then what this one has: the later overrules."""
    yield from ds.get("SharedFunctionalGroupsSequence") or []
    yield ds.PerFrameFunctionalGroupsSequence[frame - 1]


def _items(groups: list[Dataset], sequence: str) -> Iterator[Dataset]:
    for group in groups:
        yield from (group.get(sequence) or [])[:1]


def _copy(groups: list[Dataset], sequence: str, keywords: tuple[str, ...], flat: Dataset) -> None:
    for item in _items(groups, sequence):
        for keyword in keywords:
            element = item.get_item(keyword)
            if element is not None:
                flat[keyword] = element


def _agent(ds: Dataset, groups: list[Dataset]) -> str:
    """A contrast agent that this frame was taken with: the frame says whether, the object says which."""
    used = [
        fields.text(item, "ContrastBolusAgentAdministered").upper()
        for item in _items(groups, "ContrastBolusUsageSequence")
    ]
    if used and used[-1] == "NO":
        return ""
    for item in ds.get("ContrastBolusAgentSequence") or []:
        return fields.text(item, "CodeMeaning") or "named in ContrastBolusAgentSequence"
    return "administered" if used and used[-1] == "YES" else ""
