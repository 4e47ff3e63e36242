"""Database triggers that leave no way to change or delete what the log holds.

Entries, nodes and checkpoints can only be inserted. The one change allowed is an entry's leaf
index from NULL to the next one. A role that may alter tables could drop the triggers; what it
then changed would contradict the checkpoints that others hold. Migration 0002 runs these statements:
a change to them needs a migration of its own.
"""

from __future__ import annotations

TABLES = ("transparency_entry", "transparency_node", "transparency_checkpoint")

_POSTGRESQL_FUNCTIONS = """
CREATE FUNCTION transparency_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only: no % on %', lower(TG_OP), TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE FUNCTION transparency_check_new_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW."index" IS NOT NULL THEN
        RAISE EXCEPTION 'the log is append-only: a new entry has no index yet' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.leaf_hash <> sha256('\\x00'::bytea || convert_to(NEW.leaf, 'UTF8')) THEN
        RAISE EXCEPTION 'the hash is not that of the leaf' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION transparency_check_index() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD."index" IS NOT NULL OR NEW."index" IS NULL OR
        (OLD.serial, OLD.id, OLD.kind, OLD.at, OLD.leaf, OLD.leaf_hash)
        IS DISTINCT FROM (NEW.serial, NEW.id, NEW.kind, NEW.at, NEW.leaf, NEW.leaf_hash) THEN
        RAISE EXCEPTION 'the log is append-only: no update on %', TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW."index" > 0 AND NOT EXISTS (SELECT 1 FROM transparency_entry WHERE "index" = NEW."index" - 1) THEN
        RAISE EXCEPTION 'leaf indices have no gaps' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
"""

_POSTGRESQL_TRIGGERS = """
CREATE TRIGGER transparency_entry_insert BEFORE INSERT ON transparency_entry
    FOR EACH ROW EXECUTE FUNCTION transparency_check_new_entry();
CREATE TRIGGER transparency_entry_update BEFORE UPDATE ON transparency_entry
    FOR EACH ROW EXECUTE FUNCTION transparency_check_index();
CREATE TRIGGER transparency_entry_delete BEFORE DELETE ON transparency_entry
    FOR EACH ROW EXECUTE FUNCTION transparency_refuse();
"""


def _postgresql() -> list[str]:
    statements = [_POSTGRESQL_FUNCTIONS, _POSTGRESQL_TRIGGERS]
    for table in TABLES:
        if table != "transparency_entry":
            statements.append(
                f"CREATE TRIGGER {table}_change BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION transparency_refuse()"
            )
        statements.append(
            f"CREATE TRIGGER {table}_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION transparency_refuse()"
        )
    return statements


def _sqlite_refusal(table: str, operation: str, condition: str, reason: str) -> str:
    when = f"WHEN {condition} " if condition else ""
    name = f"{table}_{operation.lower()}_{reason.split()[-1]}"
    return (
        f"CREATE TRIGGER {name} BEFORE {operation} ON {table} FOR EACH ROW {when}BEGIN "
        f"SELECT RAISE(ABORT, '{reason}'); END"
    )


# INSERT OR REPLACE deletes a row without its DELETE trigger, so a row that exists stops the insert.
_SQLITE_SAME = {
    "transparency_entry": 'serial = NEW.serial OR id = NEW.id OR "index" = NEW."index"',
    "transparency_node": "level = NEW.level AND position = NEW.position",
    "transparency_checkpoint": "number = NEW.number OR tree_size = NEW.tree_size",
}
_SQLITE_ENTRY_CHANGED = (
    'OLD."index" IS NOT NULL OR NEW."index" IS NULL OR OLD.serial IS NOT NEW.serial OR OLD.id IS NOT NEW.id '
    "OR OLD.kind IS NOT NEW.kind OR OLD.at IS NOT NEW.at OR OLD.leaf IS NOT NEW.leaf "
    "OR OLD.leaf_hash IS NOT NEW.leaf_hash"
)


def _sqlite() -> list[str]:
    statements = []
    for table in TABLES:
        same = f"EXISTS (SELECT 1 FROM {table} WHERE {_SQLITE_SAME[table]})"  # noqa: S608  constants
        statements.append(_sqlite_refusal(table, "INSERT", same, "the log is append-only: no replacement"))
        statements.append(_sqlite_refusal(table, "DELETE", "", "the log is append-only: no delete"))
        changed = _SQLITE_ENTRY_CHANGED if table == "transparency_entry" else ""
        statements.append(_sqlite_refusal(table, "UPDATE", changed, "the log is append-only: no update"))
    entry = "transparency_entry"
    before = f'EXISTS (SELECT 1 FROM {entry} WHERE "index" = NEW."index" - 1)'  # noqa: S608
    taken = f'EXISTS (SELECT 1 FROM {entry} WHERE "index" = NEW."index")'  # noqa: S608
    gap = f'NEW."index" > 0 AND NOT {before}'
    statements += [
        _sqlite_refusal(entry, "INSERT", 'NEW."index" IS NOT NULL', "a new entry has no index"),
        _sqlite_refusal(entry, "INSERT", "length(NEW.leaf_hash) <> 32", "a leaf hash has 32 bytes"),
        _sqlite_refusal(entry, "UPDATE", gap, "leaf indices have no gaps"),
        _sqlite_refusal(entry, "UPDATE", taken, "a leaf index is used once"),
    ]
    return statements


CREATE = {"postgresql": _postgresql(), "sqlite": _sqlite()}
