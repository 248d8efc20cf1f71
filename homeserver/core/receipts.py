"""Receipts: how far users have read. Spec: client-server API, "Receipts"."""

from collections.abc import Iterable
from typing import Final

import msgspec

from homeserver.core.identifiers import EventID, UserID
from homeserver.core.json import JsonObject, JsonValue

READ: Final = "m.read"
READ_PRIVATE: Final = "m.read.private"
FULLY_READ: Final = "m.fully_read"
"""No receipt but room account data, although the same endpoints set it."""

UNTHREADED: Final = ""
"""Stands for "no thread_id" where a thread ID is stored."""


class Receipt(msgspec.Struct, frozen=True):
    """One user's receipt of one type, for a thread or for the room (`UNTHREADED`); `ts` in milliseconds."""

    user_id: UserID
    receipt_type: str
    thread_id: str
    event_id: EventID
    ts: int


def receipt_events(receipts: Iterable[Receipt]) -> list[JsonObject]:
    """The `m.receipt` events that tell a client of these receipts of one room, one event per thread.

    One event has room for only one receipt per user, type and event; so a user's unthreaded receipt and the
    threaded one on the same event need two.
    """
    contents: dict[str, dict[str, dict[str, dict[str, JsonValue]]]] = {}
    for receipt in receipts:
        data: JsonObject = {"ts": receipt.ts}
        if receipt.thread_id != UNTHREADED:
            data["thread_id"] = receipt.thread_id
        by_type = contents.setdefault(receipt.thread_id, {}).setdefault(receipt.event_id, {})
        by_type.setdefault(receipt.receipt_type, {})[receipt.user_id] = data
    return [{"type": "m.receipt", "content": content} for content in contents.values()]  # type: ignore[dict-item]  # dicts are invariant


def combined_receipt_event(receipts: Iterable[Receipt]) -> JsonObject:
    """As `receipt_events`, where there is room for one event only.

    Where a user's unthreaded receipt is on the same event as a threaded one, it stands for both.
    """
    listed = list(receipts)
    listed.sort(key=lambda receipt: receipt.thread_id == UNTHREADED)
    merged: dict[str, dict[str, dict[str, JsonValue]]] = {}
    for receipt in listed:
        data: JsonObject = {"ts": receipt.ts}
        if receipt.thread_id != UNTHREADED:
            data["thread_id"] = receipt.thread_id
        merged.setdefault(receipt.event_id, {}).setdefault(receipt.receipt_type, {})[receipt.user_id] = data
    return {"type": "m.receipt", "content": merged}  # type: ignore[dict-item]  # dicts are invariant
