"""SIGKILL while another server sends: what was acknowledged of its transactions is stored, or staged on the disk."""

import random
import time
from typing import Any, cast

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.threads import deferToThread
from twisted.web.client import ResponseFailed

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, RoomID, ServerName, UserID
from homeserver.core.json import canonical, decode_object
from homeserver.core.room_versions import get_room_version
from homeserver.core.server_keys import publish, read_response
from homeserver.core.x_matrix import sign_request
from homeserver.database.database import Database
from homeserver.database.drivers import Location
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, incoming_pdus, server_keys
from tests.federation.shared_rooms import timeline
from tests.processes import ServerProcess
from tests.rooms.signed_rooms import SignedRoom, key_of

B = ServerName("127.0.0.1:9")
"""Nobody is there to be asked, and no DNS is asked who it is."""

BOB = UserID(f"@bob:{B}")

TRANSACTIONS = 60


async def opened(url: str) -> Database:
    database = Database(
        Location.parse(url),
        reactor,  # type: ignore[arg-type]  # zope's reactor
        on_commit=lambda _position, _topics: None,
    )
    database.start()
    return database


async def prepared(process: ServerProcess, url: str) -> tuple[SignedRoom, ServerName]:
    """A room that everybody may join, on a server that knows the key of another one."""
    alice = await process.door().user("alice")
    room_id = RoomID(await alice.create_room(preset="public_chat", room_version="11"))
    await process.kill()
    database = await opened(url)
    _, pdus = await database.read(timeline, room_id)
    now_ts = time.time_ns() // 1_000_000
    document = publish(B, key_of(B), {}, valid_until_ts=now_ts + 3_600_000)
    await database.write(server_keys.add, read_response(document, B, now_ts=now_ts), now_ts=now_ts)
    await deferToThread(database.stop)
    room = SignedRoom(get_room_version("11"), room_id)
    for pdu in pdus:
        event = Event.from_pdu(decode_object(pdu), room.version)
        room.add(event, room.before(event.prev_events))
    room.ts = now_ts
    await process.start()
    return room, ServerName(UserID(alice.user_id).partition(":")[2])


async def put(process: ServerProcess, name: ServerName, txn_id: str, pdus: list[Any]) -> bool:
    """Send a transaction; whether it was acknowledged."""
    uri = f"/_matrix/federation/v1/send/{txn_id}"
    body = canonical({"origin": B, "origin_server_ts": 0, "pdus": pdus, "edus": []})
    header = sign_request("PUT", uri, B, name, body, key_of(B)).header()
    headers: dict[bytes | str, bytes | str] = {
        "Authorization": header,
        "Content-Type": "application/json",
    }
    door = process.door()
    try:
        response = await treq.put(door.base_url + uri, headers=headers, data=body, pool=door.pool)
        results = await treq.json_content(response)
    except (ConnectError, ResponseFailed, ConnectionClosed):
        return False
    assert response.code == 200, results
    return not any(result for result in results["pdus"].values())


def staged_in(tx: ReadTransaction, room_id: RoomID) -> set[EventID]:
    """The events that are staged."""
    staged = incoming_pdus.due(tx, room_id, after=0, most=10_000, now_ts=2**62)
    return {pdu.event_id for pdu in staged}


async def test_what_other_servers_were_acknowledged_survives_a_kill(
    process: ServerProcess, database_url: str
) -> None:
    room, name = await prepared(process, database_url)
    chance = random.Random(time.time_ns())
    join = room.join(BOB)
    assert await put(process, name, "join", [room.pdu(join)])
    acknowledged: list[EventID] = []
    fatal = chance.randrange(5, TRANSACTIONS - 5)

    async def transact(number: int, said: list[Event]) -> None:
        if await put(process, name, f"t{number}", [room.pdu(event) for event in said]):
            acknowledged.extend(event.event_id for event in said)
            if len(acknowledged) // 2 >= fatal:
                cast("Any", process.process).kill()

    # Of each pair one is complete, and the other has a parent that nobody has.
    pairs = []
    for number in range(TRANSACTIONS):
        room.say(BOB, "lost", prev=[join])
        staged = room.say(BOB, f"staged {number}")
        pairs.append([room.say(BOB, f"complete {number}", prev=[join]), staged])
    for start in range(0, TRANSACTIONS, 6):
        await gatherResults(
            [
                Deferred.fromCoroutine(transact(number, pairs[number]))
                for number in range(start, min(start + 6, TRANSACTIONS))
            ]
        )
    await process.kill()
    assert len(acknowledged) >= 2 * fatal
    database = await opened(database_url)
    try:
        staged_ids = await database.read(staged_in, room.room_id)
        stored = await database.read(events.placed, acknowledged)
    finally:
        await deferToThread(database.stop)
    assert set(acknowledged) <= staged_ids | stored.keys()
    assert staged_ids & set(acknowledged)
