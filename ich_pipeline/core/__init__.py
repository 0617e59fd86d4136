"""What every room stands on: errors, files, locks, progress. Knows nothing of medicine."""
