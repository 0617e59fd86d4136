"""What may stay: the options of PS3.15 section E.3, with the standard's codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# PS3.16 context group 7050: code value → code meaning.
BASIC_PROFILE = ("113100", "Basic Application Confidentiality Profile")
CLEAN_DESCRIPTORS = ("113105", "Clean Descriptors Option")
MODIFIED_DATES = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
PATIENT_CHARACTERISTICS = ("113108", "Retain Patient Characteristics Option")
DEVICE_IDENTITY = ("113109", "Retain Device Identity Option")


@dataclass(frozen=True)
class Options:
    """Which options are applied beside the basic profile.

    Attributes:
        dates: ``shift`` moves all dates of a patient by the same number of whole days; ``remove`` removes them.
        longest_shift: days; the shift is 1 to this many.
        descriptors: keep the words of descriptions that are on the list of known words, such as the kernel's.
        patient_characteristics: keep age (90 and more as 90), sex, size, weight and the like.
        device_identity: keep serial number, station name and the like.
        ocr: look for writing with an optical character reader too (:mod:`ich_pipeline.deidentify.pixels`).
    """

    dates: Literal["shift", "remove"] = "shift"
    longest_shift: int = 3650
    descriptors: bool = True
    patient_characteristics: bool = True
    device_identity: bool = False
    ocr: bool = False

    @property
    def codes(self) -> list[tuple[str, str]]:
        """Code values and meanings for DeidentificationMethodCodeSequence."""
        chosen = [
            (True, BASIC_PROFILE),
            (self.descriptors, CLEAN_DESCRIPTORS),
            (self.dates == "shift", MODIFIED_DATES),
            (self.patient_characteristics, PATIENT_CHARACTERISTICS),
            (self.device_identity, DEVICE_IDENTITY),
        ]
        return [code for used, code in chosen if used]
