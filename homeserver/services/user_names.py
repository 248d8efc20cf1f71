"""User IDs of this server: which new ones are possible, and which one somebody means."""

import string
from typing import Final

import msgspec

from homeserver.core.appservices import Appservice, Appservices
from homeserver.core.errors import (
    Exclusive,
    InvalidParam,
    InvalidUsername,
    MissingParam,
)
from homeserver.core.identifiers import (
    ServerName,
    UserID,
    check_new_localpart,
    localpart_of,
    parse_user_id,
    server_of,
)
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.threepids import MSISDN

# Only A to Z: `str.lower` would make a plain k of the sign for Kelvin, and so map foreign letters to names.
_TO_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class UserNames(msgspec.Struct, frozen=True):
    """The names of one server. `reserved` is a user ID that the server itself needs."""

    server_name: ServerName
    appservices: Appservices = Appservices()
    reserved: UserID | None = None

    def new_user_id(self, username: str, appservice: Appservice | None = None) -> UserID:
        """The user ID that a new user with that name would get, one of `appservice` if that is given.

        Capitals become small letters.

        Errors: InvalidUsername; Exclusive. Spec: client-server API, "POST /register"; appendices, "User
        Identifiers".
        """
        localpart = username.translate(_TO_LOWER)
        check_new_localpart(localpart, server_name=self.server_name)
        user_id = UserID(f"@{localpart}:{self.server_name}")
        if user_id == self.reserved:
            raise Exclusive("The user ID is reserved")
        self.appservices.check_user(user_id, appservice)
        return user_id

    def new_user_id_of(self, name: str) -> UserID:
        """As `new_user_id`, for operators, who may also give the whole user ID."""
        if not name.startswith("@"):
            return self.new_user_id(name)
        user_id = self.claimed(name)
        if user_id is None:
            raise InvalidUsername(f"a user of this server is called @...:{self.server_name}")
        return self.new_user_id(localpart_of(user_id))

    def claimed(self, name: str) -> UserID | None:
        """The user ID that somebody means by a user ID or localpart; None if it cannot be of this server."""
        text = name if name.startswith("@") else f"@{name}:{self.server_name}"
        try:
            user_id = parse_user_id(text)
        except InvalidParam:
            return None
        return user_id if server_of(user_id) == self.server_name else None


def folded(user_id: UserID) -> UserID:
    """The user ID with its localpart in small letters, as new ones are."""
    localpart, colon, server_name = user_id.partition(":")
    return UserID(localpart.translate(_TO_LOWER) + colon + server_name)


class ThirdParty(msgspec.Struct, frozen=True):
    """A third-party identifier as a client has sent it."""

    medium: str
    address: str


def named_in(identifier: JsonValue, user: JsonValue) -> str | ThirdParty:
    """The user ID or localpart in a user identifier, or else in the old `user` parameter, or what stands for it.

    Errors: MissingParam, InvalidParam. Spec: client-server API, "Identifier types".
    """
    if identifier is None:
        if user is None:
            raise MissingParam("`identifier` is missing")
        return _text(user, "user")
    if not isinstance(identifier, dict):
        raise InvalidParam("`identifier` must be an object")
    kind = identifier.get("type")
    if kind == "m.id.user":
        return _text(identifier.get("user"), "identifier.user")
    if kind == "m.id.phone":
        return ThirdParty(MSISDN, _text(identifier.get("phone"), "identifier.phone"))
    if kind == "m.id.thirdparty" or (kind is None and _names_third_party(identifier)):
        medium = _text(identifier.get("medium"), "identifier.medium")
        return ThirdParty(medium, _text(identifier.get("address"), "identifier.address"))
    raise InvalidParam("the type of `identifier` is not known")


def _names_third_party(identifier: JsonObject) -> bool:
    return "medium" in identifier and "address" in identifier


def _text(value: JsonValue, name: str) -> str:
    if value is None:
        raise MissingParam(f"`{name}` is missing")
    if not isinstance(value, str):
        raise InvalidParam(f"`{name}` must be a string")
    return value
