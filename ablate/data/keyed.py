"""Stateless randomness: a number is a function of its key, not of how many were drawn before it.

The hash is SplitMix64 (Steele et al., OOPSLA 2014) written with wrapping int64 tensor operations, so CPU
and GPU give the same bits. A view keyed by (seed, epoch, sample, view) is therefore the same in any batch,
on any number of workers, after any resume.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15
_MULTIPLIER_1 = 0xBF58476D1CE4E5B9
_MULTIPLIER_2 = 0x94D049BB133111EB


def _signed(value: int) -> int:
    """The int64 with the bits of ``value`` modulo 2**64."""
    return (value + 2**63) % 2**64 - 2**63


def _shift_xor(bits: Tensor, by: int) -> Tensor:
    """``bits ^ (bits >>> by)``: torch's >> copies the sign bit, which the mask takes off again."""
    return bits ^ ((bits >> by) & ((1 << (64 - by)) - 1))


def _mix(bits: Tensor) -> Tensor:
    bits = _shift_xor(bits, 30) * _signed(_MULTIPLIER_1)
    bits = _shift_xor(bits, 27) * _signed(_MULTIPLIER_2)
    return _shift_xor(bits, 31)


def keyed_bits(seed: int, ids: Tensor, count: int) -> Tensor:
    """int64 [N, count] of independent random bits: row i depends on ``seed`` and ``ids[i]`` (int64) alone."""
    rows = _mix((ids + 1) * _signed(_GAMMA) + _signed(seed))
    steps = (torch.arange(1, count + 1, device=ids.device) * _signed(_GAMMA))[None]
    return _mix(rows[:, None] + steps)


def keyed_permutation(seed: int, count: int) -> Tensor:
    """int64 [count], on the CPU: a permutation of 0..count-1 that depends on ``seed`` and ``count`` alone."""
    return keyed_bits(seed, torch.arange(count), 1)[:, 0].argsort(stable=True)
