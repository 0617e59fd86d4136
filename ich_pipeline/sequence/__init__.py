"""The optional sequence head: a small bidirectional network over a case's slices, on a trained network's frozen features."""
