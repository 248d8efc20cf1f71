"""Declaring endpoints: a decorator on the methods of `api`'s classes."""

import enum
import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol, TypeVar, cast

import msgspec

from homeserver.http.arguments import Arguments

F = TypeVar("F", bound=Callable[..., Awaitable[object]])

_ATTRIBUTE: Final = "__http_endpoints__"


class Auth(enum.Enum):
    """Who may use an endpoint."""

    NONE = enum.auto()
    """Anybody; a token is not looked at."""

    OPTIONAL = enum.auto()
    """Anybody; who sends a token must send a good one. The endpoint's `requester` is None without."""

    GUEST_OK = enum.auto()
    """Users, guests among them."""

    USER = enum.auto()
    """Users who are not guests."""

    ADMIN = enum.auto()
    """Server administrators."""

    SERVER = enum.auto()
    """Other servers, by the signature of their request. The endpoint's `origin` is the server's name."""


class Limit(enum.Enum):
    """Rate limits; endpoints that name the same one share its budget, per user or else per address."""

    MESSAGES = "messages"
    """Sending events, state and redactions."""

    TO_DEVICE = "to_device"
    """Sending messages to devices: to share the keys of a large room takes many requests at once."""

    UPDATES = "updates"
    """Other cheap changes: receipts, typing, presence, account data, profiles, push rules, devices, keys, tokens."""

    ROOMS = "rooms"
    """Creating and upgrading rooms, and their aliases."""

    JOINS = "joins"
    """Joining and knocking."""

    INVITES = "invites"
    """Inviting, kicking, banning."""

    LOGIN = "login"
    """Logging in, and every other check of a secret."""

    REGISTRATION = "registration"
    """Making accounts, and asking which names are free."""

    VALIDATION = "validation"
    """Whatever sends mail or text messages to an address that a client names."""

    SEARCH = "search"
    """Searching events, rooms and users, and other questions that cost much."""

    MEDIA = "media"
    """Uploads, downloads, thumbnails, previews."""

    REPORTS = "reports"
    """Reporting content."""

    FEDERATION = "federation"
    """Requests of other servers."""


class EndpointSpec(msgspec.Struct, frozen=True):
    """What the decorator was told."""

    method: str
    path: str
    auth: Auth
    limit: Limit | None
    body_limit: int | None


class Endpoint(msgspec.Struct, frozen=True, eq=False):
    """An endpoint of a running server: the bound method, and how its arguments are made from a request."""

    spec: EndpointSpec
    function: Callable[..., Awaitable[object]]
    arguments: Arguments


class EndpointError(TypeError):
    """An endpoint is declared in a way that cannot work; the message names the method."""


class _Decorated(Protocol):
    __http_endpoints__: tuple[EndpointSpec, ...]


def endpoint(
    method: str, path: str, *, auth: Auth, limit: Limit | None = None, body_limit: int | None = None
) -> Callable[[F], F]:
    """Serve `method` on `path` by this method of an object.

    `path` has parameters in braces, as in `/rooms/{room_id}`; each is a whole segment. `body_limit` is in
    bytes and replaces the server's. The method gets, by the names of its own parameters: path parameters
    (percent-decoded; those annotated with an identifier's type are parsed), `requester`, `origin`,
    `request`, `body` (a Struct, `JsonObject` or bytes; nothing sent counts as `{}`) and `query` (a Struct).
    It returns a Struct or dict (200, as JSON), `RawJson`, or `Response`. Several decorators on one method
    serve several paths; a path parameter that one of them lacks needs a default.
    """
    spec = EndpointSpec(method, path, auth, limit, body_limit)

    def mark(function: F) -> F:
        before: tuple[EndpointSpec, ...] = getattr(function, _ATTRIBUTE, ())
        cast("_Decorated", function).__http_endpoints__ = (spec, *before)
        return function

    return mark


def endpoints_of(obj: object) -> Iterable[Endpoint]:
    """The endpoints that an object serves, in the order of their declaration.

    Errors: EndpointError.
    """
    cls: type = type(obj)
    return [Endpoint(spec, getattr(obj, name), arguments) for name, spec, arguments in _declared(cls)]


@functools.lru_cache(maxsize=1024)
def _declared(cls: type) -> Sequence[tuple[str, EndpointSpec, Arguments]]:
    """What a class declares: the method's name, its specification and its arguments.

    Reading the signatures costs more than anything else of a start, and every listener asks. Errors: EndpointError.
    """
    declared = []
    for name in _names(cls):
        function = getattr(cls, name)
        for spec in getattr(function, _ATTRIBUTE, ()):
            try:
                arguments = Arguments.of(function, spec.path)
            except (TypeError, NameError) as error:
                raise EndpointError(f"{cls.__name__}.{name}: {error}") from error
            _check(spec, arguments, f"{cls.__name__}.{name}")
            declared.append((name, spec, arguments))
    return declared


def _names(cls: type) -> Iterable[str]:
    """The names in a class and those that it inherits from, each once."""
    return dict.fromkeys(name for part in cls.__mro__ for name in vars(part) if not name.startswith("__"))


def _check(spec: EndpointSpec, arguments: Arguments, where: str) -> None:
    if arguments.wants_requester and spec.auth in (Auth.NONE, Auth.SERVER):
        raise EndpointError(f"{where}: there is no requester with {spec.auth}")
    if arguments.wants_origin and spec.auth is not Auth.SERVER:
        raise EndpointError(f"{where}: there is no origin with {spec.auth}")
