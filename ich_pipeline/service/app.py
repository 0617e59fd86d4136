"""The addresses: ``POST /cases``, ``/healthz``, ``/version``, ``/metrics``, ``/openapi.json``."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import math
import secrets
import shutil
import time
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hmac import compare_digest
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ich_pipeline.config import ArchiveParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.service.engine import Interrupted, TooLarge, Work
from ich_pipeline.service.pool import Pool
from ich_pipeline.service.uploads import BODIES, FORM, Limits, NoUpload, TooSlow, receive

CASES = "/cases"
ROUTES = (CASES, "/healthz", "/version", "/metrics", "/openapi.json")
STATUS = {NoUpload: 415, TooLarge: 413, TooSlow: 408, InputError: 422}
GIVEN_UP = 499  # in log and metrics: the client went before its answer; nothing is sent
log = logging.getLogger(__name__)


class Gone(Exception):
    """The client went while its request was read."""


@dataclass(frozen=True)
class Rules:
    """What a server takes.

    Attributes:
        waiting: requests that may wait beside those that are read.
        poll_seconds: between two looks at the registry.
        archives: how far archives may expand.
        limits: of one request's body.
        token: that a client must show; None for loopback without one.
        record: keep a line of each case (:mod:`ich_pipeline.watch.record`).
    """

    engines: int
    waiting: int
    poll_seconds: float
    archives: ArchiveParams
    limits: Limits
    token: str | None
    record: bool


class Service:
    """What the addresses share."""

    def __init__(self, pool: Pool, rules: Rules, scratch: Path) -> None:
        """``scratch``: a private folder; each request has one in it while it is answered."""
        self.pool, self.rules, self.scratch = pool, rules, scratch
        self.ending = False  # no new request
        self.active = 0  # requests that are being answered
        self.admitted = 0  # of these, cases
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "ich_requests_total", "Requests by address and status", ("path", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "ich_case_seconds",
            "Seconds from the first byte of a request to its answer, of cases that were read",
            ("version",),
            buckets=(0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self.registry,
        )
        self.peak = Gauge(
            "ich_engine_peak_mib", "Memory that an engine's processes took at most, MiB", registry=self.registry
        )
        Gauge("ich_cases_waiting", "Cases that are read or wait", registry=self.registry).set_function(
            lambda: self.admitted
        )
        Gauge("ich_version", "Number of the version that answers", registry=self.registry).set_function(
            lambda: pool.current.opened.version.number
        )
        Gauge(
            "ich_version_refused", "1 while the alias names a version that is refused", registry=self.registry
        ).set_function(lambda: float(pool.refused is not None))

    async def watch(self) -> None:
        """Look at the registry again and again."""
        while True:
            await asyncio.sleep(self.rules.poll_seconds)
            await asyncio.to_thread(self.pool.look)

    def health(self, known: bool) -> dict[str, Any]:
        """For ``/healthz``; reasons, which may name folders and servers, for those alone who are ``known``."""
        refused, silent = self.pool.refused, self.pool.silent
        return {
            "status": "ok",
            "version": self.pool.current.headers["ICH-Version"],
            "refused": refused
            and {"version": f"{refused[0].name}/{refused[0].number}", "reason": refused[1] if known else "see the log"},
            "registry": ((silent if known else "does not answer; see the log") if silent else "answers"),
            "cases": self.admitted,
        }

    def knows(self, authorization: bytes) -> bool:
        """Whether a request shows the token, or needs none."""
        token = self.rules.token
        return token is None or compare_digest(authorization, b"Bearer " + token.encode())

    async def case(self, request: Request, page: bool, demonstration: bool) -> Response:
        """Read a request's files."""
        rules = self.rules
        if self.admitted >= rules.engines + rules.waiting:
            raise HTTPException(
                429,
                f"{self.admitted} cases are read or wait: send this one again later.",
                headers={"Retry-After": str(self._seconds_to_wait())},
            )
        self.admitted += 1
        folder, began = self.scratch / secrets.token_hex(16), time.perf_counter()
        try:
            folder.mkdir(mode=0o700)
            if int(request.headers.get("content-length") or 0) > rules.limits.bytes:
                raise TooLarge(f"the body is larger than {rules.limits.bytes:,} bytes: send one study, or one series.")
            if request.headers.get("content-encoding", "identity") != "identity":
                raise NoUpload("Content-Encoding is not read: send the files as they are, or a zip of them.")
            kind = request.headers.get("content-type", "")
            files = await receive(_body(request), kind, folder / "files", rules.limits)
            work = Work(files, folder, rules.archives, page, demonstration, rules.record)
            served, done = await asyncio.wrap_future(self.pool.submit(work))
            content = done.result.read_bytes()
        finally:
            self.admitted -= 1
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        self.seconds.labels(served.headers["ICH-Version"]).observe(time.perf_counter() - began)
        self.peak.set(done.peak_mib)
        request.scope["ich.said"] = f"{served.headers['ICH-Version']} {' '.join(done.cases)}"
        kind = "text/html; charset=utf-8" if page else "application/json"
        return Response(content, media_type=kind, headers={**served.headers, "Cache-Control": "no-store"})

    def _seconds_to_wait(self) -> int:
        """Until a place is free, by the mean of what was read so far."""
        samples = [s for metric in self.seconds.collect() for s in metric.samples]
        count = sum(s.value for s in samples if s.name.endswith("_count"))
        mean = sum(s.value for s in samples if s.name.endswith("_sum")) / count if count else 1.0
        return max(1, math.ceil(mean))


