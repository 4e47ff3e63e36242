"""What changes checkpoints and generations, in one place for the apps above."""

from __future__ import annotations

from webapp.playground.answers import cancel_generation as cancel_generation
from webapp.playground.answers import delete_generation as delete_generation
from webapp.playground.answers import get_generation as get_generation
from webapp.playground.answers import share_generation as share_generation
from webapp.playground.answers import share_generations as share_generations
from webapp.playground.answers import trace_generation as trace_generation
from webapp.playground.asking import prepare_generation as prepare_generation
from webapp.playground.asking import start_generation as start_generation
from webapp.playground.asking import store_generations as store_generations
from webapp.playground.checkpoints import add_checkpoint as add_checkpoint
from webapp.playground.checkpoints import default_checkpoint as default_checkpoint
from webapp.playground.ending import end_data as end_data
from webapp.playground.ending import matches_end as matches_end
from webapp.playground.making import run_generation as run_generation
from webapp.playground.making import run_in_turn as run_in_turn
from webapp.playground.models import Generation
from webapp.queueing import requeue_jobs


def requeue_unfinished(*, older_than_s: float) -> int:
    """Queue generations again that the queue lost or whose worker shows no life, from their beginning.

    Those that ended two workers fail there.
    """
    from webapp.playground import tasks

    return requeue_jobs(Generation.objects.all(), tasks.run_generation, older_than_s=older_than_s)
