"""What ``ich doctor`` asks of the pipeline (an entry point in pyproject.toml; ``ich_pipeline`` does not know ``flows``)."""

from __future__ import annotations

from flows.engine.prefect_api import api_url
from ich_pipeline.commands.doctor import Check
from ich_pipeline.core.errors import InputError


def prefect_api() -> Check:
    """Does a Prefect API answer?"""
    try:
        url = api_url()
    except InputError as error:
        return Check("Prefect API", False, "does not answer", str(error), essential=True)
    if url is None:
        return Check("Prefect API", None, "none; stages run plainly", "`make ui` starts one and shows every stage.")
    return Check("Prefect API", True, url)
