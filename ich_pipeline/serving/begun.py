"""A process for reading cases, begun before anything else is imported: its imports and ours take seconds each, side by side."""

from __future__ import annotations

from ich_pipeline.workers.parallel import OneProcess


def begin() -> OneProcess:
    """A process that gets ready to read cases, for :class:`ich_pipeline.serving.case_process.CaseReader`."""
    process = OneProcess()
    process.begin(_import, None)
    return process


def _import(_: None) -> None:
    import ich_pipeline.serving.case_process  # noqa: F401
