"""The services of accounts on a real database; passwords are hashed in real threads, but lightly."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import cast

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from homeserver.config.sections import Registration
from homeserver.core.appservices import Appservices
from homeserver.core.errors import UnknownToken
from homeserver.core.identifiers import ServerName, UserID
from homeserver.database.database import Database
from homeserver.database.drivers import Location
from homeserver.runtime.worker_pool import Loop, WorkerPool
from homeserver.services.accounts import Accounts
from homeserver.services.attempts import InMemoryAttempts
from homeserver.services.authentication import Authentication
from homeserver.services.devices import Devices
from homeserver.services.logins import Logins
from homeserver.services.named_users import NamedUsers
from homeserver.services.passwords import Passwords
from homeserver.services.registration import Registrations
from homeserver.services.sessions import Session, Sessions
from homeserver.services.shared_secret_registration import SharedSecretRegistrations
from homeserver.services.uia import PASSWORD, Stage, UserInteractiveAuth
from homeserver.services.uia_stages import (
    DUMMY,
    REGISTRATION_TOKEN,
    DummyStage,
    PasswordStage,
    RegistrationTokenStage,
)
from homeserver.services.user_names import UserNames
from tests.api.server import LIGHT
from tests.appservices import appservice
from tests.services.conftest import Commits, MovableClock

SECRET = "the shared secret"


@attrs.define
class FakeDepartures:
    """Stands for the rooms."""

    left: list[UserID] = attrs.field(factory=list)
    is_broken: bool = False
    stuck: set[UserID] = attrs.field(factory=set)

    async def leave_all_rooms(self, user_id: UserID) -> None:
        if self.is_broken or user_id in self.stuck:
            raise RuntimeError("no rooms today")
        self.left.append(user_id)


@attrs.define
class Asking:
    """A request, as far as authentication looks at it."""

    path: str = "/_matrix/client/v3/sync"
    client_ip: str = "192.0.2.1"
    user_agent: str | None = "tests"
    query: Mapping[str, Sequence[str]] = {}

    def parameters(self) -> Mapping[str, Sequence[str]]:
        return self.query


@attrs.frozen
class Stack:
    """All services of accounts."""

    database: Database
    clock: MovableClock
    pool: WorkerPool
    names: UserNames
    attempts: InMemoryAttempts
    passwords: Passwords
    sessions: Sessions
    logins: Logins
    uia: UserInteractiveAuth
    departures: FakeDepartures
    accounts: Accounts
    devices: Devices
    authentication: Authentication

    def registrations(self, *, enabled: bool = True, requires_token: bool = False) -> Registrations:
        policy = Registration(enabled=enabled, requires_token=requires_token, allow_guests=enabled)
        return Registrations(
            self.database, self.clock, policy, self.names, self.passwords, self.sessions, self.uia
        )

    def shared_secret(self, secret: str | None = SECRET) -> SharedSecretRegistrations:
        return SharedSecretRegistrations(
            self.database, self.clock, secret, self.names, self.passwords, self.sessions
        )

    async def login(
        self, name: str, password: str = "password", device: str | None = None, *, refresh: bool = False
    ) -> Session:
        draft = self.sessions.draft(device_id=device, display_name=None, wants_refresh_token=refresh)
        return await self.logins.by_password(name, password, draft, address="192.0.2.1")

    async def is_known(self, access_token: str) -> bool:
        """Whether the token opens anything; asking is using it."""
        try:
            await self.authentication.authenticate(access_token, Asking())
        except UnknownToken:
            return False
        return True


@pytest.fixture
async def database(database_url: str, commits: Commits) -> AsyncIterator[Database]:
    """An empty database of each kind: what happens at once does so only on PostgreSQL."""
    made = Database(Location.parse(database_url), reactor, on_commit=commits.add)  # type: ignore[arg-type]  # zope's reactor
    made.start()
    yield made
    await deferToThread(made.stop)


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(cast("Loop", reactor), threads=2, queue_limit=64)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def stack(database: Database, clock: MovableClock, pool: WorkerPool) -> Stack:
    return make_stack(database, clock, pool)


def make_stack(database: Database, clock: MovableClock, pool: WorkerPool) -> Stack:
    appservices = Appservices((appservice(),))
    names = UserNames(ServerName("test"), appservices)
    attempts = InMemoryAttempts(clock)
    passwords = Passwords(database, names, pool, attempts, LIGHT)
    stages: dict[str, Stage] = {
        PASSWORD: PasswordStage(passwords, names, NamedUsers(database)),
        DUMMY: DummyStage(),
        REGISTRATION_TOKEN: RegistrationTokenStage(database, clock),
    }
    departures = FakeDepartures()
    return Stack(
        database=database,
        clock=clock,
        pool=pool,
        names=names,
        attempts=attempts,
        passwords=passwords,
        sessions=Sessions(database, clock),
        logins=Logins(database, clock, passwords),
        uia=UserInteractiveAuth(database, clock, stages),
        departures=departures,
        accounts=Accounts(database, clock, names, passwords, departures),
        devices=Devices(database, clock),
        authentication=Authentication(database, clock, appservices),
    )


@pytest.fixture
async def alice(stack: Stack) -> UserID:
    """A user whose password is `password`."""
    return await stack.accounts.create("alice", "password")
