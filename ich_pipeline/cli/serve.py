"""``ich serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ich_pipeline.cli.shared import Record, sentences


@sentences
def serve(
    host: Annotated[
        str, typer.Option("--host", help="Address; beyond this machine it needs a token and TLS.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8080,
    model: Annotated[
        str | None, typer.Option("--model", help="NAME/ALIAS or NAME/NUMBER; else champion, else challenger.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Its content is what clients must show; else ICH_TOKEN is.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Its key, PEM, without a password.")] = None,
    engines: Annotated[int, typer.Option("--engines", min=1, help="Cases read at a time; each takes 0.5 GB.")] = 1,
    waiting: Annotated[int, typer.Option("--waiting", min=0, help="Cases that may wait; others get 429.")] = 8,
    case_seconds: Annotated[float, typer.Option("--case-seconds", min=1, help="That a case may be read.")] = 120,
    upload_seconds: Annotated[float, typer.Option("--upload-seconds", min=1, help="That a case may come.")] = 120,
    max_mib: Annotated[int, typer.Option("--max-mib", min=1, help="Of one request.")] = 1024,
    max_files: Annotated[int, typer.Option("--max-files", min=1, help="Of one request, in archives too.")] = 10_000,
    poll_seconds: Annotated[
        float, typer.Option("--poll-seconds", min=0.1, help="Between two looks at the alias.")
    ] = 10,
    record: Record = True,
) -> None:
    """Answer over HTTP what `ich predict` answers, and follow the alias to another version."""
    from ich_pipeline.config import load_params
    from ich_pipeline.service.server import Settings
    from ich_pipeline.service.server import serve as run

    settings = Settings(
        host,
        port,
        model,
        token_file,
        tls_cert,
        tls_key,
        engines,
        waiting,
        case_seconds,
        upload_seconds,
        max_mib,
        max_files,
        poll_seconds,
        record,
    )
    run(settings, load_params(), typer.echo)
