"""EDUs that wait for a destination: coalesced, so that only the latest word on each thing is sent.

Spec: server-server API, "Typing Notifications", "Presence", "Receipts".
"""

from collections.abc import Iterable
from typing import Final, TypeVar

import attrs
import msgspec

from homeserver.core import splice
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import JsonObject, canonical, encode
from homeserver.core.presence import UserPresence
from homeserver.core.receipts import READ, UNTHREADED, Receipt

K = TypeVar("K")
V = TypeVar("V")

MOST_EDUS: Final = 100
"""In one transaction. Spec: "at most 50 PDUs and 100 EDUs"."""

MOST_RECEIPTS: Final = 500
"""In one transaction; an EDU holds many."""

MOST_USERS: Final = 100
"""Whose presence is in one EDU."""

MOST_WAITING: Final = 1_000
"""Of each kind for one destination."""


class ReceiptEdu(msgspec.Struct, frozen=True):
    """A receipt as part of an `m.receipt` EDU; `data` is what stands beneath the user's ID."""

    position: int
    room_id: RoomID
    user_id: UserID
    thread_id: str
    data: bytes

    @classmethod
    def of(cls, position: int, room_id: RoomID, receipt: Receipt) -> "ReceiptEdu":
        """Serialise a public receipt, once for all destinations."""
        data: JsonObject = {"ts": receipt.ts}
        if receipt.thread_id != UNTHREADED:
            data["thread_id"] = receipt.thread_id
        event_ids: list[EventID] = [receipt.event_id]
        whole: JsonObject = {"data": data, "event_ids": event_ids}  # type: ignore[dict-item]  # lists are invariant
        return cls(position, room_id, receipt.user_id, receipt.thread_id, canonical(whole))


class TypingEdu(msgspec.Struct, frozen=True):
    """Whether someone types in a room; `data` is the whole EDU."""

    room_id: RoomID
    user_id: UserID
    data: bytes

    @classmethod
    def of(cls, room_id: RoomID, user_id: UserID, *, is_typing: bool) -> "TypingEdu":
        """Serialise it, once for all destinations."""
        content: JsonObject = {"room_id": room_id, "typing": is_typing, "user_id": user_id}
        return cls(room_id, user_id, canonical({"content": content, "edu_type": "m.typing"}))


class PresenceEdu(msgspec.Struct, frozen=True):
    """What others see of a user, as part of an `m.presence` EDU; `data` is an item of `push`."""

    user_id: UserID
    data: bytes

    @classmethod
    def of(cls, user_id: UserID, presence: UserPresence, *, now_ts: int) -> "PresenceEdu":
        """Serialise it, once for all destinations."""
        # The EDU must say it, also of who has never been active.
        item: JsonObject = {"last_active_ago": 0, **presence.to_content(now_ts), "user_id": user_id}
        return cls(user_id, canonical(item))


class DurableEdu(msgspec.Struct, frozen=True):
    """An EDU that must arrive; `number` is how its source knows it, `data` the whole EDU."""

    number: int
    data: bytes


class TakenEdus(msgspec.Struct, frozen=True):
    """EDUs for one transaction; `lowest` is the position of the oldest that must not be lost, if there is one."""

    data: tuple[bytes, ...]
    lowest: int | None


@attrs.define(slots=True, eq=False)
class WaitingEdus:
    """The EDUs for one destination that may be overtaken by later ones."""

    _receipts: dict[tuple[str, str, str], ReceiptEdu] = attrs.field(factory=dict)
    _typing: dict[tuple[str, str], TypingEdu] = attrs.field(factory=dict)
    _presence: dict[str, PresenceEdu] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self._receipts) + len(self._typing) + len(self._presence)

    @property
    def is_urgent(self) -> bool:
        """Whether there is something that is of no use later."""
        return bool(self._typing)

    @property
    def is_overflowing(self) -> bool:
        """Whether more receipts wait than are kept in memory."""
        return len(self._receipts) > MOST_WAITING

    def lowest(self) -> int | None:
        """The position of the oldest receipt."""
        # A later receipt goes to the end; those that were missed come first.
        return min((each.position for each in self._receipts.values()), default=None)

    def add_receipt(self, receipt: ReceiptEdu) -> None:
        """The latest of a user, room and thread counts."""
        key = receipt.room_id, receipt.user_id, receipt.thread_id
        known = self._receipts.get(key)
        if known is None or known.position < receipt.position:
            self._receipts[key] = receipt

    def add_typing(self, typing: TypingEdu) -> None:
        """The latest of a user and room counts. Of too many, the oldest are dropped."""
        _put(self._typing, (typing.room_id, typing.user_id), typing)

    def add_presence(self, presence: PresenceEdu) -> None:
        """The latest of a user counts. Of too many, the oldest are dropped."""
        _put(self._presence, presence.user_id, presence)

    def forget_receipts(self) -> None:
        """Hold no receipts any more."""
        self._receipts.clear()

    def take(self, most: int) -> TakenEdus:
        """Up to `most` EDUs."""
        data: list[bytes] = []
        lowest = None
        if self._presence and most > 0:
            users = [self._presence.pop(key).data for key in list(self._presence)[:MOST_USERS]]
            data.append(b'{"content":{"push":%b},"edu_type":"m.presence"}' % splice.array(users))
        if self._receipts and len(data) < most:
            taken = [self._receipts[key] for key in list(self._receipts)[:MOST_RECEIPTS]]
            for layer in _layers(taken)[: most - len(data)]:
                data.append(_receipt_edu(layer))
                for each in layer:
                    lowest = each.position if lowest is None else min(lowest, each.position)
                    del self._receipts[each.room_id, each.user_id, each.thread_id]
        typists = list(self._typing)[: max(0, most - len(data))]
        data += [self._typing.pop(key).data for key in typists]
        return TakenEdus(tuple(data), lowest)


def _put(waiting: dict[K, V], key: K, value: V) -> None:
    waiting.pop(key, None)
    waiting[key] = value
    if len(waiting) > MOST_WAITING:
        del waiting[next(iter(waiting))]


def _layers(receipts: Iterable[ReceiptEdu]) -> list[list[ReceiptEdu]]:
    """Receipts that fit into one EDU each: that has room for one receipt per room and user."""
    layers: list[list[ReceiptEdu]] = []
    counts: dict[tuple[str, str], int] = {}
    for receipt in receipts:
        key = receipt.room_id, receipt.user_id
        layer = counts[key] = counts.get(key, -1) + 1
        if layer == len(layers):
            layers.append([])
        layers[layer].append(receipt)
    return layers


def _receipt_edu(receipts: Iterable[ReceiptEdu]) -> bytes:
    rooms: dict[str, dict[str, bytes]] = {}
    for receipt in receipts:
        rooms.setdefault(receipt.room_id, {})[receipt.user_id] = receipt.data
    content = {room_id: b"{%b:%b}" % (encode(READ), _sorted(users)) for room_id, users in rooms.items()}
    return b'{"content":%b,"edu_type":"m.receipt"}' % _sorted(content)


def _sorted(members: dict[str, bytes]) -> bytes:
    """A JSON object with its keys in the order of canonical JSON."""
    return splice.keyed({key: members[key] for key in sorted(members)})
