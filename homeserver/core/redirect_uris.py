"""Where browsers may be sent on to: sites, and apps on the same device. The grammar that all kinds of login share.

Stricter than RFC 3986: what browsers read in more than one way is no URI here.
"""

import re
from typing import Final

import msgspec

MAX_URI: Final = 2_048

_CHARACTERS = re.compile(r"(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_SITE = re.compile(
    rf"(?P<scheme>https?)://(?P<host>(?:{_LABEL}\.)*{_LABEL}|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?P<rest>(?:[/?#].*)?)",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):.*")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Site(msgspec.Struct, frozen=True):
    """What an http or https URL without a user leads to. Scheme and host are in small letters."""

    scheme: str
    host: str
    port: int | None
    rest: str
    """Path, query and fragment."""

    @property
    def is_loopback(self) -> bool:
        """Whether that is the device itself."""
        return self.host in _LOOPBACK


def is_uri(text: str, *, may_have_fragment: bool = False) -> bool:
    """Whether that is of the characters of a URI, and not too long."""
    bare = text.replace("#", "", 1) if may_have_fragment else text
    return len(text) <= MAX_URI and _CHARACTERS.fullmatch(bare) is not None


def site_of(uri: str) -> Site | None:
    """The site that a URI leads to; None if it leads to none."""
    found = _SITE.fullmatch(uri)
    if found is None:
        return None
    port = None if found["port"] is None else int(found["port"])
    if port is not None and not 0 < port < 65_536:
        return None
    return Site(found["scheme"].lower(), found["host"].lower(), port, found["rest"])


def scheme_of(uri: str) -> str | None:
    """The scheme, in small letters; None if there is none."""
    found = _SCHEME.fullmatch(uri)
    return None if found is None else found["scheme"].lower()


def where_it_leads(uri: str) -> str | None:
    """The host of the site that a URI leads to; None if it leads to an app on the same device."""
    site = site_of(uri)
    return None if site is None or site.is_loopback else site.host


def form_source(uri: str) -> str:
    """A URI as a source of a Content Security Policy: what a form may lead to."""
    site = site_of(uri)
    if site is None:
        return f"{scheme_of(uri)}:"
    if site.host.startswith("["):  # which that grammar has no place for
        return f"{site.scheme}:"
    return f"{site.scheme}://{site.host}" + ("" if site.port is None else f":{site.port}")
