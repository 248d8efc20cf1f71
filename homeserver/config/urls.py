"""Addresses in the configuration."""

from urllib.parse import SplitResult, urlsplit

from homeserver.config import documents
from homeserver.config.errors import ConfigError


def web_url(key: str, url: str | None) -> str | None:
    """A URL of ours for others to use, without a slash at its end. Errors: ConfigError."""
    if url is None:
        return None
    parts = split(key, url, "https://HOST")
    if parts.scheme not in {"https", "http"} or not parts.netloc or parts.query or parts.fragment:
        raise ConfigError(key, url, "is not a web address: write https://HOST")
    return url.rstrip("/")


def split(key: str, url: str, wanted: str) -> SplitResult:
    """The parts of a URL; `wanted` is what the operator should write instead. Errors: ConfigError."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        # What the error says may hold a part of a password.
        remedy = f"is not a URL: write {wanted}, special characters as in %40"
        raise ConfigError(key, documents.shown_value(key, url), remedy) from error
    return parts
