"""Sliding sync, in the form in which it was accepted and in the one that clients speak meanwhile. Spec: MSC4186."""

from collections.abc import Iterable
from typing import Annotated, Literal, TypeAlias

import msgspec

from homeserver.api.waiting import WaitingRequests
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import UserID
from homeserver.core.json import encode
from homeserver.core.requester import Requester
from homeserver.core.sliding_sync.bounds import check_conn_id, checked
from homeserver.core.sliding_sync.requests import (
    DEFAULT_STICKY_EVENTS,
    DEFAULT_SUBSCRIPTIONS,
    Extensions,
    Form,
    RoomConfig,
    RoomList,
    Scope,
    SlidingRequest,
    StickyEvents,
    ToDeviceWanted,
)
from homeserver.core.sliding_sync.required_state import MEMBER, Element, RequiredState
from homeserver.core.sliding_sync.room_filters import RoomFilter
from homeserver.core.splice import object_of
from homeserver.core.tokens import SlidingToken, parse_stream_token
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.request import Request
from homeserver.http.response import RawJson
from homeserver.services.presence import Presence
from homeserver.services.sliding_sync.service import MAX_TIMEOUT_MS
from homeserver.services.sliding_sync.service import SlidingSync as SlidingSyncService
from homeserver.services.sync.to_device import MOST as MOST_MESSAGES

BODY_LIMIT = 256 * 1024

_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
_Range: TypeAlias = tuple[_Count, _Count]
_Presence: TypeAlias = Literal["offline", "online", "unavailable"]


class ScopeBody(msgspec.Struct, frozen=True):
    """An extension for some of the rooms: `*` among the subscriptions means all of them."""

    enabled: bool = False
    lists: frozenset[str] | None = None
    rooms: frozenset[str] | None = None

    def scope(self) -> Scope | None:
        """What is wanted; `None`: nothing."""
        if not self.enabled:
            return None
        lists = None if self.lists is None or "*" in self.lists else self.lists
        return Scope(lists, None if self.rooms is None or "*" in self.rooms else self.rooms)


class EnabledBody(msgspec.Struct, frozen=True):
    """MSC3884, which has no parameters."""

    enabled: bool = False


class ThreadSubscriptionsBody(msgspec.Struct, frozen=True):
    """MSC4308: how many changes at most."""

    enabled: bool = False
    limit: Annotated[int, msgspec.Meta(ge=1)] = DEFAULT_SUBSCRIPTIONS


class ToDeviceBody(msgspec.Struct, frozen=True):
    """MSC3885: how many messages to the device at most, and after which of its own tokens."""

    enabled: bool = False
    limit: Annotated[int, msgspec.Meta(ge=1)] = MOST_MESSAGES
    since: str | None = None

    def wanted(self) -> ToDeviceWanted | None:
        """As the service knows it. Errors: InvalidParam."""
        if not self.enabled:
            return None
        after = parse_stream_token(self.since) if self.since else None
        return ToDeviceWanted(min(self.limit, MOST_MESSAGES), after)


class StickyEventsBody(msgspec.Struct, frozen=True):
    """MSC4480: how many sticky events at most, and what the client has got so far."""

    enabled: bool = False
    limit: Annotated[int, msgspec.Meta(ge=1)] = DEFAULT_STICKY_EVENTS
    since: str | None = None

    def wanted(self) -> StickyEvents | None:
        """What is wanted; `None`: nothing. Errors: InvalidParam."""
        if not self.enabled:
            return None
        since = parse_stream_token(self.since) if self.since else 0
        return StickyEvents(since, min(self.limit, DEFAULT_STICKY_EVENTS))


