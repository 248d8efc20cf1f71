"""What happens to memberships beside requests: departures, guests, suspended users."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from homeserver.core.errors import GuestAccessForbidden, NotFound, Unknown, UserSuspended
from homeserver.core.identifiers import RoomAlias, RoomID, ServerName, UserID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.core.signing import SigningKey
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.draft import Signer
from homeserver.services import guest_access
from homeserver.services.guest_access import GuestAccess
from homeserver.services.memberships import Memberships
from homeserver.services.public_rooms import PublicRooms, RoomPage, Search
from homeserver.services.room_creation import NewRoom, RoomCreation, StateDraft
from homeserver.services.room_state import RoomState
from homeserver.storage import memberships, rooms
from tests.population import add_user
from tests.services.conftest import MovableClock, requester
from tests.services.elsewhere import Nobody, lonely_aliases, lonely_creation, lonely_memberships, lonely_state

SIGNER = Signer(ServerName("test"), SigningKey.generate("test", seed=bytes(32)))
ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
CAROL = UserID("@carol:test")
ADMITS: Any = StateDraft("m.room.guest_access", "", {"guest_access": "can_join"})


@pytest.fixture
def members(database: Database, clock: MovableClock) -> Memberships:
    return lonely_memberships(database, clock, SIGNER)


@pytest.fixture
def state(database: Database, clock: MovableClock) -> RoomState:
    return lonely_state(database, clock, SIGNER)


@pytest.fixture
def creation(database: Database, clock: MovableClock) -> RoomCreation:
    return lonely_creation(database, clock, SIGNER)


async def room_of(creation: RoomCreation, **options: Any) -> RoomID:
    return await creation.create(requester(ALICE), NewRoom(preset="public_chat", **options))


def membership_in(tx: ReadTransaction, room_id: RoomID, user_id: UserID) -> tuple[str, bool] | None:
    room = rooms.of(tx, room_id)
    found = None if room is None else memberships.of(tx, room.room_nid, user_id)
    return None if found is None else (found.membership, found.forgotten)


def add_account(tx: WriteTransaction, user_id: UserID, flag: str = "is_guest", value: int = 0) -> None:
    add_user(tx, user_id, **{flag: value})


async def membership(members: Memberships, room_id: RoomID, user_id: UserID) -> tuple[str, bool] | None:
    return await members.database.read(membership_in, room_id, user_id)


async def test_a_closed_account_leaves_and_forgets_everything(
    members: Memberships, creation: RoomCreation
) -> None:
    joined, left = await room_of(creation), await room_of(creation)
    invited = await creation.create(requester(ALICE), NewRoom(invite=(BOB,)))
    knocked = await creation.create(
        requester(ALICE),
        NewRoom(initial_state=(StateDraft("m.room.join_rules", "", {"join_rule": "knock"}),)),
    )
    banned, strange = await room_of(creation), await room_of(creation)
    await members.join(requester(BOB), joined, {})
    await members.join(requester(BOB), left, {})
    await members.leave(requester(BOB), left, {})
    await members.knock(requester(BOB), knocked, {})
    await members.ban(requester(ALICE), banned, BOB, {})
    for _ in range(2):  # as after a crash
        await members.leave_all_rooms(BOB)
        for room in (joined, left, invited, knocked):
            assert await membership(members, room, BOB) == ("leave", True)
        assert await membership(members, banned, BOB) == ("ban", True)
        assert await membership(members, strange, BOB) is None
    assert await membership(members, joined, ALICE) == ("join", False)


async def test_guests_go_however_many_they_are(
    members: Memberships, creation: RoomCreation, state: RoomState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_access, "BATCH", 3)
    room = await room_of(creation, initial_state=(ADMITS,))
    other = await room_of(creation, initial_state=(ADMITS,))
    guests = [UserID(f"@guest{number}:test") for number in range(7)]
    for user_id in guests:
        await members.database.write(add_account, user_id, "is_guest", 1)
        for place in (room, other):
            await members.join(requester(user_id, is_guest=True), place, {})
    await members.database.write(add_account, BOB)
    await members.join(requester(BOB), room, {})
    await state.set(requester(ALICE), room, "m.room.guest_access", "", {"guest_access": "forbidden"})
    assert {await membership(members, room, user_id) for user_id in guests} == {("leave", False)}
    assert {await membership(members, other, user_id) for user_id in guests} == {("join", False)}
    assert await membership(members, room, BOB) == ("join", False)


async def test_guests_who_were_missed_go_later(
    members: Memberships, creation: RoomCreation, state: RoomState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may die after the event was stored, and before the guests are out."""
    guest = UserID("@guest:test")
    await members.database.write(add_account, guest, "is_guest", 1)
    room = await room_of(creation, initial_state=(ADMITS,))
    await members.join(requester(guest, is_guest=True), room, {})

    async def die(_self: GuestAccess, _room_id: RoomID) -> None:
        return

    with monkeypatch.context() as patched:
        patched.setattr(GuestAccess, "enforce", die)
        await state.set(requester(ALICE), room, "m.room.guest_access", "", {"guest_access": "forbidden"})
    assert await membership(members, room, guest) == ("join", False)
    await state.guest_access.enforce_everywhere()
    assert await membership(members, room, guest) == ("leave", False)


