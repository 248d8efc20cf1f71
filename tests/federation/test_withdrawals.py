"""Invitations of users here that others withdraw, while this server is not in the room."""

from typing import Any

import attrs
import pytest

from homeserver.core.backoff import Backoff
from homeserver.core.identifiers import RoomID
from homeserver.services import incoming_events
from homeserver.storage import incoming_pdus
from tests.api.server import Client, path_of, room_path
from tests.federation.conftest import Two
from tests.federation.harness import FederatedServer, Servers, until
from tests.federation.meetings import join_via, section, sees
from tests.federation.peer import Heard, Peer, Reply, federation
from tests.federation.peer_rooms import PeerRoom


@attrs.define(eq=False)
class Invited:
    """Alice has been invited to a room by a user of a peer; an admin on another peer takes part in that room."""

    server: FederatedServer
    alice: Client
    room: PeerRoom
    admin_peer: Peer
    answers: list[Reply] = attrs.field(factory=list)
    """To `make_leave`, asked of the inviter's server; the last one stands."""

    @property
    def admin(self) -> str:
        """The user who withdraws."""
        return f"@admin:{self.admin_peer.server_name}"

    def withdrawal(self, membership: str = "leave", *, by: Peer | None = None, **options: Any) -> Any:
        """The event by which the admin withdraws the invitation, made by the admin's server."""
        room = attrs.evolve(self.room, peer=by or self.admin_peer)
        options = {"sender": self.admin} | options
        return room.make("m.room.member", {"membership": membership}, self.alice.user_id, **options)

    async def send(self, pdu: Any, *, by: Peer | None = None) -> str | None:
        """Send it to Alice's server; gives what is wrong with it."""
        answer = await (by or self.admin_peer).send(self.server.server_name, [pdu])
        error: str | None = answer.ok()["pdus"][self.room.id_of(pdu)].get("error")
        return error

    async def is_invited(self) -> bool:
        """Whether Alice sees an invitation."""
        return self.room.room_id in (await self.alice.sync()).get("rooms", {}).get("invite", {})

    async def done(self) -> None:
        """Wait until nothing waits to be looked into."""
        database = self.server.running.server.database

        async def is_so() -> bool:
            return not await database.read(incoming_pdus.count_all, RoomID(self.room.room_id))

        await until(is_so, what="that nothing waits")

    def asked(self) -> int:
        """How often the inviter's server has been asked."""
        return len(self.room.peer.heard_at("make_leave"))


FORBIDDEN = Reply({"errcode": "M_FORBIDDEN", "error": "You are not in this room"}, 403)


@pytest.fixture
async def invited(
    servers: Servers, peer: Peer, numeric_peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> Invited:
    monkeypatch.setattr(incoming_events, "BACKOFF", Backoff(first_ms=20, cap_ms=20))
    server = await servers.start()
    alice = await server.user("alice")
    room = PeerRoom.create(peer, "11", join_rule="invite")
    made = Invited(server, alice, room, numeric_peer)
    elsewhere = attrs.evolve(room, peer=numeric_peer)
    for membership, by, sender in (("invite", room, room.creator), ("join", elsewhere, made.admin)):
        room.accept(by.make("m.room.member", {"membership": membership}, made.admin, sender=sender))
    invitation = room.make("m.room.member", {"membership": "invite"}, alice.user_id, origin=peer.server_name)
    path = federation("v2", "invite", room.room_id, room.id_of(invitation))
    body = {"room_version": "11", "event": invitation, "invite_room_state": []}
    (await peer.request("PUT", server.server_name, path, body)).ok()
    room.accept(invitation)

    def make_leave(heard: Heard) -> Reply:
        if made.answers:
            return made.answers.pop(0) if len(made.answers) > 1 else made.answers[0]
        return room._make_leave(heard)

    peer.answer("GET", federation("v1") + "make_leave/{room_id}/{user_id}", make_leave)
    assert await made.is_invited()
    return made


@pytest.mark.parametrize("membership", ["leave", "ban"])
async def test_another_admin_withdraws_it(invited: Invited, membership: str) -> None:
    """The inviter's server, asked whether Alice could still reject the invitation, says that there is none."""
    invited.answers = [FORBIDDEN]
    pdu = invited.withdrawal(membership)
    assert await invited.send(pdu) is None
    left = await section(invited.alice, invited.room.room_id, "leave")
    assert left["timeline"]["events"][-1]["event_id"] == invited.room.id_of(pdu)
    assert not await invited.is_invited()
    await invited.done()
    assert invited.asked() == 1


async def test_the_inviters_server_has_not_heard_of_it_yet(invited: Invited) -> None:
    """It is asked again."""
    template = invited.room._template(invited.alice.user_id, "leave")
    invited.answers = [template, Reply({}, 502), FORBIDDEN]
    assert await invited.send(invited.withdrawal()) is None
    await section(invited.alice, invited.room.room_id, "leave")
    assert invited.asked() == 3


async def test_a_forged_one_changes_nothing(invited: Invited, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_events, "MOST_FAILURES", 2)
    assert await invited.send(invited.withdrawal()) is None
    await invited.done()
    assert await invited.is_invited()
    assert invited.asked() == 2


async def test_who_does_not_know_the_invitation_is_not_heard(invited: Invited) -> None:
    """Anybody could have other servers asked about Alice."""
    pdu = invited.withdrawal(auth_events=[invited.room.state["m.room.create", ""]])
    assert await invited.send(pdu) is not None
    assert await invited.is_invited()
    assert invited.asked() == 0


async def test_another_user_of_the_inviters_server_withdraws_it(invited: Invited) -> None:
    """That server could say so in the inviter's name."""
    peer = invited.room.peer
    pdu = invited.withdrawal(by=peer, sender=f"@moderator:{peer.server_name}")
    assert await invited.send(pdu, by=peer) is None
    assert not await invited.is_invited()
    assert invited.asked() == 0


async def test_it_has_been_accepted_meanwhile(invited: Invited) -> None:
    """Then the room decides."""
    invited.answers = [FORBIDDEN]
    await join_via_peer(invited)
    assert await invited.send(invited.withdrawal()) is None
    await invited.done()
    assert invited.asked() == 0


async def join_via_peer(invited: Invited) -> None:
    path = path_of("join", invited.room.room_id)
    (await invited.alice.post(path, via=[invited.room.peer.server_name])).ok()


async def test_between_servers_of_ours(two: Two, servers: Servers) -> None:
    """The admin's server tells the invited user's server, which is not in the room, and the inviter's."""
    third = await servers.start()
    alice, bob, carol = await two.one.user("alice"), await two.other.user("bob"), await third.user("carol")
    room = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    await section(bob, room, "invite")
    await join_via(bob, room, two.one)
    levels = (await alice.get(room_path(room, "state", "m.room.power_levels"))).ok()
    levels["users"] |= {bob.user_id: 50}
    await alice.set_state(room, "m.room.power_levels", levels)
    (await alice.post(room_path(room, "invite"), {"user_id": carol.user_id})).ok()
    await section(carol, room, "invite")
    await until_power(bob, room)
    await sees(bob, room, carol.user_id, "invite")
    (await bob.post(room_path(room, "kick"), {"user_id": carol.user_id})).ok()
    await section(carol, room, "leave")
    assert room not in (await carol.sync()).get("rooms", {}).get("invite", {})


async def until_power(bob: Client, room: str) -> None:
    """Wait until Bob may kick."""

    async def may() -> bool:
        levels = (await bob.get(room_path(room, "state", "m.room.power_levels"))).ok()
        return bob.user_id in levels["users"]

    await until(may, what="that Bob has got the power")
