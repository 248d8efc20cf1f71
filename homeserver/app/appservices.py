"""The application services of one server, as their registrations describe them."""

import re
from collections.abc import Iterable

from homeserver.config.appservices import Namespace as NamespaceSection
from homeserver.config.appservices import load_registrations, sender_of
from homeserver.config.sections import Config
from homeserver.core.appservices import Appservice, Appservices, Namespace
from homeserver.services.credentials import hash_of


def make_appservices(config: Config) -> Appservices:
    """Read the registrations. Errors: ConfigError."""
    return Appservices(
        tuple(
            Appservice(
                id=each.id,
                sender=sender_of(each, config),
                token_hash=hash_of(each.as_token),
                users=_namespaces(each.namespaces.users),
                aliases=_namespaces(each.namespaces.aliases),
                is_rate_limited=each.rate_limited,
            )
            for each in load_registrations(config)
        )
    )


def _namespaces(sections: Iterable[NamespaceSection]) -> tuple[Namespace, ...]:
    return tuple(Namespace(re.compile(each.regex), each.exclusive) for each in sections)
