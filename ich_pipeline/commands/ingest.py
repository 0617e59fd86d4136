"""``ich ingest``: any export into an account of every file, series and slice tables, and HU volumes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import pandas as pd

from ich_pipeline.config import IngestParams, Params, load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.lock import output_locked
from ich_pipeline.core.outputs import check_apart, check_output, lies_in
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.sources.remote import Remote, check_cache
from ich_pipeline.sources.source import named

PARAMS = Path("params.yaml")
DEFAULT_PROFILE = "paper"  # made for real exports, as the phantom's is not
NAMED = 3  # studies of which nothing is read, in a sentence
OURS = ("account.csv", "series.parquet", "slices.parquet")
_WRITTEN = {
    "account.csv": "one row a file: status, reason, what was seen",
    "series.parquet": "every CT series, and which was chosen",
    "slices.parquet": "every slice of the chosen series",
    "volumes": "their Hounsfield units",
    "index.html": "the same as a page",
}


@dataclass(frozen=True)
class Done:
    """What is shown of an ingest.

    Attributes:
        summary: one sentence with the counts.
        counts: files by status and reason, with its meaning.
        remarks: what a person should know beside the counts: files that a DICOMDIR names and that are absent, and one that is cut short;
            and of each study that is read as a last resort, or without a part of the head that lies in another series, that it is.
        settings: where the settings came from.
        written: path → what it holds.
    """

    summary: str
    counts: pd.DataFrame
    remarks: tuple[str, ...]
    settings: str
    written: dict[Path, str]


def ingest_source(
    source: str,
    out: Path,
    remote: Remote,
    *,
    force: bool = False,
    workers: int | None = None,
    dask: str | None = None,
    track: Track = quiet,
) -> Done:
    """Ingest ``source`` into ``out``.

    Args:
        source: a folder, an archive, a DICOMDIR, a file, or ``s3://bucket/prefix``.
        out: empty or missing, or, with ``force``, an earlier ingest.
        remote: how S3 is reached.
        force: replace the earlier ingest.
        workers: processes instead of those of the settings.
        dask: address of the scheduler of a Dask cluster whose workers read, instead of processes of this machine.
        track: progress.

    Raises:
        InputError: the source cannot be read, ``out`` is taken or another run writes it, or the cluster is unfit; or no series is
            usable, and account and page are in ``out``.
    """
    check_output(out, "--out")
    _check_apart(source, out, remote)
    params, settings = ingest_settings()
    if workers is not None:
        params = params.model_copy(update={"workers": workers})
    from ich_pipeline.ingest.ingest import ingest
    from ich_pipeline.ingest.tables import reason_counts

    with contextlib.ExitStack() as stack:
        stack.enter_context(output_locked(out, "--out"))
        _check_out(out, force)
        runner = None
        if dask:
            from ich_pipeline.workers.cluster import Cluster, connected

            runner = Cluster(stack.enter_context(connected(dask)), dask)
        report = ingest(source, out, params, track, remote, runner)
    directories = report.account[
        (report.account["reason"] == Reason.MEDIA_DIRECTORY) & ~report.account["detail"].str.endswith(", all present")
    ]
    return Done(
        report.summary,
        reason_counts(report.account),
        (
            *(f"{row.path} {row.detail}." for row in directories.itertuples()),
            *lost_studies(report.series),
            *_cautioned(report.series),
        ),
        settings,
        {out / name: what for name, what in _WRITTEN.items() if (out / name).exists()},
    )


def lost_studies(series: pd.DataFrame) -> list[str]:
    """One sentence about studies of which nothing is read; nothing where there is none."""
    from ich_pipeline.ingest.page import PAGE, without_choice

    lost = without_choice(series)
    if not lost:
        return []
    named = "; ".join(f"{one['case_id']}: {one['reasons']}" for one in lost[:NAMED])
    more = f"; {len(lost) - NAMED:,} more in {PAGE}" if len(lost) > NAMED else ""
    studies = "1 study" if len(lost) == 1 else f"{len(lost):,} studies"
    return [f"Of {studies} no series is read ({named}{more})."]


def _cautioned(series: pd.DataFrame) -> list[str]:
    """Each caution of a series that is read, after the case's name."""
    from ich_pipeline.series.cautions import why_and_cautions

    chosen = series[series["chosen"]]
    return [f"{r.case_id}: {text}." for r in chosen.itertuples() for text in why_and_cautions(str(r.reason))[1]]


def ingest_settings() -> tuple[IngestParams, str]:
    """The ``ingest`` section of :func:`settings`, and where it came from."""
    params, where = settings()
    return params.ingest, where


def settings() -> tuple[Params, str]:
    """params.yaml, or a packaged profile where there is none; and which it was."""
    if PARAMS.is_file():
        return load_params(PARAMS), str(PARAMS)
    with as_file(files("ich_pipeline") / "profiles" / f"{DEFAULT_PROFILE}.yaml") as path:
        return load_params(path), f"profile {DEFAULT_PROFILE}, as there is no {PARAMS} here"


def _check_out(out: Path, force: bool) -> None:
    if not out.exists():
        return
    if not any(out.iterdir()):
        return
    if not all((out / name).is_file() for name in OURS) and not _is_account_of_nothing(out):
        raise InputError(f"--out {out} is not empty and holds no ingest: name another folder.")
    strangers = sorted(path.name for path in out.iterdir() if path.name not in _WRITTEN)
    if strangers:
        raise InputError(
            f"--out {out} holds {strangers[0]} beside an ingest: name another folder, since this one is replaced."
        )
    if not force:
        raise InputError(f"--out {out} holds an ingest: add --force to replace it, or name another folder.")
    unusable = unusable_place(out)
    if unusable.exists() and not (
        unusable.is_dir() and (not any(unusable.iterdir()) or _is_account_of_nothing(unusable))
    ):
        raise InputError(
            f"{unusable} is not from a run of this command, and an account may have to go there: rename it, or name another --out."
        )


def unusable_place(out: Path) -> Path:
    """Where the account of a run without a usable series goes, where ``out`` holds an ingest."""
    from ich_pipeline.ingest.ingest import unusable_beside

    return unusable_beside(out)


def _is_account_of_nothing(out: Path) -> bool:
    """Is it what an ingest without a usable series leaves, and nothing else?"""
    from ich_pipeline.ingest.tables import ACCOUNT_COLUMNS

    if {path.name for path in out.iterdir()} != {"account.csv", "index.html"} or not (out / "account.csv").is_file():
        return False
    with (out / "account.csv").open("rb") as file:
        return file.readline().strip() == ",".join(ACCOUNT_COLUMNS).encode()


def _check_apart(source: str, out: Path, remote: Remote) -> None:
    place = named(source)
    if isinstance(place, str):
        return check_cache(remote, out, "--out ")
    inner, other = out.resolve(), place.resolve()
    if lies_in(place, inner) or (inner.is_relative_to(other) and other.is_dir()):
        raise InputError(f"--out {out} and SOURCE {source} contain one another: name a folder apart from it.")
    check_apart(out, "--out", ("SOURCE", place))
    unusable = unusable_place(out)  # where an account may go instead
    if lies_in(place, unusable.resolve()):
        raise InputError(f"SOURCE {source} lies in {unusable}, which a run may replace: name another --out.")
    check_apart(unusable, "", ("SOURCE", place))
