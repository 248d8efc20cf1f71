"""Events that relate to others, and how their parents are shown, for the tests of relations."""

from typing import Any

from tests.api.server import Client, path_of, room_path


async def relate(
    client: Client, room: str, parent: str, rel_type: str, text: str = "child", **options: Any
) -> str:
    """Send a message that relates to another; `options` are further members of its relation. Gives its id."""
    relation = {"rel_type": rel_type, "event_id": parent, **options}
    content = {"msgtype": "m.text", "body": text, "m.relates_to": relation}
    return await client.send_event(room, "m.room.message", content)


async def edit(client: Client, room: str, parent: str, text: str) -> str:
    """Edit a message; gives the id of the edit."""
    return await client.send_event(room, "m.room.message", edit_of(parent, text))


def edit_of(parent: str, text: str) -> dict[str, Any]:
    """The content of an edit."""
    return {
        "msgtype": "m.text",
        "body": f"* {text}",
        "m.new_content": {"msgtype": "m.text", "body": text},
        "m.relates_to": {"rel_type": "m.replace", "event_id": parent},
    }


async def react(client: Client, room: str, parent: str, key: str, **options: Any) -> Any:
    """Annotate an event; gives the answer."""
    relation = {"rel_type": "m.annotation", "event_id": parent, "key": key}
    path = room_path(
        room, "send", options.pop("type", "m.reaction"), options.pop("txn_id", key.encode().hex())
    )
    return await client.put(path, {"m.relates_to": relation, **options})


async def redact(client: Client, room: str, event_id: str) -> None:
    """Redact an event."""
    (await client.put(room_path(room, "redact", event_id, f"redact{event_id}"), {})).ok()


async def aggregations(client: Client, room: str, event_id: str) -> Any:
    """What `m.relations` says with the event, `{}` if there is nothing: the same wherever the event is shown."""
    event = (await client.get(room_path(room, "event", event_id))).ok()
    found = event["unsigned"].get("m.relations", {})
    pages = [
        (await client.get(room_path(room, "messages"), dir="b", limit=1000)).ok()["chunk"],
        [(await client.get(room_path(room, "context", event_id), limit=0)).ok()["event"]],
    ]
    for page in pages:
        for shown in page:
            if shown["event_id"] == event_id:
                assert without_age(shown["unsigned"].get("m.relations", {})) == without_age(found)
    return found


def without_age(value: Any) -> Any:
    """The same, whenever it was asked for."""
    if isinstance(value, list):
        return [without_age(each) for each in value]
    if isinstance(value, dict):
        return {key: without_age(each) for key, each in value.items() if key != "age"}
    return value


def relations_path(room: str, event_id: str, *types: str) -> str:
    """The path of an event's relations."""
    return path_of("rooms", room, "relations", event_id, *types, version="v1")


async def related(client: Client, room: str, event_id: str, *types: str, **query: Any) -> list[str]:
    """The ids of the events that relate to the event."""
    answer = (await client.get(relations_path(room, event_id, *types), **query)).ok()
    return [event["event_id"] for event in answer["chunk"]]


async def all_related(client: Client, room: str, event_id: str, *types: str, **query: Any) -> list[str]:
    """As `related`, page by page."""
    found: list[str] = []
    token: dict[str, str] = {}
    while True:
        answer = (await client.get(relations_path(room, event_id, *types), **query, **token)).ok()
        assert answer.get("prev_batch") == token.get("from")
        found += [event["event_id"] for event in answer["chunk"]]
        if "next_batch" not in answer:
            return found
        token = {"from": answer["next_batch"]}


async def threads(client: Client, room: str, **query: Any) -> Any:
    """The answer of the list of threads."""
    return await client.get(path_of("rooms", room, "threads", version="v1"), **query)
