"""What is raised while the database or Redis does not answer: whoever asks again later may be served."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError
from psycopg_pool import PoolTimeout
from redis import RedisError

AWAY = (InterfaceError, OperationalError, RedisError, PoolTimeout)
