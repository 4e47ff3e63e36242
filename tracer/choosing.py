"""Which of the corpora that can do something a request means."""

from __future__ import annotations

from collections.abc import Sequence

from webapp.errors import BadInputError


def choose_corpora(wanted: Sequence[str] | None, ready: Sequence[str], *, where: str) -> list[str]:
    """Return the slugs of `wanted` once each, or all of `ready`.

    `where` completes "corpus with an index". Raises `BadInputError`, naming the field where there is one to mend.
    """
    if wanted is None:
        if not ready:
            raise BadInputError(
                f"No corpus has an index{where} yet. The operator builds one with manage.py build_index."
            )
        return list(ready)
    if not wanted:
        raise BadInputError("No corpus is chosen. Choose at least one.", field="corpora")
    for slug in wanted:
        if slug not in ready:
            raise BadInputError(
                f"There is no corpus {slug!r} with an index{where}. Choose from {', '.join(ready)}.", field="corpora"
            )
    return list(dict.fromkeys(wanted))
