"""A rating as plain text for a terminal."""

from __future__ import annotations

from arena.rating.results import RatingResult


def render_text(result: RatingResult) -> str:
    """Return a table of the ranked, the others with their reasons, and the method in one line."""
    width = max([len("contestant"), *(len(row.contestant) for row in result.ratings)])
    lines = [f"{'rank':>9}  {'contestant':<{width}}  {'rating':>8}  {'interval':>19}  {'votes':>8}"]
    for row in result.ratings:
        ranks = str(row.rank_low) if row.rank_low == row.rank_high else f"{row.rank_low}–{row.rank_high}"
        interval = f"{row.lower:.2f} to {row.upper:.2f}"
        lines.append(f"{ranks:>9}  {row.contestant:<{width}}  {row.rating:8.2f}  {interval:>19}  {row.n_votes:8}")
    if not result.ratings:
        lines = ["nobody can be ranked"]
    if result.neighbours:
        lines += ["", "further direct votes that would reverse neighbours:"]
        lines += [f"  {pair.lower} over {pair.upper}: {pair.votes_to_flip}" for pair in result.neighbours]
    if result.covariates:
        lines += ["", "effects in log-odds for one more unit:"]
        lines += [f"  {row.name}: {row.effect:.4f} ({row.lower:.4f} to {row.upper:.4f})" for row in result.covariates]
    if result.unrankable:
        lines += ["", "not ranked:", *(f"  {row.contestant}: {row.reason}" for row in result.unrankable)]
    method = result.method
    lines += [
        "",
        f"{method['n_votes']} votes; Bradley–Terry, {method['estimator']}; "
        f"{100 * method['level']:g} % intervals, {method['interval']}, by {method['clusters']}; "
        f"both bad: {method['both_bad']}",
    ]
    return "\n".join(lines)
