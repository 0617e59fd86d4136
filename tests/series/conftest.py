"""CT files made by hand, as fixtures."""

from tests.made.ct import *  # noqa: F403
