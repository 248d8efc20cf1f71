import pytest
from twisted.internet.defer import Deferred, DeferredList

from homeserver.core.errors import Forbidden, InvalidParam, TooLarge, UnknownToken, UserLocked
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.services.sessions import ACCESS_LIFETIME_MS, open_session
from homeserver.storage import devices
from tests.services.accounts.conftest import Asking, Stack
from tests.services.conftest import requester


async def device_ids(stack: Stack, user_id: UserID) -> list[DeviceID]:
    return await stack.database.read(devices.ids_of_user, user_id)


async def refused(stack: Stack, refresh_token: str | None) -> UnknownToken:
    with pytest.raises(UnknownToken) as caught:
        await stack.sessions.refresh(refresh_token or "")
    return caught.value


async def test_without_refresh_tokens_access_tokens_do_not_expire(stack: Stack, alice: UserID) -> None:
    session = await stack.login("alice")
    assert (session.refresh_token, session.expires_in_ms) == (None, None)
    stack.clock.advance(10**12)
    assert await stack.is_known(session.access_token)


async def test_an_access_token_that_can_be_refreshed_expires(stack: Stack, alice: UserID) -> None:
    session = await stack.login("alice", refresh=True)
    assert session.expires_in_ms == ACCESS_LIFETIME_MS
    stack.clock.advance(ACCESS_LIFETIME_MS - 1)
    assert await stack.is_known(session.access_token)
    stack.clock.advance(1)
    with pytest.raises(UnknownToken) as caught:
        await stack.authentication.authenticate(session.access_token, Asking())
    assert caught.value.fields == {"soft_logout": True}
    fresh = await stack.sessions.refresh(session.refresh_token or "")
    assert (fresh.user_id, fresh.device_id) == (alice, session.device_id)
    assert await stack.is_known(fresh.access_token)


async def test_the_old_pair_is_good_until_the_new_access_token_is_used(stack: Stack, alice: UserID) -> None:
    old = await stack.login("alice", refresh=True)
    lost = await stack.sessions.refresh(old.refresh_token or "")
    assert await stack.is_known(old.access_token)
    new = await stack.sessions.refresh(old.refresh_token or "")
    assert await stack.is_known(old.access_token)
    assert await stack.is_known(new.access_token)
    assert not await stack.is_known(old.access_token)
    assert not await stack.is_known(lost.access_token)
    assert (await refused(stack, old.refresh_token)).fields == {"soft_logout": True}
    assert (await refused(stack, lost.refresh_token)).fields == {"soft_logout": True}
    assert await stack.is_known(new.access_token)


async def test_the_old_pair_is_good_until_the_new_refresh_token_is_used(stack: Stack, alice: UserID) -> None:
    old = await stack.login("alice", refresh=True)
    new = await stack.sessions.refresh(old.refresh_token or "")
    newer = await stack.sessions.refresh(new.refresh_token or "")
    assert not await stack.is_known(old.access_token)
    await refused(stack, old.refresh_token)
    # The pair in the middle is good until the newest is used, and may be refreshed again.
    assert await stack.is_known(new.access_token)
    newest = await stack.sessions.refresh(new.refresh_token or "")
    assert await stack.is_known(newest.access_token)
    assert not await stack.is_known(newer.access_token)
    assert not await stack.is_known(new.access_token)


async def test_of_two_new_pairs_used_at_once_one_stays(stack: Stack, alice: UserID) -> None:
    for _ in range(10):
        old = await stack.login("alice", refresh=True)
        rivals = [await stack.sessions.refresh(old.refresh_token or "") for _ in range(3)]
        uses = [Deferred.fromCoroutine(stack.is_known(each.access_token)) for each in rivals]
        await DeferredList(uses, fireOnOneErrback=True)
        assert [await stack.is_known(each.access_token) for each in rivals].count(True) == 1
        assert not await stack.is_known(old.access_token)


async def test_refreshing_goes_on_for_ever(stack: Stack, alice: UserID) -> None:
    session = await stack.login("alice", refresh=True)
    for _ in range(10):
        stack.clock.advance(ACCESS_LIFETIME_MS)
        session = await stack.sessions.refresh(session.refresh_token or "")
        assert await stack.is_known(session.access_token)

    def rows(tx: object) -> list[int]:
        counts = []
        for table in ("access_tokens", "refresh_tokens"):
            tx._cursor.execute(f"SELECT count(*) FROM {table}")  # type: ignore[attr-defined]  # what tests alone look at
            counts.append(tx._cursor.fetchone()[0])  # type: ignore[attr-defined]  # what tests alone look at
        return counts

    assert await stack.database.read(rows) == [1, 1]


