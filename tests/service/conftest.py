"""A small system, as fixtures."""

from tests.made.system import bundle, origin, params, project, registered, studies, synthetic_bundle, work  # noqa: F401
