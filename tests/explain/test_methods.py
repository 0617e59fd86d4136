"""The methods against their papers' formulas, written out; scores against Quantus."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ich_pipeline.explain.attention import Explainer
from ich_pipeline.explain.beside import centre_prior
from ich_pipeline.explain.localisation import dice, dice_by_fraction, near, score_values
from ich_pipeline.explain.methods import ablation_cam, grad_cam, hires_cam, layer_cam
from ich_pipeline.explain.placed import peaks
from ich_pipeline.explain.trials import Trials
from tests.made.explained import placed

RANDOM = np.random.default_rng(8)
ACTIVATION = np.maximum(RANDOM.normal(0, 1, (3, 5, 4, 7)), 0).astype(np.float32)
GRADIENTS = RANDOM.normal(0, 1, (3, 5, 4, 7)).astype(np.float32)


def test_layer_cam_by_hand():
    activation = np.array([[[[1.0, 2.0], [3.0, 1.0]]]], np.float32)
    gradients = np.array([[[[1.0, -1.0], [0.5, 2.0]]]], np.float32)
    np.testing.assert_array_equal(layer_cam(activation, gradients), [[[1.0, 3.5]]])
    np.testing.assert_array_equal(hires_cam(activation, gradients), [[[0.0, 3.5]]])
    # Channel means of the gradient: 0.75 and 0.5.
    np.testing.assert_array_equal(grad_cam(activation, gradients), [[[1.75, 2.75]]])


@pytest.mark.parametrize("n", range(3))
def test_methods_cell_by_cell(n):
    h, w, channels = ACTIVATION.shape[1:]
    alpha = [sum(GRADIENTS[n, i, j, k] for i in range(h) for j in range(w)) / (h * w) for k in range(channels)]
    for i in range(h):
        for j in range(w):
            a, g = ACTIVATION[n, i, j], GRADIENTS[n, i, j]
            by_hand = {
                grad_cam: sum(alpha[k] * a[k] for k in range(channels)),
                hires_cam: sum(g[k] * a[k] for k in range(channels)),
                layer_cam: sum(max(g[k], 0) * a[k] for k in range(channels)),
            }
            for method, value in by_hand.items():
                assert method(ACTIVATION, GRADIENTS)[n, i, j] == pytest.approx(max(value, 0), abs=1e-5)


def test_ablation_is_the_fall_of_the_logit_without_a_channel():
    kernel = RANDOM.normal(0, 1, (7, 2)).astype(np.float32)

    def tail(activation):  # not linear in a channel, and channels meet
        mixed = activation**2 + activation * activation.mean(axis=-1, keepdims=True)
        return mixed.mean(axis=(1, 2))

    found = ablation_cam(ACTIVATION, tail, kernel, batch=4)
    for n in range(3):
        whole = tail(ACTIVATION[n : n + 1])[0] @ kernel
        by_hand = np.zeros((2, 5, 4))
        for k in range(7):
            without = ACTIVATION[n : n + 1].copy()
            without[..., k] = 0
            fall = whole - tail(without)[0] @ kernel
            by_hand += fall[:, None, None] * ACTIVATION[n, :, :, k]
        np.testing.assert_allclose(found[n], np.maximum(by_hand, 0), rtol=1e-4, atol=1e-5)


def test_settings_that_share_passes_get_the_maps_that_each_would_make(network, slices, explain):
    wanted = np.ones((len(slices), network.head()[0].shape[1]), bool)
    wanted[0, 1] = False
    trials = Trials(network, slices, wanted)
    settings = explain.model_copy(update={"method": "gradcam"})
    ours, alone = trials.maps(settings), Explainer(network, settings).explain(slices, wanted)
    assert (ours.method, ours.grid) == (alone.method, alone.grid)
    np.testing.assert_array_equal(ours.maps, alone.maps)
    np.testing.assert_array_equal(ours.localises, alone.localises)
    assert trials.explainer(explain.model_copy(update={"method": "hirescam"})).how == "hirescam"


def test_distances_are_taken_about_the_lesion_alone():
    lesion = np.zeros((40, 50), bool)
    lesion[3:6, 40:49] = lesion[20, 10] = True
    spacing = (0.7, 1.9)
    for tolerance in (0.0, 3.0, 11.5, 500.0):
        whole = np.asarray(ndimage.distance_transform_edt(~lesion, sampling=spacing)) <= tolerance
        np.testing.assert_array_equal(near(lesion, spacing, tolerance), whole)
    assert not near(np.zeros((4, 4), bool), spacing, 3.0).any()


def test_where_the_tail_is_linear_all_agree_with_cam(network, slices, explain):
    """Of globally averaged last maps the gradient is the head's weight over the cells, and so is the fall."""
    last = explain.model_copy(update={"method": "cam"})
    exact = np.maximum(Explainer(network, last).raw_maps(slices)[0], 0)
    activation, _ = Explainer(network, last)._forward.predict_on_batch(slices.astype(np.float32))
    activation = np.asarray(activation, np.float32)
    kernel = Explainer(network, last).kernel
    cells = activation.shape[1] * activation.shape[2]
    for k in range(kernel.shape[1]):
        gradients = np.broadcast_to(kernel[:, k] / cells, activation.shape)
        for method in (grad_cam, hires_cam):
            np.testing.assert_allclose(method(activation, gradients) * cells, exact[:, k], rtol=1e-3, atol=1e-3)
    found = ablation_cam(activation, lambda a: a.mean(axis=(1, 2)), kernel, 32)
    scale = found.max(axis=(2, 3), keepdims=True), exact.max(axis=(2, 3), keepdims=True)
    alone = ablation_cam(activation[:1], lambda a: a.mean(axis=(1, 2)), kernel, 32)
    np.testing.assert_allclose(alone, found[:1], atol=1e-5)
    assert all((s >= 0).all() for s in scale)


