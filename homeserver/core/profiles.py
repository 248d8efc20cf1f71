"""Profile fields: which names they may have, and which values. Spec: client-server API, "Profiles"."""

import re
from collections.abc import Mapping
from typing import Final, Self

import msgspec

from homeserver.core.endpoint_errors import KeyTooLarge, ProfileTooLarge
from homeserver.core.errors import BadJson, InvalidParam
from homeserver.core.json import JsonObject, JsonValue

DISPLAY_NAME: Final = "displayname"
AVATAR_URL: Final = "avatar_url"
TIME_ZONE: Final = "m.tz"

MAX_KEY_BYTES: Final = 255
MAX_PROFILE_BYTES: Final = 65_535
"""A profile must be under 64 KiB, its keys and punctuation included."""

MAX_LENGTHS: Final = {DISPLAY_NAME: 256, AVATAR_URL: 1000, TIME_ZONE: 255}
"""In characters: the first two are copied into every room of the user."""

# Appendices, "Common Namespaced Identifier Grammar".
_KEY = re.compile(r"[a-z][a-z0-9_.-]*")
# Client-server API, "Matrix Content (mxc://) URIs".
_MXC = re.compile(r"mxc://[0-9A-Za-z.:\[\]-]+/[0-9A-Za-z_-]+")


class NameAndAvatar(msgspec.Struct, frozen=True):
    """The part of a profile that membership events repeat; `None` for what is not set."""

    display_name: str | None = None
    avatar_url: str | None = None

    @classmethod
    def of(cls, profile: Mapping[str, JsonValue]) -> Self:
        """Take it from a whole profile."""
        name, avatar = profile.get(DISPLAY_NAME), profile.get(AVATAR_URL)
        return cls(name if isinstance(name, str) else None, avatar if isinstance(avatar, str) else None)

    def to_content(self) -> JsonObject:
        """As in the content of a membership or presence event."""
        content: JsonObject = {}
        if self.display_name is not None:
            content[DISPLAY_NAME] = self.display_name
        if self.avatar_url is not None:
            content[AVATAR_URL] = self.avatar_url
        return content


def check_key(key: str) -> None:
    """Check the name of a field.

    Errors: KeyTooLarge; InvalidParam.
    """
    if len(key.encode()) > MAX_KEY_BYTES:
        raise KeyTooLarge(f"the name of a profile field has at most {MAX_KEY_BYTES} bytes")
    if not _KEY.fullmatch(key):
        raise InvalidParam(
            "the name of a profile field is made of a-z, 0-9, and . _ -, and starts with a letter"
        )


def check_value(key: str, value: JsonValue) -> None:
    """Check the value of a field: those of the specification are strings, any other may be anything.

    Errors: BadJson if it is no string; InvalidParam if it is too long, or no content URI where one is wanted.
    """
    longest = MAX_LENGTHS.get(key)
    if longest is None:
        return
    if not isinstance(value, str):
        raise BadJson(f"$.{key}: a string is wanted")
    if len(value) > longest:
        raise InvalidParam(f"{key} has at most {longest} characters")
    # The empty string is how clients have always taken their avatar away.
    if key == AVATAR_URL and value and not _MXC.fullmatch(value):
        raise InvalidParam("avatar_url must be an mxc:// URI")


def check_size(value_sizes: Mapping[str, int]) -> None:
    """Check the size of a whole profile as JSON, given the bytes that the value of each field takes.

    Errors: ProfileTooLarge.
    """
    # Per field the quotes of its name, a colon and a comma; the braces have one comma too many between them.
    size = 1 + sum(len(key) + 4 + bytes_ for key, bytes_ in value_sizes.items())
    if size > MAX_PROFILE_BYTES:
        raise ProfileTooLarge("a profile must be under 64 KiB")
