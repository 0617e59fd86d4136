"""``ich weights``: pretrained weights for hospitals without internet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.progress import Track, quiet


def listing(architectures: Sequence[str]) -> Iterator[str]:
    """A line an architecture: its name, and the address of its weights."""
    from ich_pipeline.training.weights import addresses

    for name, address in addresses(architectures):
        yield f"{name}  {address}"


def fetch(architectures: Sequence[str], folder: Path, track: Track = quiet) -> Iterator[str]:
    """Download, and say what is there and how params.yaml names it."""
    from ich_pipeline.training.backbones import architecture_function
    from ich_pipeline.training.weights import fetch as download

    for found in download(architectures, folder, track):
        yield f"{found.file}: {found.architecture}, {found.weights:,} weights"
        # Files of EfficientNet are refused (build_backbone says why): they come through the cache alone.
        if not architecture_function(found.architecture).__name__.startswith("EfficientNetB"):
            setting = f"{{weights: {found.file}, weights_sha256: {found.sha256}}}"
            yield f"  params.yaml: networks.{found.architecture}: {setting}"
    yield f"or weights: imagenet, with KERAS_HOME={folder.absolute()} in the environment, where the folder may be written"


def verify(path: Path, architecture: str | None = None, sha256: str | None = None) -> Iterator[str]:
    """Check, and say a line a file; InputError at the first that does not fit."""
    from ich_pipeline.training.weights import verify as check

    count = 0
    for found in check(path, architecture, sha256):
        count += 1
        yield f"{found.file}: complete for {found.architecture}, {found.weights:,} weights, SHA-256 {found.sha256}"
    if not count:
        raise InputError(f"{path} lists no weights: fetch some with `ich weights fetch`.")


def pretrain(names: Sequence[str], folder: Path, track: Track = quiet) -> Iterator[str]:
    """Let networks of params.yaml learn on synthetic heads, and say how params.yaml names what they learnt.

    Raises:
        InputError: a name is none of ``networks``, or something lies where a network would.
    """
    from ich_pipeline.config import load_params
    from ich_pipeline.core.files import atomic_dir
    from ich_pipeline.training.order import fix_order

    params = load_params()
    names = names or params.architectures
    for name in names:
        if name not in params.networks:
            raise InputError(f"params.yaml describes no network {name!r}; it has {', '.join(params.networks)}.")
        if (folder / name).exists():
            raise InputError(f"--to {folder}: {name} is there already; name another folder.")
    for name in names:
        fix_order(name)  # before TensorFlow comes, so it holds for those that follow too
    from ich_pipeline.features.pretraining import pretrain as learn

    for name in names:
        network, result = learn(name, params, track)
        with atomic_dir(folder / name) as partial:
            network.save(partial)
        auc = result.best.val_auc_any
        yield f"{folder / name}: {name}, AUC of any {'none' if auc is None else f'{auc:.3f}'} on other synthetic heads"
        yield f"  params.yaml: networks.{name}: {{weights: {folder / name}, …}}"