async def test_after_a_logout_a_refresh_is_no_soft_logout(stack: Stack, alice: UserID) -> None:
    session = await stack.login("alice", refresh=True)
    await stack.sessions.close(requester(alice, session.device_id))
    assert not await stack.is_known(session.access_token)
    assert (await refused(stack, session.refresh_token)).fields == {"soft_logout": False}
    for nonsense in ("", ".", "a.b", session.access_token):
        assert (await refused(stack, nonsense)).fields == {"soft_logout": False}


async def test_two_devices_do_not_share_their_tokens_fate(stack: Stack, alice: UserID) -> None:
    one = await stack.login("alice", refresh=True)
    other = await stack.login("alice", refresh=True)
    new = await stack.sessions.refresh(one.refresh_token or "")
    assert await stack.is_known(new.access_token)
    assert await stack.is_known(other.access_token)
    await stack.sessions.close(requester(alice, one.device_id))
    assert await device_ids(stack, alice) == [other.device_id]
    assert await stack.is_known(other.access_token)
    await stack.sessions.refresh(other.refresh_token or "")


async def test_logging_in_on_a_known_device_replaces_its_tokens(stack: Stack, alice: UserID) -> None:
    first = await stack.login("alice", device="PHONE", refresh=True)
    second = await stack.login("alice", device="PHONE")
    assert second.device_id == "PHONE"
    assert await device_ids(stack, alice) == ["PHONE"]
    assert not await stack.is_known(first.access_token)
    assert (await refused(stack, first.refresh_token)).fields == {"soft_logout": False}
    assert await stack.is_known(second.access_token)


async def test_the_same_device_id_of_another_user_is_another_device(stack: Stack, alice: UserID) -> None:
    await stack.accounts.create("bob", "password")
    of_alice = await stack.login("alice", device="PHONE")
    of_bob = await stack.login("bob", device="PHONE")
    await stack.sessions.close(requester(alice, "PHONE"))
    assert not await stack.is_known(of_alice.access_token)
    assert await stack.is_known(of_bob.access_token)


async def test_a_devices_first_name_stays(stack: Stack, alice: UserID) -> None:
    for name in ("first", "second"):
        draft = stack.sessions.draft(device_id="D", display_name=name, wants_refresh_token=False)
        await stack.logins.by_password("alice", "password", draft, address="192.0.2.1")
    assert (await stack.devices.find(alice, DeviceID("D"))).display_name == "first"


async def test_logging_out_everywhere(stack: Stack, alice: UserID) -> None:
    sessions = [await stack.login("alice", refresh=True) for _ in range(3)]
    await stack.sessions.close_all(alice)
    assert await device_ids(stack, alice) == []
    for session in sessions:
        assert not await stack.is_known(session.access_token)
        await refused(stack, session.refresh_token)


async def test_a_locked_user_can_neither_log_in_nor_refresh(stack: Stack, alice: UserID) -> None:
    session = await stack.login("alice", refresh=True)
    await lock(stack, alice)
    with pytest.raises(UserLocked):
        await stack.sessions.refresh(session.refresh_token or "")
    with pytest.raises(UserLocked):
        await stack.login("alice")
    await lock(stack, alice, is_locked=0)
    # Nothing was taken away.
    await stack.sessions.refresh(session.refresh_token or "")


async def test_nobody_gets_no_session(stack: Stack) -> None:
    draft = stack.sessions.draft(device_id=None, display_name=None, wants_refresh_token=False)
    with pytest.raises(Forbidden):
        await stack.database.write(open_session, UserID("@nobody:test"), draft, now_ts=1)


@pytest.mark.parametrize("device_id", ["D" * 256, "é" * 128, "a\0", "a\n", "\u202e"])
def test_strange_device_ids_are_refused(stack: Stack, device_id: str) -> None:
    with pytest.raises(InvalidParam):
        stack.sessions.draft(device_id=device_id, display_name=None, wants_refresh_token=False)


def test_device_names_are_bounded(stack: Stack) -> None:
    stack.sessions.draft(device_id="", display_name="x" * 256, wants_refresh_token=False)
    with pytest.raises(TooLarge):
        stack.sessions.draft(device_id=None, display_name="x" * 257, wants_refresh_token=False)
    with pytest.raises(InvalidParam):
        stack.sessions.draft(device_id=None, display_name="\0", wants_refresh_token=False)


async def lock(stack: Stack, user_id: UserID, is_locked: int = 1) -> None:
    def run(tx: object) -> None:
        tx._before_change()  # type: ignore[attr-defined]  # what tests alone look at
        tx._cursor.execute(f"UPDATE users SET is_locked = {is_locked} WHERE user_id = '{user_id}'")  # type: ignore[attr-defined]  # what tests alone look at

    await stack.database.write(run)
