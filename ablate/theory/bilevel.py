"""The head as an inner problem (Gupta et al., arXiv 2212.11491): how K inner steps approach its optimum.

Read: the head as a parameter of the InfoNCE objective, and bilevel optimisation. Derived (the text itself
could not be read): min over theta of L(theta, phi*(theta)) with phi* = argmin over phi of the same L. By the
envelope theorem the gradient through phi* is zero, so at an inner optimum the first-order gradient, which
holds phi fixed, is the whole one; after K steps, unrolling these adds (d phi_K / d theta)^T dL/dphi.

L here is Eq. 2 of ``toy_losses`` plus weight_decay / 2 |phi|^2, at both levels. z is left unnormalised on
purpose: with a normalised z the loss does not know the scale of phi, so weight decay would pull it to 0 for
ever and there would be no minimiser for the theorem to speak of. And z is at least as wide as h: a narrower
head has saddles, and near one d phi_K / d theta grows faster than dL/dphi falls. Float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ablate.spec.theory import Bilevel
from ablate.theory.claim import Claim, at_most, falls_on_average
from ablate.theory.toy_losses import eq2

_QUIET, _LOUD = 0.2, 1.0  # deviation of a view's noise, on inputs left alone and on augmented ones


def inner_problem(spec: Bilevel) -> list[Claim]:
    """Gap and gradient of the head along training against K; unrolled against first-order gradient."""
    found = [_along_training(spec, steps) for steps in spec.inner_steps]
    gaps, gradients = (torch.stack(columns, dim=1) for columns in zip(*found, strict=True))
    difference = _unrolled_against_first_order(spec)
    few, many = spec.inner_steps[0], spec.inner_steps[-1]
    bound = spec.expect
    return [
        falls_on_average(
            f"inner gap L(phi) - L(phi {spec.extra} steps on), by inner steps K", gaps, spec.inner_steps
        ),
        falls_on_average("norm of dL/dphi, by K", gradients, spec.inner_steps),
        at_most(
            f"inner gap at K = {many} over that at K = {few}",
            gaps[:, -1] / gaps[:, 0],
            bound.gap_ratio_at_most,
        ),
        falls_on_average(
            "|unrolled - first-order| / |first-order| gradient of the encoder, by K",
            difference,
            spec.unrolled,
        ),
        at_most(f"the same at K = {spec.unrolled[-1]}", difference[:, -1], bound.difference_at_most),
    ]


@dataclass
class _Problem:
    """Parameters of all seeds: the encoder h = tanh(x theta^T) and the head z = h phi^T."""

    spec: Bilevel
    generator: torch.Generator
    theta: Tensor  # [S, width, inputs]
    phi: Tensor  # [S, out, width]

    @classmethod
    def drawn(cls, spec: Bilevel) -> _Problem:
        generator = torch.Generator().manual_seed(spec.seed)
        theta = _normal(generator, spec.seeds, spec.width, spec.inputs) / math.sqrt(spec.inputs)
        phi = _normal(generator, spec.seeds, spec.out, spec.width) / math.sqrt(spec.width)
        return cls(spec, generator, theta, phi)

    def views(self) -> tuple[Tensor, Tensor]:
        """Both views [S, images, inputs] of new images."""
        spec = self.spec
        shape = (spec.seeds, spec.images, spec.inputs)
        noise = torch.full((spec.inputs,), _QUIET, dtype=torch.float64)
        noise[spec.inputs - spec.augmented :] = _LOUD
        x = _normal(self.generator, *shape)
        return x + noise * _normal(self.generator, *shape), x + noise * _normal(self.generator, *shape)

    def losses(self, theta: Tensor, phi: Tensor, views: tuple[Tensor, Tensor]) -> Tensor:
        """L [S]."""
        z1, z2 = (torch.tanh(x @ theta.mT) @ phi.mT for x in views)
        return eq2(z1, z2) + self.spec.weight_decay / 2 * phi.square().sum((-1, -2))

    def inner(
        self, theta: Tensor, phi: Tensor, views: tuple[Tensor, Tensor], steps: int, *, unroll: bool = False
    ) -> Tensor:
        """phi after gradient steps on L; with ``unroll`` as a function of theta."""
        for _ in range(steps):
            at = phi if unroll and phi.requires_grad else phi.detach().requires_grad_()
            (g,) = torch.autograd.grad(self.losses(theta, at, views).sum(), at, create_graph=unroll)
            phi = at - self.spec.inner_lr * g
        return phi if unroll else phi.detach()


def _along_training(spec: Bilevel, steps: int) -> tuple[Tensor, Tensor]:
    """Inner gap and |dL/dphi| [S] before the outer step, means along training with ``steps`` inner ones."""
    problem = _Problem.drawn(spec)
    theta, phi = problem.theta, problem.phi
    gaps, norms = [], []
    for step in range(1, spec.outer_steps + 1):
        views = problem.views()
        phi = problem.inner(theta, phi, views, steps)
        at_theta, at_phi = theta.requires_grad_(), phi.clone().requires_grad_()
        losses = problem.losses(at_theta, at_phi, views)
        by_theta, by_phi = torch.autograd.grad(losses.sum(), (at_theta, at_phi))
        if step % spec.measured_every == 0:
            on = problem.inner(theta.detach(), phi, views, spec.extra)
            gaps.append((losses - problem.losses(theta, on, views)).detach())
            norms.append(torch.linalg.matrix_norm(by_phi))
        theta = (theta - spec.outer_lr * by_theta).detach()
    return torch.stack(gaps).mean(0), torch.stack(norms).mean(0)


def _unrolled_against_first_order(spec: Bilevel) -> Tensor:
    """Relative difference [S, M] of the encoder's two gradients after each K of ``unrolled``."""
    problem = _Problem.drawn(spec)
    views, theta, phi = problem.views(), problem.theta.requires_grad_(), problem.phi
    rows, done = [], 0
    for steps in spec.unrolled:
        phi, done = problem.inner(theta, phi, views, steps - done, unroll=True), steps
        (whole,) = torch.autograd.grad(problem.losses(theta, phi, views).sum(), theta, retain_graph=True)
        (first,) = torch.autograd.grad(problem.losses(theta, phi.detach(), views).sum(), theta)
        rows.append(torch.linalg.matrix_norm(whole - first) / torch.linalg.matrix_norm(first))
    return torch.stack(rows, dim=1)


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)
