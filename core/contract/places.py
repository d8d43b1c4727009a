"""Places that cannot be read or written, as a person can put them right."""

from __future__ import annotations

import errno
import os

from ..errors import UserError

_OTHER = "or name another place (--store, --runs)"
_WAYS_OUT = {
    errno.ENOSPC: f"the disk is full: free some space, {_OTHER}",
    errno.EDQUOT: f"the quota is used up: free some space, {_OTHER}",
    errno.EFBIG: f"the file is larger than the limit there (`ulimit -f`): raise it, {_OTHER}",
    errno.EROFS: f"the place is read-only: make it writable, {_OTHER}",
    errno.EACCES: f"there is no permission: ask for it, {_OTHER}",
    errno.EPERM: f"there is no permission: ask for it, {_OTHER}",
    errno.ENAMETOOLONG: f"the path is too long: shorten the experiment's name, {_OTHER}",
    errno.ENOTDIR: f"a file stands where a folder is needed: move it, {_OTHER}",
    errno.EISDIR: f"a folder stands where a file is needed: move it, {_OTHER}",
    errno.ELOOP: f"links lead in a circle: remove them, {_OTHER}",
    errno.EIO: f"the disk reports an error: check it, {_OTHER}",
    errno.ESTALE: f"the share was unmounted meanwhile: mount it again, {_OTHER}",
    errno.EMFILE: "too many files are open: raise the limit (`ulimit -n`)",
    errno.ENFILE: "too many files are open on this machine: close some programs",
}


class PlaceError(UserError):
    """A place that cannot be read or written: what is wrong there, and the way out."""


def place_fault(fault: OSError) -> PlaceError | None:
    """What to tell of an error of the operating system; None where it is none of a place."""
    if fault.errno == errno.ENOENT and not _has_working_folder():
        return PlaceError("the working folder was deleted: change into one that exists, and run again there")
    reason = _WAYS_OUT.get(fault.errno or 0)
    if reason is None:
        return None
    place = fault.filename2 or fault.filename
    where = f"{os.fsdecode(place)}: " if isinstance(place, str | bytes) else ""
    return PlaceError(f"{where}{reason}. What was computed is kept, and the same command resumes")


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True
