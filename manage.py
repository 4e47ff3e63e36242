#!/usr/bin/env python
"""Command line of the site: `python manage.py help` lists what it can do."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run one management command; a domain error ends it with one line and exit code 1."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    gc.disable()  # what loads stays; webapp.apps switches it on again
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        if sys.argv[1:2] == ["serve"]:  # each web process loads the apps itself; the one that watches them needs none
            from webapp.management.commands.serve import Command

            Command().run_from_argv(sys.argv)
        else:
            execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"fairground: {error}")


if __name__ == "__main__":
    main()
