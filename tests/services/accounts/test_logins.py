import pytest

from homeserver.core.errors import Forbidden, MatrixError
from homeserver.core.identifiers import UserID
from homeserver.services.logins import LOGIN_TOKEN_LIFETIME_MS, open_by_password
from homeserver.services.sessions import SessionDraft
from tests.services.accounts.conftest import Stack


def draft(stack: Stack) -> SessionDraft:
    return stack.sessions.draft(device_id=None, display_name=None, wants_refresh_token=False)


async def test_logging_in_by_password(stack: Stack, alice: UserID) -> None:
    for name in ("alice", "Alice", "@alice:test"):
        session = await stack.login(name)
        assert session.user_id == alice
        assert await stack.is_known(session.access_token)


async def test_wrong_names_and_wrong_passwords_look_the_same(stack: Stack, alice: UserID) -> None:
    gone = await stack.accounts.create("gone", "password")
    await stack.accounts.deactivate(gone, erase=False)
    await stack.accounts.create("robot", None)
    answers = set()
    for name, password in (
        ("alice", "wrong"),
        ("nobody", "password"),
        ("gone", "password"),
        ("robot", ""),
        ("@alice:elsewhere", "password"),
        ("not a name\0", "password"),
        ("alice", "x" * 10_000),
    ):
        with pytest.raises(MatrixError) as caught:
            await stack.login(name, password)
        answers.add((type(caught.value), str(caught.value), tuple(caught.value.fields)))
    assert len(answers) == 1
    assert next(iter(answers))[0] is Forbidden


async def test_a_password_that_was_changed_meanwhile_opens_nothing(stack: Stack, alice: UserID) -> None:
    checked = await stack.passwords.check("alice", "password", address="192.0.2.1")
    assert checked is not None
    await stack.accounts.set_password(alice, "changed", logout_devices=True)
    with pytest.raises(Forbidden):
        await stack.database.write(open_by_password, checked, draft(stack), now_ts=1)
    await stack.accounts.deactivate(alice, erase=False)
    with pytest.raises(Forbidden):
        await stack.database.write(open_by_password, checked, draft(stack), now_ts=1)


async def test_a_login_token_is_good_once(stack: Stack, alice: UserID) -> None:
    token, expires_in_ms = await stack.logins.make_token(alice)
    assert expires_in_ms == LOGIN_TOKEN_LIFETIME_MS
    session = await stack.logins.by_token(token, draft(stack))
    assert session.user_id == alice
    for wrong in (token, "", "x"):
        with pytest.raises(Forbidden):
            await stack.logins.by_token(wrong, draft(stack))


async def test_a_login_token_expires(stack: Stack, alice: UserID) -> None:
    token, expires_in_ms = await stack.logins.make_token(alice)
    stack.clock.advance(expires_in_ms)
    with pytest.raises(Forbidden):
        await stack.logins.by_token(token, draft(stack))


async def test_a_login_token_does_not_outlive_password_or_account(stack: Stack, alice: UserID) -> None:
    token, _ = await stack.logins.make_token(alice)
    await stack.accounts.set_password(alice, "changed", logout_devices=False)
    with pytest.raises(Forbidden):
        await stack.logins.by_token(token, draft(stack))
    token, _ = await stack.logins.make_token(alice)
    await stack.accounts.deactivate(alice, erase=False)
    with pytest.raises(Forbidden):
        await stack.logins.by_token(token, draft(stack))
