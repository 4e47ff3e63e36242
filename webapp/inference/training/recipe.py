"""The stages of training without sharing data (Shi et al., arXiv 2507.07024, section 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from webapp.inference.errors import TrainingError
from webapp.inference.training.data import TokenStream, sample_windows
from webapp.inference.training.loop import Budget, Report, StateFile, half_precision, run_stage
from webapp.inference.training.model import ModelShape, TrainingModel
from webapp.inference.training.muon import Float32Muon

Weights = dict[str, Tensor]
PUBLIC_SHARE = 4  # one row in so many of an owner's batch is public text


@dataclass(frozen=True)
class Contribution:
    """What an owner sends: expert weights and router row of each layer. No text, no token.

    `experts` has a layer's weights {gate, up, down}.weight; `rows` and `public_rows` are (layers, width): the
    expert's, and the frozen public one beside which it was trained.
    """

    domain: str
    experts: list[Weights]
    rows: Tensor
    public_rows: Tensor
    n_tokens: int


def train_dense(
    shape: ModelShape,
    public: TokenStream,
    budget: Budget,
    seed: int,
    report: Report,
    *,
    device: torch.device | None = None,
    state: StateFile | None = None,
) -> TrainingModel:
    """Train the public model M that everyone starts from; its router row is the public text's embedding."""
    torch.manual_seed(seed)
    model = TrainingModel(replace(shape, n_experts=1)).to(device or torch.device("cpu"))
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and n.startswith("blocks") and "router" not in n]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    optimisers = _optimisers(matrices, 4e-3, others, 4e-3, decay=0.05)
    run_stage(
        model,
        optimisers,
        lambda g: sample_windows(public.training, budget.rows, budget.length, g),
        budget,
        seed + 1,
        lambda line: report(f"public model: {line}"),
        state=state,
    )
    set_public_rows(model, domain_embedding(model, public, budget.length))
    return model


def set_public_rows(model: TrainingModel, rows: Tensor) -> None:
    """Write a dense model's router rows (layers, width), which every owner then starts from."""
    with torch.no_grad():
        for block, row in zip(model.layers(), rows, strict=True):
            block.router.copy_(row[None])


def public_rows(base: TrainingModel) -> Tensor | None:
    """Return the public router rows (layers, width) that the base brings; None where it brings none."""
    rows = torch.stack([block.router[0].detach() for block in base.layers()])
    return rows if bool(rows.any()) else None


def domain_embedding(model: TrainingModel, stream: TokenStream, length: int, n_batches: int = 2) -> Tensor:
    """Return the unit mean hidden state that enters each feed-forward part, (layers, width).

    Stands in for the paper's domain embeddings (section 3.3) as the start of a router row.
    """
    generator = torch.Generator().manual_seed(7)
    for block in model.layers():
        block.inputs = []
    with torch.no_grad(), half_precision(model.device):
        for _ in range(n_batches):
            model(sample_windows(stream.training, 8, length, generator)[:, :-1].to(model.device))
    sums = [torch.stack(block.inputs or []).sum(0) for block in model.layers()]
    for block in model.layers():
        block.inputs = None
    return torch.stack([(total / total.norm()).float() for total in sums])


