"""The one exception that means "the user can mend this"."""

from __future__ import annotations


class InputError(Exception):
    """Bad input: one sentence that names the file, the field, the value and what to do.

    Every command and stage turns it into that sentence on stderr and exit status 2. Anything else that escapes is a
    fault of the program: exit status 1.
    """
