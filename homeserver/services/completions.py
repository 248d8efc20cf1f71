"""Completing incoming events that lack something, beside the others of their rooms.

What an event stands on is asked of other servers, which may take their time, or be silent on purpose: that must not
keep the room's other events waiting. Only what stands on the event itself waits with it.
"""

from collections.abc import Callable, Iterable
from typing import Final

import attrs
from twisted.internet.defer import Deferred

from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.storage.incoming_pdus import IncomingPdu

MOST_OF_SERVER: Final = 3
"""Events that are completed at the same time in one room for one server: who sends bad ones delays their own."""

MOST_OF_SERVER_IN_ALL: Final = 25
"""The same for one server in all rooms together: who is in many of them is not to take all of those below."""

MOST: Final = 100
"""Events that are completed at the same time in all."""


@attrs.define(eq=False, slots=True)
class Completion:
    """An event that is being completed; `waiting` are the incoming events that stand on it, by their numbers."""

    pdu: IncomingPdu
    waiting: dict[int, IncomingPdu] = attrs.field(factory=dict)
    is_over: bool = False
    _waiting_ids: set[EventID] = attrs.field(factory=set, init=False)

    def add(self, pdu: IncomingPdu) -> None:
        """This one stands on it, too."""
        self.waiting[pdu.pdu_nid] = pdu
        self._waiting_ids.add(pdu.event_id)

    def is_waited_for_by(self, event_ids: Iterable[EventID]) -> bool:
        """Whether any of these waits for it."""
        return not self._waiting_ids.isdisjoint(event_ids)


@attrs.define(eq=False)
class Completions:
    """The events that are being completed by this process."""

    _of_room: dict[RoomID, dict[EventID, Completion]] = attrs.field(factory=dict, init=False)
    _running: set[Deferred[None]] = attrs.field(factory=set, init=False)

    def waited_for_by(self, pdu: IncomingPdu, prev_events: tuple[EventID, ...]) -> Completion | None:
        """What the event has to wait for: that itself is being completed, or that one of its parents is."""
        found = self._of_room.get(pdu.room_id, {})
        for event_id in (pdu.event_id, *prev_events):
            if event_id in found:
                return found[event_id]
        # Whoever waits may be waited for.
        for completion in found.values():
            if completion.is_waited_for_by(prev_events):
                return completion
        return None

    def is_full(self, room_id: RoomID, origin: ServerName) -> bool:
        """Whether no more may be begun for this server in this room."""
        here = sum(each.pdu.origin == origin for each in self._of_room.get(room_id, {}).values())
        if here >= MOST_OF_SERVER or len(self._running) >= MOST:
            return True
        everywhere = (each for in_room in self._of_room.values() for each in in_room.values())
        return sum(each.pdu.origin == origin for each in everywhere) >= MOST_OF_SERVER_IN_ALL

    def begin(self, pdu: IncomingPdu, complete: Callable[[Completion], Deferred[None]]) -> Completion:
        """Complete the event by a function that calls `end`, and does not fail."""
        completion = Completion(pdu)
        self._of_room.setdefault(pdu.room_id, {})[pdu.event_id] = completion
        running = complete(completion)
        self._running.add(running)
        running.addBoth(self._ended, running)
        return completion

    async def finish(self) -> None:
        """Wait for all."""
        for running in list(self._running):
            done: Deferred[None] = Deferred()
            running.addBoth(_pass_on, done)
            await done

    def _ended(self, result: object, running: Deferred[None]) -> object:
        self._running.discard(running)
        return result

    def end(self, completion: Completion) -> None:
        """It is decided what becomes of the event, and of those that wait."""
        completion.is_over = True
        room_id, event_id = completion.pdu.room_id, completion.pdu.event_id
        in_room = self._of_room.get(room_id, {})
        # A room whose lease ran out may have been taken twice, and the same event be completed a second time.
        if in_room.get(event_id) is completion:
            del in_room[event_id]
            if not in_room:
                del self._of_room[room_id]


def _pass_on(result: object, done: Deferred[None]) -> object:
    done.callback(None)
    return result
