"""Events that other servers send while this one is entering their room, and joins that meet each other."""

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from homeserver.core.identifiers import RoomID
from homeserver.services.pdu_intake import MOST_EARLY
from homeserver.storage import incoming_pdus
from tests.api.server import Client, path_of, room_path
from tests.federation.harness import FederatedServer, Servers, free_port, until
from tests.federation.peer import Heard, Peer, Reply
from tests.federation.peer_rooms import Pdu, PeerRoom
from tests.federation.test_hostile_rooms import MAKE_JOIN, SEND_JOIN


@attrs.define
class Joining:
    """A room of the peer that Alice joins; `meanwhile` is sent before her server gets the room's state."""

    one: FederatedServer
    alice: Client
    peer: Peer
    room: PeerRoom

    def say_meanwhile(
        self, *texts: str, through: Peer | None = None, answer: Reply | None = None
    ) -> list[Any]:
        """Have messages sent, 50 at a time, before `send_join` is answered; gives what they will be answered."""
        answers: list[Any] = []

        async def send_join(heard: Heard) -> Reply:
            reply = self.room._send_join(heard) if answer is None else answer
            pdus = [self.room.message(text) for text in texts]
            answers.extend(
                [
                    await self.send(*pdus[start : start + 50], through=through)
                    for start in range(0, len(pdus), 50)
                ]
            )
            return reply

        self.peer.answer("PUT", SEND_JOIN, send_join)
        return answers

    async def send(self, *pdus: Pdu, through: Peer | None = None) -> Any:
        return (await (through or self.peer).send(self.one.server_name, pdus)).json

    async def join(self) -> None:
        (await self.alice.post(path_of("join", self.room.room_id), via=[self.peer.server_name])).ok()

    async def bodies(self) -> list[str]:
        page = (await self.alice.get(room_path(self.room.room_id, "messages"), dir="b", limit=100)).ok()
        return [e["content"]["body"] for e in page["chunk"][::-1] if e["type"] == "m.room.message"]

    async def sees(self, *texts: str) -> None:
        async def has_all() -> bool:
            return await self.bodies() == [*texts]

        await until(has_all, what=f"the messages {texts}")

    async def waiting(self) -> int:
        database = self.one.running.server.database
        return await database.read(incoming_pdus.count_all, RoomID(self.room.room_id))


@pytest.fixture
async def joining(servers: Servers, peer: Peer) -> Joining:
    one = await servers.start()
    return Joining(one, await one.user("alice"), peer, PeerRoom.create(peer, "11"))


def errors(answers: Sequence[Any]) -> list[str]:
    return [each["error"] for answer in answers for each in answer["pdus"].values() if "error" in each]


async def test_what_is_said_while_the_room_is_entered_is_shown(joining: Joining) -> None:
    answers = joining.say_meanwhile("early", "earlier than the state")
    await joining.join()
    assert len(answers) == 1
    assert errors(answers) == []
    await joining.sees("early", "earlier than the state")

    async def nothing_waits() -> bool:
        return await joining.waiting() == 0

    await until(nothing_waits, what="the end of what waited")
    since = (await joining.alice.sync())["next_batch"]
    await joining.send(joining.room.message("late"))
    shown = (await joining.alice.sync(since, timeout=20_000))["rooms"]["join"][joining.room.room_id]
    assert [event["content"]["body"] for event in shown["timeline"]["events"]] == ["late"]


async def test_before_a_join_is_sent_nothing_is_taken(joining: Joining) -> None:
    """Nobody in the room has reason to send anything yet."""
    answers = []

    async def make_join(heard: Heard) -> Reply:
        answers.append(await joining.send(joining.room.message("too early")))
        return joining.room._make_join(heard)

    joining.peer.answer("GET", MAKE_JOIN, make_join)
    await joining.join()
    assert errors(answers) == ["This server is not in that room"]
    assert await joining.bodies() == []


