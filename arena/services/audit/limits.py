"""What nobody can prove from the log, this site included, and what helps."""

from __future__ import annotations

from dataclasses import dataclass

from arena.models import Battle, Season, Voter
from webapp.playground.models import BackendChoice


@dataclass(frozen=True)
class Limit:
    """Something that cannot be proven, how far it matters here, and what a reader can do."""

    claim: str
    here: str
    helps: str


def limits_of(season: Season) -> list[Limit]:
    """Return what cannot be proven, with the season's own numbers."""
    voters = Voter.objects.filter(pk__in=Battle.objects.filter(season=season).order_by().values("voter"))
    n, n_unsigned = voters.count(), voters.filter(user__isnull=True).count()
    contestants = season.contestants.all()
    n_remote = contestants.filter(checkpoint__backend=BackendChoice.REMOTE).count()
    return [
        Limit(
            "That voters are distinct people.",
            f"{n_unsigned} of {n} voters have no account; an account proves an address, not a person.",
            "Intervals are clustered by voter, patterns no reader would follow are set aside, and boards with and "
            "without what is set aside can be compared.",
        ),
        Limit(
            "That a server elsewhere serves the model that it names.",
            f"{n_remote} of {contestants.count()} contestants answer from another server; their digest names what was "
            "asked for. Weights that run here are named by the SHA-256 of their files.",
            "Ask the same of contestants whose weights are public, and compare.",
        ),
        Limit(
            "That the times in the log are right.",
            "They are this site's clock. The order of entries is fixed by the tree, the time between them is not.",
            "A checkpoint that you kept proves that its entries were there when you fetched it.",
        ),
        Limit(
            "That everybody is shown the same log.",
            "Two readers could be served two logs, each right in itself.",
            "Keep checkpoints, compare them with other readers', and give them to the verifier with --checkpoint.",
        ),
        Limit(
            "That a model never saw a prompt in training.",
            "Prompts of battles are public after the close; those of the pool are public before.",
            "Look at matches in the corpora that the models were trained on, which the reveal shows for both answers.",
        ),
        Limit(
            "That erased texts were what their hashes stand for.",
            "The log holds salted hashes alone. When a person erases a text, its salt goes too.",
            "Exports made before the erasure still verify against the log.",
        ),
    ]