def train_expert(
    base: TrainingModel,
    public: TokenStream | None,
    owner: TokenStream,
    budget: Budget,
    seed: int,
    report: Report,
    *,
    state: StateFile | None = None,
) -> Contribution:
    """Train one owner's expert beside the frozen public one (paper, section 3.2).

    A quarter of each batch is public text where there is some, so that the expert learns when not to be used.
    Raises `TrainingError` when neither the base nor public text gives the public router row.
    """
    rows = public_rows(base)
    if rows is None and public is None:
        raise TrainingError("The base has no router row. Give public text, from which it is made.")
    if rows is None:
        assert public is not None
        rows = domain_embedding(base, public, budget.length)
    model = upcycle(base, rows, domain_embedding(base, owner, budget.length))
    experts = [p for n, p in model.named_parameters() if ".experts.1." in n]
    routers = [p for n, p in model.named_parameters() if n.endswith((".router", ".own_bias"))]
    n_public = max(1, budget.rows // PUBLIC_SHARE) if public else 0

    def batch(generator: torch.Generator) -> Tensor:
        own = sample_windows(owner.training, budget.rows - n_public, budget.length, generator)
        if public is None:
            return own
        return torch.cat([own, sample_windows(public.training, n_public, budget.length, generator)])

    n_steps = run_stage(
        model,
        _optimisers(experts, 2e-3, routers, 1e-3, decay=0.0),
        batch,
        budget,
        seed,
        lambda line: report(f"expert {owner.domain}: {line}"),
        after_backward=_freeze_public_row,
        state=state,
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
    """Return a two-expert model [public, copy of it]; only the copy, its row and its bias can learn.

    The frozen weights are the base's own tensors; what learns is in float32.
    """
    weights: Weights = {}
    for name, value in base.state_dict().items():
        if name.endswith(".router"):
            continue
        weights[name] = value
        if ".experts.0." in name:
            weights[name.replace(".experts.0.", ".experts.1.")] = value.detach().float().clone()
        if name.endswith(".own_bias"):
            weights[name] = value.detach().clone()
    for layer in range(base.shape.n_layers):
        weights[f"blocks.{layer}.router"] = torch.stack([public_rows[layer], own_rows[layer]]).float()
    model = TrainingModel.of_weights(replace(base.shape, n_experts=2), weights)
    for block in model.layers():
        block.use_own_bias = True
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".experts.1." in name or name.endswith((".router", ".own_bias")))
    return model


def merge(base: TrainingModel, contributions: list[Contribution]) -> TrainingModel:
    """Join experts and router rows; shared weights stay the public model's (paper, section 3.4).

    Raises `TrainingError` when contributions were trained beside different public rows.
    """
    rows = public_rows(base)
    rows = contributions[0].public_rows if rows is None else rows
    for contribution in contributions:
        if not torch.equal(contribution.public_rows.to(rows), rows):
            raise TrainingError(
                f"The expert {contribution.domain!r} was trained beside another public router row than the others. "
                "Train it again on the same base, with the same public text."
            )
    weights: Weights = {k: v.detach().clone() for k, v in base.state_dict().items() if not k.endswith(".router")}
    for layer in range(base.shape.n_layers):
        for position, contribution in enumerate(contributions, start=1):
            for name, value in contribution.experts[layer].items():
                weights[f"blocks.{layer}.experts.{position}.{name}"] = value.clone()
        weights[f"blocks.{layer}.router"] = torch.stack([rows[layer], *(c.rows[layer].to(rows) for c in contributions)])
    return TrainingModel.of_weights(replace(base.shape, n_experts=1 + len(contributions)), weights)


def router_rows(model: TrainingModel) -> Tensor:
    """Return a copy of the router rows (layers, experts, width)."""
    return torch.stack([block.router.detach().clone() for block in model.layers()])


def tune_router(
    model: TrainingModel,
    proxies: list[Tensor],
    budget: Budget,
    seed: int,
    report: Report,
    *,
    state: StateFile | None = None,
) -> None:
    """Fit only the router rows on a little proxy text of every domain, in equal parts."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith(".router"))
    rows = [block.router for block in model.layers()]
    optimiser = torch.optim.AdamW(rows, lr=5e-3, betas=(0.9, 0.95), weight_decay=0.1)

    def batch(generator: torch.Generator) -> Tensor:
        picks = torch.randint(0, len(proxies), (budget.rows,), generator=generator).tolist()
        return torch.cat([sample_windows(proxies[pick], 1, budget.length, generator) for pick in picks])

    run_stage(model, [optimiser], batch, budget, seed, lambda line: report(f"router: {line}"), state=state)


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
