"""``ich serve``: the answers of ``ich predict`` over HTTP."""
