"""A room is entered without its members by one process; both are the server that is in it, and either completes it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import attrs
import psycopg
import pytest

from homeserver.core.identifiers import ServerName
from tests.api.server import Client, room_path
from tests.federation.certificates import Authority
from tests.federation.harness import free_port, until
from tests.federation.partial_rooms import LAZY, MEMBER, PartialRoom
from tests.federation.peer import Peer, running_peer
from tests.openapi import Specification
from tests.processes import ServerProcess, write_config
from tests.replicas.conftest import RedisLink


@attrs.frozen
class Meeting:
    """Two processes of one server, of which `a` speaks with other servers, and a foreign server."""

    a: ServerProcess
    b: ServerProcess
    server_name: ServerName
    peer: Peer
    database_url: str

    def let_time_go_by(self) -> None:
        """What a process that is gone has claimed is free after a while."""
        with psycopg.connect(self.database_url) as connection:
            connection.execute("UPDATE partial_joins SET due_ts = 0 WHERE due_ts IS NOT NULL")


@pytest.fixture
async def meeting(
    database_url: str, redis: RedisLink, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[Meeting]:
    """All of it, running."""
    authority = Authority.make(tmp_path)
    port = free_port()
    name = ServerName(f"localhost:{port}")
    certificate, private_key = authority.certify(tmp_path)
    listeners = [{"bind": "127.0.0.1", "port": 0, "tls": False}]
    options = {
        "server_name": name,
        "redis": redis.url,
        "tls": {"certificate": str(certificate), "private_key": str(private_key)},
        "federation": {"allow_private_addresses": True, "trusted_ca_file": str(authority.file)},
    }
    heard_by_a = {"listeners": [*listeners, {"bind": "127.0.0.1", "port": port, "tls": True}]}
    a = ServerProcess(write_config(tmp_path, database_url, "a", **options, **heard_by_a), specification)
    b = ServerProcess(
        write_config(tmp_path, database_url, "b", **options, listeners=listeners), specification
    )
    (tmp_path / "peer").mkdir()
    async with running_peer(authority, tmp_path / "peer") as peer:
        try:
            for each in (a, b):
                await each.start()
            yield Meeting(a, b, name, peer, database_url)
        finally:
            for each in (a, b):
                await each.close()


async def members_of(client: Client, room_id: str) -> set[str]:
    """Who is in the room, once that is known."""
    listed = (await client.get(room_path(room_id, "members"))).ok()["chunk"]
    return {each["state_key"] for each in listed if each["content"]["membership"] == "join"}


async def test_one_enters_and_the_other_goes_on(meeting: Meeting) -> None:
    """While the members are lacking, and when the process that fetches them is killed."""
    at_a = await meeting.a.door().user("alice")
    at_b = meeting.b.client(at_a)
    partial = PartialRoom.create(meeting.peer)
    await partial.join(at_a)
    everybody = {*partial.members, partial.room.creator, at_a.user_id}

    # The other process is in the room at once, without its members.
    synced = (await at_b.sync(filter=LAZY))["rooms"]["join"][partial.room_id]
    assert at_a.user_id in {event["sender"] for event in synced["timeline"]["events"]}
    known = {event["state_key"] for event in synced["state"]["events"] if event["type"] == MEMBER}
    assert not known & set(partial.members)
    since = (await at_b.sync(filter=LAZY))["next_batch"]
    for client in (at_b, at_a):
        said = await client.send(partial.room_id, "hello")
        await until(_has(partial, said), what="that the peer hears it")
    pdu = partial.room.message("welcome", sender=partial.members[0])
    (await meeting.peer.send(meeting.server_name, [pdu])).ok()
    welcome = partial.room.accept(pdu)
    for client in (at_a, at_b):
        await until(_sees(client, partial.room_id, since, welcome), what="that the answer is seen")

    await until(_came(partial), what="that the members are asked for")
    await meeting.a.kill()
    said = await at_b.send(partial.room_id, "still here")
    meeting.let_time_go_by()
    partial.gate.open()
    assert await members_of(at_b, partial.room_id) == everybody
    shown = (await at_b.sync())["rooms"]["join"][partial.room_id]
    assert said in {event["event_id"] for event in shown["timeline"]["events"]}
    assert shown["summary"]["m.joined_member_count"] == len(everybody)
    assert not meeting.b.complaints


def _has(partial: PartialRoom, event_id: str) -> Callable[[], Awaitable[bool]]:
    async def has() -> bool:
        return event_id in partial.room.events

    return has


def _came(partial: PartialRoom) -> Callable[[], Awaitable[bool]]:
    async def came() -> bool:
        return partial.gate.came > 0

    return came


def _sees(client: Client, room_id: str, since: str, event_id: str) -> Callable[[], Awaitable[bool]]:
    async def sees() -> bool:
        room = (await client.sync(since, filter=LAZY)).get("rooms", {}).get("join", {}).get(room_id, {})
        return event_id in {each["event_id"] for each in room.get("timeline", {}).get("events", [])}

    return sees
