"""A tiny phantom cohort and small exports, as fixtures."""

from tests.made.arriving import data  # noqa: F401
from tests.made.phantom import params, tiny_params, tiny_phantom, tree_sha256, write_export  # noqa: F401
