"""Gives each of several test processes its own Redis database: `-p tests.own_redis`, imported before the settings."""

from __future__ import annotations

import os

from tests.redis_databases import own_database

if "REDIS_URL" in os.environ:
    os.environ["REDIS_URL"] = own_database(os.environ["REDIS_URL"])
