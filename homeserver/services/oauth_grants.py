"""Tokens of the OAuth 2.0 API: for a code that the user's browser has brought, for a refresh token; and how they end.

A session is a device with its tokens, as of the legacy API; its tokens name the client.
Spec: client-server API, "Grant types" and "Token revocation"; RFC 6749, RFC 7009, RFC 9700.
"""

from typing import Final

import attrs
import msgspec

from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import UserID
from homeserver.core.oauth_errors import OAuthError, invalid_grant, invalid_scope
from homeserver.core.oauth_requests import AuthorizationRequest, Scope, is_proof
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.credentials import RefreshToken, hash_of, new_token
from homeserver.services.oauth_clients import USED_MS, OAuthClient
from homeserver.services.sessions import (
    Session,
    SessionDraft,
    Sessions,
    check_may_log_in,
    end_sessions,
    open_session,
    succeed,
)
from homeserver.storage import access_tokens, oauth_clients, oauth_codes, refresh_tokens
from homeserver.storage.oauth_codes import AuthorizationCode
from homeserver.storage.refresh_tokens import Login

CODE_LIFETIME_MS: Final = 120_000
"""From the browser to the app, and from the app to this server."""


class Granted(msgspec.Struct, frozen=True):
    """What a client gets for a grant; `scope` is None if it is what it was."""

    session: Session
    scope: str | None


@attrs.frozen(kw_only=True)
class Exchange:
    """A code that a client has got, and what it shows to be the client that the code is for."""

    code: str = attrs.field(repr=False)
    redirect_uri: str
    code_verifier: str = attrs.field(repr=False)


class OAuthGrants(msgspec.Struct, frozen=True):
    """Gives tokens, and takes them back."""

    database: Database
    clock: Clock
    sessions: Sessions

    async def authorize(self, user_id: UserID, request: AuthorizationRequest) -> str:
        """The user lets the client in: the code for it. Errors: UserDeactivated, UserLocked, Forbidden."""
        code, now_ts = new_token(), self.clock.now_ts()
        given = AuthorizationCode(
            client_id=request.client_id,
            redirect_uri=request.redirect_uri,
            code_challenge=request.code_challenge,
            user_id=user_id,
            device_id=request.scope.device_id,
            scope=request.scope.text,
            expires_ts=now_ts + CODE_LIFETIME_MS,
        )
        await self.database.write(authorize, hash_of(code), given, now_ts=now_ts)
        return code

    async def exchange(self, client: OAuthClient, exchange: Exchange) -> Granted:
        """Tokens for a code, which is good once: if it comes again, the session ends that it has led to.

        Errors: OAuthError.
        """
        draft = self.draft(client)
        try:
            granted = await self.database.write(
                use_code, client.client_id, exchange, draft, now_ts=self.clock.now_ts()
            )
        except MatrixError as error:
            raise not_let_in(error) from error
        if granted is None:
            raise invalid_grant("the code has been used before")
        return granted

    async def refresh(self, client: OAuthClient, refresh_token: str, scope: str | None) -> Granted:
        """A new pair of tokens for an old one; the old pair is good until the new one has been used.

        If an old one comes after that, somebody else has it: the session ends. A locked account's tokens are
        exchanged, too, since its sessions are to be there when it is unlocked. Errors: OAuthError.
        Spec: client-server API, "Refresh token grant".
        """
        spent = RefreshToken.parse(refresh_token)
        wanted = None if scope is None else Scope.parse(scope)
        session = await self.database.write(
            refresh,
            client.client_id,
            spent,
            wanted,
            new_token(),
            RefreshToken.new(spent.family),
            now_ts=self.clock.now_ts(),
            lifetime_ms=self.sessions.access_lifetime_ms,
        )
        if session is None:
            raise invalid_grant("the refresh token is not known, or has been used")
        return Granted(session, None if wanted is None else wanted.text)

    async def revoke(self, token: str) -> None:
        """End the session that an access or refresh token belongs to, whoever asks: who has it could do worse.

        That the token is not good (any more) is no error. Spec: client-server API, "Token revocation".
        """
        if await self.database.read(session_of, token) is not None:
            await self.database.write(revoke, token)

    def draft(self, client: OAuthClient) -> SessionDraft:
        """A session for the client, whose device is to be filled in."""
        metadata = client.metadata
        return self.sessions.draft(
            device_id=None,
            display_name=metadata.client_name or metadata.host,
            wants_refresh_token=True,
            oauth_client_id=client.client_id,
        )


