"""The token by which a cluster knows its own: a file that the launcher copies to each node over SSH.

Ray's clients and nodes read it at this very place. It is never printed, logged or put into a command.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

from ablate.cluster.kind import ClusterError

PLACE = "~/.ray/auth_token"
_BYTES = 32  # as Ray makes them


def token_file() -> Path:
    return Path(PLACE).expanduser()


def ensure_token() -> list[str]:
    """Have a token that only its owner can read. Returns what had to be done for it, in words.

    Raises ClusterError for a file that is no token of this user's.
    """
    path, done = token_file(), []
    if not path.exists():
        _make(path)
        done.append(f"{path}: a new token, which only you can read")
    _check(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        path.chmod(0o600)
        done.append(f"{path}: others could read the token (mode {mode:04o}); now only you can (0600)")
    return done


def read_token() -> str:
    """The token; to be sent to the cluster, and shown to nobody. Raises ClusterError if there is none."""
    path = token_file()
    if not path.exists():
        raise ClusterError(
            f"{path}: there is no token; copy it from where the cluster was brought up, or bring one up here"
        )
    return _check(path)


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # of mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # somebody else was quicker: that one it is
            os.link(partial, path)
    finally:
        os.unlink(partial)


def _check(path: Path) -> str:
    try:
        owner, text = path.stat().st_uid, path.read_text().strip()
    except OSError as error:
        raise ClusterError(f"{path}: the token cannot be read ({error.strerror})") from None
    if owner != os.getuid():
        raise ClusterError(f"{path}: the token belongs to another user, who knows it; move it away")
    if not text:
        raise ClusterError(f"{path}: the token is empty; delete the file, and `ablate cluster up` makes one")
    return text
