"""The stages with folders between them: what each party runs on its own machine.

    train_base          public text           → a checkpoint with one expert, "public"
    train_contribution  base, owner's text    → a contribution, which is all that leaves the owner
    merge_experts       base, contributions   → a FlexOlmo checkpoint; its router tuned where proxy text is given
    evaluate_experts    checkpoint, texts     → loss per domain × mask, routing shares

A stage that was interrupted goes on from the state file beside its result when it is started again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from webapp.inference.card import ExpertCard, read_checkpoint_card, read_json
from webapp.inference.config import read_config
from webapp.inference.errors import CheckpointError, TrainingError
from webapp.inference.placement import pick_device
from webapp.inference.text_files import read_tokenizer
from webapp.inference.training import measure, recipe
from webapp.inference.training.contribution import (
    Declaration,
    base_digest,
    check_together,
    read_contribution,
    sent_digest,
    write_contribution,
)
from webapp.inference.training.data import TokenStream, tokenize_domain, train_tokenizer
from webapp.inference.training.export import Manifest, export_new, export_on
from webapp.inference.training.load import load_base, load_model, read_shape
from webapp.inference.training.loop import Budget, Report, StateFile
from webapp.inference.training.model import ModelShape, TrainingModel

PROXY_TOKENS = 60_000
Texts = Iterable[str]


@dataclass(frozen=True)
class Run:
    """How a stage runs: its budget, seed, device ("auto", "cpu", "cuda") and how often it keeps its state."""

    budget: Budget
    seed: int = 20
    device: str = "auto"
    save_every_s: float = 60.0
    report: Report = field(default=lambda line: None)

    def state(self, out: Path, **settings: Any) -> StateFile:
        """Return the state file of the stage that writes `out`."""
        out.parent.mkdir(parents=True, exist_ok=True)
        return StateFile(out.with_name(f".{out.name}.training"), self.save_every_s, settings)


@dataclass(frozen=True)
class Tables:
    """Loss in nats per token by mask and domain, mean routing share by domain and expert, all experts on.

    `tokens_per_byte` of each domain's held-out text turns a loss into nats per byte.
    """

    experts: list[str]
    domains: list[str]
    losses: list[tuple[str, list[float]]]
    routing: list[tuple[str, list[float]]]
    tokens_per_byte: list[float]

    def to_markdown(self) -> str:
        """Return the tables for people."""
        per_byte = [
            (title, [loss * rate for loss, rate in zip(losses, self.tokens_per_byte, strict=True)])
            for title, losses in self.losses
        ]
        return (
            "Loss in nats per token on held-out documents (column: whose documents; lower is better):\n\n"
            f"{measure.markdown_table('enabled', self.domains, self.losses)}\n\n"
            "The same in nats per byte of text, which compares across tokenizers:\n\n"
            f"{measure.markdown_table('enabled', self.domains, per_byte)}\n\n"
            "Mean share of routing weight with all experts on (column: expert):\n\n"
            f"{measure.markdown_table('text of', self.experts, self.routing)}\n"
        )


def train_base(texts: Texts, shape: ModelShape, expert: ExpertCard, out: Path, run: Run) -> float:
    """Train the tokenizer and the dense public model; return its held-out loss in nats per token.

    `expert` describes the public text. Raises `CheckpointError` when `out` exists, `TrainingError` for too little text.
    """
    _check_new(out)
    public_texts = list(texts)
    tokenizer = train_tokenizer(public_texts, shape.vocabulary)
    stream = tokenize_domain(expert.slug, public_texts, tokenizer)
    run.report(f"{expert.slug}: {len(stream.training):,} tokens")
    device = pick_device(out, run.device)
    state = run.state(out, stage="base", text=_digest(stream.training))
    model = recipe.train_dense(shape, stream, run.budget, run.seed, run.report, device=device, state=state)
    loss = measure.held_out_loss(model, stream.held_out)
    text = "A dense public model, from which owners train experts alone."
    card = f"# {expert.title}\n\n{text} Held-out loss {loss:.3f} nats per token.\n"
    export_new(model, tokenizer, Manifest([expert], card), out)
    return loss


def train_contribution(
    base: Path, texts: Texts, expert: ExpertCard, out: Path, run: Run, *, public_texts: Texts | None = None
) -> Declaration:
    """Train one owner's expert beside the frozen public model and write the contribution folder `out`.

    `public_texts` are mixed into a quarter of each batch. Raises `CheckpointError` for a base or state that
    cannot be used and when `out` exists, `TrainingError` for too little text.
    """
    _check_new(out)
    device = pick_device(base, run.device)
    digest = base_digest(base)
    tokenizer, end = _base_tokenizer(base)
    owner = tokenize_domain(expert.slug, texts, tokenizer, end_of_text=end)
    public = None if public_texts is None else tokenize_domain("public", public_texts, tokenizer, end_of_text=end)
    model = load_base(base, device, run.report)
    budget = replace(run.budget, length=min(run.budget.length, model.shape.context))
    parts = {"own": owner} if public is None else {"own": owner, "public": public}
    before = {name: measure.held_out_loss(model, stream.held_out) for name, stream in parts.items()}
    settings = {"stage": "expert", "base": digest, "text": _digest(owner.training)}
    state = run.state(out, **settings, public=_digest(public.training) if public else "")
    contribution = recipe.train_expert(model, public, owner, budget, run.seed, run.report, state=state)
    joined = recipe.merge(model, [contribution])
    after = {name: measure.held_out_loss(joined, stream.held_out) for name, stream in parts.items()}
    declaration = Declaration(
        expert=expert,
        base_digest=digest,
        n_training_tokens=contribution.n_tokens,
        n_corpus_tokens=len(owner.training),
        public_share=0.0 if public is None else max(1, budget.rows // recipe.PUBLIC_SHARE) / budget.rows,
        seed=run.seed,
        measured={name: [before[name], after[name]] for name in parts},
    )
    write_contribution(out, contribution, declaration, _dtype(base))
    return declaration


def merge_experts(
    base: Path,
    contributions: Sequence[Path],
    out: Path,
    *,
    proxies: Mapping[str, Texts] | None = None,
    run: Run | None = None,
    card: str = "",
    merged_by: str = "",
) -> None:
    """Join what owners sent into the new checkpoint `out`, whose shared weights are the base's, bit for bit.

    What each owner declared is kept beside the weights, with the time and `merged_by`, who joins them.

    With `proxies`, text per domain, the router's rows are tuned on `PROXY_TOKENS` of each: opt-out is then
    no longer exact, and the rows from before are kept beside it. Raises `CheckpointError` and `TrainingError`.
    """
    _check_new(out)
    if not contributions:
        raise TrainingError("There is nothing to merge. Name at least one contribution folder.")
    run = run or Run(Budget())
    shape = read_shape(base)
    read = [read_contribution(path, base, shape) for path in contributions]
    declarations = [declaration for _, declaration in read]
    check_together(declarations)
    device = pick_device(base, run.device)
    model = recipe.merge(load_base(base, torch.device("cpu")), [contribution for contribution, _ in read]).to(device)
    untuned: Tensor | None = None
    if proxies:
        tokenizer, end = _base_tokenizer(base)
        streams = [tokenize_domain(name, texts, tokenizer, end_of_text=end) for name, texts in proxies.items()]
        untuned = recipe.router_rows(model)
        budget = replace(run.budget, length=min(run.budget.length, shape.context))
        tokens = [stream.training[:PROXY_TOKENS] for stream in streams]
        settings = {"stage": "router", "experts": [d.expert.slug for d in declarations]}
        state = run.state(out, **settings, text=[_digest(each) for each in tokens])
        recipe.tune_router(model, tokens, budget, run.seed, run.report, state=state)
    experts = [read_checkpoint_card(base).experts[0], *(declaration.expert for declaration in declarations)]
    text = card or _merged_card(experts, declarations, is_tuned=untuned is not None)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    records = [
        declaration.to_record(matrices_sha256=sent_digest(sent, _dtype(base)), merged_at=now, merged_by=merged_by)
        for sent, declaration in read
    ]
    export_on(base, model, Manifest(experts, text, untuned is None, untuned, records), out)


def evaluate_experts(checkpoint: Path, domains: Mapping[str, Texts], *, device: str = "auto") -> Tables:
    """Measure a checkpoint on held-out documents of each domain under the masks of interest."""
    model = load_model(checkpoint, pick_device(checkpoint, device)).eval()
    tokenizer, end = _base_tokenizer(checkpoint)
    streams = [tokenize_domain(name, texts, tokenizer, end_of_text=end) for name, texts in domains.items()]
    return measure_experts(model, list(read_checkpoint_card(checkpoint).slugs), streams)


def measure_experts(model: TrainingModel, experts: list[str], streams: list[TokenStream]) -> Tables:
    """Measure a model in memory."""
    losses = measure.loss_table(model, experts, streams)
    rates = [stream.tokens_per_byte for stream in streams]
    return Tables(experts, [s.domain for s in streams], losses, measure.routing_table(model, streams), rates)


def _check_new(out: Path) -> None:
    if out.exists():
        raise CheckpointError(out, "exists already; choose a new folder")


def _base_tokenizer(path: Path) -> tuple[Tokenizer, int | None]:
    """Return a checkpoint's tokenizer and the token that ends a text."""
    config = read_config(path, allow_dense=True)
    end = config.eos_token_id
    end = end[0] if isinstance(end, list) and end else end
    is_known = isinstance(end, int) and 0 <= end < config.model.vocab_size
    return read_tokenizer(path, config.model.vocab_size), end if is_known and isinstance(end, int) else None


