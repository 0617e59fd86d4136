"""The HU rule as a member of a served system."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ich_pipeline.baselines.hu_features import NAMES
from ich_pipeline.baselines.hu_rule import FILE, MEMBER, HuRule, Lesson, learn_forest
from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.ensemble.reading import read
from ich_pipeline.serving.bundle import assemble
from ich_pipeline.serving.content import seal
from ich_pipeline.serving.origin import Origin
from ich_pipeline.serving.system import System
from ich_pipeline.windowing.windows import clip_range, prepare
from tests.made.system import ARCHITECTURE, SLICES, Studies, both_studies, parts_of, with_member

RULE_SIZE = 48  # another than the network's: the rule has its own pictures


@pytest.fixture(scope="module")
def with_rule(
    tmp_path_factory: pytest.TempPathFactory, work: Path, params: Params, origin: Origin, studies: Studies
) -> Path:
    folder = tmp_path_factory.mktemp("rule")
    made = work / "work"
    ensemble = Ensemble.load(made / "calibrate" / "ensemble.json")
    with_member(ensemble, MEMBER).save(folder / "ensemble.json")
    rng = np.random.default_rng(3)
    features = rng.random((80, 3 * len(NAMES))).astype(np.float32)
    truth = (features[:, : len(ensemble.labels)] > 0.5).astype(np.int8)
    lesson = Lesson(np.arange(80), truth, np.repeat(np.arange(20), 4), truth.mean(axis=0))
    _, highest = clip_range(params.windowing.windows)
    HuRule(ensemble.labels.columns, RULE_SIZE, highest, learn_forest(features, lesson, 5, 0)).save(folder / FILE)
    parts = replace(parts_of(made), ensemble=folder / "ensemble.json", rule=folder)
    assemble(parts, params, origin, folder / "bundle")
    return folder / "bundle"


def test_served_from_dicom_it_answers_as_evaluate_reads(
    with_rule: Path, bundle: Path, params: Params, studies: Studies
) -> None:
    system = System.load(with_rule)
    rule = HuRule.load(with_rule / "rule" / FILE)
    windows = params.windowing.windows
    # As evaluate does it: all cases together, the rule's scores made before.
    images = {
        size: np.concatenate([prepare(hu, size, windows) for hu in studies.hu])
        for size in (system.networks[ARCHITECTURE].spec.image_size, RULE_SIZE)
    }
    neighbours, case_of = both_studies()
    others = {MEMBER: rule.read(images[RULE_SIZE], neighbours)}
    everything = (system.networks, system.ensemble, images, neighbours, case_of)
    whole = read(*everything, everywhere=True, others=others)
    differs = 0.0
    without = System.load(bundle)
    for number, files in enumerate(studies.files):
        case = system.read_case(files[::-1])
        own = slice(number * SLICES, (number + 1) * SLICES)
        np.testing.assert_array_equal(case.reread, whole.reread[own])
        np.testing.assert_allclose(case.final, whole.final[own], atol=1e-6)
        np.testing.assert_allclose(case.case_scores, whole.case_scores[number], atol=1e-6)
        differs = max(differs, float(np.abs(case.final - without.read_case(files).final).max()))
    assert differs > 0.005
    with pytest.raises(InputError, match="needs the HU rule"):
        read(*everything, everywhere=True)


def test_a_bundle_without_its_rule_or_with_another_is_one_sentence(
    with_rule: Path, work: Path, tmp_path: Path, params: Params, origin: Origin
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(with_rule, copy)
    (copy / "rule" / FILE).unlink()
    with pytest.raises(InputError, match=r"rule\.npz"):
        System.load(copy)
    shutil.copytree(with_rule, copy, dirs_exist_ok=True)
    about = HuRule.load(copy / "rule" / FILE)
    replace(about, labels=("any", "other")).save(copy / "rule" / FILE)
    seal(copy)
    with pytest.raises(InputError, match="any, other"):
        System.load(copy)
    parts = replace(parts_of(work / "work"), ensemble=with_rule / "ensemble.json", rule=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"nowhere/rule\.npz is missing"):
        assemble(parts, params, origin, tmp_path / "b")
