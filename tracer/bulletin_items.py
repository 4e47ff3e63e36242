"""Items of a bulletin: which are measured next, and the passages of them that are kept to show."""

from __future__ import annotations

from collections.abc import Callable

from tracer.disclosure import Policy
from tracer.engine.contamination import ItemExample, ItemLevel
from tracer.models import BenchmarkItem, Bulletin, BulletinPart

MAX_EXAMPLES = 10
WITH_EXAMPLE = (ItemLevel.DIRTY, ItemLevel.SUSPICIOUS)
SAVE_EVERY_S = 1.0
CHUNK = 100
Save = Callable[[], None]


def items_from(bulletin: Bulletin, first: int, n: int = CHUNK) -> list[BenchmarkItem]:
    """Return up to `n` items of a bulletin's benchmark, from number `first` on."""
    items = BenchmarkItem.objects.filter(benchmark=bulletin.benchmark_id, number__gte=first)
    return list(items.order_by("number")[:n])


def begin_anew(part: BulletinPart, digest: str, unit: str) -> None:
    """Forget what was measured: the index is another than it was."""
    part.index, part.unit, part.found, part.examples, part.n_undecided = digest, unit, [], [], 0


def keep_example(
    part: BulletinPart, policy: Policy, number: int, level: ItemLevel, read: Callable[[], ItemExample | None]
) -> None:
    """Keep the passage that `read` gives of item `number`, dirty ones first and no more than the author may see."""
    if not policy.may_see_matches or level not in WITH_EXAMPLE:
        return
    if len(part.examples) >= MAX_EXAMPLES:
        weaker = [n for n, kept in enumerate(part.examples) if kept["level"] != ItemLevel.DIRTY]
        if level is not ItemLevel.DIRTY or not weaker:
            return
        del part.examples[weaker[-1]]
    example = read()
    if example is None:
        return
    facts = {name: str(example.facts.get(name, "")) for name in ("title", "licence", "url")}
    match = {
        "corpus": part.corpus,
        "document": f"{part.corpus}/{example.key}",
        "snippet": example.snippet,
        "snippet_start": example.snippet_start,
        "snippet_end": example.snippet_end,
        "token_start": None,
    }
    shown = policy.shown_match(match)
    if shown is not None:
        kept = {"item": number, "level": level.value, "start": example.start, "end": example.end}
        part.examples.append({**kept, **facts, "match": shown})
