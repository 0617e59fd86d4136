"""The head by itself: nothing before training, masks, company, files, learning what neighbours tell, equal bytes, JAX."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lesions import FEATURES, LABELS, PARAMS, SPEC, sequences
from scipy.special import expit
from sklearn.metrics import average_precision_score

from ich_pipeline.core.errors import Fault, InputError
from ich_pipeline.sequence.fit import CohortSequences, FitResult, _batches, fit_head
from ich_pipeline.sequence.head import SequenceHead
from ich_pipeline.training.loss import class_weights, mean_loss, weighted_binary_crossentropy


def drawn() -> SequenceHead:
    """A head that says something: every weight drawn."""
    head = SequenceHead.build(SPEC)
    rng = np.random.default_rng(7)
    head.model.set_weights([np.abs(w) + rng.normal(0, 0.5, w.shape) ** 2 for w in head.model.get_weights()])
    return head


def slices(lengths: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    features = rng.normal(size=(n, FEATURES)).astype(np.float32)
    return features, rng.normal(size=(n, len(LABELS))).astype(np.float32), np.repeat(np.arange(len(lengths)), lengths)


def test_before_training_the_network_speaks_alone() -> None:
    features, logits, case_index = slices((1, 7, 16, 33))
    answers = SequenceHead.build(SPEC).probabilities(features, logits, case_index)
    np.testing.assert_allclose(answers, expit(logits), atol=1e-6)


def test_a_case_answers_the_same_in_any_company_and_padding_says_nothing() -> None:
    head = drawn()
    features, logits, case_index = slices((5, 14, 40, 9))
    together = head.probabilities(features, logits, case_index)
    assert np.ptp(together, axis=0).min() > 0.01
    for case in range(4):
        own = case_index == case
        alone = head.probabilities(features[own], logits[own], np.zeros(own.sum(), int))
        np.testing.assert_array_equal(alone, together[own])
    # The model itself: what stands in the padding does not matter, nor how much of it there is.
    one = [features[None, :5], logits[None, :5], np.ones((1, 5), bool)]
    more = [np.pad(x, ((0, 0), (0, 6), (0, 0)), constant_values=9) for x in one[:2]] + [
        np.pad(one[2], ((0, 0), (0, 6)))
    ]
    np.testing.assert_allclose(
        np.asarray(head.model.predict_on_batch(more))[0, :5], np.asarray(head.model.predict_on_batch(one))[0], atol=1e-6
    )


def test_neighbours_on_both_sides_count_and_their_order_does() -> None:
    head = drawn()
    features, logits, case_index = slices((9,))
    before = head.probabilities(features, logits, case_index)
    for changed, other in ((0, 8), (8, 0)):
        moved = features.copy()
        moved[changed] += 3
        after = head.probabilities(moved, logits, case_index)
        assert np.abs(after[other] - before[other]).max() > 1e-5, "the far end hears of it"
    turned = head.probabilities(features[::-1], logits[::-1], case_index)
    assert turned.shape == before.shape
    assert np.abs(turned[::-1] - before).max() > 1e-4
    # With the two directions exchanged, the head reads a case from its other end.
    weights = head.model.get_layer("both_ways").get_weights()
    half = len(weights) // 2
    kernel, bias = head.model.get_layer("change").get_weights()
    head.model.get_layer("both_ways").set_weights(weights[half:] + weights[:half])
    head.model.get_layer("change").set_weights([np.roll(kernel, SPEC.units, axis=0), bias])
    mirrored = head.probabilities(features[::-1], logits[::-1], case_index)
    np.testing.assert_allclose(mirrored[::-1], before, atol=1e-5)


def test_saved_and_loaded_it_answers_the_same(tmp_path: Path) -> None:
    head = drawn()
    head.save(tmp_path)
    loaded = SequenceHead.load(tmp_path)
    assert loaded.spec == head.spec
    np.testing.assert_array_equal(loaded.probabilities(*slices((4, 6))), head.probabilities(*slices((4, 6))))
    (tmp_path / "again").mkdir()
    loaded.save(tmp_path / "again")
    for name in ("head.json", "head.weights.h5"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_broken_files_are_one_sentence(tmp_path: Path) -> None:
    head = drawn()
    head.save(tmp_path)
    spec = (tmp_path / "head.json").read_text()
    for text, words in (
        (spec.replace("sequence_head/1", "sequence_head/9"), r"head\.json has schema 'sequence_head/9'"),
        (spec.replace('"units"', '"unit"'), r"head\.json is no sequence head"),
        (spec.replace('"units": 16', '"units": 9'), r"head\.weights\.h5 does not fit"),
    ):
        (tmp_path / "head.json").write_text(text)
        with pytest.raises(InputError, match=words):
            SequenceHead.load(tmp_path)
    (tmp_path / "head.json").write_text(spec)
    (tmp_path / "head.weights.h5").unlink()
    with pytest.raises(InputError, match=r"head\.weights\.h5 is missing"):
        SequenceHead.load(tmp_path)


@pytest.fixture(scope="module")
def fitted(train: CohortSequences, validation: CohortSequences) -> FitResult:
    return fit_head(SPEC, train, validation, PARAMS, 3.0)


def test_it_learns_what_neighbours_tell(fitted: FitResult, validation: CohortSequences) -> None:
    assert fitted.best.epoch == fitted.head.spec.epoch > 0
    assert fitted.best.val_map is not None and fitted.history[0].val_map is not None
    assert fitted.best.val_map == max(look.val_map for look in fitted.history if look.val_map is not None)
    # The middle slice alone is a third of a lesion: a slice by itself cannot reach this.
    truth, features = validation.cohort.truth, validation.features
    single = np.mean([average_precision_score(truth[:, 1 + k], features[:, k]) for k in range(2)])
    assert fitted.best.val_map > single + 0.2
    answers = fitted.head.probabilities(validation.features, validation.logits, validation.case_index)
    np.testing.assert_allclose(fitted.validation, answers[validation.labelled], atol=1e-6)


def test_twice_trained_it_has_the_same_bytes(
    fitted: FitResult, train: CohortSequences, validation: CohortSequences, tmp_path: Path
) -> None:
    again = fit_head(SPEC, train, validation, PARAMS, 3.0)
    assert again.history == fitted.history
    for name, result in (("a", fitted), ("b", again)):
        (tmp_path / name).mkdir()
        result.head.save(tmp_path / name)
    for name in ("head.json", "head.weights.h5"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_where_nothing_helps_the_network_alone_is_kept(train: CohortSequences) -> None:
    rng = np.random.default_rng(3)
    noise = sequences(20, 5)
    truth = noise.cohort.truth
    # On validation the network alone is never wrong.
    sure = replace(noise, logits=(8.0 * truth - 4 + rng.normal(0, 0.1, truth.shape)).astype(np.float32))
    result = fit_head(SPEC, train, sure, PARAMS.model_copy(update={"epochs": 3, "patience": 2}), 3.0)
    assert result.head.spec.epoch == 0 and result.best.val_map == 1.0
    assert len(result.history) == 3, "patience ends it"
    np.testing.assert_allclose(result.validation, expit(sure.logits), atol=1e-6)


def test_the_loss_is_the_mean_over_labelled_slices(train: CohortSequences) -> None:
    weights = class_weights(train.cohort.truth, 3.0)
    head = SequenceHead.build(SPEC)
    head.model.compile(optimizer="sgd", loss=weighted_binary_crossentropy(weights))
    everything = next(_batches(train, 80, np.random.default_rng(0)))
    batch, truth, weight = everything
    loss = float(head.model.test_on_batch(batch.inputs, truth, sample_weight=weight))
    alone = expit(train.logits[train.labelled].astype(float))
    assert loss == pytest.approx(mean_loss(train.cohort.truth, alone, weights), rel=1e-5)


def test_labels_are_only_where_slices_are_labelled(train: CohortSequences) -> None:
    count = 0
    for batch, truth, weight in _batches(train, 8, np.random.default_rng(1)):
        assert not weight[~batch.mask].any() and not truth[weight == 0].any()
        count += int((weight > 0).sum())
    assert count == train.labelled.sum() < len(train.labelled)


def test_a_loss_that_is_no_number_is_a_fault(train: CohortSequences, validation: CohortSequences) -> None:
    broken = replace(train, features=np.where(train.features > 7, np.float32(np.nan), train.features))
    with pytest.raises(Fault, match=r"sequence\.learning_rate"):
        fit_head(SPEC, broken, validation, PARAMS, 3.0)


UNDER_JAX = (
    "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
    "from ich_pipeline.training.backend import keras; assert keras.backend.backend() == 'jax'\n"
    "import numpy as np, test_head as t; f = Path(sys.argv[1])\n"
    "np.save(f / 'p.npy', t.SequenceHead.load(f).probabilities(*t.slices((4, 20))))\n"
    "print(t.fit_head(t.SPEC, t.sequences(80, 1, True), t.sequences(40, 2), t.PARAMS, 3.0).best.val_map)\n"
)


@pytest.mark.long
def test_jax_gives_the_same_answers_and_trains_by_the_same_code(fitted: FitResult, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="jax is not installed: `pip install jax` to compare the backends")
    head = drawn()
    head.save(tmp_path)
    surroundings = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", UNDER_JAX, str(tmp_path), str(Path(__file__).parent)],
        env=surroundings,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), head.probabilities(*slices((4, 20))), atol=1e-5)
    # The backends draw weights and dropout differently: the task is learnt as well, not the same.
    assert fitted.best.val_map is not None
    assert float(done.stdout.split()[-1]) == pytest.approx(fitted.best.val_map, abs=0.1)
