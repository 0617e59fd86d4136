"""Whether a scan is of the kind that the system learned from. Where it is not, the system has no answer."""
