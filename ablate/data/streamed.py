"""Images that stay on disk until they are asked for, since they are too many for the memory.

``streamed[rows]`` decodes each image once, whatever is made of it afterwards, and gives what indexing a
resident tensor gives, bit for bit. ``streamed.expect(rows)`` says which come next: the threads decode them
while the present ones are computed with. A GPU gets them through pinned memory on a stream of its own, part
by part as they are decoded; to expect waits for nothing, and to read for no more of the GPU's work than was
queued when they were expected.

At most ``_AHEAD`` batches are decoded before they are asked for, in memory that is theirs alone: nothing that
was handed out is ever written again. Threads and files end with the last images that need them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from ablate.data.ffcv_io import PictureFile
from ablate.data.sources.registry import Indices

_AHEAD = 2
_PARTS = 4  # of a batch for each thread: one that is slow, or late, holds up a quarter of its share
_AT_ONCE = 2**26  # bytes of pixels, where a whole split is read


class Decoders:
    """The threads that decode a dataset's images, on their way to one device."""

    def __init__(self, device: torch.device, threads: int) -> None:
        self.device, self.count = device, threads
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="ablate-decode")
        self.stream = None
        if device.type == "cuda":
            self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@dataclass(eq=False)
class _Batch:
    """Images being decoded. A part ends when its images are on their way; a GPU has them at its event."""

    rows: Tensor
    version: int | None
    pixels: Tensor  # uint8 [n, H, W, 3] on the device
    parts: list[Future[torch.cuda.Event | None]]
    reads: int = 1  # that are expected

    def is_of(self, rows: Tensor) -> bool:
        if rows.device != self.rows.device:
            return False
        if rows.device.type == "cpu":
            return torch.equal(rows, self.rows)
        # To compare values would be to wait for the GPU: the same memory, in which nothing was written since.
        same = (rows.data_ptr(), rows.shape, rows.stride(), _version(rows)) == (
            self.rows.data_ptr(), self.rows.shape, self.rows.stride(), self.version,
        )  # fmt: skip
        return same and self.version is not None


class Streamed:
    """Images on disk, to be indexed like a tensor uint8 [N, 3, H, W] by int64 tensors of positions.

    For one thread of calls. An image that cannot be decoded is a DataError where it is read, also if it was
    decoded long before.
    """

    def __init__(self, file: PictureFile, at: Indices, decoders: Decoders) -> None:
        """The images ``at`` these rows [N] of ``file``."""
        self._file, self._at, self._decoders = file, at, decoders
        self._waiting: deque[_Batch] = deque()

    def __len__(self) -> int:
        return len(self._at)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self._at), 3, *self._file.side))

    @property
    def device(self) -> torch.device:
        """Where images are when they have been decoded."""
        return self._decoders.device

    def subset(self, chosen: Tensor) -> Streamed:
        """The images at these positions, int64 [n], still on disk."""
        return Streamed(self._file, self._at[chosen.cpu().numpy()], self._decoders)

    def expect(self, rows: Tensor) -> None:
        """Begin to decode the images at ``rows``, int64 [n], which will be read soon, in this order.

        The read recognises them: by their values if ``rows`` is on the CPU; on a GPU, where comparing values
        would be to wait for it, as the same part of the same tensor. What is expected twice is decoded once
        and may be read twice. What is expected beyond two batches takes the place of the oldest.
        """
        if (batch := self._expected(rows)) is not None:
            batch.reads += 1
            return
        if len(self._waiting) == _AHEAD:
            for part in self._waiting.popleft().parts:
                part.cancel()
        self._waiting.append(self._begin(rows))

    def __getitem__(self, rows: Tensor) -> Tensor:
        """uint8 [n, 3, H, W] in channels_last memory, on the device. Raises DataError."""
        batch = self._expected(rows)
        if batch is None:
            return self._result(self._begin(rows))
        batch.reads -= 1
        if not batch.reads:
            self._waiting.remove(batch)
        return self._result(batch)

    def _expected(self, rows: Tensor) -> _Batch | None:
        return next((batch for batch in self._waiting if batch.is_of(rows)), None)

    def resident(self) -> Tensor:
        """All of them. Raises DataError."""
        pixels = torch.empty(
            self.shape, dtype=torch.uint8, device=self.device, memory_format=torch.channels_last
        )
        size = max(1, _AT_ONCE // max(1, pixels[:1].numel()))
        start = 0
        for rows in in_turn(torch.arange(len(self)), size, self.expect):
            pixels[start : start + len(rows)] = self[rows]
            start += len(rows)
        return pixels

    @torch.inference_mode(False)  # what is expected inside that mode may be read outside
    def _begin(self, rows: Tensor) -> _Batch:
        decoders, shape = self._decoders, (len(rows), *self._file.side, 3)
        on_host, ready = _on_host(rows)
        if decoders.stream is None:
            pixels = staged = torch.empty(shape, dtype=torch.uint8)
        else:
            staged = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
            with torch.cuda.stream(decoders.stream):  # whose memory it is, so that no kernel still uses it
                pixels = torch.empty(shape, dtype=torch.uint8, device=self.device)
        size = max(1, -(-len(rows) // (_PARTS * decoders.count)))
        parts = [
            decoders.pool.submit(
                _decode_part,
                self._file,
                self._at,
                on_host[first : first + size].numpy(),
                ready,
                staged[first : first + size],
                pixels[first : first + size],
                decoders.stream,
            )
            for first in range(0, len(rows), size)
        ]
        kept = on_host if rows.device.type == "cpu" else rows  # kept, so that its memory becomes no other's
        return _Batch(kept, _version(rows), pixels, parts)

    def _result(self, batch: _Batch) -> Tensor:
        for part in batch.parts:
            copied = part.result()
            if copied is not None:
                torch.cuda.current_stream(self.device).wait_event(copied)
        if self._decoders.stream is not None:
            batch.pixels.record_stream(torch.cuda.current_stream(self.device))
        return batch.pixels.permute(0, 3, 1, 2)


def in_turn(rows: Tensor, size: int, expect: Callable[[Tensor], None]) -> Iterator[Tensor]:
    """``rows`` [N], ``size`` at a time; each is expected one turn before it comes."""
    with torch.inference_mode(False):  # in which tensors tell whether they were written to
        parts = torch.split(rows.clone(), size)
    for part in parts[:1]:
        expect(part)
    for k, part in enumerate(parts):
        if k + 1 < len(parts):
            expect(parts[k + 1])
        yield part


def _on_host(rows: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """A copy on the CPU, and the event from which on it is one."""
    if rows.device.type == "cpu":
        return rows.clone(), None
    copy = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
    copy.copy_(rows, non_blocking=True)
    ready = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # who waits for it sleeps
    ready.record(torch.cuda.current_stream(rows.device))
    return copy, ready


def _version(rows: Tensor) -> int | None:
    """How often it was written to, if it knows."""
    return None if rows.is_inference() else rows._version


def _decode_part(
    file: PictureFile,
    at: Indices,
    rows: Indices,
    ready: torch.cuda.Event | None,
    staged: Tensor,
    pixels: Tensor,
    stream: torch.cuda.Stream | None,
) -> torch.cuda.Event | None:
    """In a thread: decode to ``staged`` [n, H, W, 3], and send it on to ``pixels`` if that is on a GPU."""
    if ready is not None:
        ready.synchronize()
    file.read(at[rows], staged.numpy())
    if stream is None:
        return None
    with torch.cuda.stream(stream):
        pixels.copy_(staged, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record(stream)
    return copied
