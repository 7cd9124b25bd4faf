"""Shared storage, as little of it as a sweep needs: S3, Google Cloud Storage, Azure, or a shared folder.

The one thing asked of a store beyond putting, getting and listing is ``create``: write an object only if
there is none of that name. S3, GCS and Azure have it as a conditional put, a file system as a hard link.
Access comes from the usual variables (``AWS_ACCESS_KEY_ID``, ``AWS_REGION``, ``AWS_ENDPOINT``,
``GOOGLE_APPLICATION_CREDENTIALS``, ``AZURE_STORAGE_ACCOUNT_NAME``, ...) or from the machine's own role.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ablate.ledger.record import LedgerError

if TYPE_CHECKING:
    from obstore.store import ObjectStore, RetryConfig

SCHEMES = ("s3", "gs", "az", "file")
_RETRY_SECONDS = 60  # then an unreachable store is an error


class StoreError(LedgerError):
    """The store cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class Store:
    """Objects below ``url``, by keys such as ``ledger/000.jsonl``. A value: it pickles, and connects late.

    Every method raises StoreError if the store cannot be reached or refuses.
    """

    url: str

    @classmethod
    def at(cls, url: str, *more: str) -> Store:
        """The store at ``url`` (``s3://bucket/prefix``, ``gs://``, ``az://``, ``file:///folder``), below the
        names ``more``. Raises StoreError if the URL is none of those, holds a key or a token, which would be
        kept with the sweep and named in its messages, or the library for it is missing."""
        parts = urlsplit(url)
        if set("@:") & set(parts.netloc) or parts.query:
            raise StoreError(
                f"storage: this {parts.scheme} URL holds more than a bucket and a prefix, and would be kept "
                "with the sweep. Give keys and tokens by environment variables, such as AWS_ACCESS_KEY_ID "
                "and AWS_SECRET_ACCESS_KEY, or by the machine's own role"
            )
        if parts.scheme not in SCHEMES or not (parts.netloc or parts.path.strip("/")):
            raise StoreError(
                f"storage {url!r}: give s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or "
                "file:///absolute/folder"
            )
        if parts.scheme == "file" and parts.netloc:
            raise StoreError(f"storage {url!r}: a folder is given as file:///absolute/folder")
        try:
            import obstore  # noqa: F401
        except ModuleNotFoundError:
            raise StoreError(f"storage {url!r} needs a library: pip install 'ablate-ssl[storage]'") from None
        return cls("/".join([url.rstrip("/"), *more]))

    def __str__(self) -> str:
        return self.url

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.url,)  # without the connection

    def create(self, key: str, data: bytes) -> bool:
        """Write a new object; False if another one has that name. True also where it is this very one: a
        request whose answer was lost is sent again. So make ``data`` unlike anybody else's."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._speaking("write", key):
            try:
                obstore.put(self._objects, key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return self._read(key) == data
        return True

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object, or a file as one, replacing what has that name."""
        import obstore

        with self._speaking("write", key):
            obstore.put(self._objects, key, data)

    def get(self, key: str) -> bytes:
        with self._speaking("read", key):
            return self._read(key)

    def fetch(self, key: str, path: Path) -> bool:
        """Write an object to a file that appears only when whole; False: there is no such object."""
        import obstore

        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        with self._speaking("read", key):
            try:
                found = obstore.get(self._objects, key)
            except FileNotFoundError:
                return False
            try:
                with partial.open("wb") as file:
                    for chunk in found:
                        file.write(chunk)
                    os.fsync(file.fileno())
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        return True

    def blocks(self, key: str) -> Iterator[bytes]:
        """An object piece by piece, for what is too large to hold. StoreError also if there is none."""
        import obstore

        with self._speaking("read", key):
            for chunk in obstore.get(self._objects, key):
                yield bytes(chunk)

    def sizes(self, below: str = "") -> dict[str, int]:
        """Keys below ``below`` (whole names of folders) in order, with their sizes in bytes."""
        import obstore

        with self._speaking("list", below):
            found = obstore.list(self._objects, below or None).collect()
        return {meta["path"]: meta["size"] for meta in sorted(found, key=lambda meta: meta["path"])}

    def exists(self, key: str) -> bool:
        import obstore

        with self._speaking("read", key):
            try:
                obstore.head(self._objects, key)
            except FileNotFoundError:
                return False
        return True

    def delete(self, key: str) -> None:
        """Delete an object; there need be none."""
        import obstore

        with self._speaking("delete", key):
            try:
                obstore.delete(self._objects, key)
            except FileNotFoundError:  # a file system says so, an object store does not
                return

    def age(self, key: str) -> float:
        """Seconds since an object was written, by the store's own clock: those of machines may differ."""
        import obstore

        probe = f"{key}.now"
        self.put(probe, b"")
        with self._speaking("read", key):
            now, then = (obstore.head(self._objects, k)["last_modified"] for k in (probe, key))
        return (now - then).total_seconds()

    @cached_property
    def _objects(self) -> ObjectStore:
        from obstore.store import from_url

        if self.url.startswith("file:"):
            return from_url(self.url, mkdir=True)
        patience: RetryConfig = {"max_retries": 10, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)}
        return from_url(self.url, retry_config=patience)

    def _read(self, key: str) -> bytes:
        import obstore

        return bytes(obstore.get(self._objects, key).bytes())

    @contextmanager
    def _speaking(self, verb: str, key: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise StoreError(f"{self.url}: cannot {verb} {key or 'it'}: {_in_words(error)}") from error


def _in_words(error: Exception) -> str:
    text = str(error)
    if "NoSuchBucket" in text:
        return "there is no such bucket; create it first"
    # A signed request has its signature behind the question mark.
    return re.sub(r"(https?://[^\s?]+)\?[^\s,)]*", r"\1", text.partition("\n")[0])[:300]
