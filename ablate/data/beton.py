"""Betons: a source's images written once, of one size, in a folder named by their content.

``cache/<digest>/`` holds ``train.beton``, ``test.beton``, ``val.beton`` if the source has a validation split
of its own, ``meta.json``, and a list of these files. It is written under another name and renamed when
whole, by one process at a time, so it is either complete or not there. A sample is its image, the alternate
picture if the source has them, its group, and its label in every factor. Pictures are raw pixels, or JPEGs
where ``data.jpeg`` says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ablate.data.choose import choose_stratified, joint_labels
from ablate.data.corruptions import corrupted
from ablate.data.error import DataError
from ablate.data.ffcv_io import Layout, Samples, read_samples, write_beton
from ablate.data.fingerprint import files_digest
from ablate.data.manifest import write_manifest
from ablate.data.sources import Decode, Image, Indices, Part, Source, group_classes, kind_of
from ablate.durable import sync
from ablate.spec.data import DataSpec, OwnValidation
from ablate.spec.streams import stream_seed

_FORMAT = 2  # of the folder and of the choices made here; a change makes new betons


@dataclass(frozen=True)
class Beton:
    """A built dataset: ``folder`` holds it, ``digest`` names its content."""

    folder: Path
    digest: str
    factors: tuple[tuple[str, tuple[str, ...]], ...]  # every factor and its classes
    label: str  # the factor that is trained and probed
    alternates: bool  # whether every image has an alternate picture
    train: int  # images
    test: int
    val: int | None  # None: a seed sets aside some of the training images
    side: tuple[int, int]  # height and width of every image, in pixels

    @property
    def class_names(self) -> tuple[str, ...]:
        return dict(self.factors)[self.label]

    @property
    def pixels(self) -> int:
        """Bytes of all its pixels in memory, whatever its files take."""
        images = (self.train + self.test + (self.val or 0)) * (1 + self.alternates)
        return images * self.side[0] * self.side[1] * 3

    def path(self, split: str) -> Path:
        """The file of ``split``, "train", "test" or "val"."""
        return self.folder / f"{split}.beton"

    def samples(self, split: str) -> Samples:
        """Those of ``split``: image and alternate picture, still on disk; group, and one label a factor.

        Raises DataError if the file is damaged.
        """
        try:
            return read_samples(self.path(split), Layout(1 + self.alternates, 1 + len(self.factors)))
        except (OSError, ValueError, LookupError, AssertionError) as error:
            raise DataError(
                f"{self.path(split)}: damaged ({error}). Delete {self.folder} to have it built anew."
            ) from error


def default_cache() -> Path:
    """Where betons are kept: $ABLATE_CACHE, or ~/.cache/ablate."""
    named = os.environ.get("ABLATE_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "ablate"


def data_digest(spec: DataSpec, cache: Path) -> str:
    """The name of what ``spec`` describes: equal images and options, equal digest, wherever the files lie.

    The folders of a source that has two have to lie alike towards each other.
    """
    kind = kind_of(spec)
    content = {"format": _FORMAT, "train": spec.train, "test": spec.test, **kind.recipe(spec)}
    content |= {name: spec.as_dict()[name] for name in ("coarse", "corruption")}
    if isinstance(spec, OwnValidation):
        content["validation"] = spec.validation
    if (jpeg := _jpeg(spec)) is not None:
        content["jpeg"] = jpeg
    if files := [file.absolute() for file in kind.files(spec)]:
        root = Path(os.path.commonpath([f.parent for f in files]))
        content["files"] = files_digest(root, files, cache)
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def build(spec: DataSpec, cache: Path, *, progress: bool = False, threads: int = 1) -> Beton:
    """The beton of ``spec`` in ``cache``, written now if it is not there; ``progress`` shows a bar.

    ``threads`` decode images.

    Another process building the same one is waited for. Raises DataError, naming the file and leaving nothing
    behind, if the source cannot be read whole.
    """
    digest = data_digest(spec, cache)
    folder = cache / digest
    if folder.is_dir():
        return open_beton(folder)
    try:
        with locked(folder):
            if not folder.is_dir():  # else another builder was first
                build_in(folder, spec, progress=progress, threads=threads)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({error}). Make room, or name another folder in ABLATE_CACHE."
        ) from error
    return open_beton(folder)


def locked(folder: Path) -> FileLock:
    """The lock, not held yet, of whoever writes the beton that is to be in ``folder``. Raises OSError."""
    locks = folder.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{folder.name}.lock")


def build_in(folder: Path, spec: DataSpec, *, progress: bool = False, threads: int = 1) -> None:
    """As ``build``, in the ``folder`` named by the digest, even if it is there; the caller holds the lock."""
    with replacing(folder) as unfinished:
        meta = _write_splits(spec, _opened(spec), unfinished, progress, threads)
        text = json.dumps({"format": _FORMAT, "digest": folder.name, **meta}, indent=1)
        (unfinished / "meta.json").write_text(text + "\n")
        write_manifest(unfinished, folder.name)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder that is ``folder`` once it is left, in place of a damaged one; after an error it is
    gone. The caller holds the lock."""
    unfinished, damaged = (folder.with_name(f"{folder.name}.{end}") for end in ("unfinished", "damaged"))
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed: we hold its lock
    unfinished.mkdir()
    try:
        yield unfinished
        for file in unfinished.iterdir():
            sync(file)
        if folder.exists():
            shutil.rmtree(damaged, ignore_errors=True)
            folder.rename(damaged)
        unfinished.rename(folder)
        sync(folder.parent)
    finally:
        for left in (unfinished, damaged):
            shutil.rmtree(left, ignore_errors=True)


