"""CT files and a small system, as fixtures."""

from tests.made.ct import *  # noqa: F403
from tests.made.system import params, project, registered  # noqa: F401
