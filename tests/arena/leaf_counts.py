"""The transparency report told again from exported leaves alone: slow, obvious, and sharing no code with the arena."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from datetime import date, datetime
from fractions import Fraction
from itertools import combinations
from statistics import NormalDist
from typing import Any

from webapp.transparency.verify import weight_table

Leaf = dict[str, Any]


class Recount:
    """Counts over the leaves of one season: `leaves[i]` is the leaf of index i."""

    def __init__(self, leaves: list[Leaf], season: str, first: date | None = None, last: date | None = None) -> None:
        self.leaves = [(index, leaf) for index, leaf in enumerate(leaves) if leaf["body"].get("season") == season]
        self.first, self.last = first, last

    def of(self, kind: str) -> list[tuple[int, Leaf]]:
        return [(index, leaf) for index, leaf in self.leaves if leaf["kind"] == kind]

    def day(self, leaf: Leaf) -> date:
        return datetime.fromisoformat(leaf["at"]).date()

    def is_past(self, leaf: Leaf) -> bool:
        return self.last is None or self.day(leaf) <= self.last

    def is_within(self, leaf: Leaf) -> bool:
        return self.is_past(leaf) and (self.first is None or self.day(leaf) >= self.first)

    def groups(self, grouping: str) -> dict[str, str]:
        return {leaf["body"]["contestant"]: leaf["body"][grouping] for _, leaf in self.of("contestant")}

    def draws(self) -> list[dict[str, Any]]:
        """Return the closed draws of the period with what their close says."""
        closes = {leaf["body"]["battle"]: leaf["body"] for _, leaf in self.of("close")}
        drawn = [leaf for _, leaf in self.of("draw") if self.is_within(leaf)]
        return [{**closes[d["body"]["battle"]], **d["body"]} for d in drawn if d["body"]["battle"] in closes]

    def set_aside(self, size: int) -> list[dict[str, Any]]:
        """Return the exclusions in force at a tree size."""
        ended = {leaf["body"]["exclusion"] for index, leaf in self.of("include") if index < size}
        entered = [leaf["body"] for index, leaf in self.of("exclude") if index < size]
        return [body for body in entered if body["exclusion"] not in ended]

    def votes(self, size: int) -> list[dict[str, Any]]:
        """Return the votes of battles closed below a tree size: the last one of each."""
        cast = {leaf["id"]: leaf["body"] for _, leaf in self.of("vote")}
        closes = [leaf["body"] for index, leaf in self.of("close") if index < size]
        return [{**close, **cast[close["vote"]]} for close in closes if close["outcome"] == "vote"]

    def tables(self) -> dict[int, dict[frozenset[str], Fraction]]:
        """Return the probability of every pair in every epoch, by eq. 9 from the votes logged before it."""
        policies = {leaf["body"]["version"]: leaf["body"] for _, leaf in self.of("policy")}
        found = {}
        for _, leaf in self.of("epoch"):
            epoch = leaf["body"]
            out = {(e["subject"], e["target"]) for e in self.set_aside(epoch["tree_size"])}
            tallies: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
            for vote in self.votes(epoch["tree_size"]):
                if ("voter", vote["voter"]) in out or ("battle", vote["battle"]) in out:
                    continue
                winner = {"a": vote["side_a"], "b": vote["side_b"]}.get(vote["verdict"])
                pair = (min(vote["side_a"], vote["side_b"]), max(vote["side_a"], vote["side_b"]))
                tallies[pair][2 if winner is None else pair.index(winner)] += 1
            sampling = policies[epoch["policy"]]["sampling"]
            weights = weight_table(epoch["roster"], tallies, Fraction(sampling["epsilon"]), sampling["prior"])
            pairs = combinations(epoch["roster"], 2)
            found[epoch["epoch"]] = {
                frozenset(pair): Fraction(weight, sum(weights)) for pair, weight in zip(pairs, weights, strict=True)
            }
        return found

    def sampling(self, group_of: dict[str, str], level: float) -> dict[str, dict[str, Any]]:
        """Return planned, bounds and realised number of each group: draw by draw, pair by pair."""
        tables = self.tables()
        planned: dict[str, Fraction] = defaultdict(Fraction)
        variance: dict[str, Fraction] = defaultdict(Fraction)
        realised: Counter[str] = Counter()
        possible: Counter[str] = Counter()
        for draw in self.draws():
            table = tables[draw["epoch"]]
            for group in {group_of[name] for pair in table for name in pair}:
                p = sum((p for pair, p in table.items() if group in {group_of[name] for name in pair}), Fraction(0))
                possible[group] += 1
                planned[group] += p
                variance[group] += p * (1 - p)
                realised[group] += group in {group_of[draw["side_a"]], group_of[draw["side_b"]]}
        z = NormalDist().inv_cdf(0.5 + level / 2)
        return {
            group: {
                "n_draws": possible[group],
                "planned": float(planned[group]),
                "lower": max(0.0, float(planned[group]) - z * math.sqrt(variance[group])),
                "upper": min(float(possible[group]), float(planned[group]) + z * math.sqrt(variance[group])),
                "realised": realised[group],
            }
            for group in planned
        }

    def shares(self, group_of: dict[str, str]) -> dict[str, tuple[int, int]]:
        """Return votes and answers of each group."""
        votes: Counter[str] = Counter()
        sides: Counter[str] = Counter()
        for draw in self.draws():
            if draw["outcome"] == "vote":
                votes.update({group_of[draw["side_a"]], group_of[draw["side_b"]]})
                sides.update([group_of[draw["side_a"]], group_of[draw["side_b"]]])
        return {group: (votes[group], sides[group]) for group in sides}

    def exclusions(self) -> tuple[dict[str, tuple[int, int, int, int, int]], int, int]:
        """Return by rule (entered, ended, voters, battles, votes), all votes, and those set aside."""
        rules = {leaf["body"]["exclusion"]: leaf["body"]["rule"] for _, leaf in self.of("exclude")}
        began = Counter(leaf["body"]["rule"] for _, leaf in self.of("exclude") if self.is_within(leaf))
        ended = Counter(rules[leaf["body"]["exclusion"]] for _, leaf in self.of("include") if self.is_within(leaf))
        voters = [draw for draw in self.draws() if draw["outcome"] == "vote"]
        found = {}
        everything: set[str] = set()
        for rule in set(rules.values()):
            force = [e for e in self.set_aside(10**9) if e["rule"] == rule]
            targets = {kind: {e["target"] for e in force if e["subject"] == kind} for kind in ("voter", "battle")}
            hit = {d["battle"] for d in voters if d["voter"] in targets["voter"] or d["battle"] in targets["battle"]}
            everything |= hit
            numbers = (began[rule], ended[rule], len(targets["voter"]), len(targets["battle"]), len(hit))
            found[rule] = numbers
        return found, len(voters), len(everything)

    def variants(self) -> dict[str, tuple[int, int, int, int]]:
        """Return by provider: under test at the end, most at once within the period, entered within it, ever."""
        providers = self.groups("provider")
        active: dict[str, set[str]] = {p: set() for p in providers.values()}
        most = dict.fromkeys(active, 0)
        entered: Counter[str] = Counter()
        ever: Counter[str] = Counter()
        began = False
        private = set()
        for _, leaf in self.leaves:
            if not self.is_past(leaf):
                continue
            if self.is_within(leaf) and not began:
                began, most = True, {p: len(own) for p, own in active.items()}
            body = leaf["body"]
            if leaf["kind"] == "contestant" and body["visibility"] == "private":
                private.add(body["contestant"])
                active[body["provider"]].add(body["contestant"])
                ever[body["provider"]] += 1
                entered[body["provider"]] += self.is_within(leaf)
            gone = leaf["kind"] == "roster_change" and body["change"] in ("launched", "withdrawn", "retired")
            if gone and body["contestant"] in private:
                active[providers[body["contestant"]]].discard(body["contestant"])
            if began:
                most = {p: max(n, len(active[p])) for p, n in most.items()}
        if not began:
            most = {p: len(own) for p, own in active.items()}
        return {p: (len(active[p]), most[p], entered[p], ever[p]) for p in active if ever[p]}

    def removals(self) -> list[tuple[str, str]]:
        """Return contestant and rule of each retirement within the period."""
        found = [leaf["body"] for _, leaf in self.of("roster_change") if self.is_within(leaf)]
        return [(body["contestant"], body["rule"]) for body in found if body["change"] == "retired"]