def _opened(spec: DataSpec) -> Source:
    """The source with what any source can have: grouped classes, and corrupted test images."""
    source = kind_of(spec).open(spec)
    if isinstance(spec, OwnValidation) != (source.validation is not None):
        base, has = ("OwnValidation", "no") if source.validation is None else ("SeededValidation", "a")
        raise DataError(
            f"{spec.kind}: derives from {base}, but its source gives {has} validation part. Change either."
        )
    if spec.coarse is not None:
        source = group_classes(source, spec.coarse)
    if spec.corruption is not None:
        source = replace(source, test=corrupted(source.test, spec.corruption))
    return source


def _write_splits(
    spec: DataSpec, source: Source, folder: Path, progress: bool, threads: int
) -> dict[str, Any]:
    parts, counts = {"train": source.train, "test": source.test}, {"train": spec.train, "test": spec.test}
    if source.validation is not None and isinstance(spec, OwnValidation):
        parts["val"], counts["val"] = source.validation, spec.validation
    chosen = {split: _choose(source, part, counts[split], split) for split, part in parts.items()}
    _check_classes(source, chosen["train"])
    first = next(source.train.read(chosen["train"][:1]))()
    side = (first.shape[0], first.shape[1])
    with ExitStack() as stack:
        bar = stack.enter_context(_bar()) if progress else None
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        for split, part in parts.items():
            indices = chosen[split]
            pictures = [
                _same_size(
                    _decoded(pool, read(indices), ahead=4 * threads),
                    part,
                    indices,
                    side,
                    source.train.where(int(chosen["train"][0])),
                )
                for read in (part.read, part.alternates)
                if read is not None
            ]
            if bar is not None:
                pictures[0] = iter(bar.track(pictures[0], len(indices), description=f"{spec.kind} {split}"))
            numbers = [part.groups, *(part.factors[name] for name in source.names)]
            samples = zip(*pictures, *(n[indices].tolist() for n in numbers), strict=True)
            layout = Layout(len(pictures), len(numbers))
            path = folder / f"{split}.beton"
            write_beton(path, samples, layout, len(indices), side, jpeg=_jpeg(spec))
    return {
        "source": spec.as_dict(),
        "class_names": list(source.class_names),
        "factors": [[name, list(names)] for name, names in source.names.items()],
        "label": source.label,
        "alternates": source.train.alternates is not None,
        "side": list(side),
        "val": None,
        **{split: len(indices) for split, indices in chosen.items()},
        "bytes": {split: (folder / f"{split}.beton").stat().st_size for split in chosen},
    }


def _jpeg(spec: DataSpec) -> int | None:
    """The quality of its JPEGs; None: raw pixels, and all there is for most kinds of source."""
    jpeg: int | None = getattr(spec, "jpeg", None)
    return jpeg


def _choose(source: Source, part: Part, count: int | None, split: str) -> Indices:
    """Ascending positions of the images to keep, in proportion of all factors: the same for all seeds."""
    found = len(part.groups)
    if not found:
        raise DataError(f"The source has no {split} images.")
    if count is None:
        return np.arange(found, dtype=np.int64)
    if count > found:
        key = "validation" if split == "val" else split
        raise DataError(f"data.{key} is {count}, but the source has {found} {key} images. Ask for fewer.")
    joint = joint_labels(
        [torch.from_numpy(part.factors[name]) for name in source.names],
        [len(classes) for classes in source.names.values()],
    )
    return choose_stratified(joint.numpy(), count, seed=stream_seed(f"subset-{split}"))


def _check_classes(source: Source, chosen: Indices) -> None:
    present = np.unique(source.train.factors[source.label][chosen])
    if len(present) < 2:
        raise DataError(
            f"{source.train.where(int(chosen[0]))} and all other training images are of one class "
            f"({source.class_names[present[0]]}); at least two are needed."
        )


def _decoded(pool: ThreadPoolExecutor, work: Iterator[Decode], ahead: int) -> Iterator[Image]:
    """The images of ``work`` in its order, at most ``ahead`` of them decoded before they are asked for."""
    waiting: deque[Future[Image]] = deque()
    for decode in work:
        waiting.append(pool.submit(decode))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _same_size(
    images: Iterator[Image], part: Part, indices: Indices, side: tuple[int, int], reference: str
) -> Iterator[Image]:
    for index, image in zip(indices, images, strict=True):
        if image.shape[:2] != side:
            raise DataError(
                f"{part.where(int(index))}: is {image.shape[1]} x {image.shape[0]} pixels, but {reference} "
                f"is {side[1]} x {side[0]}. Set data.resolution to bring all images to one size."
            )
        yield image


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def open_beton(folder: Path) -> Beton:
    """The beton in ``folder``. Raises DataError if it is not there, or a file is not as large as it was."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        for split, size in meta["bytes"].items():
            if (found := (folder / f"{split}.beton").stat().st_size) != size:
                raise DataError(f"{folder}: {split}.beton has {found} bytes, not {size}. Delete that folder.")
        with suppress(OSError):  # a cache that may only be read
            os.utime(folder / "meta.json")  # when it was last opened, for who clears the cache
        return Beton(
            folder,
            meta["digest"],
            tuple((name, tuple(classes)) for name, classes in meta["factors"]),
            meta["label"],
            meta["alternates"],
            meta["train"],
            meta["test"],
            meta["val"],
            (meta["side"][0], meta["side"][1]),
        )
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{folder}: damaged ({error!r}). Delete that folder to have it built anew."
        ) from error
