"""CT files and a small system, as fixtures."""

from tests.made.ct import (  # noqa: F401
    ingest_params,
    make_anatomy,
    make_enhanced,
    make_slice,
    phantom_head,
    read_in_process,
    save_series,
    save_slice,
)
from tests.made.system import bundle, origin, params, project, registered, studies, synthetic_bundle, work  # noqa: F401
