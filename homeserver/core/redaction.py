"""The redaction algorithm: what of an event remains, and what its signatures and its ID cover.

Spec: "Redactions" on the page of each room version.
"""

import functools
from collections.abc import Mapping

import msgspec

from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.room_versions import RoomVersion

# Keys at the top level that every room version keeps.
_ALWAYS_KEPT = (
    "event_id",
    "type",
    "room_id",
    "sender",
    "state_key",
    "content",
    "hashes",
    "signatures",
    "depth",
    "prev_events",
    "auth_events",
    "origin_server_ts",
)

# Keys at the top level that were kept before version 11.
_ONCE_KEPT = ("prev_state", "origin", "membership")

_POWER_LEVELS = (
    "ban",
    "events",
    "events_default",
    "kick",
    "redact",
    "state_default",
    "users",
    "users_default",
)


class _Rules(msgspec.Struct, frozen=True):
    """What a room version keeps.

    `content` has the kept keys by event type, None for all of them; types that are not listed keep none.
    """

    top_level: frozenset[str]
    content: Mapping[str, frozenset[str] | None]
    third_party_signed: bool


@functools.cache
def _rules_of(version: RoomVersion) -> _Rules:
    """The keeping rules of a room version, from its fields."""
    updated = version.updated_redaction_rules
    member = {"membership"}
    join_rules = {"join_rule"}
    power_levels = set(_POWER_LEVELS)
    if version.restricted_join_fix:
        member.add("join_authorised_via_users_server")
    if version.redaction_keeps_allow:
        join_rules.add("allow")
    if updated:
        power_levels.add("invite")
    content: dict[str, frozenset[str] | None] = {
        "m.room.member": frozenset(member),
        "m.room.create": None if updated else frozenset({"creator"}),
        "m.room.join_rules": frozenset(join_rules),
        "m.room.power_levels": frozenset(power_levels),
        "m.room.history_visibility": frozenset({"history_visibility"}),
    }
    if version.redaction_keeps_aliases:
        content["m.room.aliases"] = frozenset({"aliases"})
    if updated:
        content["m.room.redaction"] = frozenset({"redacts"})
    return _Rules(
        top_level=frozenset(_ALWAYS_KEPT if updated else _ALWAYS_KEPT + _ONCE_KEPT),
        content=content,
        third_party_signed=updated,
    )


def redact(pdu: JsonObject, room_version: RoomVersion) -> JsonObject:
    """What the redaction algorithm leaves of an event: a new object that shares inner values with `pdu`.

    `unsigned` goes too. Redacting twice is redacting once.
    """
    rules = _rules_of(room_version)
    kept = {key: value for key, value in pdu.items() if key in rules.top_level}
    event_type = pdu.get("type")
    content = pdu.get("content")
    if isinstance(content, dict):
        kept["content"] = _redact_content(event_type, content, rules)
    return kept


def _redact_content(event_type: JsonValue, content: JsonObject, rules: _Rules) -> JsonObject:
    """What is left of `content`."""
    if not isinstance(event_type, str) or event_type not in rules.content:
        return {}
    keys = rules.content[event_type]
    if keys is None:
        return content
    kept = {key: value for key, value in content.items() if key in keys}
    if rules.third_party_signed and event_type == "m.room.member":
        # Of an object `third_party_invite` only `signed` is kept. Without `signed` an empty object remains:
        # the text leaves that open, and the ID of such an event must be what existing servers make it.
        invite = content.get("third_party_invite")
        if isinstance(invite, dict):
            kept["third_party_invite"] = {key: value for key, value in invite.items() if key == "signed"}
    return kept
