"""What makes a map of an inner activation: LayerCAM, Grad-CAM, HiResCAM, AblationCAM. Arrays in, arrays out; no Keras.

All take the activation of a layer. Three weight it by the gradient of the logit that is explained, one by how much the
logit falls without each channel. Exact CAM needs neither (:func:`ich_pipeline.explain.attention.class_activation`).

* LayerCAM (Jiang et al. 2021, doi 10.1109/TIP.2021.3089943): every cell by its own positive gradient.
* Grad-CAM (Selvaraju et al. 2017, doi 10.1109/ICCV.2017.74): every channel by the mean of its gradient over the cells.
* HiResCAM (Draelos and Carin 2020, arXiv 2011.08891): every cell by its own gradient, whatever its sign.
* AblationCAM (Desai and Ramaswamy 2020, doi 10.1109/WACV45572.2020.9093360): every channel by the fall of the logit
  when the channel is zero. The paper divides by the logit, which is one number a map and falls away with the scale; here
  it would also turn the map round where the logit is below 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def layer_cam(activation: Array, gradients: Array) -> Array:
    """LayerCAM: ReLU of the sum over channels of ReLU(gradient) times activation.

    Args:
        activation: (n, h, w, K).
        gradients: (n, h, w, K), of the logit that is explained.

    Returns:
        float32 (n, h, w).
    """
    return _positive((np.maximum(gradients, 0) * activation).sum(axis=-1))


def grad_cam(activation: Array, gradients: Array) -> Array:
    """Grad-CAM: ReLU of the sum over channels of activation times the channel's mean gradient; as :func:`layer_cam`."""
    return _positive((gradients.mean(axis=(1, 2), keepdims=True) * activation).sum(axis=-1))


def hires_cam(activation: Array, gradients: Array) -> Array:
    """HiResCAM: ReLU of the sum over channels of gradient times activation; as :func:`layer_cam`."""
    return _positive((gradients * activation).sum(axis=-1))


BY_GRADIENT: Mapping[str, Callable[[Array, Array], Array]] = {
    "layercam": layer_cam,
    "gradcam": grad_cam,
    "hirescam": hires_cam,
}
NAMES: Mapping[str, str] = {
    "cam": "CAM",
    "layercam": "LayerCAM",
    "gradcam": "Grad-CAM",
    "hirescam": "HiResCAM",
    "ablationcam": "AblationCAM",
}


def ablation_cam(activation: Array, tail: Callable[[Array], Array], kernel: Array, batch: int) -> Array:
    """AblationCAM of every label at once: ReLU of the sum over channels of activation times the fall of the logit without it.

    One pass of the tail for each channel and slice.

    Args:
        activation: (n, h, w, K).
        tail: from an activation (batch, h, w, K) to pooled features (batch, F); always called with ``batch`` rows.
        kernel: (F, L) the head's weights for these features.
        batch: rows a call.

    Returns:
        float32 (n, L, h, w).
    """
    n, channels = len(activation), activation.shape[-1]
    falls = np.zeros((n, channels, kernel.shape[1]), np.float32)
    for row, one in enumerate(activation):
        whole = _logits(one[None], tail, kernel, batch)
        for start in range(0, channels, batch):
            out = np.arange(start, min(start + batch, channels))
            without = np.repeat(one[None], len(out), axis=0)
            without[np.arange(len(out)), :, :, out] = 0
            falls[row, out] = whole - _logits(without, tail, kernel, batch)
    return _positive(np.einsum("nhwk,nkl->nlhw", activation, falls, optimize=True))


def _logits(activation: Array, tail: Callable[[Array], Array], kernel: Array, batch: int) -> Array:
    """Logits less their bias, of at most ``batch`` rows; the call is filled up, so that no shape is traced twice."""
    filled = np.concatenate([activation, np.repeat(activation[-1:], batch - len(activation), axis=0)])
    return np.asarray(tail(filled), np.float32)[: len(activation)] @ kernel


def _positive(maps: NDArray[np.floating]) -> Array:
    return np.maximum(maps, 0).astype(np.float32)
