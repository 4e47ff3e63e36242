"""`manage.py add_remote_checkpoint`: register a model that an OpenAI-compatible server answers for."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from webapp.commands import FairgroundCommand
from webapp.inference.remote import RemoteServer
from webapp.playground.checkpoints import add_remote_checkpoint


class Command(FairgroundCommand):
    """Ask the server for the model, register it, print its digest. The key itself is never stored."""

    help = "Register a model of an OpenAI-compatible server: vLLM, TGI, llama.cpp, a hosted one, another Fairground."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("url", help="address up to /v1")
        parser.add_argument("--model", required=True, help="the model's name on that server")
        parser.add_argument("--key-env", default="", help="name of the environment variable that holds the key")
        parser.add_argument("--completions", action="store_true", help="continue text instead of chatting")
        parser.add_argument("--max-concurrent", type=int, default=4)
        parser.add_argument("--requests-per-minute", type=int, default=0, help="0: no limit")
        parser.add_argument("--timeout", type=float, default=60.0, help="seconds without a token until it is given up")

    def run(self, **options: Any) -> None:
        server = RemoteServer(
            url=options["url"],
            model=options["model"],
            key_env=options["key_env"],
            is_chat=not options["completions"],
            max_concurrent=max(1, options["max_concurrent"]),
            requests_per_minute=max(0, options["requests_per_minute"]),
            read_timeout_s=options["timeout"],
        )
        self.stdout.write(add_remote_checkpoint(slug=options["slug"], server=server).digest)
