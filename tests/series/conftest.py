"""CT files made by hand, as fixtures."""

from tests.made.ct import (  # noqa: F401
    ingest_params,
    make_anatomy,
    make_enhanced,
    make_slice,
    params,
    phantom_head,
    read_in_process,
    save_series,
    save_slice,
)
