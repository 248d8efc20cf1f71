"""What apps say of themselves when they register as clients of the OAuth 2.0 API.

Nobody vouches for it. What holds is that a code is only ever sent to a redirect URI, and that those belong to the host
of `client_uri`, which is what people are shown.
Spec: client-server API, "Client registration"; RFC 7591; RFC 8252, section 7.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Final, Self

import msgspec

from homeserver.core.json import JsonObject, JsonValue, canonical
from homeserver.core.oauth_errors import OAuthError
from homeserver.core.redirect_uris import Site, is_uri, scheme_of, site_of

AUTHORIZATION_CODE: Final = "authorization_code"
REFRESH_TOKEN: Final = "refresh_token"  # noqa: S105 - the name of a grant
DEVICE_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"
GRANT_TYPES: Final = (AUTHORIZATION_CODE, REFRESH_TOKEN, DEVICE_CODE)

CODE: Final = "code"
NO_SECRET: Final = "none"  # noqa: S105 - the name of a method

MAX_NAME: Final = 128
"""In characters."""

MAX_REDIRECT_URIS: Final = 20


class ClientMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a client's metadata. The human-readable values are kept in one language."""

    client_uri: str
    client_name: str | None
    logo_uri: str | None
    tos_uri: str | None
    policy_uri: str | None
    redirect_uris: tuple[str, ...]
    response_types: tuple[str, ...]
    grant_types: tuple[str, ...]
    application_type: str

    @classmethod
    def of(cls, document: JsonObject) -> Self:
        """What a client wants to be registered with; values that are not known are left out.

        Errors: OAuthError, `invalid_client_metadata` or `invalid_redirect_uri`.
        """
        client_uri = _text(document, "client_uri")
        if client_uri is None:
            raise _invalid("client_uri is missing")
        base = _web_host(client_uri, "client_uri")
        method = _text(document, "token_endpoint_auth_method")
        if method not in (None, NO_SECRET):
            # All clients are public: an app that could keep a secret would get none here.
            raise _invalid("token_endpoint_auth_method must be none")
        kind = _text(document, "application_type") or "web"
        if kind not in ("web", "native"):
            raise _invalid("application_type must be web or native")
        grant_types = _known(document, "grant_types", GRANT_TYPES, (AUTHORIZATION_CODE, REFRESH_TOKEN))
        response_types = _known(document, "response_types", (CODE,), (CODE,))
        redirect_uris = _texts(document, "redirect_uris") or ()
        _check_redirect_uris(redirect_uris, base, is_native=kind == "native")
        if AUTHORIZATION_CODE in grant_types:
            if not redirect_uris:
                raise _invalid_redirect("the authorization code grant needs a redirect URI")
            if CODE not in response_types:
                raise _invalid("the authorization code grant needs the response type code")
        if not {AUTHORIZATION_CODE, DEVICE_CODE} & set(grant_types):
            raise _invalid("grant_types has nothing that leads to a token")
        return cls(
            client_uri=client_uri,
            client_name=_name(document),
            logo_uri=_related(document, "logo_uri", base),
            tos_uri=_related(document, "tos_uri", base),
            policy_uri=_related(document, "policy_uri", base),
            redirect_uris=redirect_uris,
            response_types=response_types,
            grant_types=grant_types,
            application_type=kind,
        )

    @property
    def document(self) -> JsonObject:
        """As the client is told, and as it is stored."""
        document: JsonObject = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in msgspec.structs.asdict(self).items()
            if value is not None
        }
        return {**document, "token_endpoint_auth_method": NO_SECRET}

    @property
    def client_id(self) -> str:
        """The ID of all clients with exactly this metadata: each copy of an app registers anew, and gets the same.

        "This can be mitigated by de-duplicating client registrations that have identical metadata."
        """
        digest = hashlib.sha256(canonical(self.document)).digest()
        return base64.urlsafe_b64encode(digest[:24]).decode()

    @property
    def host(self) -> str:
        """Whose app it is, as far as can be told."""
        site = site_of(self.client_uri)
        assert site is not None  # noqa: S101 - it was checked when the client registered
        return site.host

    def allows(self, redirect_uri: str) -> bool:
        """Whether a code may be sent there: the URI is registered, but for the port of a loopback address."""
        if redirect_uri in self.redirect_uris:
            return True
        local = _loopback_of(redirect_uri)
        if self.application_type != "native" or local is None or not is_uri(redirect_uri):
            return False
        return f"http://{local.host}{local.rest}" in self.redirect_uris


