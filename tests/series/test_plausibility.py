"""Series whose values are no Hounsfield units of a head are set aside with the figures; real heads never are (test_real_accounts)."""

from __future__ import annotations

import numpy as np
import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.ingest.ingest import ingest
from ich_pipeline.ingest.scan import scan
from ich_pipeline.series.group_volume import implausible_volume
from ich_pipeline.series.study import read_study


def test_a_series_without_its_intercept_makes_room_for_the_next(tmp_path, save_series, ingest_params):
    save_series(tmp_path / "in" / "wrong", 8, series="wrong", signed=False, RescaleIntercept="0")
    save_series(tmp_path / "in" / "right", 5, series="right")
    report = ingest(tmp_path / "in", tmp_path / "out", ingest_params)
    counts = report.account.groupby("reason")["path"].count().to_dict()
    assert counts == {"used": 5, "implausible_hu": 8}
    [detail] = set(report.account.loc[report.account["reason"] == "implausible_hu", "detail"])
    assert detail.startswith("no air: 0.0% of the pixels are at or below -700 HU, at least 1.0% are expected")
    assert report.series.loc[~report.series["chosen"], "reason"].str.startswith("implausible_hu: no air").all()


def test_a_slope_that_is_wrong_leaves_no_soft_tissue(tmp_path, save_series, ingest_params):
    save_series(tmp_path / "in", 5, RescaleSlope="10")
    with pytest.raises(InputError, match="5 files implausible_hu"):
        ingest(tmp_path / "in", tmp_path / "out", ingest_params)


def test_a_constant_slice_is_set_aside_alone(tmp_path, make_slice, save_slice, save_series, ingest_params):
    save_series(tmp_path / "in", 5)
    save_slice(make_slice(number=6, hu=np.full((32, 32), -1000, np.int16)), tmp_path / "in" / "blank")
    report = ingest(tmp_path / "in", tmp_path / "out", ingest_params)
    row = report.account.set_index("path").loc["blank"]
    assert (row["reason"], row["detail"]) == ("implausible_hu", "every pixel is -1000 HU")
    assert len(report.slices) == 5


def test_limits_follow_the_settings(make_anatomy, ingest_params):
    hu = np.stack([make_anatomy(n) for n in range(4)])
    limits = ingest_params.pixels.plausible
    assert implausible_volume(hu, limits) is None
    for changed, words in (({"minimum_air": 0.9}, "no air"), ({"soft_tissue_hu": (200.0, 300.0)}, "no soft tissue")):
        found = implausible_volume(hu, limits.model_copy(update=changed))
        assert found is not None and found[1].startswith(words)


def test_a_plastic_head_has_no_brain(real_data, ingest_params):
    params = ingest_params.model_copy(update={"minimum_slices": 4})
    [study] = scan(real_data / "dicom_pacs" / "philips_export", params).studies
    reading = read_study(study, params)
    assert reading.volume is None
    assert {reason for reason, _ in reading.group_reasons} == {"no_brain"}
    assert all(detail.startswith("no soft tissue peak") for _, detail in reading.group_reasons)
