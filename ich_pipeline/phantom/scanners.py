"""Four invented scanners whose headers differ the way real ones do."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from ich_pipeline.phantom.draw import Draw


@dataclass(frozen=True)
class Scanner:
    """How one scanner writes its images."""

    manufacturer: str
    model: str
    transfer_syntax: str
    signed: bool  # PixelRepresentation
    bits_stored: int
    intercept: int  # RescaleIntercept
    padding: (
        int | None
    )  # PixelPaddingValue outside the circular field of view, as stored; None: reconstructed everywhere
    kernel: str  # ConvolutionKernel of the brain series
    bone_kernel: str
    series_description: str
    bone_description: str
    kvp: int
    tilts: bool  # the gantry may be tilted
    from_vertex: bool  # InstanceNumber 1 is the top slice
    extension: str  # of file names
    noise_hu: float  # standard deviation at 192 rows


SCANNERS = (
    Scanner("Alder Imaging", "Scope 16", str(ExplicitVRLittleEndian), False, 12, -1024, None, "H31s", "H60s",
            "Head 5.0 H31s", "Head 5.0 H60s", 120, False, False, ".dcm", 3.8),
    Scanner("BIRCH MEDICAL", "LightPath VCT", str(ImplicitVRLittleEndian), True, 16, -1024, -2000, "STANDARD", "BONE",
            "HEAD ROUTINE", "BONE", 140, True, True, "", 4.4),
    Scanner("Cedar", "Brightline 64", str(RLELossless), True, 16, 0, None, "UB", "YC",
            "HEAD/AXIAL", "HEAD/AXIAL bone", 120, True, False, ".dcm", 4.1),
    Scanner("Dogwood CT Systems", "Quartz", str(ExplicitVRLittleEndian), False, 16, -1024, 0, "FC26", "FC81",
            "Axial brain", "Axial bone", 130, False, True, "", 4.8),
)  # fmt: skip

_MARKS = frozenset((s.manufacturer, kernel) for s in SCANNERS for kernel in (s.kernel, s.bone_kernel))


def is_synthetic(manufacturer: str, kernel: str) -> bool:
    """Whether a series is one of the phantom's, by its Manufacturer and ConvolutionKernel: no real scanner has such a pair."""
    return (manufacturer.strip(), kernel.strip()) in _MARKS


_SHARES = (0, 0, 0, 1, 1, 1, 2, 2, 3, 3)  # of ten patients in a row, so that a small cohort holds every scanner too


def scanner_of(seed: int, patient: int) -> Scanner:
    """The scanner of a patient (number from 1): every ten patients are dealt out anew."""
    block, place = divmod(patient - 1, len(_SHARES))
    return SCANNERS[Draw("scanner", seed, block).shuffled(_SHARES)[place]]
