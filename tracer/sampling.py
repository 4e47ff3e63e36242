"""Makes the samples of registered indexes that have none: those that an earlier version built or registered.

Samples are no part of an index (`engine.samples`), so making them may fail, be done twice or never: searches read
more without them and find the same.
"""

from __future__ import annotations

from pathlib import Path

import structlog
from django.core.cache import cache

from tracer.engine import EngineError, add_samples
from tracer.engine.layout import read_manifest
from tracer.models import Index

log = structlog.get_logger(__name__)
#: Longer than it takes for an index; whoever died over one is followed after that.
TURN_S = 12 * 3600


def sample_folder(folder: Path) -> int:
    """Make what is missing in one folder; return for how many shards. Raises `IndexFileError`, `OSError`."""
    return add_samples(folder, read_manifest(folder))


def sample_missing() -> int:
    """Make what is missing in all enabled indexes, one worker an index; return for how many shards.

    An index that is damaged or may not be written to is logged and left for the next time.
    """
    n_made = 0
    for index in Index.objects.filter(is_enabled=True).select_related("corpus"):
        turn = f"tracer:samples:{index.digest}"
        if not cache.add(turn, 1, TURN_S):
            continue
        try:
            n_made += (made := sample_folder(index.folder))
            if made:
                log.info("samples made", index=str(index), shards=made)
        except (EngineError, OSError) as error:
            log.warning("samples could not be made", index=str(index), error=str(error))
        finally:
            cache.delete(turn)
    return n_made
