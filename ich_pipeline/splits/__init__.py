"""Patient-level cohorts and folds."""
