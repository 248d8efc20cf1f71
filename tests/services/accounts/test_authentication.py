from collections.abc import Callable
from typing import Any, cast

import attrs
import pytest
from twisted.internet.defer import Deferred

from homeserver.core.appservices import Appservices
from homeserver.core.errors import UnknownToken, UserLocked
from homeserver.core.identifiers import UserID
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.statements import Statement
from homeserver.database.transactions import ReadTransaction
from homeserver.services.authentication import Authentication
from homeserver.services.credentials import hash_of
from tests.services.accounts.conftest import Asking, Stack
from tests.services.accounts.test_sessions import lock


async def test_a_token_is_somebodys(stack: Stack) -> None:
    admin = await stack.accounts.create("admin", "password", is_admin=True)
    session = await stack.login("admin")
    who = await stack.authentication.authenticate(session.access_token, Asking())
    assert who == Requester(
        user_id=admin,
        device_id=session.device_id,
        is_guest=False,
        is_admin=True,
        appservice_id=None,
        token_hash=hash_of(session.access_token),
    )


@pytest.mark.parametrize("token", ["", "x", "é", "\0"])
async def test_other_tokens_are_nobodys(stack: Stack, alice: UserID, token: str) -> None:
    await stack.login("alice")
    with pytest.raises(UnknownToken) as caught:
        await stack.authentication.authenticate(token, Asking())
    assert caught.value.fields == {"soft_logout": False}


async def test_the_database_does_not_hold_what_opens_an_account(stack: Stack, alice: UserID) -> None:
    session = await stack.login("alice", refresh=True)
    login_token, _ = await stack.logins.make_token(alice)
    await stack.sessions.refresh(session.refresh_token or "")

    def everything(tx: object) -> str:
        found = []
        for table in ("users", "devices", "access_tokens", "refresh_tokens", "login_tokens"):
            tx._cursor.execute(f"SELECT * FROM {table}")  # type: ignore[attr-defined]  # what tests alone look at
            found += tx._cursor.fetchall()  # type: ignore[attr-defined]  # what tests alone look at
        return repr(found)

    stored = await stack.database.read(everything)
    assert str(session.device_id) in stored
    for secret in (session.access_token, session.refresh_token, login_token, "password"):
        assert str(secret) not in stored


async def test_a_locked_user_can_only_log_out(stack: Stack, alice: UserID) -> None:
    session = await stack.login("alice")
    await lock(stack, alice)
    with pytest.raises(UserLocked) as caught:
        await stack.authentication.authenticate(session.access_token, Asking())
    assert caught.value.fields == {"soft_logout": True}
    for path in ("v3/logout", "r0/logout", "v3/logout/all", "v3/logout/"):
        asking = Asking(f"/_matrix/client/{path}")
        assert (await stack.authentication.authenticate(session.access_token, asking)).user_id == alice
    for path in ("v3/logout/al%6c", "v3/logout/all/more", "v3/account/whoami", "v3//logout"):
        with pytest.raises(UserLocked):
            await stack.authentication.authenticate(session.access_token, Asking(f"/_matrix/client/{path}"))


class CountingDatabase:
    """Reads only, and counts the statements."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.statements = 0

    def look_up(self, f: Callable[..., object], *args: object) -> Deferred[object]:
        def run(tx: ReadTransaction) -> object:
            statement = tx._run

            def count(query: Statement, params: dict[str, Any]) -> None:
                self.statements += 1
                statement(query, params)

            tx._run = count  # type: ignore[method-assign]  # a test puts its own in the place
            return f(tx, *args)

        return self.database.look_up(run)


class PatientDatabase:
    """Lets a test wait for what nobody waits for."""

    def __init__(self, database: Database) -> None:
        self.read = database.read
        self.look_up = database.look_up
        self.write = database.write
        self.write_later = database.write_soon
        self.later: list[Deferred[Any]] = []

    def write_soon(self, f: Callable[..., object], *args: object, **kwargs: object) -> Deferred[Any]:
        deferred = self.write_later(f, *args, **kwargs)
        self.later.append(deferred)
        return deferred


async def test_when_a_device_was_seen_is_noted_once_a_minute(stack: Stack, alice: UserID) -> None:
    session = await stack.login("alice")
    database = PatientDatabase(stack.database)
    authentication, replica = (
        Authentication(cast("Database", database), stack.clock, Appservices()) for _ in range(2)
    )

    async def seen(by: Authentication, ip: str) -> tuple[int | None, str | None]:
        await by.authenticate(session.access_token, Asking(client_ip=ip))
        for each in database.later:
            await each
        (device,) = await stack.devices.of_user(alice)
        return device.last_seen_ts, device.last_seen_ip

    start = stack.clock.now_ts()
    (device,) = await stack.devices.of_user(alice)
    assert (device.last_seen_ts, device.last_seen_ip) == (None, None)
    assert await seen(authentication, "192.0.2.7") == (start, "192.0.2.7")
    stack.clock.advance(59_999)
    assert await seen(authentication, "192.0.2.8") == (start, "192.0.2.7")
    stack.clock.advance(1)
    assert await seen(authentication, "192.0.2.9") == (start + 60_000, "192.0.2.9")
    assert len(database.later) == 2
    # Another replica knows nothing of it, and still does not note it twice.
    assert await seen(replica, "192.0.2.10") == (start + 60_000, "192.0.2.9")
    assert len(database.later) == 3


async def test_authenticating_is_one_statement(stack: Stack, alice: UserID) -> None:
    session = await stack.login("alice")
    database = CountingDatabase(stack.database)
    authentication = attrs.evolve(stack.authentication, database=cast("Database", database))
    authentication._seen_ms.put((alice, session.device_id), stack.clock.monotonic_ms())
    await authentication.authenticate(session.access_token, Asking())
    assert database.statements == 1


@attrs.define
class HeldDatabase:
    """Answers the first question only when the test lets it."""

    database: Database
    held: Deferred[Any] | None = None

    def look_up(self, f: Callable[..., object], *args: object, **kwargs: object) -> Deferred[Any]:
        answer = self.database.look_up(f, *args, **kwargs)
        if self.held is not None:
            return answer
        self.held = Deferred()
        return self.held.addCallback(lambda _: answer)

    def write_soon(self, f: Callable[..., object], *args: object, **kwargs: object) -> Deferred[Any]:
        return self.database.write_soon(f, *args, **kwargs)


async def test_requests_of_one_token_go_on_in_their_order(stack: Stack, alice: UserID) -> None:
    """Whatever the database is at: what a device says next may rely on what it has said just before."""
    session, other = await stack.login("alice"), await stack.login("alice")
    database = HeldDatabase(stack.database)
    authentication = Authentication(cast("Database", database), stack.clock, Appservices())
    went_on: list[str] = []

    async def asks(name: str, token: str) -> None:
        await authentication.authenticate(token, Asking())
        went_on.append(name)

    first, second, third = [
        Deferred.fromCoroutine(asks(name, token))
        for name, token in (
            ("first", session.access_token),
            ("second", session.access_token),
            ("another device's", other.access_token),
        )
    ]
    await third
    assert went_on == ["another device's"]
    assert database.held is not None
    database.held.callback(None)
    await first
    await second
    assert went_on == ["another device's", "first", "second"]
