"""A client of sliding sync: asks in either form, and goes on from the last answer."""

from typing import Any

import attrs

from tests.api.server import Client, room_path

STABLE = "/_matrix/client/v4/sync"
UNSTABLE = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"

EVERYTHING: dict[str, Any] = {"include": [{}]}
NOTHING: dict[str, Any] = {}


def one_list(
    *, first: int = 0, last: int = 19, limit: int = 10, state: Any = None, **filters: Any
) -> dict[str, Any]:
    """The `lists` of a request in the accepted form, with one list called `all`."""
    return {
        "all": {
            "range": [first, last],
            "timeline_limit": limit,
            "required_state": NOTHING if state is None else state,
            "filters": filters,
        }
    }


def old_list(
    *, first: int = 0, last: int = 19, limit: int = 10, state: Any = (), **filters: Any
) -> dict[str, Any]:
    """As `one_list`, in the form of today's clients."""
    return {
        "all": {
            "ranges": [[first, last]],
            "timeline_limit": limit,
            "required_state": [*state],
            "filters": filters,
        }
    }


@attrs.define
class Sliding:
    """One connection."""

    client: Client
    conn_id: str = ""
    pos: str | None = None

    async def ask(self, *, timeout: int = 0, **body: Any) -> Any:  # noqa: ASYNC109 - the parameter is the protocol's
        """Ask in the accepted form, and keep the answer's token."""
        answer = await self.repeat(timeout=timeout, **body)
        self.pos = answer["pos"]
        return answer

    async def repeat(self, *, timeout: int = 0, **body: Any) -> Any:  # noqa: ASYNC109 - the parameter is the protocol's
        """As `ask`, but the token stays the same: the answer is lost."""
        sent: dict[str, Any] = {"conn_id": self.conn_id, "timeout": timeout, **body}
        if self.pos is not None:
            sent["pos"] = self.pos
        return (await self.client.post(STABLE, sent)).ok()

    async def ask_old(self, *, timeout: int = 0, **body: Any) -> Any:  # noqa: ASYNC109 - the parameter is the protocol's
        """Ask as today's clients do."""
        query: dict[str, Any] = {"timeout": timeout}
        if self.pos is not None:
            query["pos"] = self.pos
        answer = await self.client.post(UNSTABLE, {"conn_id": self.conn_id, **body}, **query)
        self.pos = answer.ok()["pos"]
        return answer.json


def bodies(room: Any) -> list[str]:
    """What the messages of a room's timeline say; the types of other events."""
    return [event["content"].get("body", event["type"]) for event in room.get("timeline", ())]


def keys(room: Any) -> set[tuple[str, str]]:
    """What the required state of a room has."""
    return {(event["type"], event["state_key"]) for event in room.get("required_state", ())}


def subscription(room: str, root: str) -> str:
    """The path of a subscription to a thread."""
    path = room_path(room, "thread", root, "subscription").removeprefix("/_matrix/client/v3")
    return f"/_matrix/client/unstable/io.element.msc4306{path}"
