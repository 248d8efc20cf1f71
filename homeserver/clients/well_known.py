"""Where servers say that their server-server API is: `/.well-known/matrix/server`.

Spec: server-server API, "Resolving server names", step 3.
"""

import random
import re
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urljoin

import msgspec

from homeserver.clients.errors import RemoteError
from homeserver.clients.http_responses import Response
from homeserver.clients.http_transport import HttpTransport, within
from homeserver.clients.urls import HttpsUrl
from homeserver.core.backoff import Backoff
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import ServerName, parse_server_name
from homeserver.core.json import decode_object
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.runtime.shared_work import SharedWork

MAX_BYTES: Final = 50 * 1024

MAX_REDIRECTS: Final = 5

PATIENCE_MS: Final = 15_000
"""For all redirects together."""

HOUR_MS: Final = 3_600_000

DEFAULT_MS: Final = 24 * HOUR_MS
"""How long an answer holds that does not say it."""

LONGEST_MS: Final = 48 * HOUR_MS

SHORTEST_MS: Final = 5 * 60_000
"""How long an answer holds at least, whatever it says: each costs a request more."""

_ERRORS: Final = Backoff(first_ms=5 * 60_000, cap_ms=HOUR_MS)

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_MAX_AGE: Final = re.compile(rb'(?:^|[\s,])max-age\s*=\s*"?([0-9]{1,10})', re.IGNORECASE)


class WellKnownError(Exception):
    """There is no valid answer; `is_final`: the server did answer, though with something else."""

    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final


class _Known(msgspec.Struct, frozen=True):
    """What is remembered of a host, until `until_ms` of the monotonic clock.

    `delegated` is None after a failure. `good_until_ms` is how long `delegated` may still be used while the
    host cannot be reached.
    """

    delegated: ServerName | None
    until_ms: int
    failures: int
    good_until_ms: int


class WellKnown:
    """Asks hosts where their server is, and remembers what they say."""

    def __init__(self, transport: HttpTransport, clock: Clock, *, port: int = 443) -> None:
        self._transport = transport
        self._clock = clock
        self._port = port
        self._known: Cache[str, _Known] = Cache(5_000)
        self._asking: SharedWork[str, ServerName | None] = SharedWork()

    async def of(self, host: str) -> ServerName | None:
        """The server name that `host`, a name without port, delegates to; None if to none, validly."""
        key = host.lower()
        known = self._known.get(key)
        if known is not None and self._clock.monotonic_ms() < known.until_ms:
            return known.delegated
        return await self._asking.get(key, lambda: self._ask(key))

    async def _ask(self, host: str) -> ServerName | None:
        before = self._known.get(host)
        try:
            delegated, lifetime_ms = await within(
                self._transport.reactor, PATIENCE_MS, host, self._fetch(host)
            )
        except (RemoteError, WellKnownError) as error:
            known = self._after_failure(before, is_final=isinstance(error, WellKnownError) and error.is_final)
        else:
            now_ms = self._clock.monotonic_ms()
            known = _Known(delegated, now_ms + lifetime_ms, 0, now_ms + LONGEST_MS)
        self._known.put(host, known)
        return known.delegated

    def _after_failure(self, before: _Known | None, *, is_final: bool) -> _Known:
        """What to remember: for a host that does not answer, what it said before, for a while."""
        now_ms = self._clock.monotonic_ms()
        failures = 1 if before is None else before.failures + 1
        until_ms = now_ms + _ERRORS.delay_ms(failures, jitter=random.random())  # noqa: S311 - no secret
        if is_final or before is None or now_ms >= before.good_until_ms:
            return _Known(None, until_ms, failures, 0)
        return _Known(before.delegated, min(until_ms, before.good_until_ms), failures, before.good_until_ms)

    async def _fetch(self, host: str) -> tuple[ServerName, int]:
        """The delegated name and how long it holds, in milliseconds. Errors: RemoteError, WellKnownError."""
        port = "" if self._port == 443 else f":{self._port}"
        url = f"https://{host}{port}/.well-known/matrix/server"
        visited: set[str] = set()
        while url not in visited and len(visited) <= MAX_REDIRECTS:
            visited.add(url)
            response = await self._get(url)
            if response.status not in _REDIRECTS:
                return _read(response), self._lifetime_ms(response)
            location = response.headers.get(b"location", b"").decode("latin-1")
            try:
                url = urljoin(url, location)
            except ValueError:
                raise WellKnownError("a redirect leads to no URL", is_final=True) from None
        raise WellKnownError("there are too many redirects", is_final=True)

    async def _get(self, url: str) -> Response:
        try:
            parsed = HttpsUrl.parse(url)
        except ValueError as error:
            raise WellKnownError(f"a redirect cannot be followed: {error}", is_final=True) from None
        return await self._transport.exchange(parsed.route, parsed.get(MAX_BYTES))

    def _lifetime_ms(self, response: Response) -> int:
        """How long a valid answer holds."""
        control = response.headers.get(b"cache-control", b"")
        max_age = _MAX_AGE.search(control)
        if b"no-store" in control.lower() or b"no-cache" in control.lower():
            wanted = 0
        elif max_age is not None:
            wanted = int(max_age[1]) * 1000
        else:
            wanted = _expires_in_ms(response, self._clock.now_ts())
        return max(SHORTEST_MS, min(wanted, LONGEST_MS))


def _read(response: Response) -> ServerName:
    if response.status != 200:
        raise WellKnownError(f"the status is {response.status}", is_final=response.status < 500)
    try:
        name = decode_object(response.body).get("m.server")
        if not isinstance(name, str):
            raise WellKnownError("m.server is missing", is_final=True)
        return parse_server_name(name)
    except MatrixError as error:
        raise WellKnownError(error.message, is_final=True) from error


def _expires_in_ms(response: Response, now_ts: int) -> int:
    """What `Expires` says, seen from `Date` where the server has given that; a malformed one is past."""
    expires = response.headers.get(b"expires")
    if expires is None:
        return DEFAULT_MS
    until_ts = _http_date_ts(expires)
    if until_ts is None:
        return 0
    from_ts = _http_date_ts(response.headers.get(b"date", b""))
    return until_ts - (now_ts if from_ts is None else from_ts)


def _http_date_ts(value: bytes) -> int | None:
    try:
        return int(parsedate_to_datetime(value.decode("latin-1")).timestamp() * 1000)
    except (ValueError, TypeError, OverflowError):
        return None
