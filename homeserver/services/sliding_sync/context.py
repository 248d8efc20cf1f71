"""What all parts of one answer share."""

from collections.abc import Mapping
from typing import Self

import attrs
import msgspec

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.room_versions import get_room_version
from homeserver.core.sliding_sync.requests import Form, RoomConfig, SlidingRequest
from homeserver.core.sliding_sync.told import UP_TO_DATE, RoomRecord, Telling, Told
from homeserver.core.sliding_sync.windows import Match
from homeserver.core.tokens import SlidingToken
from homeserver.database.kinds import StreamRow
from homeserver.database.transactions import ReadTransaction
from homeserver.services.client_events import View
from homeserver.services.sliding_sync.lookups import Lookups
from homeserver.services.sync.lazy_members import Sent
from homeserver.storage.memberships import RoomOfUser
from homeserver.storage.sliding_sync import Step


class Asking(msgspec.Struct, frozen=True):
    """A request of one device: `token` says how far it is, `None` for a new connection."""

    user_id: UserID
    device_id: str
    conn_id: str
    token: SlidingToken | None
    request: SlidingRequest
    sent_members: Sent
    now_ts: int


class Answer(msgspec.Struct, frozen=True):
    """What there is to tell, as JSON, and what the client will have been told with it.

    `step` is that of the request. `sent_members` are the members whose state this brings, by room; `flushed` are the
    rooms of whose members the client has no others any more.
    """

    upto: int
    lists: Mapping[str, bytes]
    rooms: dict[RoomID, bytes]
    extensions: dict[str, bytes]
    step: Step | None
    told: Told
    is_idle: bool
    """The connection should be noted as used."""
    sent_members: dict[RoomID, frozenset[str]]
    flushed: set[RoomID]

    @classmethod
    def nothing(cls, upto: int, lists: Mapping[str, bytes]) -> Self:
        """Nothing is new up to there; the lists are as they were read last."""
        return cls(upto, lists, {}, {}, None, Told(), False, {}, set())  # noqa: FBT003 - in the order of the fields

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing new."""
        return not self.rooms and not self.extensions


class Wanted(msgspec.Struct, frozen=True):
    """A room that the request is about, and what the client has of it; `record` is `None` for nothing."""

    room: RoomOfUser
    match: Match
    config: RoomConfig
    record: RoomRecord | None
    is_dm: bool


@attrs.frozen(slots=True)
class Context:
    """One snapshot of the database, read for one request; it reaches from `since` (`None`: the beginning) to `upto`."""

    tx: ReadTransaction
    asking: Asking
    stream: StreamRow
    since: int | None
    told: Told
    telling: Telling
    ignored: frozenset[str]
    new_members: dict[RoomID, frozenset[str]] = attrs.field(factory=dict)
    flushed: set[RoomID] = attrs.field(factory=set)
    lookups: Lookups = attrs.field(default=attrs.Factory(lambda self: Lookups(self.tx), takes_self=True))

    @property
    def upto(self) -> int:
        """The position that the answer leads to."""
        return self.stream.position

    @property
    def is_stable(self) -> bool:
        """Whether the client speaks the accepted form of the API."""
        return self.asking.request.form is Form.STABLE

    def told_upto(self, record: RoomRecord | None) -> int | None:
        """The position up to which the client knows of a room; `None` if it knows nothing."""
        if record is None:
            return None
        return self.since if record.upto == UP_TO_DATE else record.upto

    def view(self, room: RoomOfUser) -> View:
        """How clients of sliding sync see events."""
        return View(
            room.room_id,
            get_room_version(room.version),
            self.asking.user_id,
            self.asking.device_id,
            self.asking.now_ts,
            with_room_id=False,
        )
