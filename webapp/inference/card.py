"""`experts.json`: who owns which expert of a checkpoint. Reads no weights."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from webapp.inference.errors import CheckpointError

EXPERTS_FILE = "experts.json"
_SLUG = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")


@dataclass(frozen=True)
class ExpertCard:
    """One expert: its place in the list is its index in the router."""

    slug: str
    title: str
    owner: str
    corpus: str | None = None
    licence: str = ""


@dataclass(frozen=True)
class CheckpointCard:
    """All experts of a checkpoint in router order.

    `opt_out_exact` says that the shared weights saw no owner's data, so that
    switching an expert off removes its owner's influence entirely.
    """

    experts: tuple[ExpertCard, ...]
    opt_out_exact: bool = False

    @property
    def slugs(self) -> tuple[str, ...]:
        return tuple(expert.slug for expert in self.experts)

    def keeping(self, slugs: Sequence[str]) -> CheckpointCard:
        """The card of a checkpoint reduced to `slugs`, in that order."""
        by_slug = {expert.slug: expert for expert in self.experts}
        return CheckpointCard(tuple(by_slug[slug] for slug in slugs), self.opt_out_exact)

    def to_json(self) -> str:
        body = {"experts": [asdict(expert) for expert in self.experts], "opt_out_exact": self.opt_out_exact}
        return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; CheckpointError when there is none."""
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(file, "is missing; copy the whole checkpoint folder") from None
    except OSError as error:
        raise CheckpointError(file, f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise CheckpointError(file, f"is not valid JSON ({error})") from error
    if not isinstance(body, dict):
        raise CheckpointError(file, "must hold a JSON object")
    return body


def read_checkpoint_card(path: Path, experts_file: Path | None = None) -> CheckpointCard:
    """The card of a checkpoint folder, from `experts_file` in place of the folder's own when given.

    Without `experts.json` the experts are named `public`, `expert-1`, … and
    nothing is promised about opt-out.
    """
    n_experts = read_json(path / "config.json").get("num_experts", 7)
    if type(n_experts) is not int or n_experts < 1:
        raise CheckpointError(path / "config.json", f"num_experts is {n_experts!r}; it must be a whole number above 0")
    file = experts_file or path / EXPERTS_FILE
    if experts_file is None and not file.exists():
        slugs = ["public", *(f"expert-{index}" for index in range(1, n_experts))]
        return CheckpointCard(tuple(ExpertCard(slug, slug, "unknown") for slug in slugs))
    body = read_json(file)
    entries = body.get("experts")
    if not isinstance(entries, list) or not entries:
        raise CheckpointError(file, 'needs a non-empty list "experts"')
    if len(entries) != n_experts:
        raise CheckpointError(file, f"names {len(entries)} experts, but config.json has {n_experts}; name every expert")
    experts = tuple(read_expert_card(file, index, entry) for index, entry in enumerate(entries))
    slugs = [expert.slug for expert in experts]
    for slug in slugs:
        if slugs.count(slug) > 1:
            raise CheckpointError(file, f"names the expert {slug!r} twice; slugs must differ")
    is_exact = body.get("opt_out_exact", False)
    if not isinstance(is_exact, bool):
        raise CheckpointError(file, '"opt_out_exact" must be true or false')
    return CheckpointCard(experts, is_exact)


def read_expert_card(file: Path, index: int, entry: object) -> ExpertCard:
    """One entry of a list of experts, checked; CheckpointError with the value that cannot be used."""
    if not isinstance(entry, dict):
        raise CheckpointError(file, f"expert {index} must be an object with slug, title and owner")
    slug = entry.get("slug")
    if not isinstance(slug, str) or not _SLUG.fullmatch(slug):
        raise CheckpointError(file, f"expert {index} needs a slug of small letters, digits, - and _; it has {slug!r}")
    corpus = entry.get("corpus")
    if corpus is not None and not isinstance(corpus, str):
        raise CheckpointError(file, f'"corpus" of expert {slug!r} must be a corpus slug or null')
    texts = {}
    for field, default in (("title", slug), ("owner", "unknown"), ("licence", "")):
        texts[field] = entry.get(field, default)
        if not isinstance(texts[field], str):
            raise CheckpointError(file, f'"{field}" of expert {slug!r} must be a text')
    return ExpertCard(slug, texts["title"], texts["owner"], corpus, texts["licence"])
