"""Fixtures for tests of `services`: a real database in a file, a clock that tests move, and users."""

from collections.abc import AsyncIterator, Collection
from pathlib import Path

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.drivers import Location
from tests.databases import Databases


@attrs.define
class MovableClock:
    """Stands still until a test moves it."""

    ts: int = 1_700_000_000_000

    def now_ts(self) -> int:
        return self.ts

    def monotonic_ms(self) -> int:
        return self.ts

    def advance(self, ms: int) -> None:
        self.ts += ms


@attrs.define
class Commits:
    """What was told after each commit that published something."""

    topics: list[set[str]] = attrs.field(factory=list)

    def add(self, _position: int, topics: Collection[str]) -> None:
        self.topics.append(set(topics))

    async def take(self) -> list[set[str]]:
        """What was told since the last call; who has written is answered first."""
        await deferLater(reactor, 0)
        taken, self.topics = self.topics, []
        return taken


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def commits() -> Commits:
    return Commits()


@pytest.fixture
async def database(databases: Databases, tmp_path: Path, commits: Commits) -> AsyncIterator[Database]:
    """An empty database."""
    location = Location.parse(databases.sqlite(tmp_path))
    made = Database(location, reactor, on_commit=commits.add)  # type: ignore[arg-type]  # zope's reactor
    made.start()
    yield made
    await deferToThread(made.stop)


def requester(user_id: UserID, device_id: str | None = "DEVICE", **flags: bool) -> Requester:
    """Somebody who makes a request."""
    return Requester(
        user_id=user_id,
        device_id=None if device_id is None else DeviceID(device_id),
        is_guest=flags.get("is_guest", False),
        is_admin=flags.get("is_admin", False),
        appservice_id=None,
        token_hash=b"",
    )
