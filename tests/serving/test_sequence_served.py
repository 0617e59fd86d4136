"""A network with its sequence head, served from raw DICOM and read as evaluate reads it: the same answers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.serving.bundle import assemble
from ich_pipeline.serving.content import seal
from ich_pipeline.serving.origin import Origin
from ich_pipeline.serving.system import System
from tests.made.system import ARCHITECTURE, SIZE, SLICES, Studies, both_studies, parts_of, with_member


@pytest.fixture(scope="module")
def with_head(work: Path, params: Params, origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose ensemble is the network alone and with a head of drawn weights, in equal parts."""
    from ich_pipeline.sequence.head import HeadSpec, SequenceHead
    from ich_pipeline.training.network import Network

    folder = tmp_path_factory.mktemp("with_head")
    made = work / "work"
    network = Network.load(made / "train" / ARCHITECTURE)
    features = network.model.get_layer("gap").output.shape[-1]
    head = SequenceHead.build(HeadSpec(ARCHITECTURE, features, tuple(network.spec.labels), 4, 0.5, 1, epoch=3))
    rng = np.random.default_rng(2)
    head.model.set_weights([np.abs(w) + rng.normal(0, 0.3, w.shape) ** 2 for w in head.model.get_weights()])
    (folder / "sequence" / ARCHITECTURE).mkdir(parents=True)
    head.save(folder / "sequence" / ARCHITECTURE)
    ensemble = Ensemble.load(made / "calibrate" / "ensemble.json")
    with_member(ensemble, f"{ARCHITECTURE}+sequence").save(folder / "ensemble.json")
    parts = replace(parts_of(made), sequence=folder / "sequence", ensemble=folder / "ensemble.json")
    assemble(parts, params, origin, folder / "bundle")
    return folder / "bundle"


def test_served_from_dicom_it_answers_as_evaluate_reads(
    with_head: Path, bundle: Path, params: Params, studies: Studies
) -> None:
    from ich_pipeline.ensemble.reading import read
    from ich_pipeline.windowing.windows import prepare

    system = System.load(with_head)
    assert set(system.sequences) == {ARCHITECTURE}
    # As evaluate does it: all cases together, every network everywhere.
    images = np.concatenate([prepare(hu, SIZE, params.windowing.windows) for hu in studies.hu])
    whole = read(
        system.networks,
        system.ensemble,
        {SIZE: images},
        *both_studies(),
        everywhere=True,
        sequences=system.sequences,
    )
    alone, joined = whole.original[ARCHITECTURE], whole.original[f"{ARCHITECTURE}+sequence"]
    assert np.abs(alone - joined).max() > 0.01, "the head says something"
    np.testing.assert_allclose(alone, system.networks[ARCHITECTURE].probabilities(images), atol=1e-6)
    without = System.load(bundle)
    differs = 0.0
    for number, files in enumerate(studies.files):
        case = system.read_case(files[::-1])
        own = slice(number * SLICES, (number + 1) * SLICES)
        np.testing.assert_array_equal(case.reread, whole.reread[own])
        np.testing.assert_allclose(case.final, whole.final[own], atol=1e-6)
        np.testing.assert_allclose(case.case_scores, whole.case_scores[number], atol=1e-6)
        assert case.uncertainty is not None and case.uncertainty.disagreement is not None
        assert whole.disagreement is not None
        apart = list(case.uncertainty.disagreement.values())
        np.testing.assert_allclose(apart, whole.disagreement.cases[number], atol=1e-6)
        differs = max(differs, float(np.abs(case.final - without.read_case(files).final).max()))
    assert differs > 0.005


def test_a_bundle_without_its_head_is_one_sentence(
    with_head: Path, work: Path, tmp_path: Path, params: Params, origin: Origin
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(with_head, copy)
    shutil.rmtree(copy / "sequence")
    with pytest.raises(InputError, match=r"sequence/vgg16/head\.json is missing"):
        System.load(copy)
    made = work / "work"
    with pytest.raises(InputError, match=r"nowhere/vgg16/head\.json is missing"):
        parts = replace(parts_of(made), sequence=tmp_path / "nowhere", ensemble=with_head / "ensemble.json")
        assemble(parts, params, origin, tmp_path / "b")


def test_a_head_of_another_network_is_one_sentence(with_head: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(with_head, copy)
    spec = copy / "sequence" / ARCHITECTURE / "head.json"
    spec.write_text(spec.read_text().replace('"architecture": "vgg16"', '"architecture": "vgg19"'))
    seal(copy)
    with pytest.raises(InputError, match=r"sequence head of vgg19 .* does not fit the network vgg16"):
        System.load(copy)
