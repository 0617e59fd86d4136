"""Table E.1-1 of PS3.15 as dicom-anonymizer keeps it: which attribute gets which action code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.metadata import version

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as database
from dicomanonymizer.simpledicomanonymizer import initialize_actions
from pydicom.dataset import Dataset

EDITION = "2026c"
LIBRARY = f"dicom-anonymizer {version('dicom-anonymizer')}"
Action = Callable[[Dataset, tuple[int, int]], None]

_CODES = {
    "X": database.X_TAGS,
    "Z": database.Z_TAGS,
    "D": database.D_TAGS,
    "U": database.U_TAGS,
    "Z/D": database.Z_D_TAGS,
    "X/Z": database.X_Z_TAGS,
    "X/D": database.X_D_TAGS,
    "X/Z/D": database.X_Z_D_TAGS,
    "X/Z/U*": database.X_Z_U_STAR_TAGS,
}
_EXACT = {tag: code for code, tags in _CODES.items() for tag in tags if len(tag) == 2}
_MASKED = [(tag, code) for code, tags in _CODES.items() for tag in tags if len(tag) == 4]


def code(group: int, element: int) -> str | None:
    """The action code of the basic profile, None for an attribute that the table does not list."""
    exact = _EXACT.get((group, element))
    if exact is not None:
        return exact
    for (g, e, group_mask, element_mask), masked in _MASKED:
        if (group & group_mask, element & element_mask) == (g & group_mask, e & element_mask):
            return masked
    return None


def action(group: int, element: int) -> Action:
    """The library's own action on an attribute that the table lists."""
    by_tag, by_code = _library_actions()
    return by_tag.get((group, element)) or by_code[code(group, element) or "X"]


@functools.cache
def _library_actions() -> tuple[dict[tuple[int, int], Action], dict[str, Action]]:
    actions = initialize_actions(f"dicomfields_{EDITION}")
    by_code = {masked: actions[tag] for tag, masked in _MASKED}
    return {tag: action for tag, action in actions.items() if len(tag) == 2}, by_code
