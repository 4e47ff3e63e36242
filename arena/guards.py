"""Rules that the database itself keeps, whoever writes: no role, script or admin page can get around them.

The same declarations make triggers for PostgreSQL and SQLite. A violation is an `IntegrityError`
with the rule's sentence. Rebuilding a table on SQLite drops its triggers, so every migration that
alters a guarded table ends with `install_guards`; a test compares what is there with this list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

WRITTEN_ONCE: Mapping[str, tuple[tuple[str, ...], ...]] = {  # table: what is unique in it besides the id
    "provider": (("slug",),),
    "contestant": (("entry_id",), ("season_id", "slug"), ("season_id", "digest")),
    "rosterchange": (("entry_id",), ("contestant_id", "kind", "o.kind NOT IN ('paused', 'resumed')")),
    "retirementrun": (),
    "policy": (("entry_id",), ("season_id", "version")),
    "season": (("slug",),),
    "epoch": (("entry_id",), ("commitment",), ("season_id", "number")),
    "epochreveal": (("entry_id",), ("epoch_id",)),
    "battle": (("entry_id",), ("epoch_id", "draw_index")),
    "battleturn": (("battle_id", "number"), ("generation_a_id",), ("generation_b_id",)),
    "battleclose": (("entry_id",), ("battle_id",)),
    "vote": (
        ("entry_id",),
        ("supersedes_id",),
        ("battle_id", "voter_id", "o.supersedes_id IS NULL AND NEW.supersedes_id IS NULL"),
    ),
    "votedetail": (("vote_id",),),
    "exclusion": (("entry_id",), ("ends_id",)),
    "leaderboard": (("entry_id",),),
    "judgeverdict": (("judge_id", "battle_id", "is_swapped"),),
    "onboardinganswer": (),
    "overlap": (("entry_id",), ("battle_id",)),
}
LATER = {"overlap"}  # tables that a migration after the first guards makes
#: The one change that a table allows: the salt of erased answers is forgotten, so that nobody finds them by guessing.
ERASABLE = {
    "battleclose": "OLD.salt = '' OR NEW.salt <> '' OR "
    + " OR ".join(f"NEW.{c} <> OLD.{c}" for c in ("id", "battle_id", "kind", "reason", "entry_id", "created_at"))
}
CHANGED = "SELECT 1 FROM arena_rosterchange AS c WHERE c.contestant_id"


@dataclass(frozen=True)
class Guard:
    """Refuse `event` on a table when the condition over NEW (and OLD) holds; `lock` serialises on PostgreSQL."""

    name: str
    table: str
    event: str
    refuse_when: str
    message: str
    lock: str = ""
    vendor: str = ""  # only there; empty for both


def _written_once(tables: Iterable[str]) -> Iterator[Guard]:
    for table in tables:
        for event in ("UPDATE", "DELETE"):
            yield Guard(
                f"arena_{table}_no_{event.lower()}",
                f"arena_{table}",
                event,
                ERASABLE.get(table, "TRUE") if event == "UPDATE" else "TRUE",
                f"A {table} row is written once: add a new record instead of this {event.lower()}.",
            )
        yield Guard(
            f"arena_{table}_no_truncate",
            f"arena_{table}",
            "TRUNCATE",
            "TRUE",
            f"A {table} row is written once: the table cannot be emptied.",
            vendor="postgresql",
        )
        yield Guard(
            f"arena_{table}_no_replace",
            f"arena_{table}",
            "INSERT",
            _same_row(table),
            f"A {table} row is written once: it cannot be replaced.",
            vendor="sqlite",
        )


def _same_row(table: str) -> str:
    """Return the condition that a row stands where the new one wants to: INSERT OR REPLACE fires no DELETE trigger."""
    keys = [("id",), *WRITTEN_ONCE[table]]
    same = (" AND ".join(c if " " in c else f"o.{c} = NEW.{c}" for c in key) for key in keys)
    return f"EXISTS (SELECT 1 FROM arena_{table} AS o WHERE {' OR '.join(f'({k})' for k in same)})"  # noqa: S608


RULES = (
    Guard("arena_voter_no_delete", "arena_voter", "DELETE", "TRUE", "Voters stay: their votes name them."),
    Guard(
        "arena_voter_no_update",
        "arena_voter",
        "UPDATE",
        "NEW.id <> OLD.id OR NEW.salt <> OLD.salt OR NEW.is_simulated <> OLD.is_simulated",
        "A voter keeps its id and its kind.",
    ),
    Guard("arena_turntext_no_update", "arena_turntext", "UPDATE", "TRUE", "A prompt can be erased, not rewritten."),
    Guard(
        "arena_contestant_private_cap",
        "arena_contestant",
        "INSERT",
        "NEW.visibility = 'private' AND (SELECT COUNT(*) FROM arena_contestant AS o WHERE "  # noqa: S608
        "o.provider_id = NEW.provider_id AND o.season_id = NEW.season_id AND o.visibility = 'private' AND NOT EXISTS "
        f"({CHANGED} = o.id AND c.kind IN ('launched', 'withdrawn', 'retired'))) >= "
        "COALESCE((SELECT private_cap FROM arena_policy AS p WHERE p.season_id = NEW.season_id "
        "ORDER BY version DESC LIMIT 1), 0)",
        "The provider has as many private variants as the policy allows: launch or withdraw one first.",
        lock="PERFORM 1 FROM arena_provider WHERE id = NEW.provider_id FOR UPDATE;",
    ),
    Guard(
        "arena_rosterchange_order",
        "arena_rosterchange",
        "INSERT",
        f"EXISTS ({CHANGED} = NEW.contestant_id AND c.kind IN ('retired', 'withdrawn')) OR "
        "(NEW.kind = 'withdrawn' OR NEW.kind = 'expired') AND "
        f"EXISTS ({CHANGED} = NEW.contestant_id AND c.kind = 'launched')",
        "The contestant's state does not allow this change: what was withdrawn, launched or retired stays so.",
        lock="PERFORM 1 FROM arena_contestant WHERE id = NEW.contestant_id FOR UPDATE;",
    ),
    Guard(
        "arena_rosterchange_private",
        "arena_rosterchange",
        "INSERT",
        "NEW.kind IN ('launched', 'withdrawn', 'expired') AND "
        "(SELECT visibility FROM arena_contestant WHERE id = NEW.contestant_id) <> 'private'",
        "A public contestant cannot be withdrawn or launched; only the removal rule retires it.",
    ),
    Guard(
        "arena_policy_gap_free",
        "arena_policy",
        "INSERT",
        "NEW.version <> (SELECT COALESCE(MAX(version), 0) + 1 FROM arena_policy AS p "
        "WHERE p.season_id = NEW.season_id)",
        "Policies are numbered without gaps.",
    ),
    Guard(
        "arena_epoch_gap_free",
        "arena_epoch",
        "INSERT",
        "NEW.number <> (SELECT COALESCE(MAX(number) + 1, 0) FROM arena_epoch AS e WHERE e.season_id = NEW.season_id)",
        "Epochs of a season are numbered without gaps.",
    ),
    Guard(
        "arena_epochreveal_closed",
        "arena_epochreveal",
        "INSERT",
        "EXISTS (SELECT 1 FROM arena_battle AS b WHERE b.epoch_id = NEW.epoch_id AND NOT EXISTS "
        "(SELECT 1 FROM arena_battleclose AS k WHERE k.battle_id = b.id)) OR NEW.n_draws <> "
        "(SELECT COUNT(*) FROM arena_battle AS b WHERE b.epoch_id = NEW.epoch_id)",
        "A seed is revealed once every draw of its epoch is closed.",
        lock="PERFORM 1 FROM arena_epoch WHERE id = NEW.epoch_id FOR UPDATE;",
    ),
    Guard(
        "arena_battle_gap_free",
        "arena_battle",
        "INSERT",
        "NEW.draw_index <> (SELECT COALESCE(MAX(draw_index) + 1, 0) FROM arena_battle AS b "
        "WHERE b.epoch_id = NEW.epoch_id)",
        "Draw indices of an epoch have no gaps.",
        lock="PERFORM 1 FROM arena_epoch WHERE id = NEW.epoch_id FOR UPDATE;",
    ),
    Guard(
        "arena_battle_epoch_open",
        "arena_battle",
        "INSERT",
        "EXISTS (SELECT 1 FROM arena_epochreveal AS r WHERE r.epoch_id = NEW.epoch_id) OR "
        "NEW.season_id <> (SELECT season_id FROM arena_epoch WHERE id = NEW.epoch_id)",
        "The epoch is over, or of another season.",
    ),
    Guard(
        "arena_battle_season_roster",
        "arena_battle",
        "INSERT",
        "2 <> (SELECT COUNT(*) FROM arena_contestant AS o WHERE o.season_id = NEW.season_id "
        "AND o.id IN (NEW.contestant_a_id, NEW.contestant_b_id))",
        "Both contestants belong to the battle's season.",
    ),
    Guard(
        "arena_battle_simulation_apart",
        "arena_battle",
        "INSERT",
        "(SELECT is_simulated FROM arena_season WHERE id = NEW.season_id) <> "
        "(SELECT is_simulated FROM arena_voter WHERE id = NEW.voter_id)",
        "Simulated voters battle in simulated seasons alone, people in the others.",
    ),
    Guard(
        "arena_battle_pre_release",
        "arena_battle",
        "INSERT",
        "NEW.is_pre_release <> EXISTS (SELECT 1 FROM arena_contestant AS o WHERE "  # noqa: S608
        "o.id IN (NEW.contestant_a_id, NEW.contestant_b_id) AND o.visibility = 'private' AND NOT EXISTS "
        f"({CHANGED} = o.id AND c.kind = 'launched'))",
        "A battle is marked pre-release exactly when a variant that was never launched takes part.",
    ),
    Guard(
        "arena_vote_open",
        "arena_vote",
        "INSERT",
        "EXISTS (SELECT 1 FROM arena_battleclose AS k WHERE k.battle_id = NEW.battle_id)",
        "The battle is closed: votes are given before the reveal.",
        lock="PERFORM 1 FROM arena_battle WHERE id = NEW.battle_id FOR UPDATE;",
    ),
    Guard(
        "arena_vote_own",
        "arena_vote",
        "INSERT",
        "NEW.voter_id <> (SELECT voter_id FROM arena_battle WHERE id = NEW.battle_id)",
        "A battle is judged by the voter for whom it was drawn.",
    ),
    Guard(
        "arena_vote_edit",
        "arena_vote",
        "INSERT",
        "NEW.supersedes_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM arena_vote AS v, arena_vote AS f, "
        "arena_battle AS b, arena_epoch AS e, arena_policy AS p WHERE v.id = NEW.supersedes_id "
        "AND v.battle_id = NEW.battle_id AND v.voter_id = NEW.voter_id "
        "AND f.battle_id = NEW.battle_id AND f.supersedes_id IS NULL AND b.id = NEW.battle_id "
        "AND e.id = b.epoch_id AND p.id = e.policy_id AND {elapsed} <= p.edit_window_s)",
        "A vote can be changed only by its voter, on the same battle, within the edit window.",
    ),
    Guard(
        "arena_battleclose_matches",
        "arena_battleclose",
        "INSERT",
        "(NEW.kind = 'vote') <> EXISTS (SELECT 1 FROM arena_vote AS v WHERE v.battle_id = NEW.battle_id)",
        "A battle closes as voted exactly when it has a vote.",
        lock="PERFORM 1 FROM arena_battle WHERE id = NEW.battle_id FOR UPDATE;",
    ),
)
RELEASE_RULES = (  # on columns that migration 0004 adds
    Guard(
        "arena_arenaexport_no_delete",
        "arena_arenaexport",
        "DELETE",
        "OLD.released_at IS NOT NULL",
        "A release stays: everybody may hold it.",
    ),
    Guard(
        "arena_arenaexport_fixed",
        "arena_arenaexport",
        "UPDATE",
        "OLD.released_at IS NOT NULL AND (NEW.released_at IS NULL OR NEW.released_at <> OLD.released_at "
        "OR NEW.id <> OLD.id OR NEW.season_id <> OLD.season_id OR NEW.tree_size <> OLD.tree_size "
        "OR NEW.votes_size <> OLD.votes_size OR NEW.n_votes <> OLD.n_votes OR NEW.n_withheld <> OLD.n_withheld)",
        "What a release covers never changes; only a text that was erased is taken out of its files.",
    ),
)
# On PostgreSQL a vote reads its battle without a lock, so what crosses it is refused here. On SQLite one transaction
# writes at a time, and a trigger that names another app's table would keep that app from rebuilding it.
ANSWER_RULES = (
    Guard(
        "arena_vote_answered",
        "arena_vote",
        "INSERT",
        "EXISTS (SELECT 1 FROM arena_battleturn AS t WHERE t.battle_id = NEW.battle_id AND "
        "('done' <> (SELECT status FROM playground_generation WHERE id = t.generation_a_id) OR "
        "'done' <> (SELECT status FROM playground_generation WHERE id = t.generation_b_id)))",
        "A vote is given when every answer is there.",
        lock="PERFORM 1 FROM arena_battle WHERE id = NEW.battle_id FOR UPDATE;",
        vendor="postgresql",
    ),
)
OVERLAP_RULES = (
    *_written_once(["overlap"]),
    Guard(
        "arena_overlap_closed",
        "arena_overlap",
        "INSERT",
        "NOT EXISTS (SELECT 1 FROM arena_battleclose AS k, arena_battle AS b WHERE k.battle_id = NEW.battle_id "
        "AND b.id = NEW.battle_id AND k.kind = 'vote' AND NOT b.is_pre_release)",
        "An overlap is told of a battle that closed with a vote and had no private variant.",
    ),
)
FIRST_GUARDS = (*_written_once(sorted(WRITTEN_ONCE.keys() - LATER)), *RULES)
GUARDS = (*FIRST_GUARDS, *RELEASE_RULES, *ANSWER_RULES, *OVERLAP_RULES)
ELAPSED = {
    "postgresql": "EXTRACT(EPOCH FROM NEW.created_at - f.created_at)",
    "sqlite": "(julianday(NEW.created_at) - julianday(f.created_at)) * 86400.0 - 0.001",
}


def install_sql(guard: Guard, vendor: str) -> list[str]:
    """Return the statements that put a guard in place, replacing an older one."""
    if guard.vendor not in ("", vendor):
        return []
    condition = guard.refuse_when.replace("{elapsed}", ELAPSED[vendor])
    message = guard.message.replace("'", "''")
    if vendor == "sqlite":
        return [
            *remove_sql(guard, vendor),
            f"CREATE TRIGGER {guard.name} BEFORE {guard.event} ON {guard.table} WHEN ({condition}) "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END",
        ]
    row = {"DELETE": "OLD", "TRUNCATE": "NULL"}.get(guard.event, "NEW")
    level = "STATEMENT" if guard.event == "TRUNCATE" else "ROW"
    return [
        f"CREATE OR REPLACE FUNCTION {guard.name}() RETURNS trigger LANGUAGE plpgsql AS $guard$ BEGIN {guard.lock} "
        f"IF ({condition}) THEN RAISE EXCEPTION '{message}' USING ERRCODE = 'check_violation'; END IF; "
        f"RETURN {row}; END $guard$",
        f"DROP TRIGGER IF EXISTS {guard.name} ON {guard.table}",
        f"CREATE TRIGGER {guard.name} BEFORE {guard.event} ON {guard.table} "
        f"FOR EACH {level} EXECUTE FUNCTION {guard.name}()",
    ]


def remove_sql(guard: Guard, vendor: str) -> list[str]:
    """Return the statements that take a guard away; only migrations and tests' own clean-up do."""
    if guard.vendor not in ("", vendor):
        return []
    on = f" ON {guard.table}" if vendor == "postgresql" else ""
    return [f"DROP TRIGGER IF EXISTS {guard.name}{on}"]


