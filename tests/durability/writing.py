"""Clients that write all sorts of things at once, and remember what they were told and what not."""

import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults

from tests.api.server import Answer, Client, path_of, room_path

SENDERS = 32

_numbers = itertools.count(1)


@attrs.define
class Sent:
    """A message; `event_id` is None if the answer never came."""

    room: str
    txn_id: str
    body: str
    event_id: str | None = None


@attrs.define
class Ledger:
    """What has been acknowledged, and what has been asked for without an answer."""

    messages: list[Sent] = attrs.field(factory=list)
    state: dict[tuple[str, str], str] = attrs.field(factory=dict)
    account_data: set[str] = attrs.field(factory=set)
    filters: dict[str, int] = attrs.field(factory=dict)
    names: list[int] = attrs.field(factory=list)
    receipts: dict[str, str] = attrs.field(factory=dict)
    joined: set[str] = attrs.field(factory=set)
    tags: set[tuple[str, str]] = attrs.field(factory=set)
    room_keys: dict[str, set[str]] = attrs.field(factory=dict)
    to_device: dict[int, bool] = attrs.field(factory=dict)
    """Messages to the user's own device, and whether they have been acknowledged."""
    acknowledged: int = 0
    unanswered: int = 0


class Gone(Exception):  # noqa: N818 - it is what the test is about
    """The server did not answer."""


