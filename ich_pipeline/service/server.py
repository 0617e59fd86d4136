"""``ich serve``: who may reach it, where files lie meanwhile, how it begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import private_folder, remove_folder
from ich_pipeline.service.app import Rules, Service, is_loopback, make_app
from ich_pipeline.service.pool import Pool, Record
from ich_pipeline.service.uploads import Limits

PLACE = Path(".state/serve")  # a folder for each server; what a killed one left is removed by the next
TOKEN = "ICH_TOKEN"
TOKEN_LENGTH = 16  # characters, at least
EXPANDED = 4  # what archives may expand to, in bodies of the largest size
CONNECTIONS = 256
_LOCK = ".lock"


@dataclass(frozen=True)
class Settings:
    """The options of ``ich serve``; :mod:`ich_pipeline.cli.serve` says what they are."""

    host: str
    port: int
    model: str | None
    token_file: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    engines: int
    waiting: int
    case_seconds: float
    upload_seconds: float
    max_mib: int
    max_files: int
    poll_seconds: float
    record: bool


def serve(settings: Settings, params: Params, say: Callable[[str], None]) -> None:
    """Answer until SIGTERM or Ctrl-C: then what runs is finished, and new requests are told so.

    Args:
        settings: checked here.
        params: name of the model, limits of archives.
        say: where it listens, once it does.

    Raises:
        InputError: another address than loopback without token or TLS, a port in use, no version that can be served.
    """
    token = read_token(settings.token_file)
    check_reach(settings, token)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING, force=True)
    logging.getLogger("ich_pipeline.service").setLevel(logging.INFO)
    wide = params.ingest.archives
    archives = wide.model_copy(
        update={
            "members": min(wide.members, settings.max_files),
            "expanded_gib": min(wide.expanded_gib, EXPANDED * settings.max_mib / 1024),
        }
    )
    limits = Limits(settings.max_mib << 20, settings.max_files, settings.upload_seconds)
    record = settings.record and params.watch.record
    rules = Rules(settings.engines, settings.waiting, settings.poll_seconds, archives, limits, token, record)
    with _bound(settings) as listening, scratch(PLACE) as folder:
        pool = Pool(Record(params.registry.model_name, settings.model), settings.engines, settings.case_seconds)
        try:
            service = Service(pool, rules, folder)
            config = uvicorn.Config(
                make_app(service),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                limit_concurrency=CONNECTIONS,
                timeout_graceful_shutdown=5,
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
            )
            scheme = "https" if settings.tls_cert else "http"
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            say(f"{pool.current.called} answers at {scheme}://{host}:{listening.getsockname()[1]}")
            asyncio.run(_Server(config, service).serve(sockets=[listening]))
        finally:
            pool.close()


class _Server(uvicorn.Server):
    """A signal lets what runs end, and others are answered with 503 until then."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._service.ending:  # asked twice: at once
            self.should_exit = self.force_exit = True
        self._service.ending = True

    async def on_tick(self, counter: int) -> bool:
        if self._service.ending and not self._service.active:
            self.should_exit = True
        return await super().on_tick(counter)


def read_token(file: Path | None) -> str | None:
    """The token from a file, else from the environment; None where there is neither.

    Raises:
        InputError: the file cannot be read, others may read it, or the token is short or cannot stand in a header.
    """
    if file is not None:
        try:
            token, called = file.read_text(encoding="utf-8").strip(), f"--token-file {file}"
            if file.stat().st_mode & 0o077:
                raise InputError(f"{called} can be read by others: chmod 600 {file}.")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"--token-file {file} cannot be read ({type(error).__name__}): name a text file."
            ) from None
    elif TOKEN in os.environ:
        token, called = os.environ[TOKEN], TOKEN
    else:
        return None
    if len(token) < TOKEN_LENGTH or not (token.isascii() and token.isprintable()) or " " in token:
        raise InputError(
            f"{called} holds no token of {TOKEN_LENGTH} characters or more without blanks: `openssl rand -hex 32` makes one."
        )
    return token


def check_reach(settings: Settings, token: str | None) -> None:
    """Refuse to be reached from elsewhere without a token and TLS, and a certificate that is none.

    Raises:
        InputError: a sentence with what is missing.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if (cert is None) != (key is None):
        raise InputError("--tls-cert and --tls-key belong together: name both.")
    if not is_loopback(settings.host):
        missing = [
            name
            for name, there in ((f"a token (--token-file, {TOKEN})", token), ("TLS (--tls-cert, --tls-key)", cert))
            if not there
        ]
        if missing:
            raise InputError(
                f"--host {settings.host} can be reached from other machines, which needs {' and '.join(missing)}: give that, or "
                "stay on 127.0.0.1."
            )
    if cert is not None:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, lambda: "")
        except OSError as error:  # ssl.SSLError is one
            raise InputError(
                f"--tls-cert {cert} and --tls-key {key} are no certificate and its key without a password ({error.strerror or error})."
            ) from None


@contextlib.contextmanager
def _bound(settings: Settings) -> Iterator[socket.socket]:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        bound = socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise InputError(
            f"--host {settings.host} --port {settings.port} cannot be listened at ({error.strerror}): name another port."
        ) from None
    with bound:
        yield bound


@contextlib.contextmanager
def scratch(place: Path) -> Iterator[Path]:
    """A private folder for what requests bring, gone after the block; what servers that were killed have left goes before."""
    private_folder(place)
    with contextlib.ExitStack() as stack:
        with place.with_suffix(_LOCK).open(
            "w"
        ) as starting:  # one at a time, or one takes the other's new folder for a left one
            fcntl.flock(starting, fcntl.LOCK_EX)
            for left in place.iterdir():
                with contextlib.suppress(OSError), (left / _LOCK).open("a") as lock:  # of a server that runs it is held
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove_folder(left)
            folder = Path(tempfile.mkdtemp(dir=place)).absolute()
            stack.callback(remove_folder, folder)
            fcntl.flock(stack.enter_context((folder / _LOCK).open("w")), fcntl.LOCK_EX)
        yield folder