def test_ablation_of_a_real_network(network, slices, explain):
    settings = explain.model_copy(update={"method": "ablationcam", "layer": "block5_conv3", "minimum_map": 2})
    found = Explainer(network, settings).explain(slices[:1])
    assert found.method.startswith("AblationCAM of block5_conv3")
    assert found.maps.shape[2:] == (4, 4)
    assert found.localises.any()


def _map_and_lesion(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    lesion = np.zeros((24, 24), bool)
    row, column = random.integers(4, 16, 2)
    lesion[row : row + 5, column : column + 4] = True
    return random.random((24, 24)) * np.where(lesion, 1.5, 1.0), lesion, np.ones((24, 24), bool)


@pytest.mark.parametrize("seed", range(6))
def test_pointing_and_mass_agree_with_quantus(seed):
    quantus = pytest.importorskip("quantus")
    values, lesion, head = _map_and_lesion(seed)
    found = score_values(values, lesion, head, (1.0, 1.0), 0.0, None, 0.5)
    assert found is not None
    x, y = np.zeros((1, 1, 24, 24)), np.array([0])
    arguments = {
        "model": None,
        "x_batch": x,
        "y_batch": y,
        "a_batch": values[None, None],
        "s_batch": lesion[None, None],
    }
    quiet = {"disable_warnings": True, "display_progressbar": False, "abs": False, "normalise": False}
    pointing = quantus.PointingGame(**quiet).evaluate_batch(**_batch(arguments))
    mass = quantus.RelevanceMassAccuracy(**quiet).evaluate_batch(**_batch(arguments))
    assert bool(np.ravel(pointing)[0]) == found.hit
    assert float(np.ravel(mass)[0]) == pytest.approx(found.mass)


def _batch(arguments: dict) -> dict:
    return {name: value for name, value in arguments.items() if name != "model"} | {"model": None}


def test_dice_by_hand_and_by_chance():
    lesion, values = np.zeros((4, 4), bool), np.zeros((4, 4))
    lesion[0, :2] = True
    values[0] = [1.0, 0.6, 0.3, 0.1]
    assert dice_by_fraction(values, lesion, np.array([0.2, 0.5, 0.9])).tolist() == pytest.approx([4 / 5, 1, 2 / 3])
    assert dice(lesion, ~lesion) == 0
    everywhere = np.ones((4, 4), bool)
    shown = placed(np.ones((4, 4)) + np.eye(4)).inside(everywhere)
    found = score_values(shown, lesion, everywhere, (1, 1), 0.0, None, 0.1)
    assert found is not None
    assert found.dice == pytest.approx(found.dice_chance)  # the region is the whole head


def test_the_centre_prior_knows_the_head_alone():
    head = np.zeros((30, 30), bool)
    head[5:25, 8:22] = True
    prior = centre_prior(head)
    assert not prior[~head].any()
    assert np.unravel_index(prior.argmax(), prior.shape) in {(14, 14), (14, 15), (15, 14), (15, 15)}
    np.testing.assert_allclose(prior[5:25, 8:22], prior[5:25, 8:22][::-1, ::-1])


def _hills(*tops: tuple[int, int, float], width: float = 4.0) -> np.ndarray:
    y, x = np.mgrid[:64, :64]
    return np.max([height * np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2 * width**2)) for r, c, height in tops], axis=0)


def test_every_separate_maximum_is_marked():
    assert peaks(_hills((20, 20, 1.0)), 0.5) == [(20, 20)]
    assert peaks(_hills((20, 20, 0.7), (40, 44, 1.0)), 0.5) == [(40, 44), (20, 20)]
    assert peaks(_hills((20, 20, 0.4), (40, 44, 1.0)), 0.5) == [(40, 44)]  # below the outline
    # Ripples on one hill: the valley between is 0.88 of the lower one.
    assert len(peaks(_hills((20, 20, 1.0), (20, 24, 1.0)), 0.5)) == 1
    # Three, two of them on one ridge.
    assert peaks(_hills((10, 10, 0.8), (50, 50, 1.0), (50, 53, 0.98)), 0.5) == [(50, 50), (10, 10)]
