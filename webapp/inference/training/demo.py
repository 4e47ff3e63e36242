"""The demonstration's model in one uninterrupted run, stage by stage, with what was measured in its card."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from webapp.inference.training import measure, recipe
from webapp.inference.training.data import TokenStream, tokenize_domain, train_tokenizer
from webapp.inference.training.export import export_checkpoint
from webapp.inference.training.model import ModelShape, TrainingModel

PROXY_TOKENS = 60_000


@dataclass(frozen=True)
class DemoPlan:
    """Seconds and sizes of each stage."""

    base_seconds: float = 840
    expert_seconds: float = 200
    router_seconds: float = 50
    max_steps: int = 1_000_000
    seed: int = 20
    shape: ModelShape = field(default_factory=ModelShape)
    rows: int = 8

    def budget(self, seconds: float, warmup_steps: int = 20) -> recipe.Budget:
        """Return the budget of one stage."""
        return recipe.Budget(seconds, self.max_steps, self.rows, self.shape.context, warmup_steps)


def train_demo(
    texts: Mapping[str, list[str]],
    experts: Sequence[dict[str, Any]],
    out: Path,
    plan: DemoPlan,
    report: recipe.Report,
) -> str:
    """Train public model, owners' experts, merge, tune the router, measure; return the card's tables.

    `texts` maps each expert's slug to its documents, the public one first, in the order of `experts`.
    Each owner's stage sees the public model, public text and that owner's text: nothing of another's.
    """
    begin = time.monotonic()
    slugs = list(texts)
    tokenizer = train_tokenizer(texts[slugs[0]], plan.shape.vocabulary)
    streams = [tokenize_domain(slug, texts[slug], tokenizer) for slug in slugs]
    report(", ".join(f"{s.domain} {len(s.training) / 1e6:.2f} M tokens" for s in streams))
    base = recipe.train_dense(plan.shape, streams[0], plan.budget(plan.base_seconds, 40), plan.seed, report)
    contributions = [
        recipe.train_expert(base, streams[0], owner, plan.budget(plan.expert_seconds), plan.seed + 10 + i, report)
        for i, owner in enumerate(streams[1:])
    ]
    model = recipe.merge(base, contributions)
    proxies = [stream.training[:PROXY_TOKENS] for stream in streams]
    recipe.tune_router(model, proxies, plan.budget(plan.router_seconds, 10), plan.seed + 5, report)
    tables = _tables(model, slugs, streams)
    card = _card(experts, streams, plan, tables, time.monotonic() - begin)
    export_checkpoint(model, tokenizer, list(experts), card, out)
    return tables


def _tables(model: TrainingModel, slugs: list[str], streams: list[TokenStream]) -> str:
    losses = measure.markdown_table("enabled", slugs, measure.loss_table(model, slugs, streams))
    routing = measure.markdown_table("text of", slugs, measure.routing_table(model, streams))
    return (
        f"Loss in nats per token on held-out documents (column: whose documents; lower is better):\n\n{losses}\n\n"
        f"Mean share of routing weight with all experts on (column: expert):\n\n{routing}\n"
    )


def _card(
    experts: Sequence[dict[str, Any]], streams: list[TokenStream], plan: DemoPlan, tables: str, seconds: float
) -> str:
    shape = plan.shape
    sizes = {stream.domain: len(stream.training) for stream in streams}
    data = "\n".join(
        f"| {e['slug']} | {e['title']} | {e['owner']} | {e['licence']} | {sizes[e['slug']]:,} |" for e in experts
    )
    return f"""# Fairground's demonstration model

A FlexOlmo of {shape.n_layers} layers, width {shape.width}, {len(experts)} experts of {shape.feed_forward}, vocabulary
{shape.vocabulary}, context {shape.context}, made to show expert switches, routing and tracing. Its text has the shape
of its domains and no meaning. It is no basis for judging helpfulness or truth.

## Data

| expert | text | owner | licence | training tokens |
|---|---|---|---|---|
{data}

Documents are docstrings, reference sections and some source files of packages installed with this project. One document
in 25 is held out by a digest of its text. The tokenizer was trained on the public expert's text only.

## Training

FlexOlmo's recipe (Shi et al., arXiv 2507.07024), one uninterrupted run of `manage.py train_demo_model`: the dense
public model ({plan.base_seconds:.0f} s), each owner's expert alone beside the frozen public one, with a quarter of
public text ({plan.expert_seconds:.0f} s each), merging, router tuning on {PROXY_TOKENS:,} tokens of each domain
({plan.router_seconds:.0f} s). Seed {plan.seed}; {seconds:.0f} s in all on a processor. Budgets are in seconds, so a run
on another machine gives another model of the same kind. Shared weights saw public text only: switching an expert off
equals removing it. The router's rows were tuned on every domain's proxy text.

## Measured

{tables}
## Licence

The weights are under Apache-2.0; the texts keep the licences named above.
"""
