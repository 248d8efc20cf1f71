"""Room versions as data: each says only how it differs from the one before.

Every difference between two room versions of the specification is one field here; code asks for the field,
never for the number of the version. Spec: "Room Versions" and its page for each version.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from homeserver.core.errors import UnsupportedRoomVersion


class EventIdFormat(enum.Enum):
    """Where event IDs come from and how they are spelled."""

    SERVER_ISSUED = "server issued"
    """`$opaque:domain`, chosen by the server and written in the event."""
    BASE64 = "base64"
    """`$` and the reference hash in standard unpadded Base64."""
    URL_SAFE = "url safe"
    """`$` and the reference hash in URL-safe unpadded Base64."""


class StateResolution(enum.Enum):
    """The algorithms that resolve forks of the room state."""

    V1 = "1"
    V2 = "2"
    V2_1 = "2.1"


class RoomVersion(msgspec.Struct, frozen=True, cache_hash=True):
    """The rules of one room version.

    Booleans that start out True in version 1 are rules that later versions dropped; the others are rules that
    a later version added.
    """

    identifier: str
    """The version as written in `room_version` of the create event."""

    # Identifiers and format

    event_id_format: EventIdFormat
    """Versions 1 and 2 carry `event_id` in the event, 3 hashes, 4 and later hash in the URL-safe alphabet."""

    event_references_with_hashes: bool
    """`prev_events` and `auth_events` are pairs `[event_id, {"sha256": ...}]` rather than event IDs (versions
    1 and 2)."""

    strict_canonical_json: bool
    """Events must be canonical JSON: integers within 2^53, `depth` included, and no floats (6 and later)."""

    redacts_in_content: bool
    """`redacts` of a redaction stands in `content` rather than at the top level (11 and later)."""

    room_id_is_create_hash: bool
    """The room ID is the create event's ID with the sigil `!`; the create event has no `room_id`, and it is
    implied by the room ID instead of being listed in `auth_events` (12 and later)."""

    # Signatures

    enforce_key_validity: bool
    """An event's signing key must have been valid at its `origin_server_ts` (5 and later)."""

    # State resolution

    state_resolution: StateResolution
    """The algorithm: 1 in version 1, 2 in 2 to 11, 2.1 in 12 and later."""

    # Authorisation

    redaction_auth_rule: bool
    """The authorisation rules say who may redact (versions 1 and 2); later this is checked when a redaction
    is applied."""

    aliases_auth_rule: bool
    """`m.room.aliases` has its own rule: `state_key` is the sender's server (1 to 5)."""

    float_power_levels: bool
    """Power levels may be floats, which are truncated (1 to 5)."""

    notifications_power_levels_checked: bool
    """Changes of `notifications` in `m.room.power_levels` need power as those of `events` do (6 and
    later)."""

    knocking: bool
    """Membership `knock` and join rule `knock` (7 and later)."""

    restricted_joins: bool
    """Join rule `restricted` and `join_authorised_via_users_server` (8 and later)."""

    knock_restricted: bool
    """Join rule `knock_restricted` (10 and later)."""

    integer_power_levels: bool
    """Power levels must be integers; until version 9 strings that spell integers are accepted (10 and
    later)."""

    implicit_room_creator: bool
    """The creator is the sender of the create event, whose `content` needs no `creator` (11 and later)."""

    privileged_creators: bool
    """The creators, `additional_creators` included, have infinite power and do not stand in
    `m.room.power_levels` (12 and later)."""

    # Redaction: what remains

    redaction_keeps_aliases: bool
    """`m.room.aliases` keeps `aliases` (1 to 5)."""

    redaction_keeps_allow: bool
    """`m.room.join_rules` keeps `allow` (8 and later)."""

    restricted_join_fix: bool
    """`m.room.member` keeps `join_authorised_via_users_server`, without which a restricted join loses its
    authorisation (9 and later)."""

    updated_redaction_rules: bool
    """The top-level `origin`, `membership` and `prev_state` go; `m.room.create` keeps its whole content,
    `m.room.redaction` its `redacts`, `m.room.power_levels` its `invite`, `m.room.member` the `signed` of its
    `third_party_invite` (11 and later)."""


