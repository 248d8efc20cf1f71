"""Commands that work on the database alone, whether the server is running or not."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from homeserver.cli.accounts import MainThread
from homeserver.cli.errors import Refusal
from homeserver.cli.preparation import bring_up_to_date
from homeserver.config import load
from homeserver.database.database import Database
from homeserver.database.drivers import Location
from homeserver.database.errors import StorageUnavailable

T = TypeVar("T")


def with_database(config_path: Path, act: Callable[[Database], Coroutine[Deferred[Any], Any, T]]) -> T:
    """Do something with the database of the server that is configured at `config_path`.

    Errors: ConfigError, DatabaseError, Refusal.
    """
    location = Location.parse(load(config_path).database)
    bring_up_to_date(location, config_path)
    loop = MainThread()
    # Running processes find a change by themselves within seconds.
    database = Database(location, loop, on_commit=lambda _position, _topics: None, readers=1)
    database.start()
    try:
        return loop.run(act(database))
    except StorageUnavailable as error:
        raise Refusal(f"database: {error}: try again") from error
    finally:
        database.stop()


def moment(ts: int) -> str:
    """A time as the operator reads it."""
    return datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
