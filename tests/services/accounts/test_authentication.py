import pytest

from homeserver.core.errors import UnknownToken, UserLocked
from homeserver.core.identifiers import UserID
from homeserver.core.requester import Requester
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
            tx._cursor.execute(f"SELECT * FROM {table}")  # type: ignore[attr-defined]
            found += tx._cursor.fetchall()  # type: ignore[attr-defined]
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


async def last_seen(stack: Stack, alice: UserID) -> tuple[int | None, str | None]:
    # A write waits for those before it.
    await stack.database.write(lambda tx: None)
    (device,) = await stack.devices.of_user(alice)
    return device.last_seen_ts, device.last_seen_ip


async def test_when_a_device_was_seen_is_noted_once_a_minute(stack: Stack, alice: UserID) -> None:
    session = await stack.login("alice")
    assert await last_seen(stack, alice) == (None, None)
    start = stack.clock.now_ts()
    await stack.authentication.authenticate(session.access_token, Asking(client_ip="192.0.2.7"))
    assert await last_seen(stack, alice) == (start, "192.0.2.7")
    stack.clock.advance(59_999)
    await stack.authentication.authenticate(session.access_token, Asking(client_ip="192.0.2.8"))
    assert await last_seen(stack, alice) == (start, "192.0.2.7")
    stack.clock.advance(1)
    await stack.authentication.authenticate(session.access_token, Asking(client_ip="192.0.2.9"))
    assert await last_seen(stack, alice) == (start + 60_000, "192.0.2.9")
    # Another replica knows nothing of it, and still does not note it twice.
    replica = Authentication(stack.database, stack.clock)
    await replica.authenticate(session.access_token, Asking(client_ip="192.0.2.10"))
    assert await last_seen(stack, alice) == (start + 60_000, "192.0.2.9")


async def test_authenticating_is_one_statement(stack: Stack, alice: UserID) -> None:
    session = await stack.login("alice")
    await stack.is_known(session.access_token)
    await last_seen(stack, alice)
    statements: list[str] = []
    read = stack.database.read

    def counting(f: object, *args: object, **kwargs: object) -> object:
        def run(tx: object) -> object:
            run_statement = tx._run  # type: ignore[attr-defined]
            tx._run = lambda query, params: (statements.append("read"), run_statement(query, params))  # type: ignore[attr-defined]
            return f(tx, *args, **kwargs)  # type: ignore[operator]

        return read(run)

    def unexpected(*_: object, **__: object) -> object:
        raise AssertionError("a write on the path of a request")

    stack.database.read = counting  # type: ignore[method-assign, assignment]
    stack.database.write = stack.database.write_soon = unexpected  # type: ignore[method-assign, assignment]
    await stack.authentication.authenticate(session.access_token, Asking())
    assert statements == ["read"]
