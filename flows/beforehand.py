"""What would stop a later stage, said before the first one runs."""

from __future__ import annotations

from ich_pipeline.config import Params


def check(params: Params) -> None:
    """See to it that every weights file of ``params.yaml`` is there, and the one that is meant.

    Raises:
        InputError: one is not; the stage train would say so too, after the ingest.
    """
    named = {name: params.networks[name] for name in params.architectures}
    files = {name: of for name, of in named.items() if of.weights not in ("none", "imagenet")}
    if not files:
        return
    from ich_pipeline.training.weights import started_from

    for name, of in files.items():
        started_from(name, of)
