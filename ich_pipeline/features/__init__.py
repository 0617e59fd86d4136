"""Small data: what a frozen network sees of every slice, computed once, and the head that learns from it in seconds."""
