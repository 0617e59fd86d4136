"""Is a Prefect API there? Cheap to ask: imports no Prefect."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request

from flows import layout
from ich_pipeline.errors import InputError

UI_FILE = layout.STATE / "ui.json"  # written by `make ui` while it runs
HEALTH_SECONDS = 3.0


def api_url() -> str | None:
    """URL of the Prefect API to use, None where there is none.

    PREFECT_API_URL counts when it is set, and must then answer; else the server that `make ui` runs for this project.

    Raises:
        InputError: PREFECT_API_URL is set and nothing answers there.
    """
    configured = os.environ.get("PREFECT_API_URL")
    if configured:
        if not answers(configured):
            raise InputError(
                f"PREFECT_API_URL is {configured}, but no Prefect API answers there: start it or unset the variable."
            )
        return configured
    url = running_ui().get("prefect_api")
    return url if url and answers(url) else None


def running_ui() -> dict[str, str]:
    """What `make ui` says of itself: pid, prefect_api, prefect_ui, mlflow_ui; empty when it does not run."""
    try:
        pages = json.loads(UI_FILE.read_text(encoding="utf-8"))
        os.kill(int(pages["pid"]), 0)  # asks only whether the process is there: a killed one leaves its file behind
    except (FileNotFoundError, json.JSONDecodeError, KeyError, ValueError, ProcessLookupError):
        return {}
    except PermissionError:
        pass
    return pages


def client_environment(url: str) -> dict[str, str]:
    """Environment of a Prefect client of this project: set before Prefect is imported."""
    return {
        "PREFECT_API_URL": url,
        "PREFECT_HOME": str((layout.STATE / "prefect").absolute()),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # A killed run sends no more heartbeats, by which the server can tell it from one that works.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }


def answers(url: str) -> bool:
    """Does a Prefect API answer at this address?"""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=HEALTH_SECONDS) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False
