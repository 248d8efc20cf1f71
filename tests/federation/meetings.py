"""What users of several servers see of each other's rooms."""

from typing import Any

from tests.api.server import Client, path_of, room_path
from tests.federation.harness import FederatedServer, until

VERSIONS = ("1", "6", "8", "10", "11", "12")


async def join_via(client: Client, room: str, *servers: FederatedServer) -> str:
    """Join a room by way of these servers; gives its ID."""
    names = [server.server_name for server in servers]
    answer = await client.post(path_of("join", room), via=names)
    joined: str = answer.ok()["room_id"]
    return joined


async def membership(client: Client, room: str, user_id: str) -> str | None:
    """A user's membership as the client, who is in the room, sees it."""
    answer = await client.get(room_path(room, "state", "m.room.member", user_id))
    return None if answer.status == 404 else answer.ok()["membership"]


async def sees(client: Client, room: str, user_id: str, wanted: str) -> None:
    """Wait until the client sees the user with this membership."""

    async def is_so() -> bool:
        return await membership(client, room, user_id) == wanted

    await until(is_so, what=f"{user_id} is {wanted} in {room}")


async def section(client: Client, room: str, name: str) -> Any:
    """Wait until the room is in this section of a first sync; gives it."""

    async def found() -> Any:
        synced = await client.sync(filter={"room": {"include_leave": True}})
        return synced.get("rooms", {}).get(name, {}).get(room)

    return await until(found, what=f"{room} is in {name}")


async def state_of(client: Client, room: str) -> dict[tuple[str, str], str]:
    """The room's state: the IDs of its events."""
    events = (await client.get(room_path(room, "state"))).ok()
    return {(event["type"], event["state_key"]): event["event_id"] for event in events}
