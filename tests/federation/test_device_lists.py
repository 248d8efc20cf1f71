"""Devices of users of one server, as another server that shares a room with them knows them."""

from typing import Any

import attrs
import pytest

from homeserver.core.identifiers import DeviceID, ServerName, UserID
from homeserver.core.json import canonical, decode_object
from homeserver.storage import device_changes, remote_device_lists
from tests.api.client.test_device_management import proof
from tests.api.server import Client, path_of
from tests.federation.clocks import MovableClock
from tests.federation.devices import (
    has_read_all,
    keeps,
    kept,
    kept_master,
    queried,
    query,
    row,
    told,
)
from tests.federation.harness import FederatedServer, Servers, cut, mend, until
from tests.federation.meetings import join_via, sees
from tests.key_holders import DEVICE_SIGNING, Identity, device_of, upload


@attrs.frozen
class Meeting:
    """Alice of one server and Bob of another in a room. Alice's device has keys."""

    here: FederatedServer
    there: FederatedServer
    alice: Client
    bob: Client
    room_id: str
    clock: MovableClock

    async def says(self, text: str) -> None:
        """Alice says something, and Bob has seen it."""
        await self.alice.send(self.room_id, text)

        async def is_there() -> bool:
            return text in await self.bob.messages_in(self.room_id)

        await until(is_there, what=text)


@pytest.fixture
async def meeting(servers: Servers) -> Meeting:
    clock = MovableClock()
    here, there = await servers.start(clock=clock), await servers.start(clock=clock)
    alice, bob = await here.user("alice"), await there.user("bob")
    await upload(alice)
    room_id = await alice.create_room(preset="public_chat")
    # Else Bob's server may be told of Alice's device in the middle of a test, and doubts its list for a moment.
    await has_read_all(here)
    await join_via(bob, room_id, here)
    await sees(alice, room_id, bob.user_id, "join")
    return Meeting(here, there, alice, bob, room_id, clock)


async def log_in(meeting: Meeting) -> Client:
    """Another device of Alice's, with keys."""
    device = await meeting.here.running.device(meeting.alice)
    await upload(device)
    return device


async def test_a_list_is_asked_for_once_and_then_followed(meeting: Meeting) -> None:
    """Server-server API, "Device Management"."""
    alice = meeting.alice
    assert await kept(meeting.there, alice.user_id) is None
    found = await query(meeting.there, alice.user_id)
    keys = found.users[UserID(alice.user_id)].devices[DeviceID(alice.device_id)].keys
    assert keys == canonical(device_of(alice).keys())
    assert await kept(meeting.there, alice.user_id) == {alice.device_id}
    before = await told(meeting.there, alice.user_id)
    phone = await log_in(meeting)
    await keeps(meeting.there, alice.user_id, alice.device_id, phone.device_id)
    assert await told(meeting.there, alice.user_id) > before
    # Without a doubt: the updates followed the list that was asked for.
    known = await row(meeting.there, alice.user_id)
    assert known is not None
    assert known.due_ts is None
    assert known.failures == 0


async def test_a_logout_is_seen(meeting: Meeting) -> None:
    phone = await log_in(meeting)
    assert await queried(meeting.there, phone.user_id) == {meeting.alice.device_id, phone.device_id}
    (await phone.post(path_of("logout"))).ok()
    await keeps(meeting.there, meeting.alice.user_id, meeting.alice.device_id)
    assert await queried(meeting.there, meeting.alice.user_id) == {meeting.alice.device_id}


async def test_new_cross_signing_keys_are_seen(meeting: Meeting) -> None:
    """`m.signing_key_update`; the user-signing key is never told."""
    user_id = UserID(meeting.alice.user_id)
    await queried(meeting.there, user_id)
    for name in ("first", "second"):
        identity = Identity(user_id, name)
        (await meeting.alice.post(DEVICE_SIGNING, {**identity.upload(), "auth": proof()})).ok()

        async def is_known(identity: Identity = identity) -> bool:
            return await kept_master(meeting.there, user_id) == canonical(identity.key("master"))

        await until(is_known, what=f"the {name} master key")
    found = (await query(meeting.there, user_id)).users[user_id]
    assert {*found.user_keys} == {"master", "self_signing"}
    assert decode_object(found.user_keys["self_signing"]) == identity.key("self_signing")


async def test_many_changes_while_the_link_is_down_end_in_the_right_list(meeting: Meeting) -> None:
    alice = meeting.alice
    await queried(meeting.there, alice.user_id)
    cut(meeting.here, meeting.there)
    await alice.send(meeting.room_id, "nobody hears that")
    phones = [await log_in(meeting) for _ in range(4)]
    for phone in phones[:3]:
        (await phone.post(path_of("logout"))).ok()
    assert await kept(meeting.there, alice.user_id) == {alice.device_id}
    mend(meeting.here, meeting.there)
    meeting.clock.advance(hours=1)
    await keeps(meeting.there, alice.user_id, alice.device_id, phones[3].device_id)


@pytest.mark.parametrize("restarted", ["here", "there"])
async def test_nothing_is_lost_when_a_server_is_restarted(meeting: Meeting, restarted: str) -> None:
    alice = meeting.alice
    await queried(meeting.there, alice.user_id)
    server: FederatedServer = getattr(meeting, restarted)
    if restarted == "here":
        cut(meeting.here, meeting.there)
        phone = await log_in(meeting)
        await server.stop()
        mend(meeting.here, meeting.there)
    else:
        await server.stop()
        phone = await log_in(meeting)
    meeting.clock.advance(hours=1)
    await server.start()
    meeting.clock.advance(hours=1)
    await keeps(meeting.there, alice.user_id, alice.device_id, phone.device_id)


