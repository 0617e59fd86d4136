"""What the commands share: how they end, arguments that several of them take, and where their time went (``--timings``)."""

from __future__ import annotations

import functools
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ich_pipeline.core.errors import InputError, refusal
from ich_pipeline.core.stopwatch import Stopwatch

FAULTS = Path(".state/faults/ich.txt")

EXTRAS = {  # of pyproject.toml, and what they bring
    "train": ("tensorflow", "keras"),
    "pipeline": (
        *("mlflow", "great_expectations", "dvc", "prefect", "onnxruntime", "onnx", "tf2onnx"),
        *("fastapi", "uvicorn", "prometheus_client", "cryptography", "jsonschema"),
    ),
    "dask": ("dask", "distributed"),
    "jax": ("jax",),
    "ocr": ("rapidocr",),
}

P = ParamSpec("P")


def sentences(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what goes wrong in a command into one sentence and an exit status; no traceback reaches the terminal."""

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            command(*arguments, **options)
        except InputError as error:
            typer.echo(f"ich: {error}", err=True)
            raise typer.Exit(2) from None
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            typer.echo("ich: stopped; nothing half written is left, and the same command begins again.", err=True)
            raise typer.Exit(130) from None
        except Exception as error:  # the boundary
            sentence = refusal(error) or _extra_is_missing(error)
            if sentence:
                typer.echo(f"ich: {sentence}", err=True)
                raise typer.Exit(2) from None
            place = FAULTS
            try:
                FAULTS.parent.mkdir(parents=True, exist_ok=True)
                FAULTS.write_text(traceback.format_exc(), encoding="utf-8")
            except OSError:
                place = Path(tempfile.mkstemp(suffix="-ich.txt")[1])
                place.write_text(traceback.format_exc(), encoding="utf-8")
            reason = " ".join(str(error).split())[:400]
            typer.echo(f"ich failed: {type(error).__name__}: {reason} (the traceback is in {place}).", err=True)
            raise typer.Exit(1) from None

    return run


def _extra_is_missing(error: Exception) -> str:
    """What to install for a command that the bare package cannot do; empty where something else is wrong."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    extra = next((extra for extra, modules in EXTRAS.items() if name in modules), None)
    return f"this command needs {name}, which is not installed: pip install 'ich-pipeline[{extra}]'." if extra else ""


def print_rows(rows: Sequence[Mapping[str, str]], shown: Sequence[str]) -> None:
    """Some columns of a table, on the terminal."""
    table = Table(box=None, pad_edge=False)
    for column in shown:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(row[column]) for column in shown))
    Console().print(table)


Source = Annotated[
    str, typer.Argument(help="Folder in any layout, zip or tar, DICOMDIR, or s3://bucket/prefix; it is only read.")
]
Endpoint = Annotated[
    str | None, typer.Option("--endpoint-url", help="S3-compatible server; else AWS_ENDPOINT_URL, else Amazon.")
]
Ocr = Annotated[
    bool,
    typer.Option(
        "--ocr", help="Look for writing in the pixels with a character reader too (extra ocr; 0.7 s a slice)."
    ),
]
Cache = Annotated[
    Path | None, typer.Option("--cache", help="Keep the objects of S3 here, so that a later run fetches changes only.")
]
AcceptMissing = Annotated[
    bool, typer.Option("--accept-missing", help="Go on without objects that S3 does not hand over.")
]
Record = Annotated[
    bool, typer.Option("--record/--no-record", help="Keep a line of each case, without identifiers, for `ich watch`.")
]


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
