"""Volumes come back as they went in, in the same bytes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ich_pipeline.core.errors import InputError
from ich_pipeline.ingest.volumes import read_volume, write_volume


@settings(deadline=None)
@given(arrays(np.int16, st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40))))
def test_round_trip(tmp_path_factory, hu):
    path = tmp_path_factory.mktemp("volume") / "v.b2nd"
    write_volume(path, hu)
    back = read_volume(path)
    assert back.dtype == np.int16
    np.testing.assert_array_equal(back, hu)


def test_bytes_are_the_same_on_every_machine(tmp_path):
    hu = (np.arange(3 * 64 * 48) * 7919 % 3000 - 1000).astype(np.int16).reshape(3, 64, 48)
    write_volume(tmp_path / "v.b2nd", hu)
    digest = hashlib.sha256((tmp_path / "v.b2nd").read_bytes()).hexdigest()
    assert digest == "adaa3b0ac65fd6fc683ac6f2150ab897d5e9e6f9b52937e0732d54c4e99e7593"


def test_only_int16_volumes_are_written(tmp_path):
    with pytest.raises(ValueError, match="float64"):
        write_volume(tmp_path / "v.b2nd", np.zeros((1, 4, 4)))  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(InputError, match="missing"):
        read_volume(tmp_path / "none.b2nd")
    (tmp_path / "broken.b2nd").write_bytes(b"no volume at all")
    with pytest.raises(InputError, match=r"broken\.b2nd"):
        read_volume(tmp_path / "broken.b2nd")
