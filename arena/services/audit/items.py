"""The checklist's items that apply to an arena in which people judge, each with its check or with what is true.

The items are told in our own words. Where a person judges, what the checklist asks of a judging model is
asked of the voters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from arena.services.audit import contestants, records, results
from arena.services.audit.findings import Finding
from arena.services.transparency.scope import Scope

Check = Callable[[Scope], Finding]


@dataclass(frozen=True)
class Item:
    """An item of the checklist: a check that looks at the data, or a statement that no program can confirm.

    lacks: the statement says that the item is not met.
    """

    item: str
    asks: str
    check: Check | None = None
    statement: str = ""
    lacks: bool = False


ITEMS = (
    Item("T.1", "Is it said exactly what is tested, in which version?", contestants.versions_are_named),
    Item("T.2", "Can what is tested be reached throughout?", contestants.answers_arrive),
    Item("T.3", "Are failures handled, rather than counted?", contestants.failures_end_uncounted),
    Item(
        "T.4",
        "Is nothing left over from one run to the next?",
        statement="An answer is computed from the battle's own turns and a recorded seed; tests hold that it is the "
        "same to the last bit whatever else the engine answers. Servers elsewhere may remember.",
    ),
    Item("T.5", "Is what is tested kept apart from the reference answers?", contestants.references_stay_apart),
    Item("T.6", "Does the set-up stay as it was?", records.nothing_can_be_rewritten),
    Item("T.7", "Is what is taken for the truth checked?", results.leaderboard_comes_out_again),
    Item("T.10", "Are there ways to win without being better?", records.nobody_votes_after_the_names),
    Item("O.c.1", "Is the judge accurate, consistent, and of one mind with others?", results.voters_agree),
    Item("O.c.2", "Does the judge withstand those who try to sway it?", results.patterns_are_looked_for),
    Item("O.i.1", "Can the measure be driven up by other means?", results.chances_are_those_published),
    Item(
        "R.1",
        "Is it open source?",
        statement="The code is under the Apache License 2.0. Prompts, answers, votes and the log are open to "
        "everybody; what a person has erased remains as a hash.",
    ),
    Item("R.2", "Can others run the evaluation?", records.verifier_needs_nothing_of_the_site),
    Item("R.3", "Is contamination kept away?", results.prompts_are_new),
    Item(
        "R.4",
        "Are tasks renewed?",
        statement="A voter can write a new prompt for each battle. The pool changes when the operator imports another.",
    ),
    Item(
        "R.5",
        "Is it said how what is measured relates to a capability?",
        statement="A rating says whose answers the voters of this site preferred to whose, on the prompts that they "
        "asked. It is no measure of truth, safety or skill at a task that nobody asked for.",
    ),
    Item(
        "R.6",
        "Is it said what is evaluated?",
        statement="A contestant: a checkpoint with its enabled experts, decoding parameters and system prompt, by "
        "digest. No agents, no tools.",
    ),
    Item("R.7", "Are steps against flaws described, and followed?", records.rules_are_cited),
    Item(
        "R.8",
        "Is it said what flaws remain?",
        statement="What cannot be proven stands below, with what it means here.",
    ),
    Item("R.9", "Is the effect of what remains put in numbers?", results.effect_of_noise_is_told),
    Item("R.10", "Are intervals given?", results.intervals_are_published),
    Item(
        "R.11",
        "Is there guidance for reading the results?",
        statement="The leaderboard says that overlapping intervals leave the order open and shows rank ranges; the "
        "method page gives every parameter.",
    ),
    Item(
        "R.12",
        "Are there results of people or of anything that is no model?",
        statement="No: no person's answers take part, not even the references of the pool.",
        lacks=True,
    ),
    Item(
        "R.13",
        "Are there results of a trivial contestant?",
        statement="No: none that answers nothing, or the same to everything, takes part. Providers may enter one.",
        lacks=True,
    ),
)
NOT_APPLICABLE = (
    ("O.a, O.b, O.h", "Answers are not matched with strings: people read them."),
    ("O.d, O.e, O.f, O.g", "No code is tested and no state is compared."),
    ("T.8, T.9", "A preference between two answers has no solution that could be reached or computed."),
)
