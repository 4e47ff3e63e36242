"""Appends to the log or sequences it until it is killed; prints what was acknowledged. Run as a process of its own.

python -m tests.faults.log_writer append FIRST | sequence
"""

from __future__ import annotations

import itertools
import os
import sys


def main(task: str, first: int) -> None:
    """Work without end."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    import django

    django.setup()
    from django.db import transaction

    from tests.transparency.conftest import takedown
    from webapp.transparency.services import append_entry, sequence_entries

    print("ready", flush=True)
    for number in itertools.count(first):
        if task == "append":
            with transaction.atomic():
                append_entry(kind="takedown", body=takedown(number))
            print(number, flush=True)
        else:
            sequence_entries()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
