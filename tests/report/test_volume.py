"""What a case page carries: NIfTI headers, voxels as differences, maps, and the viewer's script."""

from __future__ import annotations

import base64
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ich_pipeline.core.errors import InputError
from ich_pipeline.explain.case import ExplainedCase
from ich_pipeline.explain.scan import Scan
from ich_pipeline.report import niivue
from ich_pipeline.report.case_page import presets
from ich_pipeline.report.nifti import HEADER_BYTES, header
from ich_pipeline.report.pictures import map_in_head
from ich_pipeline.report.volume import carried, differences, script_json
from ich_pipeline.windowing.windows import Window
from tests.made.explained import made_case, maps

# Fields of nifti_1_header with their offsets, typed from the table of the standard (nifti1.h), by name.
FIELDS = np.dtype(
    {
        "names": [
            "sizeof_hdr", "dim", "datatype", "bitpix", "pixdim", "vox_offset", "scl_slope", "scl_inter", "xyzt_units",
            "qform_code", "sform_code", "quatern", "qoffset", "srow", "magic", "extension",
        ],
        "formats": ["<i4", "8<i2", "<i2", "<i2", "8<f4", "<f4", "<f4", "<f4", "u1", "<i2", "<i2", "3<f4", "3<f4", "(3,4)<f4", "S4", "4u1"],
        "offsets": [0, 40, 70, 72, 76, 108, 112, 116, 123, 252, 254, 256, 268, 280, 344, 348],
        "itemsize": 352,
    }
)  # fmt: skip


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def found_in(case: ExplainedCase) -> dict[tuple[str, int], np.ndarray]:
    found = {(n, i): map_in_head(m.map, case.hu[i]) for i, maps in case.attention.items() for n, m in maps.items()}
    return {key: values for key, values in found.items() if values is not None}


def of_header(data: bytes) -> np.ndarray:
    return np.frombuffer(data[:HEADER_BYTES], FIELDS)[0]


