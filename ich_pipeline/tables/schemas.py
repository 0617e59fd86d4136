"""Names and versions of the tables that go from one stage to another; a reader refuses another version with a sentence."""

SERIES_TABLE = "series/3"  # ingest: one row a series
SLICES_TABLE = "slices/2"  # ingest: one row a slice of a series that is read
COHORTS_TABLE = "cohorts/1"  # split: one row a case
FOLDS_TABLE = "folds/1"  # split: one row a patient who learns, where the patients are few
WINDOW_INDEX = "window/1"  # window: one row a slice
VALIDATION_TABLE = "validation/1"  # train: a network's probabilities of the validation slices
VALIDATION_SCORES = "validation_scores/1"  # calibrate: the system's own, out of sample
PREDICTIONS_TABLE = "predictions/1"  # evaluate: one row a slice
CASE_PREDICTIONS_TABLE = "case_predictions/1"  # evaluate: one row a case
