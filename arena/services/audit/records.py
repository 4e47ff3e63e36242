"""Checks of what is written down: that it cannot be rewritten, cites rules in force, and hides no early vote."""

from __future__ import annotations

import ast
import hashlib
import re
import sys

from django.db import connection
from django.db.models import F

from arena.guards import GUARDS
from arena.models import Exclusion, RosterChange, Vote
from arena.services.audit.findings import Finding
from arena.services.transparency.scope import Scope
from webapp.errors import FairgroundError
from webapp.transparency import triggers
from webapp.transparency.exports import VERIFIER
from webapp.transparency.models import Checkpoint
from webapp.transparency.sequencer import load_frontier

ALLOWED = sys.stdlib_module_names | {"cryptography"}
LATEST = 20_000


def nothing_can_be_rewritten(scope: Scope) -> Finding:
    """T.6: every trigger that refuses updates and deletions is in place, so what was set up stays as it was."""
    wanted = {guard.name for guard in GUARDS if guard.vendor in ("", connection.vendor)}
    wanted |= {m[1] for text in triggers.CREATE[connection.vendor] for m in re.finditer(r"CREATE TRIGGER (\w+)", text)}
    where = (
        "sqlite_master WHERE type = 'trigger'" if connection.vendor == "sqlite" else "pg_trigger WHERE NOT tgisinternal"
    )
    column = "name" if connection.vendor == "sqlite" else "tgname"
    if connection.vendor == "postgresql":
        where += " AND tgenabled <> 'D'"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {where}")  # noqa: S608  constants
        missing = sorted(wanted - {name for (name,) in cursor.fetchall()})
    reason = f"{len(wanted) - len(missing)} of {len(wanted)} guards of the database are in place."
    return Finding.of(not missing, reason, n_guards=len(wanted), missing=missing)


def nobody_votes_after_the_names(scope: Scope) -> Finding:
    """T.10: among the latest entries no vote stands after its battle's close, and the tree has its signed root."""
    votes = Vote.objects.filter(battle__season=scope.season, entry__index__gte=scope.tree_size - LATEST)
    n, late = votes.count(), votes.filter(battle__close__entry__index__lt=F("entry__index")).count()
    leaks = Exclusion.objects.in_force().filter(season=scope.season, rule="identity-leak").count()
    try:
        load_frontier(Checkpoint.objects.order_by("number").last())
    except FairgroundError as error:
        return Finding.of(False, error.message, n_votes=n, n_late=late, n_leaks=leaks)
    reason = (
        f"{late} of the latest {n} votes were given after their battle's names could be seen. {leaks} battles are set "
        "aside because an answer named its author. The stored tree has the root of the newest checkpoint."
    )
    return Finding.of(not late, reason, n_votes=n, n_late=late, n_leaks=leaks)


def verifier_needs_nothing_of_the_site(scope: Scope) -> Finding:
    """R.2: the evaluation can be run elsewhere: the verifier imports the standard library and cryptography alone."""
    content = VERIFIER.read_bytes()
    tree = ast.parse(content)
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = sorted({name.split(".")[0] for name in names} - ALLOWED)
    reason = (
        "One file for download checks every draw, vote, exclusion and leaderboard of an export; "
        f"besides Python it needs {'only cryptography' if not foreign else ', '.join(foreign)}."
    )
    return Finding.of(not foreign, reason, sha256=hashlib.sha256(content).hexdigest())


def rules_are_cited(scope: Scope) -> Finding:
    """R.7: every exclusion and every change of the roster cites a rule of the policy that was in force."""
    policies = {p.pk: p.entry.body for p in scope.season.policies.select_related("entry")}
    by_version = {body["version"]: body for body in policies.values()}
    n = n_wrong = 0
    for row in Exclusion.objects.filter(season=scope.season):
        n += 1
        n_wrong += row.rule not in policies[row.policy_id]["exclusion_rules"]
    for change in RosterChange.objects.filter(contestant__season=scope.season).select_related("entry"):
        n += 1
        n_wrong += change.rule not in by_version[change.entry.body["policy"]]["roster_rules"]
    reason = f"{n - n_wrong} of {n} exclusions and roster changes cite a rule of the policy that they name."
    return Finding.of(not n_wrong, reason, n=n, n_wrong=n_wrong)