def _check_redirect_uris(redirect_uris: tuple[str, ...], base: str, *, is_native: bool) -> None:
    if len(redirect_uris) > MAX_REDIRECT_URIS:
        raise _invalid_redirect(f"there are more than {MAX_REDIRECT_URIS} redirect URIs")
    for uri in redirect_uris:
        if not is_uri(uri):
            raise _invalid_redirect("a redirect URI is not a URI without a fragment")
        if not (_is_of(uri, base) or (is_native and _is_of_app(uri, base))):
            raise _invalid_redirect("a redirect URI does not belong to the client_uri")


def _is_of(uri: str, base: str) -> bool:
    """Whether that is a page of the client: on the host of `client_uri`, or on one below it."""
    site = _https_site_of(uri)
    return site is not None and _is_below(site.host, base)


def _is_below(host: str, base: str) -> bool:
    """Whether that is `base` or a host below it. What is below a name without a dot is everybody's."""
    return host == base or ("." in base and host.endswith(f".{base}"))


def _is_of_app(uri: str, base: str) -> bool:
    """Whether that leads to an app on the device: by a scheme that is the client's own, or by a loopback address."""
    local = _loopback_of(uri)
    if local is not None:
        return local.port is None
    scheme = scheme_of(uri)
    if scheme is None or "." not in base or uri[len(scheme) + 1 :].startswith("//"):
        return False
    own = ".".join(reversed(base.split(".")))
    return scheme == own or scheme.startswith(f"{own}.")


# Redirect URIs are compared letter by letter. So the parts whose letters' case means nothing are written in one way.


def _https_site_of(uri: str) -> Site | None:
    """The site that is reached by https, a scheme in small letters; None if it is another URI."""
    return site_of(uri) if uri.startswith("https://") else None


def _loopback_of(uri: str) -> Site | None:
    """The device itself, reached by http, all in small letters; None if it is another URI."""
    site = site_of(uri)
    is_local = site is not None and site.is_loopback and uri.startswith(f"http://{site.host}")
    return site if is_local else None


def _related(document: JsonObject, name: str, base: str) -> str | None:
    """A page of the client, None if it names none."""
    uri = _text(document, name)
    if uri is not None and not _is_below(_web_host(uri, name), base):
        raise _invalid(f"{name} does not belong to the client_uri")
    return uri


def _web_host(uri: str, name: str) -> str:
    """The host of a web page, which is reached by https and needs no login."""
    site = _https_site_of(uri)
    if site is None or site.host.startswith("[") or not is_uri(uri, may_have_fragment=True):
        raise _invalid(f"{name} must be an https URL with a host and without a user")
    return site.host


def _name(document: JsonObject) -> str | None:
    """The name that people see; what turns text around, or is not seen, is no part of a name."""
    name = (_text(document, "client_name") or "").strip()
    if len(name) > MAX_NAME or not name.isprintable():
        raise _invalid(f"client_name must be printable, of up to {MAX_NAME} characters")
    return name or None


def _text(document: Mapping[str, JsonValue], name: str) -> str | None:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise _invalid(f"{name} must be a string")
    return value


def _texts(document: Mapping[str, JsonValue], name: str) -> tuple[str, ...] | None:
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _invalid(f"{name} must be an array of strings")
    return tuple(dict.fromkeys(str(each) for each in value))


def _known(
    document: Mapping[str, JsonValue], name: str, known: tuple[str, ...], default: tuple[str, ...]
) -> tuple[str, ...]:
    """Those of the values that are known, in an order of ours: "The server MUST ignore values that it does not"."""
    wanted = _texts(document, name)
    return default if wanted is None else tuple(each for each in known if each in wanted)


def _invalid(description: str) -> OAuthError:
    return OAuthError("invalid_client_metadata", description)


def _invalid_redirect(description: str) -> OAuthError:
    return OAuthError("invalid_redirect_uri", description)
