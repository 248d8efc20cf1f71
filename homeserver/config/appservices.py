"""The registrations of application services, each in a file of its own that the bridge or bot has made.

Spec: application service API, "Registration".
"""

import re
from typing import Annotated

import msgspec

from homeserver.config import documents
from homeserver.config.errors import ConfigError
from homeserver.config.sections import Config, NonEmpty
from homeserver.config.urls import web_url
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import UserID, parse_user_id

_TOKEN = re.compile(r"[!-~]+")
"""What a header can carry."""


class Namespace(msgspec.Struct, frozen=True):
    """Names that an application service is interested in; `exclusive`: nobody else may take them."""

    regex: str
    exclusive: bool


class Namespaces(msgspec.Struct, frozen=True):
    """The names of each kind."""

    users: tuple[Namespace, ...] = ()
    aliases: tuple[Namespace, ...] = ()
    rooms: tuple[Namespace, ...] = ()


class AppserviceRegistration(msgspec.Struct, frozen=True):
    """What an application service is, and may do. Without `url` nothing is sent to it."""

    id: NonEmpty
    as_token: Annotated[str, msgspec.Meta(min_length=1)]
    hs_token: Annotated[str, msgspec.Meta(min_length=1)]
    sender_localpart: NonEmpty
    namespaces: Namespaces
    url: NonEmpty | None = None
    rate_limited: bool = True


def load_registrations(config: Config) -> tuple[AppserviceRegistration, ...]:
    """The registrations in the files that `appservices` names, in that order.

    Keys that this server does not know are passed over: the files are made by other programs.
    Errors: ConfigError, with the place of the file in the list, and of the key in the file.
    """
    loaded: list[AppserviceRegistration] = []
    for index, path in enumerate(config.appservices):
        place = f"appservices[{index}]"
        document = documents.read(path, place)
        try:
            registration = documents.convert(
                document, AppserviceRegistration, path.parent, knows_all_keys=False
            )
            _check(registration, config)
            _check_unique(registration, loaded)
        except ConfigError as error:
            raise ConfigError(f"{place} ({path.name}): {error.key}", error.value, error.remedy) from error
        loaded.append(registration)
    return tuple(loaded)


def sender_of(registration: AppserviceRegistration, config: Config) -> UserID:
    """The user whom the application service acts as unless it says otherwise. Errors: InvalidParam."""
    return parse_user_id(f"@{registration.sender_localpart}:{config.server_name}")


def _check(registration: AppserviceRegistration, config: Config) -> None:
    try:
        sender_of(registration, config)
    except InvalidParam as error:
        raise ConfigError(
            "sender_localpart", registration.sender_localpart, f"{error.message}: correct it"
        ) from error
    for key in ("as_token", "hs_token"):
        if not _TOKEN.fullmatch(getattr(registration, key)):
            raise ConfigError(
                key, "(not shown)", "must be of ASCII characters without blanks: make another one"
            )
    web_url("url", registration.url)
    for kind in ("users", "aliases", "rooms"):
        namespaces: tuple[Namespace, ...] = getattr(registration.namespaces, kind)
        for index, namespace in enumerate(namespaces):
            try:
                re.compile(namespace.regex)
            except re.error as error:
                raise ConfigError(
                    f"namespaces.{kind}[{index}].regex",
                    namespace.regex,
                    f"is not a regular expression ({error}): correct it",
                ) from error


def _check_unique(registration: AppserviceRegistration, before: list[AppserviceRegistration]) -> None:
    """Check what must tell application services apart; the specification asks it of `id` and `as_token`."""
    if any(other.id == registration.id for other in before):
        raise ConfigError("id", registration.id, "is another application service's, too: change one of them")
    if any(other.as_token == registration.as_token for other in before):
        raise ConfigError(
            "as_token", "(not shown)", "is another application service's, too: change one of them"
        )
    if any(other.sender_localpart == registration.sender_localpart for other in before):
        raise ConfigError(
            "sender_localpart",
            registration.sender_localpart,
            "is another application service's, too: change one of them",
        )
