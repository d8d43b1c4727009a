"""Content-addressed store of step outputs: atomic writes, checksums, leases, resumable drafts.

An entry is a folder `<root>/<step>/<key>/` with its files and a `meta.json`. It is written as a draft under a lease
and renamed when whole, so that a reader never sees half of one, and a killed writer's draft can be gone on with. A
store bears a mark, `store.json`: a folder without it is somebody else's, and is neither read nor written.
`python -m core.store` lists, sizes and prunes.
"""

from .digests import MISSING, FileDigests
from .entries import Draft, Entry, Gone, Store
from .files import append_lines, append_twice, digest, read_lines, read_twice, write_atomically
from .leases import Busy, Leases, Patience

__all__ = [
    "MISSING",
    "Busy",
    "Draft",
    "Entry",
    "FileDigests",
    "Gone",
    "Leases",
    "Patience",
    "Store",
    "append_lines",
    "append_twice",
    "digest",
    "read_lines",
    "read_twice",
    "write_atomically",
]
