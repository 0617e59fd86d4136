"""What would stop a later stage, said before the first one runs.

``python -m flows.engine.beforehand NAME…`` builds these networks of ``params.yaml`` as the stage train would, and throws them away.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files

from flows.engine.boundary import exit_status
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.yaml_text import read_yaml


def check(params: Params) -> None:
    """See to it that every network of ``params.yaml`` can be built, and that its weights file is there and the one that is meant.

    Networks that are described as in a packaged profile are known to be possible; others are built in a process of their
    own, since TensorFlow would stay in this one.

    Raises:
        InputError: one is not; the stage train would say so too, after the ingest.
    """
    named = {name: params.networks[name] for name in params.architectures}
    known = _packaged()
    unknown = [name for name, of in named.items() if (name, of.image_size, _frozen(of.frozen_layers)) not in known]
    if unknown:
        command = [sys.executable, "-m", "flows.engine.beforehand", *unknown]
        done = subprocess.run(command, capture_output=True, text=True)
        said = (done.stderr.strip().splitlines() or [""])[-1].removeprefix(
            "beforehand: "
        )  # libraries may have said more before
        if done.returncode == 2:
            raise InputError(said)
        if done.returncode:
            raise RuntimeError(f"the networks could not be tried: {said[-400:]}")
    files_named = {name: of for name, of in named.items() if of.weights not in ("none", "imagenet")}
    if not files_named:
        return
    from ich_pipeline.training.weights import started_from

    for name, of in files_named.items():
        started_from(name, of)


def _packaged() -> set[tuple[str, int, str]]:
    """Networks of the packaged profiles, each with its picture size and what of it is frozen."""
    profiles = [path for path in (files("ich_pipeline") / "profiles").iterdir() if path.name.endswith(".yaml")]
    described = [read_yaml(path.read_text(encoding="utf-8"))["networks"] for path in profiles]
    return {
        (name, of["image_size"], frozen)
        for networks in described
        for name, of in networks.items()
        for frozen in (_frozen(0), _frozen(of["frozen_layers"]))
    }


def _frozen(layers: float | str) -> str:
    return layers if isinstance(layers, str) else f"{float(layers):g}"


def build(params: Params, names: list[str]) -> None:
    """Build the backbones, as the stage train does.

    Raises:
        InputError: no such architecture, too small a picture, no such layer.
    """
    from ich_pipeline.training.backbones import build_backbone, freeze, preprocess_input

    for name in names:
        of = params.networks[name]
        try:
            preprocess_input(name)
        except InputError as error:
            raise InputError(f"params.yaml: {error}") from None
        freeze(build_backbone(name, of.image_size, "none", params.training.dtype), name, of.frozen_layers)


if __name__ == "__main__":
    sys.exit(exit_status("beforehand", lambda: build(load_params(), sys.argv[1:]), stopped="nothing was written"))
