"""What is served: its record, its comparison with what the version was validated on, and radiologists' verdicts on it."""
