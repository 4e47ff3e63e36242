"""`manage.py add_remote_corpus`: trace in an index that stays on its owner's server."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tracer import remotes
from tracer.remote_client import PATHS, RemoteServer
from webapp.commands import FairgroundCommand


class Command(FairgroundCommand):
    """Ask the server once and register its index. The key itself is never stored."""

    help = "Register an index of another Fairground or of an infinigram-api server, by address."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("url", help="address of the server, such as https://host")
        parser.add_argument("--name", required=True, help="the corpus or index over there")
        parser.add_argument("--kind", choices=sorted(PATHS), default="fairground")
        parser.add_argument("--owner", required=True)
        parser.add_argument("--licence", required=True)
        parser.add_argument("--title", required=True)
        parser.add_argument("--disclosure", choices=remotes.DISCLOSURES, default="snippet")
        parser.add_argument("--key-env", default="", help="name of the environment variable that holds the key")
        parser.add_argument("--timeout", type=float, default=10.0, help="seconds until a trace goes on without it")

    def run(self, **options: Any) -> None:
        server = RemoteServer(options["kind"], options["url"], options["name"], options["key_env"], options["timeout"])
        names = ("slug", "owner", "licence", "title", "disclosure")
        remote = remotes.add_remote_corpus(server=server, **{name: options[name] for name in names})
        self.stdout.write(f"{remote.corpus.slug}: {remote.kind}, index {remote.name}")