def install_guards(apps: Any, schema_editor: Any) -> None:
    """Install the first guards; an operation for migrations."""
    _install(FIRST_GUARDS, schema_editor)


def remove_guards(apps: Any, schema_editor: Any) -> None:
    """Remove the first guards; the reverse of `install_guards`."""
    _remove(FIRST_GUARDS, schema_editor)


def install_release_guards(apps: Any, schema_editor: Any) -> None:
    """Install the guards of releases; an operation for migrations."""
    _install(RELEASE_RULES, schema_editor)


def remove_release_guards(apps: Any, schema_editor: Any) -> None:
    """Remove the guards of releases."""
    _remove(RELEASE_RULES, schema_editor)


def install_answer_guards(apps: Any, schema_editor: Any) -> None:
    """Install the guard of votes before the answers; an operation for migrations."""
    _install(ANSWER_RULES, schema_editor)


def remove_answer_guards(apps: Any, schema_editor: Any) -> None:
    """Remove the guard of votes before the answers."""
    _remove(ANSWER_RULES, schema_editor)


def install_overlap_guards(apps: Any, schema_editor: Any) -> None:
    """Install the guards of overlaps; an operation for migrations."""
    _install(OVERLAP_RULES, schema_editor)


def remove_overlap_guards(apps: Any, schema_editor: Any) -> None:
    """Remove the guards of overlaps."""
    _remove(OVERLAP_RULES, schema_editor)


def install_erasable_guards(apps: Any, schema_editor: Any) -> None:
    """Let salts be forgotten where the first guards stood before they allowed it; an operation for migrations."""
    _install(_erasable(), schema_editor)


def remove_erasable_guards(apps: Any, schema_editor: Any) -> None:
    """Allow no change at all again."""
    _install([replace(guard, refuse_when="TRUE") for guard in _erasable()], schema_editor)


def _erasable() -> list[Guard]:
    names = {f"arena_{table}_no_update" for table in ERASABLE}
    return [guard for guard in FIRST_GUARDS if guard.name in names]


def _install(guards: Iterable[Guard], schema_editor: Any) -> None:
    for guard in guards:
        for statement in install_sql(guard, schema_editor.connection.vendor):
            schema_editor.execute(statement, params=None)


def _remove(guards: Iterable[Guard], schema_editor: Any) -> None:
    for guard in guards:
        for statement in remove_sql(guard, schema_editor.connection.vendor):
            schema_editor.execute(statement, params=None)
