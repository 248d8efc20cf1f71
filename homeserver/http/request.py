"""A request as endpoints see it."""

from typing import Final
from urllib.parse import unquote_to_bytes

import attrs
from twisted.internet.defer import Deferred

from homeserver.core.errors import InvalidParam
from homeserver.core.json import JsonObject, decode_object
from homeserver.core.requester import Requester
from homeserver.http.signals import Signal

MAX_QUERY_PARAMETERS: Final = 1_000


@attrs.define(eq=False)
class Request:
    """One HTTP request, its body read.

    `path` and `query` are as sent, still percent-encoded; `query` lacks its question mark. `headers` has
    names in lower case; a repeated header stands there joined by commas. `client_ip` is the client's
    address, not the reverse proxy's. `received_ms` is by the monotonic clock. `requester` is who made the
    request, once known.
    """

    id: str
    method: str
    path: str
    query: str = attrs.field(repr=False)
    headers: dict[bytes, bytes] = attrs.field(repr=False)
    client_ip: str
    body: bytes = attrs.field(repr=False)
    received_ms: int
    server_closing: Signal
    _repeated: dict[bytes, list[bytes]] | None = attrs.field(default=None, repr=False)
    requester: Requester | None = None
    is_disconnected: bool = False
    _disconnected: Signal | None = None
    _parameters: dict[str, list[str]] | None = attrs.field(default=None, repr=False)
    _json: JsonObject | None = attrs.field(default=None, repr=False)

    @property
    def disconnected(self) -> Deferred[None]:
        """A Deferred of the caller's own that fires if the client goes away; cancel it when done waiting."""
        if self._disconnected is None:
            self._disconnected = Signal()
            if self.is_disconnected:
                self._disconnected.fire()
        return self._disconnected.wait()

    @property
    def closing(self) -> Deferred[None]:
        """As `disconnected`, for the server's shutdown: who waits for something answers without it now."""
        return self.server_closing.wait()

    @property
    def user_agent(self) -> str | None:
        """What the client calls itself, or None."""
        value = self.headers.get(b"user-agent")
        return None if value is None else value.decode("latin-1")

    def header_values(self, name: bytes) -> list[bytes]:
        """All values of the header `name` (in lower case), one per line of the request; empty without any."""
        if self._repeated is not None and name in self._repeated:
            return list(self._repeated[name])
        value = self.headers.get(name)
        return [] if value is None else [value]

    def parameters(self) -> dict[str, list[str]]:
        """The query's parameters, decoded, in the order of the query; `a` alone counts as `a=`.

        Errors: InvalidParam if the query is not percent-encoded UTF-8, or holds NUL.
        """
        if self._parameters is None:
            self._parameters = _parse_form(self.query, what="the query")
        return self._parameters

    def json(self) -> JsonObject:
        """The body, which must be a JSON object; an empty body counts as an empty object.

        Errors: NotJson, BadJson.
        """
        if self._json is None:
            self._json = decode_object(self.body) if self.body else {}
        return self._json

    def disconnect(self) -> None:
        """The client has gone: wake who waits for that."""
        self.is_disconnected = True
        if self._disconnected is not None:
            self._disconnected.fire()


def decode_percent(text: str, *, what: str) -> str:
    """`text` with percent-encoding undone; `what` names it in errors.

    Errors: InvalidParam for malformed escapes, for bytes that are not UTF-8, and for NUL, which no
    identifier has and not every database can store.
    """
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise InvalidParam(f"{what} is not UTF-8") from None
    # Each well-formed escape shortens the text by two: what is left over as a sign was malformed or is
    # encoded.
    if decoded.count("%") != text.count("%25"):
        raise InvalidParam(f"{what} has a malformed percent-encoding")
    if "\0" in decoded:
        raise InvalidParam(f"{what} has a NUL")
    return decoded


def form_fields(body: bytes) -> dict[str, list[str]]:
    """The fields of a form, a body of the kind `application/x-www-form-urlencoded`, as `Request.parameters`.

    Errors: InvalidParam.
    """
    try:
        text = body.decode("ascii")
    except UnicodeDecodeError:
        raise InvalidParam("the form is not percent-encoded") from None
    return _parse_form(text, what="the form")


def _parse_form(query: str, *, what: str) -> dict[str, list[str]]:
    """Parse as `application/x-www-form-urlencoded`: `+` is a blank."""
    parameters: dict[str, list[str]] = {}
    if not query:
        return parameters
    pairs = query.split("&", MAX_QUERY_PARAMETERS)
    if len(pairs) > MAX_QUERY_PARAMETERS:
        raise InvalidParam(f"{what} has too many parameters")
    for pair in pairs:
        if not pair:
            continue
        if "%" in pair or "+" in pair:
            name, _, value = pair.replace("+", " ").partition("=")
            name, value = (decode_percent(part, what=what) for part in (name, value))
        else:
            name, _, value = pair.partition("=")
        parameters.setdefault(name, []).append(value)
    return parameters
