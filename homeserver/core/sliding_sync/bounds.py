"""How much a client may ask for at once. Spec: MSC4186, "Request Body"."""

import re
from collections.abc import Iterable
from typing import Final

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import RoomID
from homeserver.core.sliding_sync.requests import (
    Extensions,
    Form,
    RoomConfig,
    RoomList,
    SlidingRequest,
    Subscription,
)

MOST_LISTS: Final = 100

MOST_SUBSCRIPTIONS: Final = {Form.STABLE: 100, Form.UNSTABLE: 1_000}
"""The unstable form had no limit."""

MOST_ELEMENTS: Final = 500
"""Of the state that is wanted of one list or room."""

MOST_RANGES: Final = 100

MOST_SPACES: Final = 100

_OPAQUE: Final = re.compile(r"[0-9A-Za-z._~-]{1,255}")


def checked(
    form: Form,
    lists: Iterable[RoomList],
    rooms: Iterable[tuple[str, RoomConfig]],
    extensions: Extensions,
) -> SlidingRequest:
    """A request within the bounds. Errors: InvalidParam."""
    request = SlidingRequest(
        form,
        tuple(lists),
        tuple(Subscription(RoomID(room_id), config) for room_id, config in rooms),
        extensions,
    )
    if len(request.lists) > MOST_LISTS:
        raise InvalidParam(f"at most {MOST_LISTS} lists can be asked for")
    if len(request.subscriptions) > MOST_SUBSCRIPTIONS[form]:
        raise InvalidParam(f"at most {MOST_SUBSCRIPTIONS[form]} rooms can be subscribed to")
    for each in request.lists:
        _check_list(form, each)
    for subscription in request.subscriptions:
        _check_config(subscription.config)
    return request


def check_conn_id(conn_id: str) -> None:
    """Errors: InvalidParam."""
    if len(conn_id) > 255 or "\0" in conn_id:
        raise InvalidParam("a conn_id has at most 255 characters, and no NUL")


def _check_list(form: Form, wanted: RoomList) -> None:
    if form is Form.STABLE and not _OPAQUE.fullmatch(wanted.name):
        raise InvalidParam("the name of a list is made of up to 255 characters of 0-9, a-z, A-Z and . _ ~ -")
    _check_config(wanted.config)
    spaces = wanted.filter.spaces or ()
    if len(spaces) > MOST_SPACES:
        raise InvalidParam(f"at most {MOST_SPACES} spaces can be asked for")
    if any("\0" in space for space in spaces):
        raise InvalidParam("a room ID has no NUL")
    if wanted.ranges is None:
        return
    if len(wanted.ranges) > MOST_RANGES:
        raise InvalidParam(f"at most {MOST_RANGES} ranges can be asked for")
    if any(first > last for first, last in wanted.ranges):
        raise InvalidParam("a range begins before it ends")


def _check_config(config: RoomConfig) -> None:
    for rule in config.required_state:
        if len(rule.include) + len(rule.exclude) > MOST_ELEMENTS:
            raise InvalidParam(f"at most {MOST_ELEMENTS} elements of required_state can be asked for")
        if any(part is not None and "\0" in part for element in rule.include for part in element):
            raise InvalidParam("neither types nor state keys have NUL")
