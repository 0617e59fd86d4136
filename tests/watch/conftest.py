"""A project with the small system registered, as fixtures."""

from tests.made.system import project, registered  # noqa: F401
