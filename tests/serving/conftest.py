"""CT files and a small system, as fixtures."""

from tests.made.ct import *  # noqa: F403
from tests.made.system import bundle, origin, params, project, registered, studies, synthetic_bundle, work  # noqa: F401
