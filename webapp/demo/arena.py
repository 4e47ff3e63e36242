"""The demonstration's arena: contestants that differ by their experts, prompts, and a season of simulated votes."""

from __future__ import annotations

import json
from collections.abc import Callable

from arena.models import Leaderboard, Provider, Season
from arena.services.boards import latest_leaderboard
from arena.services.pool import import_prompts
from arena.services.roster import add_contestant, add_provider
from arena.services.seasons import MAIN, SIMULATED, open_season
from arena.services.simulation import Simulation, simulate_votes

PROVIDER = "fairground"
SEED = 20261126

#: Slug, title, experts, and the strength that the simulation plants (rating points; no person said so).
CONTESTANTS: tuple[tuple[str, str, tuple[str, ...] | None, float], ...] = (
    ("all-experts", "All experts", None, 1090),
    ("public-only", "Public expert alone", ("public",), 900),
    ("public-web", "Public and web", ("public", "web"), 960),
    ("public-numerics", "Public and numerics", ("public", "numerics"), 1050),
    ("public-learning", "Public and learning", ("public", "learning"), 1000),
    ("public-symbolic", "Public and symbolic", ("public", "symbolic"), 1000),
)

PROMPTS = (
    ("mean", "def numpy.mean(a, axis=None)\n\nCompute the", "numerics"),
    ("solve", "def numpy.linalg.solve(a, b)\n\n", "numerics"),
    ("linspace", "Return evenly spaced numbers over", "numerics"),
    ("queryset", "Return a new QuerySet", "web"),
    ("response", "class HttpResponse\n\nAn HTTP response", "web"),
    ("simplify", "def sympy.simplify(expr)\n\nSimplify the", "symbolic"),
    ("integrate", "def sympy.integrate(f, var)\n\nCompute the", "symbolic"),
    ("dropout", "class torch.nn.Dropout\n\nDuring training,", "learning"),
    ("tensor", "Returns a new tensor with the", "learning"),
    ("path", "class pathlib.Path\n\nPurePath subclass", "general"),
    ("json", "def json.dumps(obj)\n\nSerialize", "general"),
)


def prepare_arena(*, n_simulated_votes: int, say: Callable[[str], None]) -> Leaderboard:
    """Enter contestants and prompts, and simulate votes in their own season, each unless it is there already."""
    import_prompts(json.dumps({"id": f"demo/{key}", "text": text, "category": c}) for key, text, c in PROMPTS)
    main = open_season(slug=MAIN, title="Arena")
    simulated = open_season(slug=SIMULATED, title="Simulation", is_simulated=True)
    _enter(main)
    strengths = _enter(simulated)
    board = latest_leaderboard(simulated)
    if board is not None:
        return board
    say(f"Simulating {n_simulated_votes} votes in a season of their own …")
    return simulate_votes(
        season=simulated, simulation=Simulation(strengths=strengths, n_votes=n_simulated_votes, seed=SEED)
    )


def _enter(season: Season) -> dict[str, float]:
    """Enter the contestants that the season lacks; return the planted strength by id."""
    provider = Provider.objects.filter(slug=PROVIDER).first()
    if provider is None:
        provider = add_provider(slug=PROVIDER, name="Fairground's demonstration")
    strengths = {}
    for slug, title, experts, strength in CONTESTANTS:
        found = season.contestants.filter(slug=slug).first()
        if found is None:
            found = add_contestant(
                season=season,
                provider=provider,
                slug=slug,
                title=title,
                licence_group="open-source",
                licence="Apache-2.0",
                checkpoint="demo",
                experts=experts,
                max_tokens=96,
            )
        strengths[str(found.pk)] = strength
    return strengths
