"""All contestants ever tested, what happened to them, removals by licence group, private variants against the cap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from arena.models import Contestant, LicenceGroup, RosterChange, RosterKind, Visibility
from arena.services.transparency.policies import PolicyVersion
from arena.services.transparency.scope import Scope

ENDS_TEST = (RosterKind.LAUNCHED, RosterKind.WITHDRAWN, RosterKind.RETIRED)


@dataclass(frozen=True)
class Tested:
    """A contestant that was entered before the period's end, and its state then. state: `public`, `private`,
    `launched`, `withdrawn`, `retired`; `is_paused` besides."""

    contestant: str
    provider: str
    licence_group: str
    visibility: str
    state: str
    is_paused: bool
    entered_at: datetime
    entry: str
    index: int


@dataclass(frozen=True)
class Removal:
    """A retirement within the period, with the rule and the numbers that triggered it."""

    contestant: str
    licence_group: str
    rule: str
    numbers: dict[str, Any]
    at: datetime
    entry: str


@dataclass(frozen=True)
class GroupRemovals:
    """Removals of one licence group: within the period, and of all that were ever tested until its end."""

    licence_group: str
    n_tested: int
    n_removed: int
    n_removed_ever: int
    share_removed: float


@dataclass(frozen=True)
class VariantCount:
    """A provider's private variants. n_active: at the period's end; n_most: at once within the period;
    n_entered: within it; the others: ever until its end. cap: by the policy in force at the period's end."""

    provider: str
    n_active: int
    n_most: int
    cap: int
    n_entered: int
    n_ever: int
    n_launched: int
    n_withdrawn: int
    n_expired: int


@dataclass(frozen=True)
class Roster:
    """What the report says of contestants."""

    tested: list[Tested] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    groups: list[GroupRemovals] = field(default_factory=list)
    variants: list[VariantCount] = field(default_factory=list)


@dataclass(frozen=True)
class _Event:
    """An entry or a change of a contestant, in the order of the log. kind: "" for its entry."""

    contestant: Contestant
    kind: str
    change: RosterChange | None
    at: datetime
    index: int


def roster_of(scope: Scope, policies: list[PolicyVersion]) -> Roster:
    """Return the roster's part of the report."""
    events = [event for event in _events(scope) if scope.is_past(event.at)]
    states, paused = _states(events)
    entered = [event for event in events if not event.kind]
    tested = [
        Tested(
            str(e.contestant.pk),
            e.contestant.provider.slug,
            e.contestant.licence_group,
            e.contestant.visibility,
            states[e.contestant.pk],
            e.contestant.pk in paused,
            e.at,
            str(e.contestant.entry_id),
            e.index,
        )
        for e in entered
    ]
    removals = [
        Removal(
            str(e.contestant.pk), e.contestant.licence_group, e.change.rule, e.change.numbers, e.at,
            str(e.change.entry_id),
        )
        for e in events
        if e.kind == RosterKind.RETIRED and e.change is not None and scope.holds(e.at)
    ]  # fmt: skip
    cap = next((p.rules["variant_cap"] for p in policies if scope.is_past(p.at)), 0)
    return Roster(tested, removals, _groups(tested, removals), _variants(scope, events, cap))


def _events(scope: Scope) -> list[_Event]:
    size = scope.tree_size
    entered = scope.season.contestants.filter(entry__index__lt=size).select_related("provider", "entry")
    contestants = {c.pk: c for c in entered}
    changes = RosterChange.objects.filter(contestant__season=scope.season, entry__index__lt=size)
    found = [_Event(c, "", None, c.entry.at, c.entry.index or 0) for c in contestants.values()]
    found += [
        _Event(contestants[change.contestant_id], change.kind, change, change.entry.at, change.entry.index or 0)
        for change in changes.select_related("entry")
    ]
    return sorted(found, key=lambda event: event.index)


def _states(events: list[_Event]) -> tuple[dict[Any, str], set[Any]]:
    states: dict[Any, str] = {}
    paused: set[Any] = set()
    for event in events:
        key = event.contestant.pk
        if not event.kind:
            states[key] = str(event.contestant.visibility)
        elif event.kind == RosterKind.PAUSED:
            paused.add(key)
        elif event.kind == RosterKind.RESUMED:
            paused.discard(key)
        elif event.kind in ENDS_TEST:
            states[key] = str(event.kind)
    return states, paused


def _groups(tested: list[Tested], removals: list[Removal]) -> list[GroupRemovals]:
    rows = []
    for group in LicenceGroup.values:
        own = [t for t in tested if t.licence_group == group]
        ever = sum(t.state == RosterKind.RETIRED for t in own)
        within = sum(r.licence_group == group for r in removals)
        rows.append(GroupRemovals(group, len(own), within, ever, ever / len(own) if own else 0.0))
    return rows


def _variants(scope: Scope, events: list[_Event], cap: int) -> list[VariantCount]:
    by_provider: dict[str, list[_Event]] = defaultdict(list)
    for event in events:
        by_provider[event.contestant.provider.slug].append(event)
    return [_count(scope, slug, found, cap) for slug, found in sorted(by_provider.items())]


def _count(scope: Scope, provider: str, events: list[_Event], cap: int) -> VariantCount:
    private = [e for e in events if e.contestant.visibility == Visibility.PRIVATE]
    kinds = [e.kind for e in private]
    levels = list(_levels(scope, private))
    return VariantCount(
        provider,
        n_active=levels[-1],
        n_most=max(levels),
        cap=cap,
        n_entered=sum(not e.kind and scope.holds(e.at) for e in private),
        n_ever=kinds.count(""),
        n_launched=kinds.count(RosterKind.LAUNCHED),
        n_withdrawn=kinds.count(RosterKind.WITHDRAWN),
        n_expired=kinds.count(RosterKind.EXPIRED),
    )


def _levels(scope: Scope, private: list[_Event]) -> Iterator[int]:
    """Yield how many variants are under test when the period begins, and after each event within it."""
    level, in_test = 0, set()
    later = []
    for event in private:
        before = scope.begin is not None and event.at < scope.begin
        if not event.kind:
            in_test.add(event.contestant.pk)
        elif event.kind in ENDS_TEST:
            in_test.discard(event.contestant.pk)
        if before:
            level = len(in_test)
        else:
            later.append(len(in_test))
    yield level
    yield from later