_V1 = RoomVersion(
    identifier="1",
    event_id_format=EventIdFormat.SERVER_ISSUED,
    event_references_with_hashes=True,
    strict_canonical_json=False,
    redacts_in_content=False,
    room_id_is_create_hash=False,
    enforce_key_validity=False,
    state_resolution=StateResolution.V1,
    redaction_auth_rule=True,
    aliases_auth_rule=True,
    float_power_levels=True,
    notifications_power_levels_checked=False,
    knocking=False,
    restricted_joins=False,
    knock_restricted=False,
    integer_power_levels=False,
    implicit_room_creator=False,
    privileged_creators=False,
    redaction_keeps_aliases=True,
    redaction_keeps_allow=False,
    restricted_join_fix=False,
    updated_redaction_rules=False,
)

# A better state resolution.
_V2 = msgspec.structs.replace(_V1, identifier="2", state_resolution=StateResolution.V2)

# Event IDs are hashes; redactions are judged when they are applied.
_V3 = msgspec.structs.replace(
    _V2,
    identifier="3",
    event_id_format=EventIdFormat.BASE64,
    event_references_with_hashes=False,
    redaction_auth_rule=False,
)

# Event IDs without slashes.
_V4 = msgspec.structs.replace(_V3, identifier="4", event_id_format=EventIdFormat.URL_SAFE)

# Signing keys are good for their validity period only.
_V5 = msgspec.structs.replace(_V4, identifier="5", enforce_key_validity=True)

# Canonical JSON is enforced; `m.room.aliases` is nothing special; `notifications` power levels are guarded.
_V6 = msgspec.structs.replace(
    _V5,
    identifier="6",
    strict_canonical_json=True,
    float_power_levels=False,
    aliases_auth_rule=False,
    redaction_keeps_aliases=False,
    notifications_power_levels_checked=True,
)

# Knocking.
_V7 = msgspec.structs.replace(_V6, identifier="7", knocking=True)

# Joining by membership of another room.
_V8 = msgspec.structs.replace(_V7, identifier="8", restricted_joins=True, redaction_keeps_allow=True)

# Redacted restricted joins stay authorised.
_V9 = msgspec.structs.replace(_V8, identifier="9", restricted_join_fix=True)

# Knocking and restricted joins together; power levels are integers.
_V10 = msgspec.structs.replace(_V9, identifier="10", knock_restricted=True, integer_power_levels=True)

# A clearer redaction algorithm; no `creator`; `redacts` moves into `content`.
_V11 = msgspec.structs.replace(
    _V10,
    identifier="11",
    updated_redaction_rules=True,
    implicit_room_creator=True,
    redacts_in_content=True,
)

# The room ID is the create event's hash; creators have infinite power; state resolution 2.1.
_V12 = msgspec.structs.replace(
    _V11,
    identifier="12",
    room_id_is_create_hash=True,
    privileged_creators=True,
    state_resolution=StateResolution.V2_1,
)

ROOM_VERSIONS: Final[Mapping[str, RoomVersion]] = MappingProxyType(
    {
        version.identifier: version
        for version in (_V1, _V2, _V3, _V4, _V5, _V6, _V7, _V8, _V9, _V10, _V11, _V12)
    }
)
"""All room versions that this server takes part in, by identifier; every one is stable in the
specification."""

DEFAULT_ROOM_VERSION: Final = _V12
"""What the specification recommends for new rooms."""


def get_room_version(identifier: str) -> RoomVersion:
    """The room version of that name.

    Errors: UnsupportedRoomVersion.
    """
    version = ROOM_VERSIONS.get(identifier)
    if version is None:
        raise UnsupportedRoomVersion("this server does not know that room version")
    return version
