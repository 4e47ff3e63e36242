"""Checks of what is published: intervals, agreement, fair chances, and numbers that come out again."""

from __future__ import annotations

from arena.models import Battle, Leaderboard
from arena.quality import Outcome
from arena.services.audit.findings import Finding
from arena.services.audit.recount import recount_of
from arena.services.boards import latest_leaderboard
from arena.services.quality import quality_report
from arena.services.seasons import current_policy, rules_of
from arena.services.transparency.battles import tally_draws
from arena.services.transparency.policies import policies_of
from arena.services.transparency.report import groups_of
from arena.services.transparency.roster import roster_of
from arena.services.transparency.sampling import sampled_rows
from arena.services.transparency.scope import Scope

MIN_EXPECTED = 10


def voters_agree(scope: Scope) -> Finding:
    """O.c.1: voters agree with each other and with themselves more than the published bound asks."""
    report = quality_report(scope.season)
    gates = [gate for gate in report.gates if gate.name in ("agreement", "self-consistency")]
    outcomes = {gate.outcome for gate in gates}
    outcome = next((o for o in (Outcome.FAIL, Outcome.UNDECIDED) if o in outcomes), Outcome.PASS)
    numbers = {"alpha": report.overlap.value, "kappa": report.consistency.value}
    return Finding(outcome, " ".join(gate.reason for gate in gates), numbers)


def patterns_are_looked_for(scope: Scope) -> Finding:
    """O.c.2: how many voters follow a pattern no reader would. A careful liar is not found, so nothing passes here."""
    report = quality_report(scope.season)
    alarm = rules_of(current_policy(scope.season)).quality_alarm
    n = report.voters[Outcome.FAIL.value]
    reason = (
        f"{n} of {sum(report.voters.values())} voters are set aside for following one of the published patterns at "
        f"odds of {alarm} to 1, valid whenever one looks. Whoever lies with care, in small doses, is not found by it."
    )
    return Finding.told(reason, voters=report.voters, alarm=alarm)


def chances_are_those_published(scope: Scope) -> Finding:
    """O.i.1: nobody was drawn more or less often than planned, beyond chance with Bonferroni's correction."""
    draws = tally_draws(scope)
    rows = [row for found in sampled_rows(scope, draws, groups_of(scope)).values() for row in found]
    told = [row for row in rows if MIN_EXPECTED <= row.planned <= row.n_draws - MIN_EXPECTED]
    if not told:
        return Finding.undecided("Too few draws to tell.", n_draws=draws.n_draws)
    wide = sampled_rows(scope, draws, groups_of(scope), level=1 - 0.05 / len(told))
    names = {(row.name, row.planned) for row in told}
    outside = [r.name for found in wide.values() for r in found if (r.name, r.planned) in names and not r.is_within]
    policies = policies_of(scope)
    over = [
        v.provider
        for v in roster_of(scope, policies).variants
        if v.n_most > max(p.rules["variant_cap"] for p in policies)
    ]
    reason = (
        f"{len(told) - len(outside)} of {len(told)} contestants, providers and licence groups were drawn as often as "
        f"planned, at a joint level of 95 %. {len(over)} providers ever had more private variants than any cap allowed."
    )
    return Finding.of(not outside and not over, reason, n_told=len(told), outside=outside, over_cap=over)


def leaderboard_comes_out_again(scope: Scope) -> Finding:
    """T.7: a leaderboard counts exactly the votes that the database holds, early votes on variants left out.

    The newest one; of a large season the one that the rank worker counted last.
    """
    board = latest_leaderboard(scope.season)
    if board is None:
        return Finding.undecided("There is no leaderboard yet.")
    found = recount_of(board)
    if found is None:
        return Finding.undecided(f"Its {board.n_votes} votes are counted by a worker, which has not ended yet.")
    is_newest = found.board == str(board.pk)
    which = "The newest leaderboard's" if is_newest else f"At tree size {found.tree_size} the leaderboard's"
    n_early = Battle.objects.filter(season=scope.season, is_pre_release=True, close__kind="vote").count()
    reason = (
        f"{which} {found.n_votes} votes, counted one by one on {found.at:%-d %B %Y at %H:%M} UTC, "
        f"{'have' if found.is_same else 'do not have'} the digest that it names. "
        f"{n_early} votes on variants before their launch are published and count for nobody."
    )
    return Finding.of(
        found.is_same,
        reason,
        n_votes=found.n_votes,
        n_early=n_early,
        board=found.board,
        tree_size=found.tree_size,
        counted_at=found.at.isoformat(),
    )


def intervals_are_published(scope: Scope) -> Finding:
    """R.10: every rating of the newest leaderboard has an interval around it and a rank interval."""
    board = latest_leaderboard(scope.season)
    rows = board.result["ratings"] if board else []
    if board is None or not rows:
        return Finding.undecided("Nobody is ranked yet.")
    wrong = [r for r in rows if not (r["lower"] < r["rating"] < r["upper"] and 1 <= r["rank_low"] <= r["rank_high"])]
    reason = (
        f"{len(rows) - len(wrong)} of {len(rows)} ratings have an interval at level {board.result['method']['level']}, "
        "clustered by voter, and a rank interval."
    )
    return Finding.of(not wrong, reason, n_ratings=len(rows), n_wrong=len(wrong), board=str(board.pk))


def effect_of_noise_is_told(scope: Scope) -> Finding:
    """R.9: neighbours on the newest leaderboard say how many votes would swap them; the share set aside is public."""
    board = latest_leaderboard(scope.season)
    pairs = board.result["method"].get("neighbours", []) if board else []
    ranked = len(board.result["ratings"]) if board else 0
    if board is None or ranked < 2:
        return Finding.undecided("Fewer than two contestants are ranked.")
    told = [pair for pair in pairs if pair["votes_to_flip"] is not None]
    reason = (
        f"{len(told)} of {ranked - 1} neighbouring pairs say how many further votes would swap them; "
        f"{_set_aside(board)} of the votes are set aside, and a board with them is one click away."
    )
    return Finding.of(len(pairs) == ranked - 1, reason, n_pairs=len(pairs), n_ranked=ranked)


def _set_aside(board: Leaderboard) -> str:
    report = quality_report(board.season)
    n_out = sum(row.n_votes for row in report.exclusions)
    return f"{n_out} of {report.n_votes}"


def prompts_are_new(scope: Scope) -> Finding:
    """R.3: how many prompts were written by voters at the time of the battle. What share is enough, nobody can say."""
    battles = Battle.objects.filter(season=scope.season)
    n, n_pool = battles.count(), battles.filter(pool_prompt__isnull=False).count()
    newest = battles.order_by("-created_at").values_list("created_at", flat=True).first()
    reason = (
        f"{n - n_pool} of {n} prompts were written by voters for their battle, the others come from a public pool. "
        "Whether a model has seen a prompt before, nobody outside its makers can tell."
    )
    return Finding.told(reason, n_battles=n, n_from_pool=n_pool, newest=newest.isoformat() if newest else None)
