"""A challenger against the champion on the same cases: one verdict of four. Nothing here knows MLflow."""
