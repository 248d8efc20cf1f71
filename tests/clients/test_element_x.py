"""The requests of Element X's two connections of sliding sync, in the order in which it makes them.

The app itself is for telephones. What it asks for is what its library (matrix-sdk-ui) documents: one connection
for the list of rooms, which grows in batches and is asked to wait only once it is complete, and one for
encryption alone.
"""

from typing import Any, Final

from twisted.internet.defer import Deferred

from tests.api.client.sliding_sync.harness import UNSTABLE, Sliding, bodies, keys
from tests.api.server import Client, TestServer, path_of, room_path
from tests.key_holders import upload

ROOMS: Final = 130
BATCH: Final = 100

STATE: Final = [
    ["m.room.name", ""],
    ["m.room.encryption", ""],
    ["m.room.member", "$LAZY"],
    ["m.room.member", "$ME"],
    ["m.room.topic", ""],
    ["m.room.avatar", ""],
    ["m.room.canonical_alias", ""],
    ["m.room.power_levels", ""],
    ["org.matrix.msc3401.call.member", "*"],
    ["m.room.join_rules", ""],
    ["m.room.tombstone", ""],
    ["m.room.create", ""],
    ["m.room.history_visibility", ""],
    ["io.element.functional_members", ""],
    ["m.space.parent", "*"],
    ["m.space.child", "*"],
    ["org.matrix.msc3672.beacon_info", "*"],
]
OPENED: Final = [*STATE, ["m.room.pinned_events", ""]]
EXTENSIONS: Final = {
    "account_data": {"enabled": True},
    "receipts": {"enabled": True, "rooms": ["*"]},
    "typing": {"enabled": True},
}


class RoomList:
    """The connection for the list of rooms, and what the app has of them."""

    def __init__(self, client: Client) -> None:
        self.sliding = Sliding(client, "room-list")
        self.rooms: dict[str, dict[str, Any]] = {}
        self.count = 0
        self.opened: dict[str, Any] = {}

    async def ask(self, last: int, *, waits: bool = False) -> Any:
        """Ask for the rooms up to number `last`; gives the answer."""
        all_rooms = {"ranges": [[0, last]], "required_state": STATE, "filters": {}, "timeline_limit": 1}
        body: dict[str, Any] = {"lists": {"all_rooms": all_rooms}, "extensions": EXTENSIONS}
        if self.opened:
            body["room_subscriptions"] = self.opened
        answer = await self.sliding.ask_old(timeout=30_000 if waits else 0, **body)
        self.count = answer["lists"]["all_rooms"]["count"]
        for room_id, told in answer["rooms"].items():
            if told.get("initial"):
                self.rooms[room_id] = {}
            self.rooms[room_id] |= told
        return answer

    async def load(self) -> None:
        """A first window, then batches until there are no more rooms."""
        await self.ask(19)
        assert len(self.rooms) == min(20, self.count)
        last = BATCH - 1
        while True:
            await self.ask(min(last, self.count - 1))
            if last >= self.count - 1:
                return
            last += BATCH

    def open(self, room_id: str) -> None:
        """The app shows a room."""
        self.opened[room_id] = {"required_state": OPENED, "timeline_limit": 20}


