"""Clients that send each other messages to devices."""

import itertools
from collections.abc import Iterable
from typing import Any

from tests.api.server import Answer, Client, path_of

_numbers = itertools.count(1)

TYPE = "org.example.message"


async def put_messages(
    client: Client, messages: Any, *, event_type: str = TYPE, txn_id: str | None = None
) -> Answer:
    """Send messages, by user and device."""
    path = path_of("sendToDevice", event_type, txn_id or f"d{next(_numbers)}")
    return await client.put(path, {"messages": messages})


async def send_to(client: Client, to: Client, text: object, *, device_id: str | None = None) -> None:
    """Send a device one message."""
    messages = {to.user_id: {to.device_id if device_id is None else device_id: {"text": text}}}
    (await put_messages(client, messages)).ok()


async def send_all(client: Client, to: Client, texts: Iterable[object]) -> None:
    """Send a device messages one after the other."""
    for text in texts:
        await send_to(client, to, text)


def events_in(answer: Any) -> list[Any]:
    """The messages in an answer of `/sync`."""
    found: list[Any] = answer.get("to_device", {}).get("events", [])
    return found


def texts_in(answer: Any) -> list[Any]:
    """What the messages in an answer of `/sync` say."""
    return [event["content"]["text"] for event in events_in(answer)]
