"""Client-server API, "Events on Change of Profile Information"."""

from typing import Any

import pytest

from homeserver.core.identifiers import RoomID, ServerName, UserID
from homeserver.core.json import decode_object
from homeserver.core.signing import SigningKey
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.draft import Signer
from homeserver.services.member_profiles import MemberProfiles
from homeserver.services.room_creation import NewRoom, StateDraft
from homeserver.storage import events, memberships, profiles, rooms
from tests.database.conftest import Gate
from tests.services.conftest import MovableClock, requester
from tests.services.elsewhere import lonely_creation, lonely_memberships, lonely_state

SIGNER = Signer(ServerName("test"), SigningKey.generate("test", seed=bytes(32)))
ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")


@pytest.fixture
def members(database: Database, clock: MovableClock) -> MemberProfiles:
    return MemberProfiles(database, clock, SIGNER)


async def room_with_bob(members: MemberProfiles, **options: Any) -> RoomID:
    database, clock = members.database, members.clock
    wanted = NewRoom(preset="public_chat", **options)
    room = await lonely_creation(database, clock, SIGNER).create(requester(ALICE), wanted)
    service = lonely_memberships(database, clock, SIGNER)
    await service.join(requester(BOB), room, {})
    return room


def set_profile(tx: WriteTransaction, user_id: UserID, fields: dict[str, str | None]) -> None:
    for field, value in fields.items():
        if value is None:
            profiles.delete_field(tx, user_id, field)
        else:
            profiles.put(tx, user_id, field, value)


def member_content(tx: ReadTransaction, room_id: RoomID, user_id: UserID) -> dict[str, Any]:
    room = rooms.of(tx, room_id)
    assert room is not None
    membership = memberships.of(tx, room.room_nid, user_id)
    assert membership is not None
    stored = events.of_nids(tx, [membership.event_nid])[membership.event_nid]
    content = decode_object(stored.pdu)["content"]
    assert isinstance(content, dict)
    return content


async def show(members: MemberProfiles, room: RoomID, user_id: UserID = BOB) -> dict[str, Any]:
    return await members.database.read(member_content, room, user_id)


async def change(members: MemberProfiles, **fields: str | None) -> None:
    await members.database.write(set_profile, BOB, fields)
    await members.update_member_events(BOB, fields.get("displayname"), fields.get("avatar_url"))


async def test_a_new_name_reaches_all_rooms_that_the_user_is_in(members: MemberProfiles) -> None:
    made = [await room_with_bob(members, name=str(number)) for number in range(3)]
    left = await room_with_bob(members)
    service = lonely_memberships(members.database, members.clock, SIGNER)
    await service.leave(requester(BOB), left, {})
    await change(members, displayname="Bob", avatar_url="mxc://test/a")
    await members.finish()
    for room in made:
        assert await show(members, room) == {
            "membership": "join",
            "displayname": "Bob",
            "avatar_url": "mxc://test/a",
        }
    assert await show(members, left) == {"membership": "leave"}
    assert await show(members, made[0], ALICE) == {"membership": "join"}
    await change(members, displayname=None)
    await members.finish()
    assert await show(members, made[0]) == {"membership": "join", "avatar_url": "mxc://test/a"}


async def test_it_does_not_wait_for_the_rooms(members: MemberProfiles) -> None:
    room = await room_with_bob(members)
    await members.database.write(set_profile, BOB, {"displayname": "Bob"})
    gate = await Gate.close(members.database)
    await members.update_member_events(BOB, "Bob", None)
    assert await show(members, room) == {"membership": "join"}
    gate.open()
    await gate.passed
    await members.finish()
    assert (await show(members, room))["displayname"] == "Bob"


async def test_the_last_of_several_changes_stays(members: MemberProfiles) -> None:
    made = [await room_with_bob(members, name=str(number)) for number in range(5)]
    for number in range(10):
        await change(members, displayname=f"Bob {number}")
    await members.finish()
    assert [(await show(members, room))["displayname"] for room in made] == ["Bob 9"] * 5


async def test_what_is_right_already_makes_no_event(members: MemberProfiles) -> None:
    room = await room_with_bob(members)
    before = await members.database.read(lambda tx: tx.stream_row().position)
    await change(members)
    await members.finish()
    assert await members.database.read(lambda tx: tx.stream_row().position) == before
    assert await show(members, room) == {"membership": "join"}


async def test_a_vouched_join_is_updated_without_the_voucher(members: MemberProfiles) -> None:
    club = await room_with_bob(members)
    rules: Any = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
    room = await room_with_bob(members, initial_state=(StateDraft("m.room.join_rules", "", rules),))
    assert (await show(members, room))["join_authorised_via_users_server"] == ALICE
    await change(members, displayname="Bob")
    await members.finish()
    assert await show(members, room) == {"membership": "join", "displayname": "Bob"}


async def test_a_room_that_lets_nobody_join_does_not_stop_the_others(members: MemberProfiles) -> None:
    closed = await room_with_bob(members)
    state = lonely_state(members.database, members.clock, SIGNER)
    await state.set(requester(ALICE), closed, "m.room.join_rules", "", {"join_rule": "private"})
    others = [await room_with_bob(members, name=str(number)) for number in range(3)]
    await change(members, displayname="Bob")
    await members.finish()
    assert await show(members, closed) == {"membership": "join"}
    assert [(await show(members, room))["displayname"] for room in others] == ["Bob"] * 3
