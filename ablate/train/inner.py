"""Inner steps of the head: the head as a parameter of the loss (``spec.inner``).

A batch is: K updates of the head alone on h that stays fixed, then one update of the encoder (and whatever
else the method has) through the head, which the outer step leaves as it is. h of the batch is computed once:
the inner steps see it detached, the outer loss through its graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import Optimizer

from ablate.data import Split
from ablate.model import redraw_head
from ablate.model.methods import Siamese
from ablate.spec.inner import InnerSpec
from ablate.spec.streams import stream_seed
from ablate.spec.trial import TrialSpec
from ablate.train.criterion import loss_share
from ablate.train.optimise import build_optimiser
from ablate.train.sparsify import Sparsifier
from ablate.train.world import World


class InnerLoop:
    """The head's own optimiser, of the kind and settings of the trial's, and its K steps a batch."""

    def __init__(
        self,
        spec: TrialSpec,
        inner: InnerSpec,
        method: Siamese,
        world: World,
        autocast: Callable[[], torch.autocast],
    ) -> None:
        """``autocast``: the trial's precision, as a context for one forward pass."""
        self.spec, self.inner, self.method, self.world = spec, inner, method, world
        self.autocast = autocast
        self.head = method.model.head
        self.optimiser: Optimizer = self._fresh_optimiser()

    def _fresh_optimiser(self) -> Optimizer:
        return build_optimiser(self.spec.optim, head=self.head)

    def begin_epoch(self, epoch: int) -> None:
        if self.inner.start == "epoch":
            self._redraw(self.spec.seed, epoch)

    def steps(
        self,
        h: tuple[Tensor, Tensor],
        labels: Tensor,
        *,
        step: int,
        lr: float,
        sparsifier: Sparsifier | None,
    ) -> None:
        """K head updates on ``h`` (detached here) of this worker's images; ``lr`` is the encoder's.

        Not to be called under autocast: within one context it keeps the weights that it cast first.
        """
        if self.inner.start == "batch":
            self._redraw(self.spec.seed, step)
        fixed = (h[0].detach(), h[1].detach())
        for group in self.optimiser.param_groups:
            group["lr"] = self.inner.lr * lr
        for _ in range(self.inner.steps):
            self.optimiser.zero_grad(set_to_none=True)
            with self.autocast():
                embedded = self.method.project(*fixed)
            share = loss_share(self.spec.loss, embedded, labels, self.world)
            penalty = sparsifier.loss() if sparsifier else 0.0
            (share + penalty / self.world.size).backward()  # type: ignore[no-untyped-call]
            self.world.sum_([p.grad for p in self.head.parameters() if p.grad is not None])
            self.optimiser.step()
            if sparsifier:
                sparsifier.after_step(self.optimiser)
        self.optimiser.zero_grad(set_to_none=True)

    @contextmanager
    def head_held(self) -> Iterator[None]:
        """Inside, what is computed through the head sends its weights no gradient."""
        trained = [p for p in self.head.parameters() if p.requires_grad]
        for p in trained:
            p.requires_grad_(False)
        try:
            yield
        finally:
            for p in trained:
                p.requires_grad_(True)

    @torch.no_grad()
    def fresh(self, split: Split, rows: Tensor, epoch: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """h of other images (positions ``rows``) under views of their own, and their labels."""
        seed = stream_seed("inner", self.spec.seed) % 2**31
        split.expect(rows)  # once more: they are the next outer step's too
        v1, v2 = split.two_views(rows, self.spec.views, seed=seed, epoch=epoch)
        with self.autocast():
            return self.method.encode(v1, v2), split.labels[rows]

    def _redraw(self, *stream: int) -> None:
        redraw_head(self.head, self.spec, *stream)
        self.optimiser = self._fresh_optimiser()