def _dtype(path: Path) -> torch.dtype:
    body = read_json(path / "config.json")
    dtype = getattr(torch, str(body.get("dtype") or body.get("torch_dtype") or "bfloat16"), torch.bfloat16)
    return dtype if isinstance(dtype, torch.dtype) else torch.bfloat16


def _digest(tokens: Tensor) -> str:
    return hashlib.sha256(tokens.numpy().tobytes()).hexdigest()


def _merged_card(experts: Sequence[ExpertCard], declarations: Sequence[Declaration], *, is_tuned: bool) -> str:
    sizes = ["", *(f"{declaration.n_corpus_tokens:,}" for declaration in declarations)]
    rows = "\n".join(
        f"| {e.slug} | {e.title} | {e.owner} | {e.licence} | {size} |" for e, size in zip(experts, sizes, strict=True)
    )
    router = (
        "The router's rows were tuned on proxy text of all domains: switching an expert off removes its weights, "
        "not its trace in the other rows. The rows from before tuning are in `before_tuning/`."
        if is_tuned
        else "The router's rows are those that the owners sent: switching an expert off equals removing it."
    )
    return f"""# {" + ".join(expert.slug for expert in experts)}

Experts of several owners, merged without sharing data (Shi et al., arXiv 2507.07024). Shared weights are the public
model's, bit for bit. {router}

| expert | text | owner | licence | tokens of own text |
|---|---|---|---|---|
{rows}
"""
