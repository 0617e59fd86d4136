"""One study in, one answer out: load a case, the system that reads it, what it says, the bundle it lies in."""
