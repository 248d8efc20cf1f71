"""Checks of what the configuration says about addresses of people, and what they must agree to."""

import re
from collections.abc import Iterable
from email.utils import parseaddr
from typing import Final

from homeserver.config.errors import ConfigError
from homeserver.config.sections import Config, Email, Policy
from homeserver.config.urls import split
from homeserver.core.errors import InvalidParam
from homeserver.core.threepids import email_of

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_HOST = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z.-]{0,251}[0-9A-Za-z])?|[0-9A-Fa-f:.]{2,45}")
_EMAIL_PATTERN = re.compile(r"[!-~]{1,254}")
_SERVER_PATTERN = re.compile(r"[0-9A-Za-z.:*?\[\]-]{1,260}")
_POLICY_ID = re.compile(r"[0-9A-Za-z._-]{1,64}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[0-9A-Za-z]{1,8})*")


def check_email(config: Config) -> None:
    """Check the section `email`, and what depends on it. Errors: ConfigError."""
    section = config.email
    if section is None:
        if config.registration.requires_email:
            remedy = "cannot be: without a mail server no address can be confirmed; add the section email"
            raise ConfigError("registration.requires_email", value=True, remedy=remedy)
        return
    if config.public_base_url is None:
        remedy = "needs public_base_url, which the links in mails lead to: add public_base_url: https://HOST"
        raise ConfigError("email", None, remedy)
    if not _HOST.fullmatch(section.host):
        raise ConfigError("email.host", section.host, "is not a host: write smtp.example.org, without a port")
    _check_sender(section)
    _check_login(section)
    _check_patterns("email.allow", section.allow or (), _EMAIL_PATTERN, '"*@example.org"')


def check_policies(config: Config) -> None:
    """Check the policies that new users are to accept. Errors: ConfigError."""
    seen: set[str] = set()
    for index, policy in enumerate(config.registration.policies):
        key = f"registration.policies[{index}]"
        if not _POLICY_ID.fullmatch(policy.id):
            raise ConfigError(f"{key}.id", policy.id, "must be a short word such as terms_of_service")
        if policy.id in seen:
            raise ConfigError(f"{key}.id", policy.id, "is there twice: remove one of them")
        seen.add(policy.id)
        _check_texts(key, policy)


def check_identity_servers(config: Config) -> None:
    """Check the patterns of identity servers. Errors: ConfigError."""
    patterns = config.identity_servers.allow or ()
    _check_patterns("identity_servers.allow", patterns, _SERVER_PATTERN, "vector.im")


def _check_sender(section: Email) -> None:
    name, address = parseaddr(section.sender)
    try:
        email_of(address)
    except InvalidParam as error:
        remedy = 'is not a sender: write "Example <matrix@example.org>"'
        raise ConfigError("email.sender", section.sender, remedy) from error
    if not name.isprintable():
        raise ConfigError("email.sender", section.sender, "has a control character: remove it")


def _check_login(section: Email) -> None:
    if (section.username is None) != (section.password is None):
        missing = "password" if section.password is None else "username"
        raise ConfigError(f"email.{missing}", None, "is missing: a login needs both, or neither")
    if section.username is not None and section.security == "none" and section.host not in LOOPBACK:
        remedy = "would send the password in the clear: use starttls or tls, or no login"
        raise ConfigError("email.security", section.security, remedy)


def _check_texts(key: str, policy: Policy) -> None:
    languages: set[str] = set()
    for number, text in enumerate(policy.texts):
        place = f"{key}.texts[{number}]"
        if not _LANGUAGE.fullmatch(text.language) or text.language == "version":
            raise ConfigError(f"{place}.language", text.language, "is not a language: write en, or de-AT")
        if text.language in languages:
            raise ConfigError(f"{place}.language", text.language, "is there twice: remove one of them")
        languages.add(text.language)
        parts = split(f"{place}.url", text.url, "https://HOST/PATH")
        if parts.scheme not in {"https", "http"} or not parts.netloc:
            raise ConfigError(f"{place}.url", text.url, "is not a web address: write https://HOST/PATH")


def _check_patterns(key: str, patterns: Iterable[str], form: re.Pattern[str], example: str) -> None:
    for index, pattern in enumerate(patterns):
        if not form.fullmatch(pattern):
            raise ConfigError(f"{key}[{index}]", pattern, f"matches nothing: write {example}")