async def test_what_changed_while_no_room_was_shared_is_seen_afterwards(meeting: Meeting) -> None:
    """Whichever of them leaves and comes back."""
    alice, bob = meeting.alice, meeting.bob
    await queried(meeting.there, alice.user_id)
    known = {alice.device_id}
    for leaver, other in ((bob, alice), (alice, bob)):
        await leaver.leave(meeting.room_id)
        await sees(other, meeting.room_id, leaver.user_id, "leave")
        known.add((await log_in(meeting)).device_id)
        await join_via(leaver, meeting.room_id, meeting.here if leaver is bob else meeting.there)
        await sees(other, meeting.room_id, leaver.user_id, "join")
        # What is kept may not be good any more; then it is asked for.
        assert await queried(meeting.there, alice.user_id) == known
        known.add((await log_in(meeting)).device_id)
        await keeps(meeting.there, alice.user_id, *known)


async def test_a_list_that_cannot_be_had_is_asked_for_until_it_comes(meeting: Meeting) -> None:
    """A client that asks meanwhile is told which server does not answer, and nothing that may be out of date."""
    alice = meeting.alice
    await queried(meeting.there, alice.user_id)
    phone = await log_in(meeting)
    await keeps(meeting.there, alice.user_id, alice.device_id, phone.device_id)
    meeting.there.network.cut(meeting.here.port)
    await doubt(meeting.there, alice.user_id)
    found = await query(meeting.there, alice.user_id)
    assert (found.users, {*found.failures}) == ({}, {meeting.here.server_name})

    async def has_failed() -> Any:
        known = await row(meeting.there, alice.user_id)
        return known is not None and known.failures

    await until(has_failed, what="a failure")
    meeting.there.network.mend(meeting.here.port)
    meeting.clock.advance(hours=2)
    await keeps(meeting.there, alice.user_id, alice.device_id, phone.device_id)


async def test_a_server_that_is_heard_of_is_asked_at_once(meeting: Meeting) -> None:
    alice = meeting.alice
    await queried(meeting.there, alice.user_id)
    meeting.there.network.cut(meeting.here.port)
    await doubt(meeting.there, alice.user_id)

    async def has_failed_often() -> Any:
        known = await row(meeting.there, alice.user_id)
        meeting.clock.advance(hours=1)
        return known is not None and known.failures >= 3

    await until(has_failed_often, what="failures")
    meeting.there.network.mend(meeting.here.port)
    await meeting.says("I am here")
    await keeps(meeting.there, alice.user_id, alice.device_id)


async def test_who_comes_into_a_room_is_introduced(meeting: Meeting) -> None:
    """Server-server API, "Device Management": "when that user joins a room which contains servers which are not
    already receiving updates for that user's device list"."""
    carol = await meeting.here.user("carol")
    await upload(carol)
    carols = UserID(carol.user_id)

    async def is_introduced() -> Any:
        database = meeting.here.running.server.database
        return await database.read(device_changes.told, ServerName(meeting.there.server_name), [carols])

    assert not await is_introduced()
    await carol.join(meeting.room_id)
    await until(is_introduced, what="that Bob's server hears of Carol's device")
    assert await queried(meeting.there, carol.user_id) == {carol.device_id}


async def test_who_is_in_no_shared_room_is_asked_about_and_not_followed(meeting: Meeting) -> None:
    carol = await meeting.here.user("carol")
    await upload(carol)
    assert await queried(meeting.there, carol.user_id) == {carol.device_id}
    assert await kept(meeting.there, carol.user_id) is None
    assert await row(meeting.there, carol.user_id) is None
    (await carol.post(path_of("logout"))).ok()
    assert await queried(meeting.there, carol.user_id) == set()


async def test_lists_of_many_users_are_fetched_in_the_background(meeting: Meeting) -> None:
    users = [await meeting.here.user(f"user{number}") for number in range(8)]
    for user in users:
        await upload(user)
        await user.join(meeting.room_id)
        await sees(meeting.bob, meeting.room_id, user.user_id, "join")
    remote_keys = meeting.there.running.server.services.following.remote_keys
    found = await remote_keys.query({UserID(user.user_id): [] for user in users}, patience_ms=10_000)
    assert not found.failures
    assert {user_id: {*keys.devices} for user_id, keys in found.users.items()} == {
        user.user_id: {user.device_id} for user in users
    }
    for user in users:
        await keeps(meeting.there, user.user_id, user.device_id)


async def test_nothing_is_kept_of_users_who_have_gone(meeting: Meeting) -> None:
    alice = meeting.alice
    await queried(meeting.there, alice.user_id)
    await meeting.bob.leave(meeting.room_id)
    await sees(alice, meeting.room_id, meeting.bob.user_id, "leave")
    assert await kept(meeting.there, alice.user_id) is None
    await meeting.there.running.server.services.following.upkeep.prune()
    assert await row(meeting.there, alice.user_id) is None


async def doubt(server: FederatedServer, user_id: str) -> None:
    """Have the server doubt its list, as after an update that it has missed."""

    def change(tx: Any, now_ts: int) -> None:
        known = remote_device_lists.lock(tx, UserID(user_id))
        assert known is not None
        remote_device_lists.doubt(tx, known, now_ts=now_ts)

    running = server.running
    await running.server.database.write(change, running.clock.now_ts())
