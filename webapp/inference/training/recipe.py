"""The stages of training without sharing data. Budgets are wall-clock seconds, so a run always ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from webapp.inference.training.data import TokenStream, sample_windows
from webapp.inference.training.model import ModelShape, TrainingModel, next_token_loss
from webapp.inference.training.muon import Float32Muon

Report = Callable[[str], None]
Weights = dict[str, Tensor]
Batch = Callable[[torch.Generator], Tensor]


@dataclass(frozen=True)
class Budget:
    """How long and on what batches a stage trains; `max_steps` bounds tests."""

    seconds: float
    max_steps: int = 1_000_000
    rows: int = 8
    length: int = 512
    warmup_steps: int = 40


@dataclass(frozen=True)
class Contribution:
    """What an owner sends: expert weights and router row of each layer. No text, no token."""

    domain: str
    experts: list[Weights]
    rows: Tensor
    public_rows: Tensor
    n_tokens: int


def train_dense(shape: ModelShape, public: TokenStream, budget: Budget, seed: int, report: Report) -> TrainingModel:
    """Train the public model M that everyone starts from."""
    torch.manual_seed(seed)
    model = TrainingModel(replace(shape, n_experts=1))
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and n.startswith("blocks") and "router" not in n]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    optimisers = _optimisers(matrices, 4e-3, others, 4e-3, decay=0.05)
    _run(
        model,
        optimisers,
        lambda g: sample_windows(public.training, budget.rows, budget.length, g),
        budget,
        seed + 1,
        lambda line: report(f"public model: {line}"),
    )
    return model


def domain_embedding(model: TrainingModel, stream: TokenStream, length: int, n_batches: int = 2) -> Tensor:
    """Return the unit mean hidden state that enters each feed-forward part, (layers, width).

    Stands in for the paper's domain embeddings (section 3.3) as the start of a router row.
    """
    generator = torch.Generator().manual_seed(7)
    for block in model.layers():
        block.inputs = []
    with torch.no_grad():
        for _ in range(n_batches):
            model(sample_windows(stream.training, 8, length, generator)[:, :-1])
    sums = [torch.stack(block.inputs or []).sum(0) for block in model.layers()]
    for block in model.layers():
        block.inputs = None
    return torch.stack([(total / total.norm()).float() for total in sums])


def train_expert(
    base: TrainingModel, public: TokenStream, owner: TokenStream, budget: Budget, seed: int, report: Report
) -> Contribution:
    """Train one owner's expert beside the frozen public one (paper, section 3.2).

    A quarter of each batch is public text, so that the expert learns when not to be used.
    """
    model = upcycle(base, domain_embedding(base, public, budget.length), domain_embedding(base, owner, budget.length))
    experts = [p for n, p in model.named_parameters() if ".experts.1." in n]
    routers = [p for n, p in model.named_parameters() if n.endswith((".router", ".own_bias"))]
    n_public = max(1, budget.rows // 4)

    def batch(generator: torch.Generator) -> Tensor:
        own = sample_windows(owner.training, budget.rows - n_public, budget.length, generator)
        return torch.cat([own, sample_windows(public.training, n_public, budget.length, generator)])

    n_steps = _run(
        model,
        _optimisers(experts, 2e-3, routers, 1e-3, decay=0.0),
        batch,
        budget,
        seed,
        lambda line: report(f"expert {owner.domain}: {line}"),
        after_backward=_freeze_public_row,
    )
    layers = model.layers()
    return Contribution(
        owner.domain,
        [{k: v.detach().clone() for k, v in block.experts[1].state_dict().items()} for block in layers],
        torch.stack([block.router[1].detach().clone() for block in layers]),
        torch.stack([block.router[0].detach().clone() for block in layers]),
        n_steps * budget.rows * budget.length,
    )


def upcycle(base: TrainingModel, public_rows: Tensor, own_rows: Tensor) -> TrainingModel:
    """Return a two-expert model [public, copy of it]; only the copy, its row and its bias can learn."""
    model = TrainingModel(replace(base.shape, n_experts=2))
    weights: Weights = {}
    for name, value in base.state_dict().items():
        if name.endswith(".router"):
            continue
        weights[name] = value.clone()
        if ".experts.0." in name:
            weights[name.replace(".experts.0.", ".experts.1.")] = value.clone()
    for layer in range(base.shape.n_layers):
        weights[f"blocks.{layer}.router"] = torch.stack([public_rows[layer], own_rows[layer]])
    model.load_state_dict(weights)
    for block in model.layers():
        block.use_own_bias = True
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".experts.1." in name or name.endswith((".router", ".own_bias")))
    return model


def merge(base: TrainingModel, contributions: list[Contribution]) -> TrainingModel:
    """Join experts and router rows; shared weights stay the public model's (paper, section 3.4)."""
    model = TrainingModel(replace(base.shape, n_experts=1 + len(contributions)))
    weights: Weights = {k: v.clone() for k, v in base.state_dict().items() if not k.endswith(".router")}
    for layer in range(base.shape.n_layers):
        for position, contribution in enumerate(contributions, start=1):
            for name, value in contribution.experts[layer].items():
                weights[f"blocks.{layer}.experts.{position}.{name}"] = value.clone()
        rows = [contributions[0].public_rows[layer], *(c.rows[layer] for c in contributions)]
        weights[f"blocks.{layer}.router"] = torch.stack(rows)
    model.load_state_dict(weights)
    return model


