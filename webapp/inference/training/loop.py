"""The training loop of every stage: budget, schedule, progress, and a state from which it goes on.

The state is one safetensors file: weights that learn, optimisers' buffers, generators, steps done. A stage
that was killed and started again with the same settings gives the same weights, bit for bit on a
processor, when its budget is in steps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from webapp.inference.errors import CheckpointError, TrainingError
from webapp.inference.training.model import TrainingModel, next_token_loss

Report = Callable[[str], None]
Batch = Callable[[torch.Generator], Tensor]
REPORT_EVERY_S = 15.0


@dataclass(frozen=True)
class Budget:
    """How long and on what batches a stage trains: until `seconds` or `max_steps` are spent.

    A batch is `rows` windows of `length` tokens; the rate rises over `warmup_steps` and falls to zero over the
    last 40 % of the budget.
    """

    seconds: float = float("inf")
    max_steps: int = 1_000_000
    rows: int = 8
    length: int = 512
    warmup_steps: int = 40
    dropout: float = 0.0

    def spent(self, steps: int, elapsed: float) -> float:
        """Return the fraction of the budget that is spent."""
        return max(elapsed / self.seconds, steps / self.max_steps)


@dataclass(frozen=True)
class StateFile:
    """Where a stage keeps its state, and how often it writes it; `settings` must be the same to go on from it."""

    path: Path
    every_s: float = 60.0
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Progress:
    step: int = 0
    elapsed: float = 0.0


def run_stage(
    model: TrainingModel,
    optimisers: list[torch.optim.Optimizer],
    batch: Batch,
    budget: Budget,
    seed: int,
    report: Report,
    *,
    after_backward: Callable[[TrainingModel], None] | None = None,
    state: StateFile | None = None,
) -> int:
    """Train what requires gradients until the budget is spent; return the steps.

    With `state`, goes on from it where it exists and removes it at the end. Raises `CheckpointError`
    when it was written with other settings or is damaged.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # dropout
    rates = [group["lr"] for optimiser in optimisers for group in optimiser.param_groups]
    learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    progress = _Progress()
    settings = {"budget": asdict(budget), "seed": seed, **(state.settings if state else {})}
    if state and state.path.exists():
        progress = _restore(state.path, settings, learning, optimisers, generator)
        report(f"goes on after step {progress.step}")
    groups = [group for optimiser in optimisers for group in optimiser.param_groups]
    running = torch.zeros((), device=model.device)
    n_running = 0
    begin = time.monotonic() - progress.elapsed
    last_line = last_state = time.monotonic()
    first_step, first_time = progress.step, time.monotonic()
    model.set_dropout(budget.dropout)
    model.train()
    with _fast_products():
        while (done := budget.spent(progress.step, time.monotonic() - begin)) < 1:
            progress.step += 1
            scale = min(1.0, progress.step / budget.warmup_steps) * min(1.0, (1 - done) / 0.4)
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate * scale
            with half_precision(model.device):
                loss = next_token_loss(model, batch(generator).to(model.device))
            loss.backward()  # type: ignore[no-untyped-call]
            if after_backward:
                after_backward(model)
            torch.nn.utils.clip_grad_norm_(learning.values(), 1.0)
            for optimiser in optimisers:
                optimiser.step()
                optimiser.zero_grad()
            running += loss.detach()
            n_running += 1
            now = time.monotonic()
            if now - last_line > REPORT_EVERY_S:
                speed = (progress.step - first_step) * budget.rows * budget.length / (now - first_time)
                left = (now - begin) * (1 - done) / max(done, 1e-9)
                mean = (running / n_running).item()
                if mean != mean:
                    raise TrainingError("The loss is no longer a number. Look for damaged text or weights.")
                report(f"{done:4.0%}, step {progress.step}, loss {mean:.3f}, {speed:,.0f} tokens/s, {left:,.0f} s left")
                running.zero_()
                n_running, last_line = 0, now
            if state and now - last_state > state.every_s:
                progress.elapsed, last_state = now - begin, now
                _save(state.path, settings, learning, optimisers, generator, progress)
    model.eval()
    if state:
        state.path.unlink(missing_ok=True)
    return progress.step


def half_precision(device: torch.device) -> AbstractContextManager[object]:
    """Products in bfloat16 on CUDA; as they are elsewhere."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


@contextmanager
def _fast_products() -> Any:
    """Float32 products in the fastest precision of this machine, in here alone."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _buffers(optimisers: Iterable[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Return the optimisers' buffers by place."""
    found: dict[str, Tensor] = {}
    for place, optimiser in enumerate(optimisers):
        for number, buffers in optimiser.state_dict()["state"].items():
            found |= {f"optimiser.{place}.{number}.{name}": torch.as_tensor(v) for name, v in buffers.items()}
    return found


def _save(
    path: Path,
    settings: dict[str, Any],
    learning: dict[str, torch.nn.Parameter],
    optimisers: list[torch.optim.Optimizer],
    generator: torch.Generator,
    progress: _Progress,
) -> None:
    tensors = {f"weights.{name}": parameter.detach() for name, parameter in learning.items()}
    tensors |= _buffers(optimisers)
    tensors |= {"generator": generator.get_state(), "dropout": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["dropout_cuda"] = torch.cuda.get_rng_state()
    partial = path.with_name(f"{path.name}.partial")
    metadata = {"settings": _canonical(settings), "progress": json.dumps(asdict(progress))}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata=metadata)
    partial.replace(path)


def _restore(
    path: Path,
    settings: dict[str, Any],
    learning: dict[str, torch.nn.Parameter],
    optimisers: list[torch.optim.Optimizer],
    generator: torch.Generator,
) -> _Progress:
    try:
        with safe_open(path, "pt") as handle:
            metadata = handle.metadata() or {}
            if metadata.get("settings") != _canonical(settings):
                raise CheckpointError(path, "was left by a run with other settings; use these, or delete it")
            progress = _Progress(**json.loads(metadata["progress"]))
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(path, f"is damaged ({error}); delete it to begin again") from error
    with torch.no_grad():
        for name, parameter in learning.items():
            parameter.copy_(tensors[f"weights.{name}"])
    for place, optimiser in enumerate(optimisers):
        body = optimiser.state_dict()
        body["state"] = {}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimiser" and rest.startswith(f"{place}."):
                _, number, buffer = rest.split(".")
                body["state"].setdefault(int(number), {})[buffer] = tensor
        optimiser.load_state_dict(body)
    generator.set_state(tensors["generator"])
    torch.set_rng_state(tensors["dropout"])
    if "dropout_cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["dropout_cuda"])
    return progress


def _canonical(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)
