"""Detect whether a path is on the file system of another machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

__all__ = ["network_mount"]

NETWORK = {
    *("9p", "acfs", "afs", "auristorfs", "beegfs", "ceph", "cifs", "coda", "davfs", "fhgfs", "gfs", "gfs2"),
    *("glusterfs", "gpfs", "lustre", "ncpfs", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "remote", "vboxsf"),
    *("vmhgfs", "webdav"),
}
"""File systems on another machine, or on the host of a virtual one, where the -shm file cannot be shared memory."""

NETWORK_FUSE = {
    *("afpfs", "beegfs", "ceph", "curlftpfs", "davfs", "davfs2", "gcsfuse", "glusterfs", "grpcfuse", "gvfsd-fuse"),
    *("juicefs", "mfs", "moosefs", "osxfs", "rclone", "s3fs", "seaweedfs", "sshfs", "vmhgfs-fuse"),
}
"""The names after ``fuse.`` in the types of such file systems in user space."""

TABLE = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


def network_mount(path: Path, table: str | None = None) -> str | None:
    """Return the type of the network file system of a path; None for a local or unknown one.

    Parameters
    ----------
    path : Path
        Absolute, without links.
    table : str, optional
        Lines as in ``/proc/self/mountinfo`` (proc(5)); by default that file, or else the mounts that psutil lists.
    """
    kind, depth = "", -1
    for mount, name in _mounts(table):
        # a later mount hides an earlier one at the same path
        if path.is_relative_to(mount) and len(mount.parts) >= depth:
            kind, depth = name, len(mount.parts)
    return kind if _is_network(kind) or str(path).startswith("\\\\") else None


def _mounts(table: str | None) -> Iterable[tuple[Path, str]]:
    if table is not None:
        return _parsed(table)
    try:
        return _parsed(TABLE.read_text(errors="surrogateescape"))
    except OSError:
        # Windows marks a network drive by an option, and reports the file system of the remote side
        return [
            (Path(part.mountpoint), "remote" if "remote" in part.opts.split(",") else part.fstype)
            for part in psutil.disk_partitions(all=True)
        ]


def _parsed(table: str) -> Iterator[tuple[Path, str]]:
    for line in table.splitlines():
        place, _, rest = line.partition(" - ")
        words, after = place.split(), rest.split()
        if len(words) > 4 and after:
            yield Path(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), words[4])), after[0]


def _is_network(kind: str) -> bool:
    name = kind.lower()
    inner = name.removeprefix("fuse.")
    return inner.startswith(("nfs", "smb")) or inner in (NETWORK if inner == name else NETWORK_FUSE)