def tune_router(model: TrainingModel, proxies: list[Tensor], budget: Budget, seed: int, report: Report) -> None:
    """Fit only the router rows on a little proxy text of every domain, in equal parts."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith(".router"))
    rows = [block.router for block in model.layers()]
    optimiser = torch.optim.AdamW(rows, lr=5e-3, betas=(0.9, 0.95), weight_decay=0.1)

    def batch(generator: torch.Generator) -> Tensor:
        picks = torch.randint(0, len(proxies), (budget.rows,), generator=generator).tolist()
        return torch.cat([sample_windows(proxies[pick], 1, budget.length, generator) for pick in picks])

    _run(model, [optimiser], batch, budget, seed, lambda line: report(f"router: {line}"))


def _optimisers(
    matrices: list[nn.Parameter], matrix_rate: float, others: list[nn.Parameter], other_rate: float, *, decay: float
) -> list[torch.optim.Optimizer]:
    """Muon for matrices, AdamW for embeddings, norms and router rows."""
    return [
        Float32Muon(matrices, lr=matrix_rate, weight_decay=decay),
        torch.optim.AdamW(others, lr=other_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def _freeze_public_row(model: TrainingModel) -> None:
    for block in model.layers():
        if block.router.grad is not None:
            block.router.grad[0] = 0


def _run(
    model: TrainingModel,
    optimisers: list[torch.optim.Optimizer],
    batch: Batch,
    budget: Budget,
    seed: int,
    report: Report,
    after_backward: Callable[[TrainingModel], None] | None = None,
) -> int:
    """Train until the budget is spent: linear warm-up, then a decay over the last 40 % of it. Return the steps."""
    generator = torch.Generator().manual_seed(seed)
    rates = [group["lr"] for optimiser in optimisers for group in optimiser.param_groups]
    running: float | None = None
    begin, last_line, step = time.monotonic(), 0.0, 0
    for step, done in _steps(budget):
        scale = min(1.0, step / budget.warmup_steps) * min(1.0, (1 - done) / 0.4)
        groups = [group for optimiser in optimisers for group in optimiser.param_groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * scale
        loss = next_token_loss(model, batch(generator))
        loss.backward()  # type: ignore[no-untyped-call]
        if after_backward:
            after_backward(model)
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        running = loss.item() if running is None else 0.95 * running + 0.05 * loss.item()
        elapsed = time.monotonic() - begin
        if elapsed - last_line > 15:
            last_line = elapsed
            speed = step * budget.rows * budget.length / elapsed
            report(f"{done:4.0%}, step {step}, loss {running:.3f}, {speed:,.0f} tokens/s")
    return step


def _steps(budget: Budget) -> Iterator[tuple[int, float]]:
    """Yield (step from 1, fraction of the budget spent) until time or steps are spent."""
    begin = time.monotonic()
    for step in range(1, budget.max_steps + 1):
        done = max((time.monotonic() - begin) / budget.seconds, (step - 1) / budget.max_steps)
        if done >= 1:
            return
        yield step, done
