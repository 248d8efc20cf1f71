import pytest

from homeserver.core.endpoint_errors import WeakPassword
from homeserver.core.errors import Exclusive, Forbidden, InvalidUsername, NotFound, UnknownToken, UserInUse
from homeserver.core.identifiers import UserID
from homeserver.services.accounts import DEPARTURES_AT_ONCE, Accounts
from homeserver.storage import profiles
from tests.services.accounts.conftest import Stack


async def test_an_account_is_made_with_a_profile(stack: Stack) -> None:
    user_id = await stack.accounts.create("@Carol:test", "password", is_admin=True)
    assert user_id == "@carol:test"
    assert await stack.database.read(profiles.of, user_id) == {"displayname": "carol"}
    account = await stack.accounts.find(user_id)
    assert account is not None
    assert account.is_admin
    await stack.login("carol")


async def test_names_are_taken_once(stack: Stack, alice: UserID) -> None:
    for name in ("alice", "Alice", "@alice:test"):
        with pytest.raises(UserInUse):
            await stack.accounts.create(name, "password")
    await stack.accounts.deactivate(alice, erase=True)
    with pytest.raises(UserInUse):
        await stack.accounts.create("alice", "password")
    with pytest.raises(Exclusive):
        await stack.accounts.create("irc_bob", "password")
    with pytest.raises(InvalidUsername):
        await stack.accounts.create("al ice", "password")
    with pytest.raises(WeakPassword):
        await stack.accounts.create("bob", "")


async def test_a_new_password_logs_other_devices_out(stack: Stack, alice: UserID) -> None:
    kept, other = [await stack.login("alice", refresh=True) for _ in range(2)]
    await stack.accounts.set_password(alice, "changed", logout_devices=True, keep=kept.device_id)
    assert await stack.is_known(kept.access_token)
    assert not await stack.is_known(other.access_token)
    with pytest.raises(UnknownToken):
        await stack.sessions.refresh(other.refresh_token or "")
    assert [device.device_id for device in await stack.devices.of_user(alice)] == [kept.device_id]
    with pytest.raises(Forbidden):
        await stack.login("alice")
    await stack.login("alice", "changed")


async def test_a_new_password_can_leave_devices_alone(stack: Stack, alice: UserID) -> None:
    session = await stack.login("alice")
    await stack.accounts.set_password(alice, "changed", logout_devices=False)
    assert await stack.is_known(session.access_token)


async def test_who_is_not_there_cannot_be_managed(stack: Stack) -> None:
    nobody = UserID("@nobody:test")
    with pytest.raises(NotFound):
        await stack.accounts.set_password(nobody, "password", logout_devices=True)
    with pytest.raises(NotFound):
        await stack.accounts.deactivate(nobody, erase=False)
    with pytest.raises(NotFound):
        await stack.accounts.set_admin(nobody, is_admin=True)
    assert await stack.accounts.find(nobody) is None


async def test_a_deactivated_account_is_closed_for_good(stack: Stack, alice: UserID) -> None:
    session = await stack.login("alice", refresh=True)
    await stack.accounts.deactivate(alice, erase=False)
    assert stack.departures.left == [alice]
    assert not await stack.is_known(session.access_token)
    with pytest.raises(UnknownToken) as caught:
        await stack.sessions.refresh(session.refresh_token or "")
    assert caught.value.fields == {"soft_logout": False}
    assert await stack.devices.of_user(alice) == []
    with pytest.raises(Forbidden):
        await stack.login("alice")
    with pytest.raises(NotFound):
        await stack.accounts.set_password(alice, "changed", logout_devices=True)
    with pytest.raises(NotFound):
        await stack.accounts.deactivate(alice, erase=False)
    account = await stack.accounts.find(alice)
    assert account is not None
    assert (account.is_deactivated, account.is_erased, account.is_departing) == (True, False, False)
    assert await stack.database.read(profiles.of, alice) == {"displayname": "alice"}


async def test_an_erased_account_leaves_nothing_of_its_own(stack: Stack, alice: UserID) -> None:
    await stack.accounts.deactivate(alice, erase=True)
    account = await stack.accounts.find(alice)
    assert account is not None
    assert account.is_erased
    assert await stack.database.read(profiles.of, alice) == {}


async def test_departures_are_finished_after_a_failure(stack: Stack, alice: UserID) -> None:
    session = await stack.login("alice")
    stack.departures.is_broken = True
    await stack.accounts.deactivate(alice, erase=False)
    assert stack.departures.left == []
    assert not await stack.is_known(session.access_token)
    stack.departures.is_broken = False
    await stack.accounts.finish_departures()
    await stack.accounts.finish_departures()
    assert stack.departures.left == [alice]


async def test_one_stuck_departure_does_not_hold_up_others(stack: Stack) -> None:
    stack.departures.is_broken = True
    for number in range(DEPARTURES_AT_ONCE + 3):
        user_id = await stack.accounts.create(f"user{number:02}", None)
        await stack.accounts.deactivate(user_id, erase=False)
    stack.departures.is_broken = False
    stack.departures.stuck = {UserID(f"@user{number:02}:test") for number in range(DEPARTURES_AT_ONCE)}
    await stack.accounts.finish_departures()
    assert stack.departures.left == [f"@user{DEPARTURES_AT_ONCE + number}:test" for number in range(3)]


async def test_a_command_leaves_departures_to_the_server(stack: Stack, alice: UserID) -> None:
    command = Accounts(stack.database, stack.clock, stack.names, stack.passwords, None)
    await command.deactivate(alice, erase=False)
    await command.finish_departures()
    assert stack.departures.left == []
    await stack.accounts.finish_departures()
    assert stack.departures.left == [alice]


async def test_accounts_are_listed(stack: Stack, alice: UserID) -> None:
    bob = await stack.accounts.create("bob", None)
    carol = await stack.accounts.create("carol", None)
    await stack.accounts.deactivate(bob, erase=False)
    assert [each.user_id for each in await stack.accounts.page()] == [alice, carol]
    assert [each.user_id for each in await stack.accounts.page(deactivated=True)] == [alice, bob, carol]
    assert [each.user_id for each in await stack.accounts.page(after=alice, limit=1)] == [carol]


async def test_administrators_are_made_and_unmade(stack: Stack, alice: UserID) -> None:
    for is_admin in (True, False):
        await stack.accounts.set_admin(alice, is_admin=is_admin)
        account = await stack.accounts.find(alice)
        assert account is not None
        assert account.is_admin is is_admin
