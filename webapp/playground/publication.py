"""What the playground writes to the transparency log, inside the caller's transaction. See docs/log-format.md."""

from __future__ import annotations

from webapp.playground.models import Checkpoint, Expert
from webapp.transparency.services import append_entry


def log_opt_out(expert: Expert, change: str, reason_digest: str = "") -> None:
    """Log that an expert went `out` or came back `in`."""
    checkpoint = expert.checkpoint
    body = {
        "owner": expert.owner,
        "expert": expert.slug,
        "change": change,
        "exact": checkpoint.opt_out_exact,
        "checkpoint": checkpoint.slug,
        "checkpoint_digest": checkpoint.digest,
    }
    append_entry(kind="opt_out", body=body | ({"reason": reason_digest} if reason_digest else {}))


def log_withdrawn(checkpoint: Checkpoint) -> None:
    """Log the experts of a new checkpoint whose owners had withdrawn all they own before."""
    for expert in checkpoint.experts.select_related("checkpoint").withdrawn():
        log_opt_out(expert, "out")
