"""From a volume in HU to what a network sees: where the head is, which square is read, windows."""