async def test_of_a_join_that_fails_nothing_is_left(joining: Joining) -> None:
    refusal = Reply({"errcode": "M_FORBIDDEN", "error": "No"}, 403)
    answers = joining.say_meanwhile("in vain", answer=refusal)
    answer = await joining.alice.post(path_of("join", joining.room.room_id), via=[joining.peer.server_name])
    answer.error(403, "M_FORBIDDEN")
    assert errors(answers) == []
    assert await joining.waiting() == 0
    after = await joining.send(joining.room.message("after it"))
    assert errors([after]) == ["This server is not in that room"]


async def test_whom_the_room_excludes_is_not_heard(joining: Joining, numeric_peer: Peer) -> None:
    """Server-server API, "Server Access Control Lists (ACLs)": known only when the state is."""
    joining.room.append("m.room.server_acl", {"allow": ["*"], "allow_ip_literals": False}, "")
    answers = joining.say_meanwhile("by a server that may not", through=numeric_peer)
    await joining.join()
    assert errors(answers) == []
    assert await joining.waiting() == 0
    await joining.send(joining.room.message("by one that may"))
    await joining.sees("by one that may")


async def test_what_is_forged_does_not_wait(joining: Joining) -> None:
    forged = joining.room.message("forged")
    forged["signatures"] = {joining.peer.server_name: {joining.peer.key.key_id: "A" * 86}}
    answers = []

    async def send_join(heard: Heard) -> Reply:
        reply = joining.room._send_join(heard)
        answers.append(await joining.send(forged))
        return reply

    joining.peer.answer("PUT", SEND_JOIN, send_join)
    await joining.join()
    assert len(errors(answers)) == 1
    assert await joining.bodies() == []


async def test_not_everything_waits(joining: Joining) -> None:
    answers = joining.say_meanwhile(*(str(number) for number in range(MOST_EARLY + 1)))
    await joining.join()
    assert errors(answers) == ["Too many events of that room wait already"]


async def second_process(servers: Servers, first: FederatedServer) -> FederatedServer:
    """Another process of the same server."""
    folder = servers.new_folder("second")
    (folder / "media").mkdir()
    second = attrs.evolve(first, port=free_port(), folder=folder, running=None, stack=None)
    servers.made.append(second)
    await second.start()
    return second


@pytest.mark.parametrize("localpart", ["alice", "carol"])
async def test_two_processes_enter_a_room_together(
    servers: Servers, joining: Joining, new_database: Any, localpart: str, request: pytest.FixtureRequest
) -> None:
    """Whoever comes second, be it the same user, waits for the room, and then needs no other server."""
    if "sqlite" in request.node.name:
        pytest.skip("SQLite is for one process")
    del new_database
    other = await second_process(servers, joining.one)
    user = joining.alice if localpart == "alice" else await joining.one.user(localpart)
    there = attrs.evolve(user, base_url=other.running.base_url, pool=other.running.pool)
    second: list[Deferred[Any]] = []

    async def send_join(heard: Heard) -> Reply:
        if not second:
            joined = there.post(path_of("join", joining.room.room_id), via=[joining.peer.server_name])
            second.append(Deferred.fromCoroutine(joined))
            locks = other.running.server.services.handshakes.pending_joins._locks

            async def waits() -> bool:
                return bool(locks)

            await until(waits, what="the second join")
        return joining.room._send_join(heard)

    joining.peer.answer("PUT", SEND_JOIN, send_join)
    await joining.join()
    (await second[0]).ok()
    assert len(joining.peer.heard_at("make_join")) == 1
    assert len(joining.peer.heard_at("send_join")) == 1
    page = (await joining.alice.get(room_path(joining.room.room_id, "messages"), dir="b", limit=100)).ok()
    joins = [e["state_key"] for e in page["chunk"] if e["type"] == "m.room.member"]
    ours = [user_id for user_id in joins if user_id.endswith(joining.one.server_name)]
    assert sorted(ours) == sorted({joining.alice.user_id, user.user_id})
