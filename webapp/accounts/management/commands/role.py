"""`manage.py role grant|revoke ROLE USERNAME`: who may do what."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.errors import FairgroundError
from webapp.roles import Role, grant_role, revoke_role


class Command(BaseCommand):
    """Give or take a role."""

    help = "Give a user a role or take it: researcher, annotator, owner, provider or operator."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["grant", "revoke"])
        parser.add_argument("role", choices=Role.values)
        parser.add_argument("username")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['username']!r}. They sign up on the site first.")
        try:
            (grant_role if options["action"] == "grant" else revoke_role)(user=user, role=Role(options["role"]))
        except FairgroundError as error:
            raise CommandError(error.message) from error
        names = sorted(user.groups.values_list("name", flat=True))
        self.stdout.write(f"{user.username}: {', '.join(names) or 'no role'}")
