"""The demonstration's model: all stages one after another, with what was measured in its card."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from webapp.inference.card import ExpertCard
from webapp.inference.placement import pick_device
from webapp.inference.training import stages
from webapp.inference.training.loop import Budget, Report
from webapp.inference.training.model import ModelShape


@dataclass(frozen=True)
class DemoPlan:
    """Steps and sizes of each stage, and seconds after which it ends anyway; `device` is "auto", "cpu" or "cuda"."""

    base_steps: int = 3000
    expert_steps: int = 800
    base_seconds: float = float("inf")
    expert_seconds: float = float("inf")
    seed: int = 20
    shape: ModelShape = field(default_factory=ModelShape)
    rows: int = 32
    dropout: float = 0.1
    device: str = "auto"

    def run(self, n_steps: int, seconds: float, seed: int, report: Report) -> stages.Run:
        """Return how one stage runs."""
        budget = Budget(
            seconds=seconds,
            max_steps=n_steps,
            rows=self.rows,
            length=self.shape.context,
            warmup_steps=max(1, n_steps // 50),
            dropout=self.dropout,
        )
        return stages.Run(budget, seed, self.device, report=report)


def train_demo(
    texts: Mapping[str, list[str]], experts: Sequence[ExpertCard], work: Path, out: Path, plan: DemoPlan, report: Report
) -> str:
    """Train the base, each owner's expert, merge and measure; return the tables. Interrupted, it goes on.

    `texts` maps each expert's slug to its documents, the public one first, in the order of `experts`; `work` keeps
    what the stages hand on. Each owner's stage sees the public model, public text and that owner's text alone. The
    router is not tuned, so that switching an expert off leaves nothing of its owner's data.
    """
    begin = time.monotonic()
    base = work / "base"
    public, *owners = experts
    if not base.exists():
        stages.train_base(
            texts[public.slug],
            plan.shape,
            public,
            base,
            plan.run(plan.base_steps, plan.base_seconds, plan.seed, report),
        )
    for place, owner in enumerate(owners):
        folder = work / owner.slug
        if not folder.exists():
            run = plan.run(plan.expert_steps, plan.expert_seconds, plan.seed + 10 + place, report)
            stages.train_contribution(base, texts[owner.slug], owner, folder, run, public_texts=texts[public.slug])
    merged = work / "merged"
    if not merged.exists():
        stages.merge_experts(base, [work / owner.slug for owner in owners], merged, run=plan.run(1, 1, 0, report))
    tables = stages.evaluate_experts(merged, texts, device=plan.device).to_markdown()
    device = pick_device(base, plan.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a processor"
    card = demo_card(texts, experts, plan, tables, f"{time.monotonic() - begin:.0f} s on {name}")
    stages.merge_experts(base, [work / owner.slug for owner in owners], out, run=plan.run(1, 1, 0, report), card=card)
    return tables


def demo_card(
    texts: Mapping[str, list[str]], experts: Sequence[ExpertCard], plan: DemoPlan, tables: str, duration: str
) -> str:
    """Return the model card."""
    shape = plan.shape
    data = "\n".join(
        f"| {e.slug} | {e.title} | {e.owner} | {e.licence} | {sum(map(len, texts[e.slug])):,} |" for e in experts
    )
    return f"""# Fairground's demonstration model

A FlexOlmo of {shape.n_layers} layers, width {shape.width}, {len(experts)} experts of {shape.feed_forward}, vocabulary
{shape.vocabulary}, context {shape.context}, made to show expert switches, routing and tracing. Its text has the shape
of its domains and no meaning. It is no basis for judging helpfulness or truth.

## Data

| expert | text | owner | licence | characters |
|---|---|---|---|---|
{data}

Documents are docstrings, reference sections and some source files of packages installed with this project. One document
in 25 is held out by a digest of its text. The tokenizer was trained on the public expert's text only.

## Training

FlexOlmo's recipe (Shi et al., arXiv 2507.07024) by `manage.py train_demo_model`, which runs the stages of `train_base`,
`train_expert` and `merge_experts`: the dense public model ({plan.base_steps:,} steps of {plan.rows} × {shape.context}
tokens), each owner's expert alone beside the frozen public one, with a quarter of public text
({plan.expert_steps:,} steps each), merging. Dropout {plan.dropout}, seed {plan.seed}; {duration}. Shared weights saw
public text only, and the router's rows are those that each owner's training gave, not tuned together: switching an
expert off equals removing it.

## Measured

{tables}
## Licence

The weights are under Apache-2.0; the texts keep the licences named above.
"""
