"""What earlier settings left: folders of architectures and tests that params.yaml no longer names.

Later stages depend on the whole of ``work/train`` and its like. A folder that no stage makes any more would count there, and
nobody else could reproduce the hash.
"""

from __future__ import annotations

import shutil

from flows.engine import layout
from ich_pipeline.config import Params


def remove(params: Params) -> None:
    """Remove the folders of matrix items that are no longer in params."""
    for folder, items in (
        (layout.TRAIN, params.architectures),
        (layout.ABLATE, params.ablation),
        (layout.EVALUATE, params.tests),
    ):
        for left in folder.iterdir() if folder.is_dir() else ():
            if left.name not in items:
                shutil.rmtree(left)
