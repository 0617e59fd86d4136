from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pandas as pd
import pytest

from ich_pipeline.config import AugmentationParams
from ich_pipeline.training.data import CohortSlices, SliceRows
from ich_pipeline.training.sampling import Sampler, SamplerState, ahead, slices_a_pass

RANGES = AugmentationParams(rotation_deg=9, shift=0.1, zoom=0.1, shear_deg=2, horizontal_flip=True)


def slices() -> CohortSlices:
    truth = np.zeros((40, 3), np.int8)
    truth[[3, 8, 20, 33], 0] = 1
    hu = np.repeat(np.arange(40, dtype=np.int16), 16).reshape(40, 4, 4)
    return CohortSlices(pd.DataFrame(index=range(40)), SliceRows(hu, np.arange(40)), np.full((40, 2), -1), truth)


def test_a_pass_holds_every_positive_slice_and_its_own_negative_ones() -> None:
    truth = slices().truth
    assert slices_a_pass(truth, None) == 40
    assert slices_a_pass(truth, 2.0) == 12
    assert slices_a_pass(truth, 100.0) == 40
    assert slices_a_pass(truth[truth[:, 0] == 0], 2.0) == 36
    sampler = Sampler(slices(), 12, 6, RANGES, 0)
    passes = [set(np.concatenate([sampler.draw(), sampler.draw()]).tolist()) for _ in range(60)]
    assert all({3, 8, 20, 33} <= one and len(one) == 12 for one in passes)
    assert set.union(*passes) == set(range(40)), "over the passes every slice is seen"


def test_goes_on_from_any_batch() -> None:
    whole = list(islice(Sampler(slices(), 12, 5, RANGES, 7), 9))
    for cut in range(9):
        state = whole[cut].after
        again = SamplerState.from_json(json.loads(json.dumps(state.to_json())))
        rest = list(islice(Sampler(slices(), 12, 5, RANGES, 7, again), 8 - cut))
        for batch, expected in zip(rest, whole[cut + 1 :], strict=True):
            np.testing.assert_array_equal(batch.hu, expected.hu)
            np.testing.assert_array_equal(batch.transforms, expected.transforms)
            np.testing.assert_array_equal(batch.truth, expected.truth)
    assert whole[0].hu.dtype == whole[0].truth.dtype == np.float32 and len(whole[0].hu) == 5


def test_reading_ahead_gives_the_same_and_tells_what_broke() -> None:
    assert list(ahead(range(5))) == [0, 1, 2, 3, 4] and list(ahead([])) == []

    def breaks() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    items = ahead(breaks())
    assert next(items) == 1
    with pytest.raises(OSError, match="disk is gone"):
        next(items)


def test_reads_only_one_ahead() -> None:
    taken = []

    def source() -> Iterator[int]:
        for k in range(9):
            taken.append(k)
            yield k

    items = ahead(source())
    assert [next(items), next(items)] == [0, 1]
    items.close()  # type: ignore[attr-defined]
    assert taken in ([0, 1], [0, 1, 2])
