"""From a request to its response: authentication, rate limits, arguments, endpoint, errors, log line."""

import logging
import re
from collections.abc import Sequence
from typing import Final, Protocol, cast

import attrs
import structlog
from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import CancelledError

from homeserver.core.errors import (
    Forbidden,
    GuestAccessForbidden,
    MatrixError,
    MissingToken,
)
from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonValue, encode
from homeserver.core.requester import Requester
from homeserver.database.errors import StorageUnavailable
from homeserver.http.endpoints import Auth, Endpoint, EndpointError
from homeserver.http.errors import error_response, unavailable_response, unexpected_response
from homeserver.http.metrics import NoMetrics, RequestMetrics
from homeserver.http.rate_limits import RateLimiter
from homeserver.http.request import Request
from homeserver.http.response import JSON_HEADERS, PREFLIGHT_HEADERS, RawJson, Response
from homeserver.http.router import Match, Router
from homeserver.runtime.clock import Clock

MAX_LOGGED_PATH: Final = 200

_BEARER: Final = re.compile(rb"bearer +([^ ]+) *", re.IGNORECASE)

_PREFLIGHT: Final = Response(204, PREFLIGHT_HEADERS)


class Authenticator(Protocol):
    """Knows access tokens."""

    async def authenticate(self, access_token: str, request: Request) -> Requester:
        """Who the token belongs to; `request` may say on whose behalf an application service acts.

        Errors: UnknownToken, UserLocked and the like.
        """
        ...

    def is_unlimited(self, access_token: str) -> bool:
        """Whether who has that token may ask as often as it likes, in whatever name."""
        ...


class ServerAuthenticator(Protocol):
    """Knows the signatures of other servers."""

    async def authenticate_server(self, request: Request) -> ServerName:
        """The server that signed the request.

        Errors: Unauthorized, Forbidden.
        """
        ...


def _logger() -> FilteringBoundLogger:
    logger: FilteringBoundLogger = structlog.get_logger(__name__).bind()
    return logger


@attrs.frozen(eq=False)
class Application:
    """What a listener serves.

    `server_authenticator` is needed if an endpoint is for other servers. Errors: EndpointError without.
    """

    router: Router
    authenticator: Authenticator
    rate_limiter: RateLimiter
    clock: Clock
    metrics: RequestMetrics = attrs.field(factory=NoMetrics)
    server_authenticator: ServerAuthenticator | None = None
    _log: FilteringBoundLogger = attrs.field(factory=_logger)

    def __attrs_post_init__(self) -> None:
        if self.router.is_for_servers and self.server_authenticator is None:
            raise EndpointError("an endpoint is for other servers, and nobody knows their signatures")

    def match(self, method: str, path: str) -> Match:
        """The endpoint for a request whose header has arrived; `path` is as sent."""
        return self.router.match(method, path)

    async def respond(self, request: Request, match: Match) -> Response:
        """The response, whatever happens: a MatrixError becomes its JSON, a bug a 500 without detail."""
        try:
            if match.endpoint is not None:
                return _response(await self._call(match.endpoint, request, match.values))
            return _PREFLIGHT if match.error is None else error_response(match.error)
        except MatrixError as error:
            return error_response(error)
        except StorageUnavailable as error:
            self._log.warning("storage unavailable", route=match.template, reason=str(error))
            return unavailable_response()
        except Exception as error:  # noqa: BLE001 - a bug of one endpoint is not the connection's
            if not (request.is_disconnected and isinstance(error, CancelledError)):
                self._log.exception("request failed", method=request.method, route=match.template)
            return unexpected_response(request.id)

    def finished(self, request: Request, match: Match, status: int) -> None:
        """The response is written, or given up: count and log it."""
        elapsed_ms = self.clock.monotonic_ms() - request.received_ms
        self.metrics.count(request.method, match.template, status, elapsed_ms / 1000)
        if self._log.is_enabled_for(logging.INFO):
            self._log.info(
                "request",
                method=request.method,
                route=match.template or request.path[:MAX_LOGGED_PATH],
                status=status,
                ms=elapsed_ms,
                user=None if request.requester is None else request.requester.user_id,
                ip=request.client_ip,
            )

    def refused(self, client_ip: str, status: int, reason: str) -> None:
        """Something came that was no request, or too large a one, and has been answered so."""
        self.metrics.count("", "", status, 0.0)
        self._log.info("request refused", status=status, reason=reason, ip=client_ip)

    async def _call(self, endpoint: Endpoint, request: Request, values: Sequence[str]) -> object:
        """Check who asks and how often, only then look at what they ask."""
        spec = endpoint.spec
        requester: Requester | None = None
        origin: ServerName | None = None
        if spec.auth is Auth.SERVER:
            assert self.server_authenticator is not None  # noqa: S101 - checked when this was made
            origin = await self.server_authenticator.authenticate_server(request)
        elif spec.auth is not Auth.NONE:
            requester = await self._requester(request, spec.auth)
        if spec.limit is not None and not self._is_unlimited(request, requester, origin):
            await self.rate_limiter.check(spec.limit, requester or origin or request.client_ip)
        return await endpoint.function(**endpoint.arguments.load(request, values, requester, origin))

    def _is_unlimited(self, request: Request, requester: Requester | None, origin: ServerName | None) -> bool:
        if requester is not None:
            return not requester.is_rate_limited
        token = None if origin is not None else access_token(request)
        return token is not None and self.authenticator.is_unlimited(token)

    async def _requester(self, request: Request, auth: Auth) -> Requester | None:
        token = access_token(request)
        if token is None:
            if auth is Auth.OPTIONAL:
                return None
            raise MissingToken
        requester = await self.authenticator.authenticate(token, request)
        request.requester = requester
        if requester.is_guest and auth in (Auth.USER, Auth.ADMIN):
            raise GuestAccessForbidden("this is not open to guests")
        if auth is Auth.ADMIN and not requester.is_admin:
            raise Forbidden("this is for server administrators")
        return requester


def access_token(request: Request) -> str | None:
    """The access token that came with a request, or None; the one in `Authorization` goes before the query's.

    Spec: client-server API, "Using access tokens".
    """
    header = request.headers.get(b"authorization")
    bearer = None if header is None else _BEARER.fullmatch(header)
    if bearer is not None:
        return bearer[1].decode("latin-1")
    tokens = request.parameters().get("access_token") if request.query else None
    return tokens[0] or None if tokens else None


def _response(result: object) -> Response:
    """What an endpoint has returned, as a response."""
    if isinstance(result, Response):
        return result
    if isinstance(result, RawJson):
        return Response(result.status, JSON_HEADERS, result.body)
    if result is None:
        raise TypeError("an endpoint has returned nothing")
    return Response(200, JSON_HEADERS, encode(cast("JsonValue", result)))
