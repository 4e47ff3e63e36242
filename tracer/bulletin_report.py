"""What may be shown of a bulletin now, for pages, interface, command and exports alike; files of it.

Everything goes through the viewer's policies: of a corpus that shows counts only, no item is told.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tracer.disclosure import Policy, policies_for
from tracer.engine.contamination import DIRTY_FROM_PERCENT, SUSPICIOUS_FROM_PERCENT, ItemLevel, level_of
from tracer.engine.windows import WINDOW_CHARACTERS
from tracer.exports import without_formulas
from tracer.models import BenchmarkItem, Bulletin, BulletinPart, Corpus, Takedown
from tracer.presentation import REMOVED
from webapp.errors import BadInputError, NotFoundError
from webapp.jobs import JobStatus
from webapp.ownership import NOBODY, Author

Shown = dict[str, Any]
LEVELS = [level.value for level in ItemLevel]
COLUMNS = ("corpus", "owner", "licence", "index", "level", "items", "item", "id", "windows", "found", "share")
MAX_SHOWN_CHARACTERS = 400


def present_bulletin(bulletin: Bulletin, *, author: Author = NOBODY) -> Shown:
    """Return the JSON of a bulletin as this author may see it now."""
    benchmark = bulletin.benchmark
    parts = list(bulletin.parts.all())
    corpora = {corpus.slug: corpus for corpus in Corpus.objects.filter(slug__in=[part.corpus for part in parts])}
    policies = policies_for(corpora.values(), author)
    done = sum(len(part.found) for part in parts if not part.unavailable)
    total = benchmark.n_items * sum(not part.unavailable for part in parts)
    items = _texts(bulletin, parts)
    return {
        "id": str(bulletin.id),
        "status": bulletin.status,
        "error": bulletin.error,
        "created_at": bulletin.created_at.isoformat(),
        "finished_at": bulletin.finished_at.isoformat() if bulletin.finished_at else None,
        "visibility": bulletin.visibility,
        "benchmark": {
            "id": str(benchmark.pk),
            "slug": benchmark.slug,
            "title": benchmark.title,
            "field": benchmark.field,
            "digest": benchmark.digest,
            "n_items": benchmark.n_items,
        },
        "window_characters": WINDOW_CHARACTERS,
        "suspicious_from_percent": SUSPICIOUS_FROM_PERCENT,
        "dirty_from_percent": DIRTY_FROM_PERCENT,
        "fraction": round(done / total, 4) if total else 0.0,
        "parts": [_part(bulletin, part, corpora.get(part.corpus), policies, items) for part in parts],
    }


def _part(
    bulletin: Bulletin,
    part: BulletinPart,
    corpus: Corpus | None,
    policies: Mapping[str, Policy],
    items: Mapping[int, BenchmarkItem],
) -> Shown:
    policy = policies.get(part.corpus)
    shown: Shown = {
        "corpus": part.corpus,
        "title": corpus.title if corpus else part.corpus,
        "owner": corpus.owner if corpus else "",
        "licence": corpus.licence if corpus else "",
        "index": part.index,
        "unit": part.unit,
        "unavailable": part.unavailable,
        "is_open": policy is not None and policy.may_see_matches,
        "n_measured": None,
        "n_undecided": None,
        "levels": dict.fromkeys(LEVELS),
        "examples": [],
    }
    if corpus is None or policy is None:
        return shown
    counts = count_levels(part.found, bulletin.benchmark.n_windows)
    # What was stopped, failed or lacks items goes on when its maker likes: ended after each item it would tell of it.
    is_final = bulletin.status == JobStatus.DONE and not part.unavailable
    shown["levels"] = policy.shown_levels(counts, is_final=is_final)
    if policy.may_see_matches or is_final:
        shown["n_measured"] = len(part.found)
    if policy.may_see_matches:
        shown["n_undecided"] = part.n_undecided
        tombstones = dict(Takedown.objects.filter(corpus=corpus).values_list("document_key", "reason"))
        examples = (_example(example, policy, tombstones, items, corpus) for example in part.examples)
        shown["examples"] = [example for example in examples if example is not None]
    return shown


def count_levels(found: list[int], n_windows: list[int]) -> dict[str, int]:
    """Return how many of the items measured so far have each level."""
    counts = Counter(level_of(n, m).value for n, m in zip(found, n_windows, strict=False))
    return {level: counts[level] for level in LEVELS}


def _example(
    example: Mapping[str, Any],
    policy: Policy,
    tombstones: Mapping[str, str],
    items: Mapping[int, BenchmarkItem],
    corpus: Corpus,
) -> Shown | None:
    item = items.get(example["item"])
    match = policy.shown_match(example["match"])
    if match is None or item is None:
        return None
    key = match["document"].split("/", 1)[1]
    start, end = example["start"], example["end"]
    shown = {
        "item": example["item"],
        "id": item.key,
        "level": example["level"],
        "start": start,
        "end": end,
        "text": item.text,
        "document": match["document"],
        "title": example["title"],
        "licence": example["licence"] or corpus.licence,
        "url": example["url"],
        "snippet": match["snippet"],
        "snippet_start": match["snippet_start"],
        "snippet_end": match["snippet_end"],
        "removed": key in tombstones,
        "is_readable": policy.may_read_documents and key not in tombstones and corpus.is_here,
    }
    if shown["removed"]:
        shown |= {"title": REMOVED, "url": "", "snippet": "", "snippet_start": 0, "snippet_end": 0}
        shown["removed_because"] = tombstones[key]
    return shown


def _texts(bulletin: Bulletin, parts: list[BulletinPart]) -> dict[int, BenchmarkItem]:
    numbers = {example["item"] for part in parts for example in part.examples}
    rows = BenchmarkItem.objects.filter(benchmark=bulletin.benchmark_id, number__in=numbers)
    return {row.number: row for row in rows}


def list_items(
    bulletin: Bulletin, *, corpus: str, level: str = "", author: Author = NOBODY, start: int = 0, size: int = 50
) -> tuple[int, list[Shown]]:
    """Return how many items measured in a corpus have a level (any, if empty), and one page of them.

    Raises `NotFoundError` for a corpus that was not measured, `ForbiddenError` where no item may be told.
    """
    if level and level not in LEVELS:
        raise BadInputError(f"level {level!r} is unknown. Use one of {', '.join(LEVELS)}.", field="level")
    part = bulletin.parts.filter(corpus=corpus).first()
    owner = Corpus.objects.filter(slug=corpus).first()
    if part is None or owner is None:
        raise NotFoundError(f"The bulletin does not measure a corpus {corpus!r}.")
    policies_for([owner], author)[corpus].require_matches()
    measured = [
        {
            "item": number,
            "windows": m,
            "found": n,
            "level": level_of(n, m).value,
            "share": round(n / m, 4) if m else None,
        }
        for number, (n, m) in enumerate(zip(part.found, bulletin.benchmark.n_windows, strict=False))
    ]
    chosen = [row for row in measured if not level or row["level"] == level]
    page = chosen[start : start + size]
    rows = BenchmarkItem.objects.filter(benchmark=bulletin.benchmark_id, number__in=[row["item"] for row in page])
    texts = {row.number: row for row in rows}
    for row in page:
        item = texts[int(row["item"] or 0)]
        row |= {"id": item.key, "text": item.text[:MAX_SHOWN_CHARACTERS]}
    return len(chosen), page


def as_json(bulletin: Bulletin, author: Author) -> str:
    """Return the interface's JSON, with every item of the corpora that are open."""
    shown = present_bulletin(bulletin, author=author)
    keys = dict(bulletin.benchmark.items.values_list("number", "key"))
    for part in shown["parts"]:
        part["items"] = [] if not part["is_open"] else _rows(bulletin, part["corpus"], keys)
    return json.dumps(shown, ensure_ascii=False, indent=1)


