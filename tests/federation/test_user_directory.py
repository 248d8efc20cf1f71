"""Users of other servers in the user directory. Client-server API, "User Directory"."""

from sqlalchemy import delete, update

from homeserver.core.identifiers import UserID
from homeserver.database.statements import statement
from homeserver.database.tables.rooms import memberships
from homeserver.database.tables.user_directory import directory_progress
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.storage import user_directory
from tests.api.server import Client, path_of
from tests.directory import settle
from tests.federation.conftest import Two
from tests.federation.harness import FederatedServer, Servers, until
from tests.federation.meetings import join_via, sees
from tests.federation.partial_rooms import PartialRoom, until_whole
from tests.federation.peer import Peer


async def names(server: FederatedServer, client: Client, term: str) -> dict[str, str | None]:
    """Who is found, and by which name."""
    await settle(server.running)
    answer = (await client.post(path_of("user_directory", "search"), {"search_term": term})).ok()
    return {each["user_id"]: each.get("display_name") for each in answer["results"]}


async def called(client: Client, room: str, name: str) -> None:
    """Take a name in one room."""
    content = {"membership": "join", "displayname": name}
    await client.set_state(room, "m.room.member", content, client.user_id)


async def until_named(client: Client, room: str, user_id: str, name: str) -> None:
    async def is_so() -> bool:
        answer = (await client.get(path_of("rooms", room, "joined_members"))).ok()
        return bool(answer["joined"].get(user_id, {}).get("display_name") == name)

    await until(is_so, what=f"the name {name}")


async def test_who_is_known_from_rooms_and_by_which_name(two: Two) -> None:
    alice, carol = await two.one.user("alice"), await two.one.user("carol")
    bob = await two.other.user("bob")
    room = await alice.create_room(invite=[bob.user_id])
    await join_via(bob, room, two.one)
    await sees(alice, room, bob.user_id, "join")
    assert await names(two.one, alice, "bob") == {bob.user_id: "bob"}
    assert await names(two.one, carol, "bob") == {}
    # A room that Alice enters, whose members no event shows.
    theirs = await bob.create_room(preset="public_chat")
    await join_via(carol, theirs, two.other)
    await called(bob, room, "Mister Secret")
    await until_named(alice, room, bob.user_id, "Mister Secret")
    assert await names(two.one, alice, "secret") == {bob.user_id: "Mister Secret"}
    assert await names(two.one, carol, "secret") == {}
    assert await names(two.one, carol, "bob") == {bob.user_id: "bob"}
    await bob.leave(room)
    await sees(alice, room, bob.user_id, "leave")
    assert await names(two.one, alice, "secret") == {}
    # Carol's room is open to all.
    assert await names(two.one, alice, "bob") == {bob.user_id: "bob"}


async def test_who_is_in_no_room_any_more_is_forgotten_in_the_end(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await bob.create_room(preset="public_chat")
    await join_via(alice, room, two.other)
    assert await names(two.one, alice, "bob") == {bob.user_id: "bob"}
    database = two.one.running.server.database
    await database.write(vanish, bob.user_id)
    assert await names(two.one, alice, "bob") == {}
    await settle(two.one.running)
    assert not await database.read(is_known, UserID(bob.user_id))


def vanish(tx: WriteTransaction, user_id: str) -> None:
    """As when the room is removed; and a day is over."""
    tx.execute(statement(delete(memberships).where(memberships.c.user_id == user_id)))
    tx.execute(statement(update(directory_progress).values(begun_ts=0, phase=None)))


def is_known(tx: ReadTransaction, user_id: UserID) -> bool:
    return bool(user_directory.entries(tx, [user_id]))


async def test_members_of_a_room_that_come_later(servers: Servers, peer: Peer) -> None:
    one = await servers.start()
    alice, bob = await one.user("alice"), await one.user("bob")
    partial = PartialRoom.create(peer)
    await partial.join(alice)
    assert await names(one, alice, "m1") == {}
    partial.gate.open()
    await until_whole(one, partial.room_id)
    assert await names(one, alice, "m1") == {partial.members[1]: None}
    assert (await names(one, alice, "@m")).keys() >= set(partial.members)
    # The peer's room is open to all, so that others know them as well.
    assert await names(one, bob, "m2") == {partial.members[2]: None}
