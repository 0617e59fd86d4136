"""The order in which TensorFlow adds gradients: fixed, also where other programs keep the processor busy."""

from __future__ import annotations

import os
import re

VARIABLE = "TF_NUM_INTEROP_THREADS"  # TensorFlow reads it once, when it wakes up

# Networks without a sum that depends on timing: where three or more gradients meet, each is a buffer of its own. In a
# residual network whose blocks branch (Inception-ResNet, NASNet) one of them is also still in use elsewhere, and whether
# that use has ended decides which is added first: under load one step in thirty came out otherwise.
_ANY_ORDER = {"vgg16", "vgg19", "resnet50", "resnet101", "resnet152", "inceptionv3"}


def fix_order(architecture: str) -> None:
    """Let TensorFlow run one operation after another (each still on all cores), unless ``architecture`` needs it not.

    Call it before TensorFlow is used in this process. Costs a quarter to a half of a step where branches ran side by
    side before. A value of ``TF_NUM_INTEROP_THREADS`` that the user has set stays.
    """
    if re.sub(r"[^a-z0-9]", "", architecture.lower()) not in _ANY_ORDER:
        os.environ.setdefault(VARIABLE, "1")
