"""The README's picture of the phantom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ich_pipeline.core.errors import InputError
from ich_pipeline.phantom.montage import montage, varied_montage


def test_montage_has_a_row_a_kind(tiny_params, tmp_path: Path) -> None:
    montage(tiny_params(patients=60), tmp_path / "phantom.png", columns=4)
    picture = np.asarray(Image.open(tmp_path / "phantom.png"))
    rows = np.split(picture, 6)
    for row in rows:
        heads = row[:, 118:]
        assert (heads > 250).any() and 0.3 < (heads < 5).mean() < 0.9
    assert (tmp_path / "phantom.png").stat().st_size < 600_000


def test_montage_needs_every_kind(tiny_params, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="patients"):
        montage(tiny_params(patients=4), tmp_path / "phantom.png", columns=4)
    assert not (tmp_path / "phantom.png").exists()


def test_picture_of_the_varied_heads(tiny_params, tmp_path: Path) -> None:
    varied_montage(tiny_params(), tmp_path / "varied.png", columns=2, workers=1)
    picture = np.asarray(Image.open(tmp_path / "varied.png"))
    tiles = [tile for row in np.split(picture, 4) for tile in np.split(row, 2, axis=1)]
    assert len(tiles) == 8 and all((tile > 250).any() and (tile < 5).mean() > 0.2 for tile in tiles)
    assert len({tile.tobytes() for tile in tiles}) == 8
