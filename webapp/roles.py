"""What people may do beyond reading and asking. A role is a Django group of the same name."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractUser, Group
from django.db import models

from webapp.errors import NotFoundError


class Role(models.TextChoices):
    """The published roles. Nobody needs one to ask, trace or read."""

    RESEARCHER = "researcher", "exports in bulk, private work"
    ANNOTATOR = "annotator", "votes in the arena"
    OWNER = "owner", "owns corpora and experts"
    PROVIDER = "provider", "enters contestants into the arena"
    OPERATOR = "operator", "runs this site"


def has_role(user: Any, role: Role) -> bool:
    """Tell whether a signed-in, active user has a role. A superuser is an operator, and no other role by that."""
    if not isinstance(user, AbstractUser) or not user.is_authenticated or not user.is_active:
        return False
    if role is Role.OPERATOR and user.is_superuser:
        return True
    return bool(user.groups.filter(name=role.value).exists())


def grant_role(*, user: AbstractUser, role: Role) -> None:
    """Give a user a role; giving it twice changes nothing."""
    group, _ = Group.objects.get_or_create(name=role.value)
    user.groups.add(group)


def revoke_role(*, user: AbstractUser, role: Role) -> None:
    """Take a role from a user. Raises `NotFoundError` when the user does not have it."""
    group = user.groups.filter(name=role.value).first()
    if group is None:
        raise NotFoundError(f"{user.get_username()} does not have the role {role.value}.")
    user.groups.remove(group)
