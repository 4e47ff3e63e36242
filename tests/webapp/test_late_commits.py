"""Updates whose commit does not wait for the disk: the same rows, and only these statements."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.db.models import CharField, F, Func, Value
from django.db.models.functions import Concat
from django.test.utils import CaptureQueriesContext

from webapp.late_commits import without_waiting


def setting() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        value: str = cursor.fetchone()[0]
        return value


@pytest.mark.django_db(transaction=True)
def test_updates_the_same_rows() -> None:
    for name in ("first", "second"):
        Group.objects.create(name=name)
    with CaptureQueriesContext(connection) as asked:
        assert without_waiting(Group.objects.filter(name="first")).update(name="changed") == 1
        assert without_waiting(Group.objects.filter(name="first")).update(name="changed again") == 0
    assert sorted(Group.objects.values_list("name", flat=True)) == ["changed", "second"]
    assert ("synchronous_commit" in asked[0]["sql"]) == (connection.vendor == "postgresql")


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's setting")
def test_nothing_else_commits_late() -> None:
    Group.objects.create(name="first")
    before = setting()
    assert before != "off"
    without_waiting(Group.objects.filter(name="first")).update(name="second")
    assert setting() == before
    with transaction.atomic():
        assert without_waiting(Group.objects.filter(name="second")).update(name="third") == 1
        assert setting() == before, "the transaction's other changes wait as ever"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's setting")
def test_the_statement_itself_commits_late() -> None:
    """Its own snapshot of the setting: stored by the same statement that sets it, after the condition was met."""
    Group.objects.create(name="first")
    now = Func(Value("synchronous_commit"), function="current_setting", output_field=CharField())
    without_waiting(Group.objects.filter(name="first")).update(name=Concat(F("name"), Value(" "), now))
    assert Group.objects.get().name == "first off"
