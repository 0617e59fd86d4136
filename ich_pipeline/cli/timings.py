"""``--timings``: where the time of a command went, as a table on stderr."""

from __future__ import annotations

import time

import typer

from ich_pipeline.core.stopwatch import Stopwatch

BEFORE, REST = "start of Python, command line", "everything else"


def seconds_since_start() -> float:
    """Since this process began."""
    import psutil

    return time.time() - psutil.Process().create_time()


def print_timings(watch: Stopwatch, before: float, peak_mib: float) -> None:
    """A line a part, in the order in which they first ran.

    Args:
        watch: held over the command.
        before: seconds from the start of the process to the command.
        peak_mib: memory at most.
    """
    whole = seconds_since_start()
    parts = {BEFORE: before, **watch.seconds}
    parts[REST] = max(whole - sum(parts.values()), 0.0)
    width = max(map(len, parts))
    for name, seconds in {**parts, "in all": whole}.items():
        typer.echo(f"{name:<{width}}  {seconds:7.2f} s", err=True)
    typer.echo(f"{'memory at most':<{width}}  {peak_mib:5.0f} MiB", err=True)
