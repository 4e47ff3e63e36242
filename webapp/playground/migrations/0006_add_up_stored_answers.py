"""Adds up the answers that were stored before each expert's days were kept."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date
from typing import Any

from django.db import migrations

Totals = dict[tuple[int, date], list[float]]


def add_up(apps: Any, schema_editor: Any) -> None:
    """Write a row for each expert and day."""
    expert, generation, day = (apps.get_model("playground", n) for n in ("Expert", "Generation", "ExpertDay"))
    keys = {(c, slug): pk for pk, c, slug in expert.objects.values_list("pk", "checkpoint_id", "slug")}
    totals: Totals = defaultdict(lambda: [0, 0, 0.0])
    answers = generation.objects.exclude(finished_at=None).exclude(routing_shares={})
    fields = ("checkpoint_id", "finished_at", "experts", "routing_shares", "token_ids")
    for checkpoint, finished_at, experts, shares, token_ids in answers.values_list(*fields).iterator(chunk_size=200):
        for slug in experts:
            if token_ids and (checkpoint, slug) in keys:
                row = totals[keys[checkpoint, slug], finished_at.astimezone(UTC).date()]
                row[0] += 1
                row[1] += len(token_ids)
                row[2] += len(token_ids) * shares.get(slug, 0.0)
    rows = [
        day(expert_id=pk, day=when, n_answers=answers, n_tokens=tokens, weight=weight)
        for (pk, when), (answers, tokens, weight) in totals.items()
    ]
    day.objects.bulk_create(rows, batch_size=500)


class Migration(migrations.Migration):
    dependencies = [("playground", "0005_expert_days")]

    operations = [migrations.RunPython(add_up, migrations.RunPython.noop)]