def authorize(tx: WriteTransaction, code_hash: bytes, code: AuthorizationCode, *, now_ts: int) -> None:
    """Keep the code, and the client. Errors: UserDeactivated, UserLocked, Forbidden."""
    check_may_log_in(tx, code.user_id)
    oauth_clients.keep(tx, code.client_id, until_ts=now_ts + USED_MS)
    oauth_codes.add(tx, code_hash, code, now_ts=now_ts)


def use_code(
    tx: WriteTransaction, client_id: str, exchange: Exchange, draft: SessionDraft, *, now_ts: int
) -> Granted | None:
    """Open the session that the code is for; None if that was done before, and the session has been ended now.

    Who cannot show to be the code's client does not use it up. Errors: OAuthError; as `open_session`.
    """
    code_hash = hash_of(exchange.code)
    code = oauth_codes.lock(tx, code_hash)
    if code is None or code.client_id != client_id:
        raise invalid_grant("the code is not known")
    if code.redirect_uri != exchange.redirect_uri:
        raise invalid_grant("the redirect_uri is not the one of the code")
    if not is_proof(exchange.code_verifier, code.code_challenge):
        raise invalid_grant("the code_verifier is not the one of the code")
    if code.family_hash is not None:
        end_login(tx, code.family_hash)
        return None
    if code.expires_ts <= now_ts:
        raise invalid_grant("the code has expired")
    session = attrs.evolve(draft, device_id=code.device_id)
    assert session.refresh is not None  # noqa: S101 - "the homeserver MUST issue a refresh token"
    oauth_codes.used(tx, code_hash, family_hash=session.refresh.family_hash)
    return Granted(open_session(tx, code.user_id, session, now_ts=now_ts), code.scope)


def refresh(
    tx: WriteTransaction,
    client_id: str,
    spent: RefreshToken,
    wanted: Scope | None,
    access_token: str,
    successor: RefreshToken,
    *,
    now_ts: int,
    lifetime_ms: int,
) -> Session | None:
    """Give `access_token` and `successor` for `spent`; None if that is not good.

    Errors: OAuthError if the scope that is wanted is another one.
    """
    grant = refresh_tokens.grant_of(tx, spent.token_hash)
    if grant is None:
        end_login(tx, spent.family_hash)
        return None
    if grant.oauth_client_id != client_id or grant.is_deactivated:
        return None
    if wanted is not None and wanted.device_id != grant.device_id:
        raise invalid_scope("the scope has more than was granted")
    return succeed(tx, grant, spent, access_token, successor, now_ts=now_ts, lifetime_ms=lifetime_ms)


def end_login(tx: WriteTransaction, family_hash: bytes) -> None:
    """End the session to which refresh tokens of that family belong, if it is one of this API and still there."""
    login = refresh_tokens.login_of(tx, family_hash)
    if login is not None and login.oauth_client_id is not None:
        end_sessions(tx, login.user_id, [login.device_id])


def revoke(tx: WriteTransaction, token: str) -> None:
    """End the session that the token belongs to."""
    found = session_of(tx, token)
    if found is not None:
        end_sessions(tx, found.user_id, [found.device_id])


def session_of(tx: ReadTransaction, token: str) -> Login | None:
    """Whose token that is; also of a refresh token that has been exchanged, as its client may know no other."""
    bearer = access_tokens.bearer_of(tx, hash_of(token))
    if bearer is not None:
        return Login(bearer.user_id, bearer.device_id, bearer.oauth_client_id)
    return refresh_tokens.login_of(tx, RefreshToken.parse(token).family_hash)


def not_let_in(error: MatrixError) -> OAuthError:
    """The account is none that one can log in to."""
    return invalid_grant(f"the user cannot log in: {error.errcode}")
