"""What a viewer may see of an owner: experts, contributions, where they are used, corpora, figures of use.

What everybody sees is what is public elsewhere: experts that are not withdrawn, contestants whose names are
disclosed, corpora. Withdrawn experts and all figures of use are for the groups that own them and for operators.
No prompt, answer or person is read here: figures come from `ExpertDay`, which knows none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from arena.models import Contestant
from arena.views.boards import state_of
from tracer.models import Corpus
from webapp.errors import NotFoundError
from webapp.identifiers import slug_of_name
from webapp.ownership import Author
from webapp.playground import optout
from webapp.playground.expert_days import DayFigures, days_of
from webapp.playground.models import Expert, OptOut

WINDOWS = (30, 90, 365)


@dataclass(frozen=True)
class OwnerLine:
    """An owner in the list: what of theirs the viewer can see, and whether some of it is the viewer's."""

    name: str
    slug: str
    n_experts: int
    n_corpora: int
    is_mine: bool


@dataclass(frozen=True)
class ContestantUse:
    """A contestant that needs an expert; `title` is what may be said of it."""

    contestant: Contestant
    title: str
    state: str


@dataclass(frozen=True)
class ExpertView:
    """One expert; `days` is None for those who may not see its use, `opt_out` what withdraws it."""

    expert: Expert
    is_mine: bool
    opt_out: OptOut | None
    may_end: bool
    contestants: tuple[ContestantUse, ...]
    days: tuple[DayFigures, ...] | None

    @property
    def n_answers(self) -> int:
        """Return how many answers in the window had it on."""
        return sum(day.n_answers for day in self.days or ())

    @property
    def newest_first(self) -> tuple[DayFigures, ...]:
        """Return the days as the table has them."""
        return tuple(reversed(self.days or ()))

    @property
    def running_contestants(self) -> tuple[ContestantUse, ...]:
        """Return the contestants that a withdrawal pauses: those of seasons with people's votes, unless at an end."""
        in_play = (use for use in self.contestants if not use.contestant.season.is_simulated)
        return tuple(use for use in in_play if use.state in ("active", "private variant"))


@dataclass(frozen=True)
class OwnerView:
    """An owner; figures are of the days `first` to `last`."""

    name: str
    slug: str
    experts: tuple[ExpertView, ...]
    corpora: tuple[Corpus, ...]
    n_hidden: int
    first: date
    last: date


def list_owners(author: Author) -> list[OwnerLine]:
    """Return all owners of experts and corpora by name, those alone in opt-outs included."""
    experts = list(Expert.objects.all())
    there = set(Expert.objects.available().values_list("pk", flat=True))
    mine = {expert.pk for expert in optout.switchable(experts, author)}
    n_experts = Counter(expert.owner for expert in experts if expert.pk in there | mine)
    n_corpora = Counter(Corpus.objects.order_by().values_list("owner", flat=True))
    owners_of_mine = {expert.owner for expert in experts if expert.pk in mine}
    names = {expert.owner for expert in experts} | set(n_corpora) | set(_whole_opt_outs())
    return [
        OwnerLine(name, slug_of_name(name), n_experts[name], n_corpora[name], name in owners_of_mine)
        for name in sorted(names, key=str.casefold)
    ]


def find_owner(slug: str) -> str:
    """Return the name behind a slug; raises `NotFoundError`."""
    names = {*Expert.objects.order_by().values_list("owner", flat=True).distinct(), *_whole_opt_outs()}
    names |= set(Corpus.objects.order_by().values_list("owner", flat=True).distinct())
    for name in names:
        if slug_of_name(name) == slug:
            return name
    raise NotFoundError("There is no such owner.")


def read_owner(slug: str, author: Author, *, n_days: int = WINDOWS[1]) -> OwnerView:
    """Return what the author may see of an owner. Raises `NotFoundError`."""
    name = find_owner(slug)
    last = last_day(author)
    first = last - timedelta(days=n_days - 1)
    experts = list(Expert.objects.select_related("checkpoint").filter(owner=name))
    mine = {expert.pk for expert in optout.switchable(experts, author)}
    opt_outs = _opt_outs(name)
    shown = [expert for expert in experts if expert.pk in mine or not _withdrawal(expert, opt_outs)]
    uses = _contestants(shown, author)
    days: dict[int, list[DayFigures]] = defaultdict(list)
    for figures in days_of([expert for expert in shown if expert.pk in mine], first=first, last=last):
        days[figures.expert_id].append(figures)
    views = tuple(_view(expert, author, mine, opt_outs, uses, days) for expert in shown)
    corpora = tuple(Corpus.objects.filter(owner=name))
    return OwnerView(name, slug, views, corpora, len(experts) - len(shown), first, last)


def last_day(author: Author) -> date:
    """Return the last day whose figures somebody may see: operators today, others the last one that is over.

    A figure that moves would tell an owner who votes which answer of an open battle is of their expert.
    """
    today = datetime.now(UTC).date()
    return today if author.is_operator else today - timedelta(days=1)


def _view(
    expert: Expert,
    author: Author,
    mine: set[int],
    opt_outs: Mapping[int | None, OptOut],
    uses: Mapping[int, Sequence[ContestantUse]],
    days: Mapping[int, Sequence[DayFigures]],
) -> ExpertView:
    is_mine, row = expert.pk in mine, _withdrawal(expert, opt_outs)
    return ExpertView(
        expert,
        is_mine,
        row,
        row is not None and (author.is_operator or (is_mine and row.expert_id is not None)),
        tuple(uses[expert.pk]),
        tuple(days.get(expert.pk, ())) if is_mine else None,
    )


def _whole_opt_outs() -> Iterable[str]:
    return OptOut.objects.filter(expert=None).order_by().values_list("owner", flat=True)


def _opt_outs(owner: str) -> dict[int | None, OptOut]:
    """Return the opt-outs in force by expert, under None the one of everything."""
    return {row.expert_id: row for row in OptOut.objects.in_force().filter(owner=owner).select_related("expert")}


def _withdrawal(expert: Expert, opt_outs: Mapping[int | None, OptOut]) -> OptOut | None:
    return opt_outs.get(None) or opt_outs.get(expert.pk)


def _contestants(experts: Sequence[Expert], author: Author) -> dict[int, list[ContestantUse]]:
    """Return by expert the contestants that need it: all for operators, the disclosed ones for others."""
    rows = Contestant.objects.all() if author.is_operator else Contestant.objects.disclosed()
    rows = rows.filter(checkpoint__in={expert.checkpoint_id for expert in experts})
    rows = rows.select_related("season", "provider").prefetch_related("changes")
    uses: dict[int, list[ContestantUse]] = {expert.pk: [] for expert in experts}
    for contestant in rows if experts else ():
        use = ContestantUse(contestant, contestant.title, state_of(contestant))
        for expert in experts:
            if contestant.checkpoint_id == expert.checkpoint_id and expert.slug in contestant.experts:
                uses[expert.pk].append(use)
    return uses
