"""What else clients want of an event that they send, by query parameters: that it sticks, or is sent later.

The latter is the first form in which clients have events delayed. Spec: MSC4354; MSC4140 as it was before its
endpoints, which most clients speak still.
"""

from typing import Annotated

import msgspec

from homeserver.core.errors import InvalidParam, Unknown
from homeserver.core.identifiers import RoomID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.core.sticky_events import MAX_DURATION_MS
from homeserver.services.delayed_events import DelayedEvents, DelayTooLong, Wish


class StickyQuery(msgspec.Struct):
    """For how many milliseconds the event is to stick; None: not at all."""

    sticky_duration_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_DURATION_MS)] | None = msgspec.field(
        name="org.matrix.msc4354.sticky_duration_ms", default=None
    )


class DelayQuery(StickyQuery):
    """How many milliseconds the event is to be delayed; None: not at all."""

    delay: int | None = msgspec.field(name="org.matrix.msc4140.delay", default=None)
    parent_delay_id: str | None = msgspec.field(name="org.matrix.msc4140.parent_delay_id", default=None)

    @property
    def is_wanted(self) -> bool:
        """Whether the event is not to be sent at once. Errors: InvalidParam."""
        if self.parent_delay_id is not None:
            # To send the event now instead would be worse.
            raise InvalidParam("an event cannot depend on another delayed event")
        return self.delay is not None


class DelayedResponse(msgspec.Struct):
    """What the event is called until it is sent."""

    delay_id: str


async def schedule(  # the parts of the request
    delayed_events: DelayedEvents,
    requester: Requester,
    room_id: RoomID,
    key: tuple[str, str | None],
    content: JsonObject,
    query: DelayQuery,
    txn_id: str | None = None,
) -> DelayedResponse:
    """Schedule an event of a type and, if it is state, with a state key.

    Errors: as `DelayedEvents.schedule`, with too long a delay told as clients of this form expect it.
    """
    wish = Wish(room_id, *key, content, query.delay or 0, query.sticky_duration_ms)
    try:
        return DelayedResponse(await delayed_events.schedule(requester, wish, txn_id))
    except DelayTooLong as error:
        known = Unknown(error.message)
        known.fields["org.matrix.msc4140.errcode"] = "M_MAX_DELAY_EXCEEDED"
        known.fields["org.matrix.msc4140.max_delay"] = error.max_delay_ms
        raise known from error