def test_the_header_says_where_every_voxel_lies() -> None:
    found = of_header(header((4, 5, 6), "int16", (3.0, 0.5, 0.4), (10.0, 20.0, -30.0)))
    assert (found["sizeof_hdr"], found["magic"], found["vox_offset"]) == (348, b"n+1", 352)
    assert found["dim"].tolist()[:4] == [3, 6, 5, 4]
    assert (found["datatype"], found["bitpix"], found["scl_slope"], found["scl_inter"]) == (4, 16, 1, 0)
    assert (found["xyzt_units"], found["qform_code"], found["sform_code"]) == (2, 1, 1)
    column, row, one = 5, 2, 3
    # Columns go to the left, rows to the back, slices to the head; NIfTI counts towards right, front, head.
    wanted = [10 - 5 * 0.4, 20 - 2 * 0.5, -30 + 3 * 3.0]
    np.testing.assert_allclose(found["srow"] @ [column, row, one, 1], wanted, rtol=1e-6)
    # The quaternion says the same (nifti1.h, method 2).
    b, c, d = (float(q) for q in found["quatern"])
    a = np.sqrt(max(0, 1 - b * b - c * c - d * d))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    steps = found["pixdim"][1:4] * [1, 1, found["pixdim"][0]]
    np.testing.assert_allclose(turn @ (steps * [column, row, one]) + found["qoffset"], wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "steps"), [((0, 5, 6), (1, 1, 1)), ((4, 5, 40_000), (1, 1, 1)), ((4, 5, 6), (1, 0, 1))]
)
def test_what_nifti_cannot_hold_is_refused(shape, steps) -> None:
    with pytest.raises(ValueError, match="no NIfTI-1 volume"):
        header(shape, "int16", steps, (0, 0, 0))


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.int16, arrays.array_shapes(min_dims=3, max_dims=3, max_side=7), elements=st.integers(-32768, 32767)
    )
)
def test_differences_add_up_to_the_voxels(hu) -> None:
    planes = np.frombuffer(differences(hu), np.uint8).reshape(2, *hu.shape).astype(np.int32)
    zigzag = planes[0] + 256 * planes[1]
    less = np.where(zigzag % 2, -(zigzag + 1) // 2, zigzag // 2)
    again = np.cumsum(less, axis=-1).astype(np.int16)  # modulo 65,536
    np.testing.assert_array_equal(again, np.where(hu <= -900, -1000, hu))


def test_the_volume_is_whole_and_maps_lie_on_it(params) -> None:
    labels = params.label_set
    hu = np.full((9, 40, 64), -1000, np.int16)
    hu[:, 8:32, 10:54] = 30
    hu[4, 20, 30] = 77
    case = made_case(
        params, np.full((9, len(labels)), 0.6), slice_thresholds=np.full(len(labels), 0.9), shown={4: ()},
        attention={4: maps(labels.any)}, hu=hu, scan=Scan((0.8, 0.5)),
    )  # fmt: skip
    found = carried(case, case.scan, found_in(case))
    whole = unpacked(found.voxels)
    assert len(whole) == HEADER_BYTES + 2 * hu.size
    of_scan, of_map = of_header(whole), of_header(base64.b64decode(found.map_header))
    assert found.mapped == ((labels.any, 4),) and len(unpacked(found.maps)) == 128 * 128
    assert max(unpacked(found.maps)) == 255
    # The maps' square (64 × 64 pixels) has the same middle as the picture (40 × 64), 12 rows more on both sides.
    middle = of_scan["srow"] @ [31.5, 19.5, 4, 1]
    np.testing.assert_allclose(of_map["srow"] @ [63.5, 63.5, 4, 1], middle, atol=1e-4)
    edge = of_map["srow"] @ [-0.5, -0.5, 4, 1]
    np.testing.assert_allclose(edge - middle, [32 * 0.5, 32 * 0.8, 0], atol=1e-4)
    assert found.planes
    assert not carried(case, Scan(), {}).planes, "without spacing nobody knows a head's shape"
    uneven = replace(case, positions_mm=np.array([0, 5, 10, 15, 20, 25, 30, 35, 60.0]))
    assert not carried(uneven, case.scan, {}).planes
    assert carried(case, case.scan, found_in(case)) == found


def test_windows_of_the_model_come_first_on_the_keys(params) -> None:
    assert [w.name for w in presets(params.windowing.windows)] == ["brain", "subdural", "stroke", "bone", "soft_tissue"]
    own = [Window("blood", 60, 60), Window("bone", 500, 2000)]
    assert [w.name for w in presets(own)] == ["blood", "bone", "brain", "subdural", "stroke", "soft_tissue"]


def test_json_cannot_end_its_script() -> None:
    assert "</" not in script_json({"a": "</script><!--"})


def test_the_viewer_is_the_installed_package_and_hands_out_its_class() -> None:
    found = niivue.viewer()
    script = unpacked(found.script).decode()
    assert script.startswith("(()=>{") and script.rstrip().endswith(";})();")
    assert "export{" not in script[-2000:] and "globalThis.Niivue=" in script[-60:]
    assert "Redistribution and use in source and binary forms" in found.licence and "Niivue" in found.licence


@pytest.mark.parametrize(
    ("module", "lacks"),
    [
        ('console.log("Creating new Niivue instance");let b=1;v=new Kl(o)};', "the export at its end"),
        ("var a=1;export{a as default};", "the place where the widget makes a viewer"),
        ('export{a as default};"Creating new Niivue instance");let b=1;v=new Kl(o)};', "the export at its end"),
    ],
)
def test_a_module_of_another_shape_is_refused(module: str, lacks: str) -> None:
    with pytest.raises(InputError, match=f"widget.js lacks {lacks}.*pip install"):
        niivue.with_class(module, Path("widget.js"))


def test_another_version_and_no_package_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(niivue, "VERSION", "0.1")
    with pytest.raises(InputError, match=r"is made from ipyniivue 0\.1, installed is 2\.4\.4: install it again"):
        niivue.viewer.__wrapped__()
    monkeypatch.setattr(niivue, "PACKAGE", "no_such_package")
    with pytest.raises(InputError, match="no_such_package, which is not installed"):
        niivue.viewer.__wrapped__()
