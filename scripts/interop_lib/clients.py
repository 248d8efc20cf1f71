"""A client of one user: it acts through the client-server API, and knows what `/sync` has told it."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from bench_lib.http_client import Connection, Json, Response, encode_request, path_of
from bench_lib.matrix import CLIENT, register

PATIENCE_S = 15.0
POLL_MS = 500
LONG_TIMELINES = json.dumps({"room": {"timeline": {"limit": 100}}})

_transactions = itertools.count(1)


class StepError(Exception):
    """What should have happened has not."""


class RefusedError(StepError):
    """A server has answered with an error."""

    def __init__(self, request: str, status: int, body: Any) -> None:
        said = body if isinstance(body, dict) else {}
        self.status = status
        self.errcode = str(said.get("errcode"))
        super().__init__(f"{request}: {status} {self.errcode}: {said.get('error', body)}")


@dataclass
class RoomView:
    """What a client knows of a room."""

    membership: str = ""
    timeline: list[Any] = field(default_factory=list)
    state: dict[tuple[str, str], Any] = field(default_factory=dict)
    """Whole events."""
    stripped: dict[tuple[str, str], Any] = field(default_factory=dict)
    """Of an invitation or a knock."""
    typing: set[str] = field(default_factory=set)
    receipts: dict[str, str] = field(default_factory=dict)
    """The event that each user has read."""
    prev_batch: str | None = None
    """The beginning of what is in `timeline`."""

    def content(self, event_type: str, state_key: str = "") -> Any:
        """Content of a state event, empty if there is none."""
        return self.state.get((event_type, state_key), {}).get("content", {})

    def membership_of(self, user_id: str) -> str | None:
        found = self.content("m.room.member", user_id).get("membership")
        return None if found is None else str(found)

    def has(self, event_id: str) -> bool:
        return any(event["event_id"] == event_id for event in self.timeline)

    def take_events(self, events: list[Any]) -> None:
        for event in events:
            if "state_key" in event:
                self.state[event["type"], event["state_key"]] = event


@dataclass
class Client:
    """One user on one server. Paths are percent-encoded here: they are given in parts."""

    user_id: str
    token: str
    port: int
    presence: dict[str, Any] = field(default_factory=dict)
    """Content of the last presence event of each user."""
    rooms: dict[str, RoomView] = field(default_factory=dict)
    _since: str | None = None
    _free: list[Connection] = field(default_factory=list)
    """Connections on which no request runs."""

    @classmethod
    async def register(cls, port: int, server_name: str, localpart: str) -> "Client":
        connection = Connection(port)
        try:
            return cls(f"@{localpart}:{server_name}", await register(connection, localpart), port)
        finally:
            connection.close()

    def close(self) -> None:
        for connection in self._free:
            connection.close()

    @property
    def server_name(self) -> str:
        return self.user_id.partition(":")[2]

    def room(self, room_id: str) -> RoomView:
        return self.rooms.setdefault(room_id, RoomView())

    async def request(
        self, method: str, *parts: str, body: Json | None = None, version: str = CLIENT, **query: object
    ) -> Any:
        """Give the JSON of an answer. Errors: RefusedError."""
        target = version + path_of(*parts) + (f"?{urlencode(query, doseq=True)}" if query else "")
        encoded = None if body is None else json.dumps(body).encode()
        connection = self._free.pop() if self._free else Connection(self.port)
        try:
            request = encode_request(method, target, self.token, encoded)
            response: Response = await connection.exchange(request)
        except BaseException:  # whatever it is: nobody knows what will come of this connection
            connection.close()
            raise
        self._free.append(connection)
        try:
            answer = json.loads(response.body)
        except ValueError:
            answer = response.body[:300].decode(errors="replace")
        if response.status != 200:
            raise RefusedError(f"{method} {'/'.join(parts[:3])}", response.status, answer)
        return answer

    async def get(self, *parts: str, **query: object) -> Any:
        return await self.request("GET", *parts, **query)

    async def post(self, *parts: str, body: Json | None = None, **query: object) -> Any:
        return await self.request("POST", *parts, body=body or {}, **query)

    async def put(self, *parts: str, body: Json) -> Any:
        return await self.request("PUT", *parts, body=body)

    async def create_room(self, version: str, **options: object) -> str:
        body: Json = {"room_version": version, **options}
        return str((await self.post("createRoom", body=body))["room_id"])

    async def join(self, room: str, via: str | None = None) -> None:
        """Join by ID or alias, and wait until the client is told."""
        query = {} if via is None else {"server_name": via, "via": via}
        room_id = str((await self.post("join", room, **query))["room_id"])
        await self.until(lambda: self.room(room_id).membership == "join", "the room in the joiner's sync")

    async def leave(self, room_id: str) -> None:
        await self.post("rooms", room_id, "leave")
        await self.until(lambda: self.room(room_id).membership == "leave", "the end in the leaver's sync")

    async def act(self, room_id: str, what: str, user_id: str) -> None:
        """Invite, kick, ban or unban somebody."""
        await self.post("rooms", room_id, what, body={"user_id": user_id})

    async def send(self, room_id: str, text: str) -> str:
        transaction = f"interop{next(_transactions)}"
        body: Json = {"msgtype": "m.text", "body": text}
        answer = await self.put("rooms", room_id, "send", "m.room.message", transaction, body=body)
        return str(answer["event_id"])

    async def set_state(self, room_id: str, event_type: str, content: Json, state_key: str = "") -> str:
        answer = await self.put("rooms", room_id, "state", event_type, state_key, body=content)
        return str(answer["event_id"])

    async def state(self, room_id: str, event_type: str, state_key: str = "") -> Any:
        return await self.get("rooms", room_id, "state", event_type, state_key)

    async def redact(self, room_id: str, event_id: str) -> None:
        transaction = f"interop{next(_transactions)}"
        await self.put("rooms", room_id, "redact", event_id, transaction, body={"reason": "interop"})

    async def bodies_back_from(self, room_id: str, start: str | None, most_pages: int = 20) -> list[str]:
        """Texts of the messages before `start` (None: the end of the room), newest first, all of them."""
        found: list[str] = []
        for _ in range(most_pages):
            query: dict[str, object] = {"dir": "b", "limit": 20}
            if start is not None:
                query["from"] = start
            answer = await self.get("rooms", room_id, "messages", **query)
            found += [
                event["content"].get("body") for event in answer["chunk"] if event["type"] == "m.room.message"
            ]
            start = answer.get("end")
            if start is None:
                break
        return found

    async def until(self, condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
        """Sync until `condition` holds. Errors: StepError."""
        deadline = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > deadline:
                raise StepError(f"{self.user_id.partition(':')[0]} does not see: {what}")
            await self.sync()

    async def sync(self) -> None:
        """Sync once."""
        query: dict[str, object] = {
            "timeout": 0 if self._since is None else POLL_MS,
            "filter": LONG_TIMELINES,
        }
        if self._since is not None:
            query["since"] = self._since
        answer = await self.get("sync", **query)
        self._since = answer["next_batch"]
        for event in answer.get("presence", {}).get("events", []):
            self.presence[event["sender"]] = event["content"]
        rooms = answer.get("rooms", {})
        for membership in ("join", "leave"):
            for room_id, part in rooms.get(membership, {}).items():
                self._take_room(self.room(room_id), membership, part)
        for membership, key in (("invite", "invite_state"), ("knock", "knock_state")):
            for room_id, part in rooms.get(membership, {}).items():
                room = self.room(room_id)
                room.membership = membership
                room.stripped = {(e["type"], e["state_key"]): e["content"] for e in part[key]["events"]}

    @staticmethod
    def _take_room(room: RoomView, membership: str, part: Any) -> None:
        room.membership = membership
        timeline = part.get("timeline", {})
        if timeline.get("limited") or room.prev_batch is None:
            room.timeline = []
            room.prev_batch = timeline.get("prev_batch")
        room.take_events(part.get("state", {}).get("events", []))
        room.take_events(timeline.get("events", []))
        room.timeline += timeline.get("events", [])
        for event in part.get("ephemeral", {}).get("events", []):
            if event["type"] == "m.typing":
                room.typing = set(event["content"]["user_ids"])
            elif event["type"] == "m.receipt":
                for event_id, kinds in event["content"].items():
                    for user_id in kinds.get("m.read", {}):
                        room.receipts[user_id] = event_id


async def both(*work: Any) -> None:
    """Do several things at once."""
    await asyncio.gather(*work)
