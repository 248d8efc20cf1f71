"""From an access token to who makes the request."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import attrs
import structlog
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from homeserver.core.appservices import Appservice, Appservices
from homeserver.core.errors import UnknownToken, UserLocked
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.runtime.in_order import InOrder
from homeserver.services.credentials import hash_of
from homeserver.services.masquerading import asserted, requester_of
from homeserver.services.sessions import settle_refresh
from homeserver.storage import access_tokens, devices

SEEN_EVERY_MS: Final = 60_000
MAX_USER_AGENT: Final = 256

OPEN_TO_LOCKED_USERS: Final = frozenset(
    f"/_matrix/client/{version}/{path}" for version in ("v3", "r0") for path in ("logout", "logout/all")
)
"""Client-server API, "Account locking"."""

_log = structlog.get_logger(__name__)


class TokenRequest(Protocol):
    """What is asked of a request beside its token. `path` is as sent."""

    def parameters(self) -> Mapping[str, Sequence[str]]:
        """The query's, decoded. Errors: InvalidParam."""
        ...

    @property
    def path(self) -> str:
        """Without the query."""
        ...

    @property
    def client_ip(self) -> str:
        """Where it comes from."""
        ...

    @property
    def user_agent(self) -> str | None:
        """What the client calls itself, None if it does not."""
        ...


@attrs.frozen(eq=False)
class Authentication:
    """Resolves access tokens, each time anew: one that was revoked is good nowhere from then on.

    Requests with the same token go on in the order in which they came: devices send messages that rely on others they
    have just sent, and do not wait for the answers.
    """

    database: Database
    clock: Clock
    appservices: Appservices
    _seen_ms: Cache[tuple[str, str], int] = attrs.field(factory=lambda: Cache(50_000), init=False)
    _arriving: InOrder[bytes | UserID] = attrs.field(factory=InOrder, init=False)

    async def authenticate(self, access_token: str, request: TokenRequest) -> Requester:
        """Who the token belongs to, or whom the application service acts as that it belongs to.

        Errors: UnknownToken, with `soft_logout` if it has expired; UserLocked, except to log out; as
        `masquerading.asserted` and `requester_of`.
        """
        token_hash = hash_of(access_token)
        appservice = self.appservices.of_token(token_hash)
        if appservice is not None:
            return await self._masquerade(appservice, request)
        bearer = await self._arriving.hand_on(
            token_hash, self.database.look_up(access_tokens.bearer_of, token_hash)
        )
        # A deactivated account has no tokens: a row of one is what a client must not find out about.
        if bearer is None or bearer.is_deactivated:
            raise UnknownToken("The access token is not known")
        now_ts = self.clock.now_ts()
        if bearer.expires_ts is not None and bearer.expires_ts <= now_ts:
            raise UnknownToken("The access token has expired", soft_logout=True)
        _check_open(request, is_locked=bearer.is_locked)
        if bearer.replaces_hash is not None:
            await self.database.write(first_use, token_hash)
        self._seen(bearer.user_id, bearer.device_id, request, now_ts)
        return Requester(
            user_id=bearer.user_id,
            device_id=bearer.device_id,
            is_guest=bearer.is_guest,
            is_admin=bearer.is_admin,
            appservice_id=None,
            token_hash=token_hash,
            is_suspended=bearer.is_suspended,
            is_oauth=bearer.oauth_client_id is not None,
        )

    def is_unlimited(self, access_token: str) -> bool:
        """Whether the token is an application service's, which may ask as often as it likes."""
        return bool(self.appservices.all) and self.appservices.of_token(hash_of(access_token)) is not None

    async def _masquerade(self, appservice: Appservice, request: TokenRequest) -> Requester:
        assertion = asserted(appservice, request.parameters())
        requester, is_locked = await self._arriving.hand_on(
            assertion.user_id, self.database.read(requester_of, assertion)
        )
        _check_open(request, is_locked=is_locked)
        if requester.device_id is not None:
            self._seen(requester.user_id, requester.device_id, request, self.clock.now_ts())
        return requester

    def _seen(self, user_id: UserID, device_id: DeviceID, request: TokenRequest, now_ts: int) -> None:
        """Note, at most once a minute and beside the request, that the device is in use."""
        key = (user_id, device_id)
        now_ms = self.clock.monotonic_ms()
        last_ms = self._seen_ms.get(key)
        if last_ms is not None and now_ms - last_ms < SEEN_EVERY_MS:
            return
        self._seen_ms.put(key, now_ms)
        agent = request.user_agent
        self.database.write_soon(
            devices.seen,
            user_id,
            device_id,
            now_ts=now_ts,
            before_ts=now_ts - SEEN_EVERY_MS,
            ip=request.client_ip,
            user_agent=None if agent is None else agent.replace("\0", "")[:MAX_USER_AGENT],
        ).addErrback(_not_noted)


def first_use(tx: WriteTransaction, token_hash: bytes) -> None:
    """An access token that was refreshed into is used: the pair before it is void. Errors: UnknownToken."""
    bearer = access_tokens.bearer_of(tx, token_hash)
    if bearer is None:  # another token of the same exchange was used first
        raise UnknownToken("The access token is not known", soft_logout=True)
    if bearer.replaces_hash is not None and bearer.refresh_hash is not None:
        settle_refresh(tx, bearer.user_id, bearer.device_id, bearer.replaces_hash, bearer.refresh_hash)


def _check_open(request: TokenRequest, *, is_locked: bool) -> None:
    """Who is locked can only log out. Errors: UserLocked."""
    if is_locked and request.path.rstrip("/") not in OPEN_TO_LOCKED_USERS:
        raise UserLocked


def _not_noted(failure: Failure) -> None:
    failure.trap(StorageUnavailable, CancelledError)
    _log.warning("when a device was last seen is not noted", reason=failure.getErrorMessage())
