"""Is a Prefect API there, and whose is it? Cheap to ask: imports no Prefect."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import stat
import urllib.error
import urllib.request
from http.client import HTTPResponse
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from flows.engine import layout
from ich_pipeline.core.errors import InputError

UI_FILE = layout.STATE / "ui.json"  # written by `make ui` while it runs
AUTH_FILE = layout.STATE / "prefect-login"  # one line, USER:PASSWORD, which the server of `make ui` asks for
HEALTH_SECONDS = 10.0  # where nothing listens the answer comes at once; a busy server takes seconds
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def api_url() -> str | None:
    """URL of the Prefect API to use, None where there is none.

    PREFECT_API_URL counts when it is set, and must then answer; else the server that `make ui` runs for this project.

    Raises:
        InputError: PREFECT_API_URL is set and nothing answers there, or it wants another login.
    """
    configured = os.environ.get("PREFECT_API_URL")
    if configured:
        shown = without_login(configured)
        if not answers(configured):
            raise InputError(
                f"PREFECT_API_URL is {shown}, but no Prefect API answers there: start it or unset the variable."
            )
        if not _lets_in(configured, login(configured)):
            raise InputError(
                f"PREFECT_API_URL is {shown}, which wants a login: set PREFECT_API_AUTH_STRING to its USER:PASSWORD."
            )
        return configured
    url = running_ui().get("prefect_api")
    return url if url and answers(url) else None


def running_ui() -> dict[str, str]:
    """What `make ui` says of itself: pid, prefect_api, prefect_ui, mlflow_ui; empty when it does not run.

    A file that a killed one left, or that came here with a copy of the folder, counts for nothing, nor does another
    server on the same port: the process must work in this folder, and the port be its own or its children's.
    """
    try:
        pages = json.loads(UI_FILE.read_text(encoding="utf-8"))
        port = urlsplit(str(pages["prefect_api"])).port
        return pages if port and serves(int(pages["pid"]), port) else {}
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError, ValueError):
        return {}


def serves(pid: int, port: int) -> bool:
    """Does the process, begun in this folder, or a child of its, listen on this port of 127.0.0.1?"""
    import psutil

    try:
        top = psutil.Process(pid)
        if not Path(top.cwd()).samefile("."):
            return False
        family = [top, *top.children(recursive=True)]
    except (psutil.Error, OSError):  # it is gone, or another user's
        return False
    return any(_listens(process, port) for process in family)


def _listens(process: object, port: int) -> bool:
    import psutil

    try:
        found = cast(psutil.Process, process).net_connections("tcp4")
    except (psutil.Error, OSError):
        return False
    return any(c.status == psutil.CONN_LISTEN and tuple(c.laddr) == ("127.0.0.1", port) for c in found)


def login(url: str) -> str | None:
    """``USER:PASSWORD`` for a Prefect API: the one of `make ui` for its own, PREFECT_API_AUTH_STRING for any other.

    Raises:
        InputError: the file that keeps it is missing.
    """
    if not _is_own(url):
        return os.environ.get("PREFECT_API_AUTH_STRING") or None
    kept = kept_login()
    if kept is None:
        raise InputError(f"{AUTH_FILE} is missing or not closed to others: stop `make ui` and start it again.")
    return kept


def _is_own(url: str) -> bool:
    return url == running_ui().get("prefect_api")


def kept_login() -> str | None:
    """The line in ``.state/prefect-login``; None where it is missing, or others may have read or written it."""
    try:
        descriptor = os.open(AUTH_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, encoding="utf-8") as file:
        found = os.fstat(descriptor)
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
            return None
        return file.read().strip() or None


def become_client(url: str) -> None:
    """Let Prefect, which is imported after this, and every child speak to this API."""
    if _is_own(url):
        os.environ.pop("PREFECT_API_KEY", None)  # another server's secret, which some of Prefect's clients would send
    os.environ.update(client_environment(url, login(url)))


def client_environment(url: str, auth: str | None = None) -> dict[str, str]:
    """Environment of a Prefect client of this project: set before Prefect is imported.

    Args:
        url: of the API.
        auth: ``USER:PASSWORD``, None for a server that asks for none.
    """
    environment = {
        "PREFECT_API_URL": url,
        "PREFECT_HOME": str((layout.STATE / "prefect").absolute()),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "true",
        # A killed run sends no more heartbeats, by which the server can tell it from one that works.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
    if auth is not None:
        environment["PREFECT_API_AUTH_STRING"] = auth
    return environment | _past_proxies(url)


def _past_proxies(url: str) -> dict[str, str]:
    """Variables that keep what goes to this machine itself away from a proxy, both spellings: libraries differ."""
    if not _is_loopback(url):
        return {}
    said = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(",")
    names = ",".join(dict.fromkeys([name.strip() for name in said if name.strip()] + list(LOOPBACK)))
    return {"no_proxy": names, "NO_PROXY": names}


def answers(url: str) -> bool:
    """Does a Prefect API answer at this address?"""
    try:
        with fetch(f"{url.rstrip('/')}/health", HEALTH_SECONDS) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False


def reaches(url: str) -> bool:
    """Asked on a Dask worker: does the API answer there, and will Prefect, which asks by the variables, find it too?"""
    os.environ.update(_past_proxies(url))
    return answers(url)


def _lets_in(url: str, auth: str | None) -> bool:
    try:
        with fetch(f"{url.rstrip('/')}/admin/version", HEALTH_SECONDS, auth):
            return True
    except urllib.error.HTTPError as error:
        return error.code not in (401, 403)
    except (urllib.error.URLError, OSError, ValueError):
        return True  # it has just answered: Prefect's own client asks again, and says what is wrong


def fetch(url: str, seconds: float, auth: str | None = None) -> HTTPResponse:
    """GET an address; past any proxy where it is on this machine.

    Raises:
        OSError: nothing answers; :class:`urllib.error.HTTPError` for an answer that refuses.
    """
    request = urllib.request.Request(url)
    if auth is not None:
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(auth.encode()).decode()}")
    handlers = [urllib.request.ProxyHandler({})] if _is_loopback(url) else []
    return urllib.request.build_opener(*handlers).open(request, timeout=seconds)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host in LOOPBACK or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def without_login(url: str) -> str:
    """An address as it may be shown: without the user and password that it may hold."""
    before, at, after = url.rpartition("@")
    return f"{before.partition('://')[0]}://{after}" if at and "://" in before else url
