"""The one exception that means "the user can mend this", and what the system's own refusals mean to a user."""

from __future__ import annotations

import errno


class InputError(Exception):
    """Bad input: one sentence that names the file, the field, the value and what to do.

    Every command and stage turns it into that sentence on stderr and exit status 2. Anything else that escapes is a
    fault of the program: exit status 1.
    """


_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_PLACE = (errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
_FULL = (errno.ENOSPC, errno.EDQUOT)


def refusal(error: BaseException) -> str | None:
    """A sentence for what the file system refused (no right to write, read-only, no such place, full); None for any other error."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, OSError):
        seen = seen.__cause__ or seen.__context__
    if not isinstance(seen, OSError):
        return None
    where = str(seen.filename or "a file of this project")
    if seen.errno in _DENIED:
        return f"{where} cannot be read or written here ({seen.strerror}): run as its owner, in a folder that can be written."
    if seen.errno in _NO_PLACE:
        return f"{where} is no place for files ({seen.strerror}): name another one."
    if seen.errno == errno.EBUSY:
        return (
            f"{where} is in use ({seen.strerror}): it is a mount point or another program holds it; name another one."
        )
    if seen.errno in _FULL:
        return f"the disk is full (at {where}): free some space and run again; what is finished is kept."
    return None


class Fault(Exception):
    """What stopped a run that was rightly asked for: one sentence with what happened, what is kept and what to do.

    Exit status 1, and no traceback: the sentence is all there is to know.
    """