async def _body(request: Request) -> AsyncIterator[bytes]:
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Gone
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


def make_app(service: Service) -> FastAPI:
    """The application; ``service.watch`` runs while it does."""

    @contextlib.asynccontextmanager
    async def watched(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(service.watch())
        yield
        task.cancel()

    # Without FastAPI's own pages, whose scripts come from the internet.
    app = FastAPI(
        title="ich serve",
        version=version_of("ich-pipeline"),
        description="Reads head CT for haemorrhage. Research software, not a medical device.",
        docs_url=None,
        redoc_url=None,
        lifespan=watched,
    )
    files = {"type": "object", "properties": {"files": {"type": "array", "items": _binary()}}}
    taken = {FORM: {"schema": files}, **{kind: {"schema": _binary()} for kind in BODIES}}
    answered = {"application/json": {"schema": {"type": "object"}}, "text/html": {"schema": {"type": "string"}}}
    refusals = {code: {"description": said, "model": None} for code, said in _REFUSALS.items()}

    @app.post(
        CASES,
        summary="Read the studies among DICOM files: predictions.json of `ich predict`, or the page of one study",
        openapi_extra={"requestBody": {"required": True, "content": taken}},
        responses={200: {"description": "Read", "content": answered}, **refusals},  # type: ignore[arg-type]
        response_class=Response,
    )
    async def cases(
        request: Request,
        format: Literal["json", "html"] | None = Query(None, description="Else as Accept says; JSON by default."),
        demonstration: bool = Query(False, description="Show what a model makes of what it has no answer for."),
    ) -> Response:
        accept = request.headers.get("accept", "")
        page = format == "html" or (format is None and "text/html" in accept and "application/json" not in accept)
        try:
            return await service.case(request, page, demonstration)
        except InputError as error:
            return _refuse(STATUS.get(type(error), 422), str(error))
        except Interrupted as error:
            status, advice = (504, "send fewer files") if error.timed_out else (503, "send it once more")
            return _refuse(status, f"{error}: {advice}.", {"Retry-After": "5"})
        except OSError as error:
            log.error("a request could not be kept on the disk: %s", error.strerror)
            return _refuse(507, f"the server cannot keep the files ({error.strerror}): tell who runs it.")
        except Gone:
            return Response(status_code=GIVEN_UP)
        except HTTPException:
            raise
        except Exception as error:  # the boundary; its message may name a patient, its place does not
            log.error("a fault of the program: %s at %s", type(error).__name__, _place(error))
            return _refuse(500, f"a fault of the program ({type(error).__name__}).")

    @app.get("/healthz", summary="Whether it answers, and which version is refused")
    async def healthz(request: Request) -> dict[str, Any]:
        return service.health(service.knows(request.headers.get("authorization", "").encode("latin-1")))

    @app.get("/version", summary="The version that answers: training data, tests, digest")
    async def version() -> dict[str, Any]:
        return service.pool.current.about

    @app.get("/metrics", summary="For Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return _refuse(422, f"{first['loc'][-1]}: {first['msg']}.")

    app.add_middleware(Guard, service=service)
    return app


def _place(error: Exception) -> str:
    """Where it was raised: in the engine, as the note of its process says, or here."""
    told = "\n".join(["".join(traceback.format_tb(error.__traceback__)), *getattr(error, "__notes__", ())])
    return [line.strip() for line in told.splitlines() if line.startswith('  File "')][-1]


_REFUSALS = {
    401: "The token is missing or wrong",
    408: "The body did not come in time",
    413: "Too large, too many files, or an archive expands too far",
    415: "Neither a form nor a file",
    422: "Nothing that can be read; the sentence says why",
    429: "The queue is full; see Retry-After",
    503: "The server ends, or the reading was ended",
    504: "The reading took longer than it may",
}


def _binary() -> dict[str, str]:
    return {"type": "string", "format": "binary"}


def _refuse(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": sentence}, status, headers)


class Guard:
    """Around every address (ASGI): the token, the end of the server, one line in the log, without a name in it."""

    def __init__(self, app: Any, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service, began, status = self._service, time.perf_counter(), GIVEN_UP

        async def noted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        service.active += 1
        try:
            await (self._refusal(scope) or self._app)(scope, receive, noted)
        finally:
            service.active -= 1
            path = scope["path"] if scope["path"] in ROUTES else "other"
            service.requests.labels(path, status).inc()
            method = scope["method"] if scope["method"] in ("GET", "POST") else "other"
            said = scope.get("ich.said", "")
            log.info("%s %s %d %.2f s %s", method, path, status, time.perf_counter() - began, said)

    def _refusal(self, scope: Any) -> JSONResponse | None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        if self._service.ending:
            said = "the server ends: send it again in a while, or to another one."
            return _refuse(503, said, {"Retry-After": "10", "Connection": "close"})
        if self._service.rules.token is None:
            # A page from elsewhere, in a browser on this machine, could otherwise send here or read from here.
            if not is_loopback(_host(headers.get(b"host", b""))) or b"origin" in headers:
                return _refuse(403, "without a token this server answers programs on this machine alone.")
        elif scope["path"] != "/healthz" and not self._service.knows(headers.get(b"authorization", b"")):
            return _refuse(401, "the token is missing or wrong: send Authorization: Bearer TOKEN.", _ASK)
        return None


_ASK = {"WWW-Authenticate": "Bearer"}


def _host(header: bytes) -> str:
    name = header.decode("latin-1")
    return name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