@attrs.define(eq=False)
class Writers:
    """The devices of one user in some rooms, and people who join these."""

    alice: Client
    people: list[Client]
    rooms: list[str]
    ledger: Ledger
    chance: random.Random
    killed: bool = False
    backup: str = ""
    on_acknowledged: Callable[[int], None] = lambda count: None

    async def write_until_killed(self) -> None:
        """All senders at once, until the server is gone."""
        if not self.backup:
            body = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "x"}}
            made = await self.alice.post(path_of("room_keys", "version"), body)
            self.backup = made.ok()["version"]
        await gatherResults([Deferred.fromCoroutine(self._sender(number)) for number in range(SENDERS)])

    async def _sender(self, number: int) -> None:
        kinds = [
            *[self._send] * 3,
            *(self._state, self._account_data, self._filter, self._join, self._tag, self._room_keys),
            self._to_device,
        ]
        while not self.killed:
            # Two of them do what is only in order if one does it.
            act = self._name if number == 0 else self._receipt if number == 1 else self.chance.choice(kinds)
            try:
                await act()
            except Gone:
                self.ledger.unanswered += 1
                return

    async def _answer(self, asked: Awaitable[Answer]) -> Any:
        try:
            answer = await asked
        except Exception as error:  # a server that is killed breaks off in many ways
            if not self.killed:
                raise
            raise Gone from error
        if answer.status == 503:
            raise Gone
        result = answer.ok()
        self.ledger.acknowledged += 1
        self.on_acknowledged(self.ledger.acknowledged)
        return result

    async def _send(self) -> None:
        number = next(_numbers)
        sent = Sent(self.chance.choice(self.rooms), f"t{number}", f"body {number}")
        self.ledger.messages.append(sent)
        sent.event_id = (await self.put_message(sent))["event_id"]

    async def put_message(self, sent: Sent) -> Any:
        """Send it, or send it again."""
        path = room_path(sent.room, "send", "m.room.message", sent.txn_id)
        return await self._answer(self.alice.put(path, {"msgtype": "m.text", "body": sent.body}))

    async def _state(self) -> None:
        key, room = f"k{next(_numbers)}", self.chance.choice(self.rooms)
        path = room_path(room, "state", "org.example.state", key)
        result = await self._answer(self.alice.put(path, {"key": key}))
        self.ledger.state[room, key] = result["event_id"]

    async def _account_data(self) -> None:
        kind = f"org.example.data{next(_numbers)}"
        await self._answer(
            self.alice.put(path_of("user", self.alice.user_id, "account_data", kind), {"kind": kind})
        )
        self.ledger.account_data.add(kind)

    async def _tag(self) -> None:
        room, tag = self.chance.choice(self.rooms), f"u.{next(_numbers)}"
        path = path_of("user", self.alice.user_id, "rooms", room, "tags", tag)
        await self._answer(self.alice.put(path, {}))
        self.ledger.tags.add((room, tag))

    async def _filter(self) -> None:
        limit = next(_numbers)
        path = path_of("user", self.alice.user_id, "filter")
        result = await self._answer(self.alice.post(path, {"room": {"timeline": {"limit": limit}}}))
        self.ledger.filters[result["filter_id"]] = limit

    async def _to_device(self) -> None:
        number = next(_numbers)
        self.ledger.to_device[number] = False
        await self.put_to_device(number)
        self.ledger.to_device[number] = True

    async def put_to_device(self, number: int) -> None:
        """Send it, or send it again."""
        receiver = self.alice
        body = {"messages": {receiver.user_id: {receiver.device_id: {"number": number}}}}
        await self._answer(self.alice.put(path_of("sendToDevice", "org.example.test", f"d{number}"), body))

    async def _room_keys(self) -> None:
        """Several in one request: all of them are kept, or it is not acknowledged."""
        number, room = next(_numbers), self.chance.choice(self.rooms)
        key = {"first_message_index": number, "forwarded_count": 0, "is_verified": True}
        sessions = {f"s{number}/{part}": {**key, "session_data": {"ciphertext": "x"}} for part in range(3)}
        path = path_of("room_keys", "keys", room)
        await self._answer(self.alice.put(path, {"sessions": sessions}, version=self.backup))
        self.ledger.room_keys.setdefault(room, set()).update(sessions)

    async def _name(self) -> None:
        number = next(_numbers)
        path = path_of("profile", self.alice.user_id, "displayname")
        await self._answer(self.alice.put(path, {"displayname": f"Alice {number}"}))
        self.ledger.names.append(number)

    async def _receipt(self) -> None:
        room = self.rooms[0]
        event_id = await self._answer(
            self.alice.put(
                room_path(room, "send", "org.example.read", f"r{next(_numbers)}"), {"body": "to be read"}
            )
        )
        await self._answer(self.alice.post(room_path(room, "receipt", "m.read", event_id["event_id"])))
        self.ledger.receipts[room] = event_id["event_id"]

    async def _join(self) -> None:
        if not self.people:
            await self._send()
            return
        person = self.people.pop()
        await self._answer(person.post(path_of("join", self.rooms[0])))
        self.ledger.joined.add(person.user_id)


async def timeline(client: Client, room: str) -> list[Any]:
    """All events of the room that `/messages` gives, oldest first."""
    found: list[Any] = []
    start: dict[str, str] = {}
    while True:
        page = (await client.get(room_path(room, "messages"), dir="f", limit=200, **start)).ok()
        found += page["chunk"]
        if "end" not in page:
            return found
        start = {"from": page["end"]}


async def check(writers: Writers) -> None:
    """Everything that was acknowledged is there, exactly once; what was not can be repeated."""
    writers.killed = False
    ledger, alice = writers.ledger, writers.alice
    for sent in ledger.messages:
        if sent.event_id is None:
            first = (await writers.put_message(sent))["event_id"]
            assert (await writers.put_message(sent))["event_id"] == first
            sent.event_id = first
    again = writers.chance.sample(ledger.messages, min(20, len(ledger.messages)))
    for sent in again:
        assert (await writers.put_message(sent))["event_id"] == sent.event_id
    for room in writers.rooms:
        events = await timeline(alice, room)
        ids = Counter(event["event_id"] for event in events)
        assert set(ids.values()) == {1}
        bodies = Counter(event["content"]["body"] for event in events if event["type"] == "m.room.message")
        expected = {sent.body: sent.event_id for sent in ledger.messages if sent.room == room}
        assert bodies == Counter(expected.keys())
        assert {
            event["content"]["body"]: event["event_id"]
            for event in events
            if event["type"] == "m.room.message"
        } == expected
        await _check_state(writers, room)
    await _check_own(writers)


