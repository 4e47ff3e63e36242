"""`contributions.json` beside merged weights: what each owner sent, and who joined it when. Reads no weights.

A checkpoint that came from elsewhere may have none. What stands in it was declared by owners and by
whoever merged, and is checked for form alone; the digests let an owner recognise the file that they sent and
find its matrices in the merged weights (`webapp.inference.matrices`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from webapp.inference.card import read_json
from webapp.inference.errors import CheckpointError

CONTRIBUTIONS_FILE = "contributions.json"
FORMAT = "fairground-contributions-1"
MAX_TEXT = 500


@dataclass(frozen=True)
class ContributionRecord:
    """One owner's contribution as it was merged.

    `weights_sha256` is of the owner's `expert.safetensors`, `matrices_sha256` of the matrices in it, which the merged
    weights hold bit for bit; `base_digest` is of the public model that it was trained from. `measured` maps "own" and
    "public" to held-out loss in nats per token before and after training. None is what was not kept; `note` says how
    a record came about that was not written while merging.
    """

    slug: str
    title: str
    owner: str
    licence: str
    corpus: str | None
    weights_sha256: str | None
    base_digest: str
    n_corpus_tokens: int
    n_training_tokens: int
    public_share: float
    seed: int
    measured: Mapping[str, list[float]]
    merged_at: str | None
    merged_by: str
    matrices_sha256: str | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def write_contributions(folder: Path, records: Iterable[ContributionRecord]) -> None:
    """Write the file; nothing for no records. Raises `CheckpointError` for what could not be read again."""
    file = folder / CONTRIBUTIONS_FILE
    rows = [_read(file, record.to_dict()).to_dict() for record in records]
    if rows:
        body = {"format": FORMAT, "contributions": rows}
        file.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_contributions(folder: Path) -> dict[str, ContributionRecord]:
    """Return the records by slug, none without the file. Raises `CheckpointError` with what cannot be used."""
    file = folder / CONTRIBUTIONS_FILE
    if not file.exists():
        return {}
    body = read_json(file)
    entries = body.get("contributions")
    if body.get("format") != FORMAT or not isinstance(entries, list):
        raise CheckpointError(file, f"is not of format {FORMAT!r}")
    records = [_read(file, entry) for entry in entries]
    if len({record.slug for record in records}) < len(records):
        raise CheckpointError(file, "names an expert twice")
    return {record.slug: record for record in records}


def keep_contributions(source: Path, folder: Path, slugs: Iterable[str]) -> None:
    """Copy the records of the experts that stay in a reduced checkpoint."""
    records = read_contributions(source)
    write_contributions(folder, [records[slug] for slug in slugs if slug in records])


def _read(file: Path, entry: Any) -> ContributionRecord:
    if not isinstance(entry, dict):
        raise CheckpointError(file, "must list objects")
    names = ("slug", "title", "owner", "licence", "base_digest", "merged_by")
    fields: dict[str, Any] = {name: _text(file, name, entry.get(name)) for name in names}
    fields["note"] = _text(file, "note", entry.get("note", ""))
    for name in ("corpus", "weights_sha256", "matrices_sha256", "merged_at"):
        fields[name] = None if entry.get(name) is None else _text(file, name, entry[name])
    fields |= {name: _count(file, name, entry.get(name)) for name in ("n_corpus_tokens", "n_training_tokens", "seed")}
    share: Any = entry.get("public_share")
    if not _is_number(share) or not 0 <= share <= 1:
        raise CheckpointError(file, f"public_share is {share!r}; it must be from 0 to 1")
    try:
        datetime.fromisoformat(fields["merged_at"] or "1970-01-01")
    except ValueError:
        raise CheckpointError(file, f"merged_at is {fields['merged_at']!r}, no time in ISO 8601") from None
    return ContributionRecord(**fields, public_share=share, measured=_measured(file, entry.get("measured")))


def _text(file: Path, name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or "\0" in value:
        raise CheckpointError(file, f"{name} must be a text of at most {MAX_TEXT} characters")
    return value


def _count(file: Path, name: str, value: Any) -> int:
    if type(value) is not int or value < 0:
        raise CheckpointError(file, f"{name} is {value!r}; it must be a whole number from 0")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _measured(file: Path, value: Any) -> dict[str, list[float]]:
    if not isinstance(value, dict) or not set(value) <= {"own", "public"}:
        raise CheckpointError(file, 'measured must map "own" and "public" to losses')
    for pair in value.values():
        if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_number, pair)):
            raise CheckpointError(file, f"measured holds {pair!r}, not a loss before and one after")
    return value