def as_csv(bulletin: Bulletin, author: Author) -> str:
    """Return four rows a corpus with the number of items of each level, and one row an item where it is open."""
    shown = present_bulletin(bulletin, author=author)
    keys = dict(bulletin.benchmark.items.values_list("number", "key"))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for part in shown["parts"]:
        head = [part[name] for name in ("corpus", "owner", "licence", "index")]
        for level, count in part["levels"].items():
            writer.writerow(without_formulas([*head, level, "" if count is None else count, *[""] * 5]))
        if not part["is_open"]:
            continue
        for row in _rows(bulletin, part["corpus"], keys):
            facts = [row[name] for name in ("item", "id", "windows", "found", "share")]
            writer.writerow(without_formulas([*head, row["level"], "", *facts]))
    return out.getvalue()


def _rows(bulletin: Bulletin, corpus: str, keys: Mapping[int, str]) -> list[Shown]:
    part = next(part for part in bulletin.parts.all() if part.corpus == corpus)
    return [
        {
            "item": number,
            "id": keys.get(number, ""),
            "windows": m,
            "found": n,
            "share": round(n / m, 4) if m else None,
            "level": level_of(n, m).value,
        }
        for number, (n, m) in enumerate(zip(part.found, bulletin.benchmark.n_windows, strict=False))
    ]


FORMATS = {"json": ("application/json", as_json), "csv": ("text/csv", as_csv)}
