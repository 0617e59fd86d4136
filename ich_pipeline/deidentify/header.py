"""One data set de-identified in place, item by item.

dicom-anonymizer holds the table and applies it; it looks at one level of a data set only, so it is called for every item
of every sequence that stays, with our actions where the standard leaves the choice open (keyed UIDs, moved dates, cleaned
text) or the library's differ from it (it writes a dummy date where the table says "remove").
"""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, field

from dicomanonymizer.simpledicomanonymizer import anonymize_dataset
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from ich_pipeline.deidentify import dates, retained, table, values
from ich_pipeline.deidentify.key import Key
from ich_pipeline.deidentify.options import Options
from ich_pipeline.dicom.contrast_header import named_by_header

Tally = Counter[tuple[str, str, str]]  # (tag, keyword, what was done) → elements
DATE_VRS = ("DA", "DT", "TM")


@dataclass(frozen=True)
class Person:
    """Whose file it is: what all of a patient's files share.

    Attributes:
        patient_id: PatientID without padding; may be empty.
        study: StudyInstanceUID, whose dates share a shift where PatientID is empty.
        words: folded words of the patient's names and numbers.
    """

    patient_id: str
    study: str
    words: frozenset[str] = field(repr=False)


@dataclass(frozen=True)
class HeaderCleaner:
    """Applies the profile and the options to one file's data set.

    Attributes:
        key: of all replacements.
        options: what may stay.
        person: whose file it is.
        tally: counts what was done; holds no values.
    """

    key: Key
    options: Options
    person: Person
    tally: Tally

    def clean(self, ds: Dataset) -> None:
        """De-identify ``ds`` and every item below it."""
        allowed = _retained(self.options)
        for tag in list(ds.keys()):
            if tag.is_private or (tag not in allowed and not self._code(tag)):
                self._remove(ds, tag, "removed")
            elif not _readable(ds, tag):
                self._remove(ds, tag, "malformed_removed")
        rules = {(tag.group, tag.element): self._action(tag) for tag in list(ds.keys()) if self._code(tag)}
        anonymize_dataset(ds, base_rules_gen=lambda: rules)
        for tag in list(ds.keys()):
            if tag not in allowed:  # the library left a dummy that a CT image does not need
                del ds[tag]
            elif tag in retained.PIXELS:
                continue
            elif ds[tag].VR == "SQ":
                self._descend(ds, tag)
            elif not self._code(tag):
                element = ds[tag]
                action = self._uid if element.VR == "UI" else self._date if element.VR in DATE_VRS else self._text
                action(ds, (tag.group, tag.element))

    def _code(self, tag: BaseTag) -> str | None:
        return table.code(tag.group, tag.element)

    def _action(self, tag: BaseTag) -> table.Action:
        """Ours where an option or the standard's own open choice asks for it, else the library's."""
        if tag in retained.DATES:
            return self._date if self.options.dates == "shift" else self._blank
        if tag in retained.CHARACTERISTICS and self.options.patient_characteristics:
            return self._text
        if tag in retained.DEVICE and self.options.device_identity:
            return self._uid if self._code(tag) == "U" else self._device
        if tag in retained.DESCRIPTORS and self.options.descriptors:
            return self._text
        code = self._code(tag)
        if code == "U":
            return self._uid
        if code == "X/Z/U*":
            return _stay  # its items are cleaned like all others, which replaces their UIDs
        special = {"PatientID": self._patient, "PatientName": self._patient, "ContrastBolusAgent": self._agent}
        if action := special.get(keyword_for_tag(tag)):
            return action
        return self._blank if tag in _retained(self.options) and code in ("Z", "Z/D") else self._library(tag)

    def _library(self, tag: BaseTag) -> table.Action:
        action = table.action(tag.group, tag.element)

        def counted(ds: Dataset, where: tuple[int, int]) -> None:
            action(ds, where)
            stays = tag in ds and tag in _retained(self.options)
            self._count(tag, "replaced" if stays else "removed")

        return counted

    def _descend(self, ds: Dataset, tag: BaseTag) -> None:
        for item in ds[tag].value:
            self.clean(item)
        if not any(len(item) for item in ds[tag].value):
            self._remove(ds, tag, "removed")

    def _remove(self, ds: Dataset, tag: BaseTag, what: str) -> None:
        self._count(tag, what)
        del ds[tag]

    def _count(self, tag: BaseTag, what: str) -> None:
        if tag.is_private:
            self.tally[f"({tag.group:04X},xxxx)", "private", "removed"] += 1
        else:
            self.tally[f"({tag.group:04X},{tag.element:04X})", keyword_for_tag(tag) or "unknown", what] += 1

    def _blank(self, ds: Dataset, where: tuple[int, int]) -> None:
        if not ds[where].is_empty:
            self._count(ds[where].tag, "emptied")
            ds[where].value = None

    def _patient(self, ds: Dataset, where: tuple[int, int]) -> None:
        self._count(ds[where].tag, "replaced")
        ds[where].value = self.key.patient_id(self.person.patient_id)

    def _uid(self, ds: Dataset, where: tuple[int, int]) -> None:
        element = ds[where]
        old = [str(v) for v in values.listed(element.value)]
        new = [v if values.registered(v) else self.key.uid(v) for v in old]
        if new != old:
            self._count(element.tag, "uid_replaced")
            element.value = new if len(new) > 1 else new[0]

    def _date(self, ds: Dataset, where: tuple[int, int]) -> None:
        element = ds[where]
        days = self.key.day_shift(self.person.patient_id or self.person.study, self.options.longest_shift)
        old = [str(v) for v in values.listed(element.value)]
        new = [dates.shift(element.VR, v, days) for v in old if v.strip()]
        if None in new:
            self._count(element.tag, "malformed_emptied")
            element.value = None
        elif new:
            self._count(element.tag, "time_kept" if element.VR == "TM" else "date_shifted")
            element.value = new if len(new) > 1 else new[0]

    def _agent(self, ds: Dataset, where: tuple[int, int]) -> None:
        """Whether there was contrast must stay: where no known agent is left, the library's dummy takes its place."""
        element = ds[where]
        if element.is_empty:
            return
        new = values.kept(element, self.person.words, False) if self.options.descriptors else None
        given, left = (bool(named_by_header(str(v), None, "")) for v in (element.value, new[0] if new else ""))
        if given == left and new:
            self._text(ds, where)
        elif not given:
            self._count(element.tag, "cleaned")
            element.value = "NONE" if self.options.descriptors else None
        else:
            self._count(element.tag, "replaced")
            table.action(*where)(ds, where)

    def _device(self, ds: Dataset, where: tuple[int, int]) -> None:
        self._text(ds, where, device=True)

    def _text(self, ds: Dataset, where: tuple[int, int], device: bool = False) -> None:
        element = ds[where]
        new = values.kept(element, self.person.words, device)
        if new is None:
            self._remove(ds, element.tag, "removed")
        elif [str(v).strip() for v in values.listed(element.value)] != [str(v) for v in new]:
            self._count(element.tag, "cleaned")
            element.value = new if len(new) != 1 else new[0]


def _readable(ds: Dataset, tag: BaseTag) -> bool:
    try:
        return ds[tag] is not None
    except Exception:  # a value that pydicom cannot convert; nobody can say what it holds
        return False


def _stay(ds: Dataset, where: tuple[int, int]) -> None:
    """Left to the cleaning of its items."""


@functools.cache
def _retained(options: Options) -> frozenset[int]:
    return retained.retained(options)