class ExtensionsBody(msgspec.Struct, frozen=True):
    """What clients want beside rooms. What is not known here is ignored."""

    account_data: ScopeBody = ScopeBody()
    receipts: ScopeBody = ScopeBody()
    typing: ScopeBody = ScopeBody()
    thread_subscriptions: ThreadSubscriptionsBody = msgspec.field(
        name="io.element.msc4308.thread_subscriptions", default=ThreadSubscriptionsBody()
    )
    to_device: ToDeviceBody = ToDeviceBody()
    e2ee: EnabledBody = EnabledBody()
    sticky_events: StickyEventsBody = msgspec.field(
        name="org.matrix.msc4354.sticky_events", default=StickyEventsBody()
    )

    def extensions(self) -> Extensions:
        """As the service knows them. Errors: InvalidParam."""
        threads = self.thread_subscriptions
        return Extensions(
            self.account_data.scope(),
            self.receipts.scope(),
            self.typing.scope(),
            min(threads.limit, DEFAULT_SUBSCRIPTIONS) if threads.enabled else None,
            self.to_device.wanted(),
            self.e2ee.enabled,
            self.sticky_events.wanted(),
        )


class FiltersBody(msgspec.Struct, frozen=True):
    """Which rooms belong to a list; `is_invite` is what the unstable form calls `is_invited`."""

    is_dm: bool | None = None
    is_encrypted: bool | None = None
    is_invited: bool | None = None
    is_invite: bool | None = None
    room_types: frozenset[str | None] | None = None
    not_room_types: frozenset[str | None] | None = None
    spaces: frozenset[str] | None = None
    tags: frozenset[str] | None = None
    not_tags: frozenset[str] | None = None

    def room_filter(self, form: Form) -> RoomFilter:
        """As the service knows it."""
        return RoomFilter(
            is_dm=self.is_dm,
            is_encrypted=self.is_encrypted,
            is_invited=self.is_invited if form is Form.STABLE else self.is_invite,
            room_types=self.room_types,
            not_room_types=self.not_room_types,
            spaces=self.spaces,
            tags=self.tags,
            not_tags=self.not_tags,
        )


class ElementBody(msgspec.Struct, frozen=True):
    """What state to match; what is left out matches everything."""

    type: str | None = None
    state_key: str | None = None


class RequiredStateBody(msgspec.Struct, frozen=True):
    """Which state is wanted."""

    include: tuple[ElementBody, ...] = ()
    exclude: tuple[ElementBody, ...] = ()
    lazy_members: bool = False

    def rule(self) -> RequiredState:
        """As the service knows it."""
        return RequiredState(_elements(self.include), _elements(self.exclude), self.lazy_members)


class StableRoom(msgspec.Struct, frozen=True):
    """A room that is subscribed to."""

    timeline_limit: _Count
    required_state: RequiredStateBody

    def config(self) -> RoomConfig:
        """As the service knows it."""
        return RoomConfig(self.timeline_limit, (self.required_state.rule(),))


class StableList(StableRoom, frozen=True):
    """A list of rooms."""

    range: _Range | None = None
    filters: FiltersBody | None = None


class StableBody(msgspec.Struct, frozen=True):
    """The request as it was accepted."""

    conn_id: str = ""
    pos: str | None = None
    timeout: int = 0
    set_presence: str = "online"
    lists: dict[str, StableList] = {}
    room_subscriptions: dict[str, StableRoom] = {}
    extensions: ExtensionsBody = ExtensionsBody()

    def request(self) -> SlidingRequest:
        """As the service knows it. Errors: InvalidParam."""
        lists = (
            RoomList(
                name,
                each.config(),
                (each.filters or FiltersBody()).room_filter(Form.STABLE),
                None if each.range is None else (each.range,),
            )
            for name, each in self.lists.items()
        )
        rooms = ((room_id, each.config()) for room_id, each in self.room_subscriptions.items())
        return checked(Form.STABLE, lists, rooms, self.extensions.extensions())


class UnstableRoom(msgspec.Struct, frozen=True):
    """A room that is subscribed to; state is wanted as pairs of type and state key, with `*`, `$LAZY` and `$ME`."""

    timeline_limit: _Count = 10
    required_state: tuple[tuple[str, str], ...] = ()

    def config(self, user_id: UserID) -> RoomConfig:
        """As the service knows it."""
        lazy = (MEMBER, "$LAZY")
        include: list[Element] = [
            (None if kind == "*" else kind, {"*": None, "$ME": user_id}.get(key, key))
            for kind, key in self.required_state
            if (kind, key) != lazy
        ]
        return RoomConfig(
            self.timeline_limit, (RequiredState(tuple(include), (), lazy in self.required_state),)
        )


