"""Small-data head-CT haemorrhage detection after Lee et al. 2019 (doi 10.1038/s41551-018-0324-9).

The science lives here as plain functions and frozen dataclasses; it imports neither Prefect nor DVC, and MLflow only
in :mod:`ich_pipeline.registry`. The rooms, and the direction of imports between them: docs/architecture.md.

For a notebook, the names that carry a slice from a volume to an answer are here; each is imported when it is first used::

    import ich_pipeline as ich

    case = ich.System.load("bundle").read_case(["/path/to/a/study"])
"""

import logging
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ich_pipeline.config import load_params
    from ich_pipeline.ensemble.fit import fit_ensemble
    from ich_pipeline.ensemble.reading import read
    from ich_pipeline.serving.load_case import load_case
    from ich_pipeline.serving.system import System
    from ich_pipeline.training.network import Network
    from ich_pipeline.windowing.windows import prepare

__all__ = ["Network", "System", "fit_ensemble", "load_case", "load_params", "prepare", "read"]

_FACE = {
    "Network": "training.network",
    "System": "serving.system",
    "fit_ensemble": "ensemble.fit",
    "load_case": "serving.load_case",
    "load_params": "config",
    "prepare": "windowing.windows",
    "read": "ensemble.reading",
}

# TensorFlow leaves its oneDNN kernels off on processors without AVX512_VNNI. On AVX2 they train ResNet-50 three times
# faster, and one setting everywhere keeps training, evaluation and serving to equal bits. TensorFlow reads both when it is
# imported, whichever module does that: so they are set here, before any.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A case is read by several networks, and each is traced once: that is no mistake to warn of.
logging.getLogger("tensorflow").setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FACE[name]}"), name)