async def test_the_list_of_rooms(alice: Client, bob: Client, server: TestServer) -> None:
    features = (await server.anonymous().get("/_matrix/client/versions")).ok()["unstable_features"]
    assert features["org.matrix.simplified_msc3575"]
    rooms = [await alice.create_room(name=f"room {number}") for number in range(ROOMS)]
    talk = rooms[0]
    await alice.invite(talk, bob.user_id)
    await bob.join(talk)
    sent = [await bob.send(talk, f"m{number}") for number in range(30)]
    app = RoomList(alice)
    await app.load()
    assert app.rooms.keys() == set(rooms)
    assert app.count == ROOMS
    # Recency, a name, a last message and the members that it needs: what a row of the list is drawn from.
    shown = app.rooms[talk]
    assert shown["name"] == "room 0"
    assert bodies(shown) == ["m29"]
    assert shown["bump_stamp"] == max(room["bump_stamp"] for room in app.rooms.values())
    assert {("m.room.member", alice.user_id), ("m.room.member", bob.user_id), ("m.room.create", "")} <= keys(
        shown
    )
    assert (shown["joined_count"], shown["notification_count"]) == (2, 30)

    # The room is opened: at once as much of its history as fits a screen, and what is pinned.
    await alice.set_state(talk, "m.room.pinned_events", {"pinned": [sent[0]]})
    await app.ask(ROOMS - 1)
    app.open(talk)
    answer = await app.ask(ROOMS - 1, waits=True)
    told = answer["rooms"][talk]
    assert len(told["timeline"]) == 20
    assert told["unstable_expanded_timeline"]
    assert ("m.room.pinned_events", "") in keys(told)
    # Earlier messages follow from there.
    page = (
        await alice.get(room_path(talk, "messages"), dir="b", limit=5, **{"from": told["prev_batch"]})
    ).ok()
    assert [event["content"]["body"] for event in page["chunk"]] == ["m10", "m9", "m8", "m7", "m6"]

    # The list is complete: from now on it waits, and is told at once.
    waiting = Deferred.fromCoroutine(app.ask(ROOMS - 1, waits=True))
    await bob.put(room_path(talk, "typing", bob.user_id), {"typing": True, "timeout": 20_000})
    typing = (await waiting)["extensions"]["typing"]["rooms"][talk]
    assert typing["content"]["user_ids"] == [bob.user_id]
    waiting = Deferred.fromCoroutine(app.ask(ROOMS - 1, waits=True))
    last = await bob.send(talk, "and on")
    assert bodies((await waiting)["rooms"][talk]) == ["and on"]
    waiting = Deferred.fromCoroutine(app.ask(ROOMS - 1, waits=True))
    (await alice.post(room_path(talk, "receipt", "m.read", last))).ok()
    answer = await waiting
    assert answer["extensions"]["receipts"]["rooms"][talk]["content"][last]["m.read"].keys() == {
        alice.user_id
    }
    while app.rooms[talk]["notification_count"]:
        await app.ask(ROOMS - 1, waits=True)

    # A new room comes to the top, by an invitation.
    waiting = Deferred.fromCoroutine(app.ask(ROOMS - 1, waits=True))
    new = await bob.create_room(name="new", invite=[alice.user_id])
    await waiting
    assert app.count == ROOMS + 1
    assert {event["type"] for event in app.rooms[new]["invite_state"]} >= {"m.room.member", "m.room.name"}

    # The app was away: it goes on where it was.
    await bob.send(talk, "while you were away")
    answer = await app.ask(19)
    assert bodies(answer["rooms"][talk]) == ["while you were away"]


async def test_the_connection_for_encryption(alice: Client, bob: Client) -> None:
    """Keys and messages to the device alone; it needs no rooms, and acknowledges by `since`."""
    await upload(alice, "a", "b")
    extensions: dict[str, Any] = {"e2ee": {"enabled": True}, "to_device": {"enabled": True}}

    async def ask(pos: str | None, since: str | None, timeout: int) -> Any:  # noqa: ASYNC109 - the protocol's
        query: dict[str, object] = {"timeout": timeout} | ({} if pos is None else {"pos": pos})
        sent = {**extensions, "to_device": {"enabled": True} | ({} if since is None else {"since": since})}
        return (await alice.post(UNSTABLE, {"conn_id": "encryption", "extensions": sent}, **query)).ok()

    first = await ask(None, None, 0)
    assert first["extensions"]["e2ee"]["device_one_time_keys_count"] == {"signed_curve25519": 2}
    since = first["extensions"]["to_device"]["next_batch"]
    waiting = Deferred.fromCoroutine(ask(first["pos"], since, 30_000))
    message = {"messages": {alice.user_id: {alice.device_id: {"number": 1}}}}
    (await bob.put(path_of("sendToDevice", "m.room.encrypted", "1"), message)).ok()
    second = await waiting
    told = second["extensions"]["to_device"]
    assert [(event["sender"], event["content"]) for event in told["events"]] == [(bob.user_id, {"number": 1})]
    # The answer is lost: it comes again. Then it is acknowledged, and gone.
    again = await ask(first["pos"], since, 0)
    assert again["extensions"]["to_device"]["events"] == told["events"]
    third = await ask(second["pos"], told["next_batch"], 0)
    assert not third["extensions"]["to_device"].get("events")
    # A key is claimed: the app has to hear of it to upload more.
    waiting = Deferred.fromCoroutine(
        ask(third["pos"], third["extensions"]["to_device"]["next_batch"], 30_000)
    )
    claim = {"one_time_keys": {alice.user_id: {alice.device_id: "signed_curve25519"}}}
    (await bob.post(path_of("keys", "claim"), claim)).ok()
    assert (await waiting)["extensions"]["e2ee"]["device_one_time_keys_count"] == {"signed_curve25519": 1}
