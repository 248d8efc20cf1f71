"""What clients of the OAuth 2.0 API ask for: scopes, authorisations and their answers, and the proof of a code's owner.

Spec: client-server API, "Authorisation code flow" and "Scope"; RFC 6749, RFC 7636, RFC 9207.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final, Self
from urllib.parse import urlencode

import msgspec

from homeserver.core.identifiers import DeviceID
from homeserver.core.oauth_errors import OAuthError, invalid_request, invalid_scope

API: Final = ("urn:matrix:client:api:*", "urn:matrix:org.matrix.msc2967.client:api:*")
DEVICE: Final = ("urn:matrix:client:device:", "urn:matrix:org.matrix.msc2967.client:device:")
"""Scope tokens, and their form from before they were in the specification, which most clients still send."""

MAX_SCOPE: Final = 2_048
MAX_DEVICE_ID: Final = 255

CREATE: Final = "create"
RESPONSE_MODES: Final = ("query", "fragment")
S256: Final = "S256"

Parameters = Mapping[str, Sequence[str]]

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: +[\x21\x23-\x5b\x5d-\x7e]+)*")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class Scope(msgspec.Struct, frozen=True):
    """The scope of a login; `text` has of what was asked for what is granted, in the client's own words."""

    device_id: DeviceID
    text: str

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """What a client asks for. Scope tokens that are not known are passed over. Errors: OAuthError."""
        if text is None or len(text) > MAX_SCOPE or not _SCOPE.fullmatch(text):
            raise invalid_scope("the scope is missing or malformed")
        tokens = text.split()
        devices = [token for token in tokens if token.startswith(DEVICE)]
        ids = {
            token.removeprefix(prefix) for token in devices for prefix in DEVICE if token.startswith(prefix)
        }
        # "There MUST be exactly one [device] token": of each form, for who sends both.
        if len(ids) != 1 or len(devices) != len(set(devices)):
            raise invalid_scope("the scope must name exactly one device")
        device_id = ids.pop()
        if not 0 < len(device_id) <= MAX_DEVICE_ID:
            raise invalid_scope(f"a device ID has 1 to {MAX_DEVICE_ID} characters")
        if not any(token in API for token in tokens):
            raise invalid_scope("the scope must include the client-server API")
        granted = [token for token in tokens if token in API or token in devices]
        return cls(DeviceID(device_id), " ".join(granted))


class Callback(msgspec.Struct, frozen=True):
    """Where the answer to an authorisation request goes, and how."""

    redirect_uri: str
    response_mode: str
    state: str | None
    issuer: str

    @classmethod
    def of(cls, parameters: Parameters, redirect_uri: str, issuer: str) -> Self:
        """As far as it can be told from a request, which may be wrong in other ways."""
        mode, state = parameters.get("response_mode"), parameters.get("state")
        return cls(
            redirect_uri,
            mode[0] if mode is not None and mode[0] in RESPONSE_MODES else RESPONSE_MODES[0],
            state[0] if state is not None and len(state) == 1 else None,
            issuer,
        )

    def with_code(self, code: str) -> str:
        """The URI with a code."""
        return self._with({"code": code})

    def with_error(self, error: OAuthError) -> str:
        """The URI with an error."""
        return self._with({"error": error.code, "error_description": error.description})

    def _with(self, answer: Mapping[str, str]) -> str:
        # `iss` shows a client that uses several servers which of them answers (RFC 9207).
        stated = {} if self.state is None else {"state": self.state}
        added = urlencode({**stated, **answer, "iss": self.issuer})
        if self.response_mode == "fragment":
            return f"{self.redirect_uri}#{added}"
        return f"{self.redirect_uri}{'&' if '?' in self.redirect_uri else '?'}{added}"


class AuthorizationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An app asks to be let in. `prompt` is what it wishes its user to be asked."""

    client_id: str
    redirect_uri: str
    scope: Scope
    code_challenge: str
    prompt: frozenset[str]

    @classmethod
    def of(cls, parameters: Parameters, client_id: str, redirect_uri: str) -> Self:
        """What the parameters ask for; the client and its redirect URI have been looked at. Errors: OAuthError."""
        repeated = [name for name in _KNOWN if len(parameters.get(name, ())) > 1]
        if repeated:
            raise invalid_request(f"{repeated[0]} is there more than once")
        given = {name: parameters[name][0] for name in _KNOWN if name in parameters}
        response_type = given.get("response_type")
        if response_type is None:
            raise invalid_request("response_type is missing")
        if response_type != "code":
            raise OAuthError("unsupported_response_type", "the response type must be code")
        if given.get("response_mode", "query") not in RESPONSE_MODES:
            raise invalid_request("response_mode must be query or fragment")
        challenge = given.get("code_challenge")
        if challenge is None or not _CHALLENGE.fullmatch(challenge):
            raise invalid_request("code_challenge is missing or malformed")
        # Without a method it would be `plain`, which shows the secret to who sees the request.
        if given.get("code_challenge_method") != S256:
            raise invalid_request("code_challenge_method must be S256")
        prompt = frozenset(given.get("prompt", "").split())
        if "none" in prompt:
            raise OAuthError("interaction_required", "the user must be asked")
        return cls(
            client_id=client_id,
            redirect_uri=redirect_uri,
            scope=Scope.parse(given.get("scope")),
            code_challenge=challenge,
            prompt=prompt,
        )


_KNOWN: Final = (
    "response_type",
    "response_mode",
    "state",
    "scope",
    "code_challenge",
    "code_challenge_method",
    "prompt",
)


def one(parameters: Parameters, name: str) -> str | None:
    """The value of a parameter, None without it. Errors: OAuthError if it is there more than once."""
    values = parameters.get(name, ())
    if len(values) > 1:
        raise invalid_request(f"{name} is there more than once")
    # RFC 6749, section 3.1: "Parameters sent without a value MUST be treated as if they were omitted".
    return (values[0] or None) if values else None


def is_proof(code_verifier: str, code_challenge: str) -> bool:
    """Whether the verifier is the one of the challenge. Spec: RFC 7636, section 4.6."""
    if not _VERIFIER.fullmatch(code_verifier):
        return False
    digest = hashlib.sha256(code_verifier.encode()).digest()
    made = base64.urlsafe_b64encode(digest).rstrip(b"=")
    return hmac.compare_digest(made, code_challenge.encode())