class UnstableList(UnstableRoom, frozen=True):
    """A list of rooms."""

    ranges: tuple[_Range, ...] | None = None
    slow_get_all_rooms: bool = False
    filters: FiltersBody | None = None


class UnstableBody(msgspec.Struct, frozen=True):
    """The request as today's clients send it."""

    conn_id: str = ""
    txn_id: str | None = None
    lists: dict[str, UnstableList] = {}
    room_subscriptions: dict[str, UnstableRoom] = {}
    extensions: ExtensionsBody = ExtensionsBody()

    def request(self, user_id: UserID) -> SlidingRequest:
        """As the service knows it. Errors: InvalidParam."""
        lists = (
            RoomList(
                name,
                each.config(user_id),
                (each.filters or FiltersBody()).room_filter(Form.UNSTABLE),
                None if each.slow_get_all_rooms else each.ranges,
            )
            for name, each in self.lists.items()
        )
        rooms = ((room_id, each.config(user_id)) for room_id, each in self.room_subscriptions.items())
        return checked(Form.UNSTABLE, lists, rooms, self.extensions.extensions())


class UnstableQuery(msgspec.Struct):
    """What is in the body in the accepted form; `timeout` in milliseconds."""

    pos: str | None = None
    timeout: int = 0
    set_presence: _Presence = "online"


class SlidingSync(msgspec.Struct, frozen=True):
    """The endpoints, two forms of one service."""

    sliding_sync_service: SlidingSyncService
    presence: Presence
    waiting: WaitingRequests

    @endpoint("POST", "/_matrix/client/v4/sync", auth=Auth.GUEST_OK, body_limit=BODY_LIMIT)
    async def sliding_sync(self, requester: Requester, request: Request, body: StableBody) -> RawJson:
        """What is new in the windows of the lists, and in the rooms that are subscribed to."""
        query = UnstableQuery(body.pos, body.timeout, _presence(body.set_presence))
        answer = await self._sync(requester, request, body.request(), body.conn_id, query)
        return RawJson(object_of(answer))

    @endpoint(
        "POST",
        "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync",
        auth=Auth.GUEST_OK,
        body_limit=BODY_LIMIT,
    )
    async def unstable_sliding_sync(
        self, requester: Requester, request: Request, body: UnstableBody, query: UnstableQuery
    ) -> RawJson:
        """As above."""
        answer = await self._sync(requester, request, body.request(requester.user_id), body.conn_id, query)
        if body.txn_id is not None:
            answer["txn_id"] = encode(body.txn_id)
        return RawJson(object_of(answer))

    async def _sync(
        self,
        requester: Requester,
        request: Request,
        wanted: SlidingRequest,
        conn_id: str,
        query: UnstableQuery,
    ) -> dict[str, bytes]:
        check_conn_id(conn_id)
        token = SlidingToken.parse(query.pos) if query.pos else None
        timeout_ms = max(0, min(query.timeout, MAX_TIMEOUT_MS))
        await self.presence.touch(requester, query.set_presence, wait_ms=timeout_ms)
        return await self.waiting.answer(
            requester,
            request,
            lambda over: self.sliding_sync_service.sync(
                requester, wanted, conn_id=conn_id, token=token, timeout_ms=timeout_ms, gone=over
            ),
        )


def _presence(text: str) -> _Presence:
    """Errors: InvalidParam, as the specification has it, for a value that is none."""
    try:
        presence: _Presence = msgspec.convert(text, _Presence)
    except msgspec.ValidationError:
        raise InvalidParam("set_presence must be offline, online or unavailable") from None
    return presence


def _elements(given: Iterable[ElementBody]) -> tuple[Element, ...]:
    return tuple((each.type, each.state_key) for each in given)
