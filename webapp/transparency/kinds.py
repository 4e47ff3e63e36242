"""The registered kinds of log leaf and the fields of each; docs/log-format.md explains them.

Another app adds a kind or a field here. A field that stands in a published log is never renamed,
removed or given another meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from webapp.errors import BadInputError
from webapp.transparency.fields import (
    COUNT,
    DECIMAL,
    DIGEST,
    FLAG,
    FRACTION,
    ID,
    MAP,
    NONCE,
    SLUG,
    TEXT,
    Record,
    list_of,
    one_of,
    record,
)

RATING = record(
    "rating",
    Record(
        {
            "contestant": ID,
            "rating": DECIMAL,
            "lower": DECIMAL,
            "upper": DECIMAL,
            "n_votes": COUNT,
            "rank_low": COUNT,
            "rank_high": COUNT,
        },
        {"overlap": DECIMAL, "n_overlap": COUNT},
    ),
)
COVERAGE = record("coverage", Record({"covered": COUNT, "characters": COUNT}))
SEARCHED = record("searched", Record({"corpus": SLUG, "index": DIGEST}))
UNRANKABLE = record("unrankable", Record({"contestant": ID, "reason": SLUG}))
DRAW_KEY = {"season": SLUG, "epoch": COUNT, "draw_index": COUNT, "battle": ID}

KINDS: Mapping[str, Record] = {
    "policy": Record(
        {
            "season": SLUG,
            "version": COUNT,
            "simulated": FLAG,
            "sampling": MAP,
            "rating": MAP,
            "exclusion_rules": list_of(SLUG),
            "roster_rules": list_of(SLUG),
            "variant_cap": COUNT,
            "variant_days": COUNT,
            "edit_window_s": COUNT,
            "document": DIGEST,
        },
        {"retirement": MAP, "voting": MAP, "overlap": MAP},
    ),
    "contestant": Record(
        {
            "season": SLUG,
            "contestant": ID,
            "provider": SLUG,
            "licence_group": one_of("proprietary", "open-weight", "open-source"),
            "visibility": one_of("public", "private"),
            "artifact": MAP,
            "artifact_digest": DIGEST,
        },
        {"name": TEXT},
    ),
    "roster_change": Record(
        {
            "season": SLUG,
            "contestant": ID,
            "change": one_of("launched", "withdrawn", "expired", "retired", "paused", "resumed"),
            "policy": COUNT,
            "rule": SLUG,
            "numbers": MAP,
        },
        {"board": ID},
    ),
    "epoch": Record(
        {
            "season": SLUG,
            "epoch": COUNT,
            "policy": COUNT,
            "seed_commitment": DIGEST,
            "roster": list_of(ID),
            "tree_size": COUNT,
            "n_votes": COUNT,
            "weights_digest": DIGEST,
        }
    ),
    "draw": Record({**DRAW_KEY, "nonce": NONCE, "prompt": DIGEST}, {"voter": DIGEST}),
    "vote": Record(
        {**DRAW_KEY, "verdict": one_of("a", "b", "tie", "both_bad"), "voter": DIGEST},
        {"supersedes": ID},
    ),
    "close": Record(
        {
            **DRAW_KEY,
            "outcome": one_of("vote", "skip", "abandoned", "error", "moderated"),
            "side_a": ID,
            "side_b": ID,
            "swap": FLAG,
            "probability": FRACTION,
        },
        {"vote": ID, "reason": SLUG, "slices": MAP, "answer_a": DIGEST, "answer_b": DIGEST, "features": MAP},
    ),
    "overlap": Record(
        {"season": SLUG, "battle": ID, "settings": DIGEST, "outcome": one_of("measured", "unmeasured")},
        {"a": COVERAGE, "b": COVERAGE, "indexes": list_of(SEARCHED), "reason": SLUG},
    ),
    "exclude": Record(
        {
            "season": SLUG,
            "exclusion": ID,
            "subject": one_of("voter", "battle"),
            "target": TEXT,
            "policy": COUNT,
            "rule": SLUG,
            "numbers": MAP,
        }
    ),
    "include": Record({"season": SLUG, "exclusion": ID, "policy": COUNT, "rule": SLUG, "numbers": MAP}),
    "reveal": Record({"season": SLUG, "epoch": COUNT, "seed": DIGEST, "n_draws": COUNT}),
    "board": Record(
        {
            "season": SLUG,
            "board": ID,
            "tree_size": COUNT,
            "policy": COUNT,
            "slice": MAP,
            "both_bad": FLAG,
            "include_excluded": FLAG,
            "pre_release": list_of(ID),
            "method": MAP,
            "input_digest": DIGEST,
            "n_votes": COUNT,
            "ratings": list_of(RATING),
            "unrankable": list_of(UNRANKABLE),
        },
        {"n_without_overlap": COUNT},
    ),
    "release": Record(
        {"season": SLUG, "tree_size": COUNT, "files": MAP},
        {"release": ID, "votes_size": COUNT, "n_votes": COUNT, "n_withheld": COUNT, "replaces": ID},
    ),
    "corpus": Record(
        {
            "corpus": SLUG,
            "owner": TEXT,
            "licence": TEXT,
            "disclosure": one_of("full", "snippet", "counts"),
            "n_documents": COUNT,
            "digest": DIGEST,
        },
        {"title": TEXT},
    ),
    "index": Record(
        {
            "corpus": SLUG,
            "index": DIGEST,
            "change": one_of("registered", "enabled", "disabled"),
            "tokenizer_digest": DIGEST,
            "n_documents": COUNT,
            "n_tokens": COUNT,
            "n_shards": COUNT,
        }
    ),
    "takedown": Record({"corpus": SLUG, "takedown": ID, "document": DIGEST, "reason": DIGEST}),
    "opt_out": Record(
        {
            "owner": TEXT,
            "expert": SLUG,
            "change": one_of("out", "in"),
            "exact": FLAG,
        },
        {"checkpoint": SLUG, "checkpoint_digest": DIGEST, "reason": DIGEST},
    ),
}


def check_body(kind: str, body: Mapping[str, Any]) -> None:
    """Raise `BadInputError` when the kind is unknown or the body does not fit it."""
    fields = KINDS.get(kind)
    if fields is None:
        raise BadInputError(f"There is no kind of log entry {kind!r}. Known kinds: {', '.join(KINDS)}.", field="kind")
    fault = fields.fault(body)
    if fault:
        raise BadInputError(f"A {kind} entry {fault}.", field="body")
