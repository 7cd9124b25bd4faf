"""Named streams of randomness: each use draws from its own seed, so that no use can disturb another.

Two trials with the same seed start from the same encoder and see the same views in the same order whatever
else they draw, because "encoder", "head", "order", "views" and "probe" never share a generator.
"""

from __future__ import annotations

import hashlib


def stream_seed(name: str, *parts: int) -> int:
    """A 63-bit seed, in [0, 2**63), from a stream's name and integers such as (seed, epoch).

    BLAKE2b over an unambiguous text, so it is equal on every machine, process and Python version (unlike
    ``hash``), and neighbouring seeds give unrelated streams.
    """
    text = ":".join([name, *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