async def _check_state(writers: Writers, room: str) -> None:
    ledger = writers.ledger
    state = (await writers.alice.get(room_path(room, "state"))).ok()
    found = {event["state_key"]: event["event_id"] for event in state if event["type"] == "org.example.state"}
    for (where, key), event_id in ledger.state.items():
        assert where != room or found[key] == event_id
    if room == writers.rooms[0]:
        members = {
            event["state_key"]
            for event in state
            if event["type"] == "m.room.member" and event["content"]["membership"] == "join"
        }
        assert ledger.joined <= members


async def _check_to_device(writers: Writers) -> None:
    """The inbox has each message once; it is emptied by that."""
    ledger = writers.ledger
    for number, is_acknowledged in ledger.to_device.items():
        if not is_acknowledged:
            await writers.put_to_device(number)
            ledger.to_device[number] = True
    found: list[int] = []
    token = None
    while True:
        answer = await writers.alice.sync(token)
        events = answer.get("to_device", {}).get("events", [])
        if not events:
            break
        found += [event["content"]["number"] for event in events]
        token = answer["next_batch"]
    # What has been read is gone, and is not checked again.
    assert sorted(found) == sorted(ledger.to_device)
    ledger.to_device.clear()


async def _check_own(writers: Writers) -> None:
    ledger, alice = writers.ledger, writers.alice
    for kind in ledger.account_data:
        assert (await alice.get(path_of("user", alice.user_id, "account_data", kind))).ok() == {"kind": kind}
    for filter_id, limit in ledger.filters.items():
        stored = (await alice.get(path_of("user", alice.user_id, "filter", filter_id))).ok()
        assert stored == {"room": {"timeline": {"limit": limit}}}
    for room in writers.rooms:
        tags = (await alice.get(path_of("user", alice.user_id, "rooms", room, "tags"))).ok()["tags"]
        assert {tag for where, tag in ledger.tags if where == room} <= set(tags)
    if writers.backup:
        await _check_room_keys(writers)
    await _check_to_device(writers)
    if ledger.names:
        name = (await alice.get(path_of("profile", alice.user_id, "displayname"))).ok()["displayname"]
        # The one after it may have been stored without having been acknowledged.
        assert int(name.removeprefix("Alice ")) >= ledger.names[-1]
    if ledger.receipts:
        await _check_receipt(writers)


async def _check_room_keys(writers: Writers) -> None:
    """Those of a request are all there or none, and the count is right."""
    alice, version = writers.alice, writers.backup
    kept = (await alice.get(path_of("room_keys", "keys"), version=version)).ok()["rooms"]
    for room, sessions in writers.ledger.room_keys.items():
        assert sessions <= kept[room]["sessions"].keys()
    found = [session for room in kept.values() for session in room["sessions"]]
    requests = Counter(session.partition("/")[0] for session in found)
    assert set(requests.values()) <= {3}
    assert (await alice.get(path_of("room_keys", "version", version))).ok()["count"] == len(found)


async def _check_receipt(writers: Writers) -> None:
    """The receipt stands at the event that was acknowledged last, or after it."""
    (room, event_id), alice = next(iter(writers.ledger.receipts.items())), writers.alice
    order = [event["event_id"] for event in await timeline(alice, room)]
    section = (await alice.sync())["rooms"]["join"][room]
    receipts = [event["content"] for event in section["ephemeral"]["events"] if event["type"] == "m.receipt"]
    at = [
        found
        for content in receipts
        for found in content
        if alice.user_id in content[found].get("m.read", {})
    ]
    assert len(at) == 1
    assert order.index(at[0]) >= order.index(event_id)
