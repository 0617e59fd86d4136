"""Which failures of an object store pass by themselves, and trying again with growing pauses."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Callable
from typing import TypeVar

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from ich_pipeline.sources.remote import Remote

T = TypeVar("T")
_PASSING_CODES = frozenset(
    [
        "RequestTimeout",
        "RequestTimeoutException",
        "InternalError",
        "SlowDown",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "TooManyRequestsException",
        "BadDigest",
    ]
)
_PASSING = (
    aws.ConnectionError,
    aws.HTTPClientError,  # timeouts, bodies that break off
    aws.IncompleteReadError,
    aws.FlexibleChecksumError,
    ResponseParserError,
    http.client.HTTPException,
    HTTPError,
    ConnectionError,
    TimeoutError,
)


class Unsound(Exception):
    """What arrived is not what the store announced; worth another try."""


def passes(error: BaseException) -> bool:
    """May the same request succeed later?"""
    if isinstance(error, aws.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status == 429 or error.response.get("Error", {}).get("Code") in _PASSING_CODES
    if isinstance(error, (aws.ProxyConnectionError, aws.SSLError)):
        return False
    return isinstance(error, (*_PASSING, Unsound))


def explained(error: BaseException) -> str:
    """One clause for a person, without request ids."""
    if isinstance(error, aws.ClientError):
        told = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "?")
        message = " ".join(str(told.get("Message", "")).split())[:160]
        return f"{status} {told.get('Code', '')}{': ' + message if message else ''}"
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


def patiently(action: Callable[[], T], remote: Remote, stop: threading.Event) -> T:
    """Call ``action`` until it succeeds, fails for good, or its tries are used up; the last error is raised.

    Args:
        action: one try.
        remote: attempts and delays.
        stop: once set, no further try is made.
    """
    delay = remote.first_delay_s
    for left in range(remote.attempts - 1, -1, -1):
        try:
            return action()
        except Exception as error:
            if not passes(error) or not left or stop.is_set():
                raise
        stop.wait(delay * random.uniform(0.5, 1.0))  # apart, so that many connections do not come back at once
        delay = min(2 * delay, remote.longest_delay_s)
    raise AssertionError("at least one attempt is made")
