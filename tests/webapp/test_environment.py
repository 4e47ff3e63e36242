from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from webapp.environment import check_names, read_secret_key


def test_unknown_variable_fails_with_the_closest_name() -> None:
    with pytest.raises(ImproperlyConfigured, match="Did you mean FAIRGROUND_DATA_DIR"):
        check_names({"FAIRGROUND_DATADIR": "/somewhere"})


def test_known_and_foreign_variables_pass() -> None:
    check_names({"FAIRGROUND_DATA_DIR": "x", "FAIRGROUND_TEST_REQUIRE": "y", "PATH": "/bin"})


def test_secret_key_is_made_once_and_private(tmp_path: Path) -> None:
    first = read_secret_key("", tmp_path, production=False)
    assert read_secret_key("", tmp_path, production=False) == first
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0


def test_secret_key_is_required_in_production(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="FAIRGROUND_SECRET_KEY is missing"):
        read_secret_key("", tmp_path, production=True)


def test_unwritable_folder_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImproperlyConfigured, match="FAIRGROUND_DATA_DIR"):
        read_secret_key("", tmp_path / "file" / "below", production=False)
