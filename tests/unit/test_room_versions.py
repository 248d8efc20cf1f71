"""Room versions 1 to 12, field by field."""

import msgspec
import pytest

from homeserver.core.errors import UnsupportedRoomVersion
from homeserver.core.room_versions import (
    DEFAULT_ROOM_VERSION,
    ROOM_VERSIONS,
    EventIdFormat,
    RoomVersion,
    StateResolution,
    get_room_version,
)

NUMBERS = range(1, 13)

# Each field's value in version 1, and the later versions that change it, after the pages of the versions.
CHANGES: dict[str, dict[int, object]] = {
    "event_id_format": {1: EventIdFormat.SERVER_ISSUED, 3: EventIdFormat.BASE64, 4: EventIdFormat.URL_SAFE},
    "event_references_with_hashes": {1: True, 3: False},
    "strict_canonical_json": {1: False, 6: True},
    "redacts_in_content": {1: False, 11: True},
    "room_id_is_create_hash": {1: False, 12: True},
    "enforce_key_validity": {1: False, 5: True},
    "state_resolution": {1: StateResolution.V1, 2: StateResolution.V2, 12: StateResolution.V2_1},
    "redaction_auth_rule": {1: True, 3: False},
    "aliases_auth_rule": {1: True, 6: False},
    "float_power_levels": {1: True, 6: False},
    "notifications_power_levels_checked": {1: False, 6: True},
    "knocking": {1: False, 7: True},
    "restricted_joins": {1: False, 8: True},
    "knock_restricted": {1: False, 10: True},
    "integer_power_levels": {1: False, 10: True},
    "implicit_room_creator": {1: False, 11: True},
    "privileged_creators": {1: False, 12: True},
    "redaction_keeps_aliases": {1: True, 6: False},
    "redaction_keeps_allow": {1: False, 8: True},
    "restricted_join_fix": {1: False, 9: True},
    "updated_redaction_rules": {1: False, 11: True},
}


def test_there_are_twelve() -> None:
    assert list(ROOM_VERSIONS) == [str(number) for number in NUMBERS]
    assert all(version.identifier == identifier for identifier, version in ROOM_VERSIONS.items())


def test_the_table_has_every_field() -> None:
    assert set(CHANGES) | {"identifier"} == set(RoomVersion.__struct_fields__)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("field", CHANGES)
def test_fields(number: int, field: str) -> None:
    expected = [value for since, value in CHANGES[field].items() if since <= number][-1]
    assert getattr(ROOM_VERSIONS[str(number)], field) == expected


def test_the_recommended_version_is_the_default() -> None:
    assert DEFAULT_ROOM_VERSION is ROOM_VERSIONS["12"]


def test_get_room_version() -> None:
    assert get_room_version("9") is ROOM_VERSIONS["9"]
    for unknown in ("", "0", "13", "1 ", "01", "org.example.1"):
        with pytest.raises(UnsupportedRoomVersion):
            get_room_version(unknown)


def test_versions_are_values_that_cannot_be_changed() -> None:
    version = ROOM_VERSIONS["10"]
    assert msgspec.structs.replace(version) == version
    assert hash(msgspec.structs.replace(version)) == hash(version)
    assert version != ROOM_VERSIONS["11"]
    with pytest.raises(AttributeError):
        version.knocking = False  # type: ignore[misc]  # mypy cannot tell
    with pytest.raises(TypeError):
        ROOM_VERSIONS["13"] = version  # type: ignore[index]  # JSON
