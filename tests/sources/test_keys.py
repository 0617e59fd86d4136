"""Keys of a bucket as places below a folder."""

from __future__ import annotations

from pathlib import PurePosixPath
from unicodedata import normalize

from hypothesis import given
from hypothesis import strategies as st

from ich_pipeline.cohorts.copies import LONGEST_PART, UNFIT, places

PARTS = st.one_of(
    st.sampled_from(["a", "A", "b", "", ".", "..", UNFIT, "x" * 256, "ü", "u\u0308", "\0", "ı"]), st.text(max_size=5)
)
KEYS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


def test_what_can_be_a_path_stays_as_it_is():
    names = ["P1/study 1/IM 1+ü%20", "P1/study 1/IM2", "DICOMDIR", "a\\b", "ä" * (LONGEST_PART // 2)]
    assert places(names) == [PurePosixPath(name) for name in names]


def test_what_cannot_gets_a_hash():
    names = ["a", "a/b", "/c", "c//d", "../e", "f/./g", "h", "H", "i" * 256, f"{UNFIT}/j", "k/" * 600 + "k", "l\0"]
    found = dict(zip(names, places(names), strict=True))
    assert {name for name, place in found.items() if place == PurePosixPath(name)} == {"a/b", "h"}
    assert len({place for place in found.values() if place.parent == PurePosixPath(UNFIT)}) == len(names) - 2


@given(st.lists(KEYS, unique=True, max_size=12))
def test_no_two_meet_and_none_leads_elsewhere(names):
    found = places(names)
    assert len({normalize("NFC", str(place).casefold()) for place in found}) == len(names)
    folders = {str(parent).casefold() for place in found for parent in place.parents}
    for name, place in zip(names, found, strict=True):
        assert not place.is_absolute() and ".." not in place.parts and place.parts
        assert str(place).casefold() not in folders
        assert all(len(part.encode("utf-8", "surrogatepass")) <= LONGEST_PART for part in place.parts)
        assert place == PurePosixPath(name) or place.parent == PurePosixPath(UNFIT)