async def test_who_was_a_guest_may_stay(
    members: Memberships, creation: RoomCreation, state: RoomState
) -> None:
    """An upgraded account is a guest no longer."""
    await members.database.write(add_account, BOB, "is_guest", 0)
    room = await room_of(creation, initial_state=(ADMITS,))
    await members.join(requester(BOB, is_guest=True), room, {})
    await state.set(requester(ALICE), room, "m.room.guest_access", "", {})
    assert await membership(members, room, BOB) == ("join", False)


class NoDirectories:
    """There are no other servers."""

    async def page(self, search: Search, server_name: ServerName) -> RoomPage:
        raise NotFound(f"{server_name} is not there for {search}")


async def test_suspended_users_can_only_leave(
    members: Memberships, creation: RoomCreation, state: RoomState, clock: MovableClock
) -> None:
    """Client-server API, "Account suspension"."""
    room, closed = await room_of(creation), await creation.create(requester(ALICE), NewRoom(invite=(BOB,)))
    other = await room_of(creation)
    await members.join(requester(BOB), room, {})
    await members.database.write(add_account, BOB, "is_suspended", 1)
    bob = requester(BOB)
    alias = lonely_aliases(members.database, clock, SIGNER)
    public = PublicRooms(members.database, clock, SIGNER, NoDirectories())
    actions: list[Callable[[], Awaitable[object]]] = [
        lambda: members.join(bob, other, {}),
        lambda: members.join(bob, closed, {}),
        lambda: members.knock(bob, other, {}),
        lambda: members.invite(bob, room, CAROL, {}),
        lambda: members.kick(bob, room, ALICE, {}),
        lambda: members.ban(bob, room, CAROL, {}),
        lambda: state.set(bob, room, "org.example.x", "", {}),
        lambda: state.set(bob, room, "m.room.member", BOB, {"membership": "join", "displayname": "x"}),
        lambda: creation.create(bob, NewRoom()),
        lambda: alias.create(bob, RoomAlias("#x:test"), room),
        lambda: public.set_public(bob, room, public=True),
    ]
    for action in actions:
        with pytest.raises(UserSuspended):
            await action()
    await members.leave(bob, room, {})
    await members.leave(bob, closed, {})
    assert await membership(members, room, BOB) == ("leave", False)
    assert await membership(members, closed, BOB) == ("leave", False)


async def test_guests_do_not_invite(members: Memberships, creation: RoomCreation, state: RoomState) -> None:
    room = await room_of(creation, initial_state=(ADMITS,))
    guest = requester(BOB, is_guest=True)
    await members.join(guest, room, {})
    with pytest.raises(GuestAccessForbidden):
        await state.set(guest, room, "m.room.member", CAROL, {"membership": "invite"})


class Faster(Nobody):
    """Somebody else has joined the room meanwhile, and then left it again."""

    async def join(  # type: ignore[override]  # it does end
        self, requester: Requester, room_id: RoomID, extra: JsonObject, via: Sequence[str]
    ) -> bool:
        return False


async def test_a_room_that_is_left_while_it_is_joined(database: Database, clock: MovableClock) -> None:
    aliases = lonely_aliases(database, clock, SIGNER)
    hasty = Memberships(database, clock, SIGNER, aliases, Faster())
    with pytest.raises(Unknown) as caught:
        await hasty.join(requester(ALICE), RoomID("!gone:elsewhere"), {})
    assert caught.value.status == 502
