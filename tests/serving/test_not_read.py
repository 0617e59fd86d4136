"""A scan that is unlike those of training gets no answer, in whatever form the system is asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.precedent.model import DISTANCES
from ich_pipeline.precedent.scan_numbers import MEASURED
from ich_pipeline.serving.answer import answer
from ich_pipeline.serving.content import seal
from ich_pipeline.serving.system import System
from tests.made.system import SLICES, head, write_study

Change = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def noise(hu: NDArray[np.float64]) -> NDArray[np.float64]:
    return hu + np.random.default_rng(0).normal(0, 60, hu.shape)


CHANGES: dict[str, Change] = {
    "offset": lambda hu: hu + 45 * (hu > -500),
    "noise": noise,
    "no skull": lambda hu: np.where(hu > 200, 30, hu),
    "water": lambda hu: np.where(hu > -500, 0, hu),
}


@pytest.fixture(scope="module")
def system(bundle: Path) -> System:
    return System.load(bundle)


@pytest.mark.parametrize("change", CHANGES)
def test_an_unlike_scan_is_not_read_and_says_why(system: System, change: str) -> None:
    hu = CHANGES[change](head(1).astype(np.float64)).round().astype(np.int16)
    case = system.read_hu(hu)
    assert case.no_answer.startswith("not read: unlike the scans that the system learned from in ")
    assert case.decision is None and np.isnan(case.final).all() and np.isnan(case.case_scores).all()
    assert not case.shown and not case.basis and case.uncertainty is None
    said = answer(case, uids=False, thumbnails=False)
    assert said["verdict"] == said["no_answer"] == case.no_answer and said["decision"] is None
    shown = system.read_hu(hu, demonstration=True)
    assert shown.decision is not None and np.isfinite(shown.final).all()
    assert shown.no_answer == case.no_answer


def test_scans_of_the_training_kind_are_read(system: System) -> None:
    cases = [system.read_hu(head(seed)) for seed in range(20, 32)]
    assert sum(bool(case.no_answer) for case in cases) <= 2  # a tenth may be turned away
    assert all(case.decision is not None for case in cases if not case.no_answer)


def test_each_slice_says_how_far_from_the_training_slices_it_is(system: System) -> None:
    from ich_pipeline.report.case_page import case_page

    usual = head(1)
    mixed = np.where(np.arange(SLICES)[:, None, None] < 1, np.where(usual > -500, 0, usual), usual).astype(np.int16)
    case = system.read_hu(mixed, demonstration=True)  # the lowest slice is water
    said = answer(case, uids=False, thumbnails=False)
    assert said["likeness"]["limit"] > 0 and said["likeness"]["excess"].keys() == {*MEASURED, *DISTANCES}
    assert [one["unlike"] for one in said["slices"]][:2] == [True, False]
    assert case.judged is not None and set(case.judged.slices.unlike) == {
        k for k, one in enumerate(said["slices"]) if max(one["excess"].values()) > said["likeness"]["slice_limit"]
    }
    page = case_page(case)
    assert page.count('strange" title="') == len(case.judged.slices.unlike) and "hatched in the strip" in page
    assert "How like the training scans" in page and "(limit " in page


def test_what_a_scan_does_not_have_is_no_number(system: System) -> None:
    from ich_pipeline.report.case_page import case_page

    usual = system.read_hu(head(1), demonstration=True)
    assert usual.judged is not None and not usual.judged.missing and "not measured" not in case_page(usual)
    hu = np.where(head(1) > 200, 30, head(1)).astype(np.int16)  # no skull, and so no brain in it to measure
    case = system.read_hu(hu, demonstration=True)
    assert case.judged is not None and case.judged.missing
    excess = answer(case, uids=False, thumbnails=False)["likeness"]["excess"]
    assert {name for name, value in excess.items() if value is None} == case.judged.missing
    page = case_page(case)
    assert page.count('<td class="n">not measured</td>') == len(case.judged.missing)
    assert "as many of their slices" not in page


def test_from_dicom_it_is_the_same_verdict(system: System, tmp_path: Path) -> None:
    hu = noise(head(2).astype(np.float64)).round().astype(np.int16)
    case = system.read_case(write_study(tmp_path / "one", hu, "9"))
    assert case.no_answer == system.read_hu(hu).no_answer != ""
    assert len(case.sop_instance_uids) == SLICES


def test_the_page_names_what_is_unlike_and_nothing_else(system: System) -> None:
    from ich_pipeline.report.case_page import case_page

    case = system.read_hu(noise(head(1).astype(np.float64)).round().astype(np.int16))
    assert len(case.unlike) >= 1 and answer(case, uids=False, thumbnails=False)["unlike"] == list(case.unlike)
    page = case_page(case)
    assert "<strong>Not read</strong>" in page and "synthetic" not in page
    assert all(f"<li>{one.replace(chr(39), '&#39;')}</li>" in page for one in case.unlike)
    assert "Case scores" not in page and "reached the first reading" not in page


def test_a_version_that_does_not_know_what_it_learned_from_is_refused(bundle: Path, tmp_path: Path) -> None:
    """It would read everything that comes."""
    folder = shutil.copytree(bundle, tmp_path / "before")
    shutil.rmtree(folder / "precedent")
    seal(folder)
    with pytest.raises(InputError, match=r"precedent\.npz is missing: .* register the model again"):
        System.load(folder)
