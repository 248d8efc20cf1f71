"""User-interactive authentication: the stages that there are, by configuration."""

import msgspec

from homeserver.app.contact import Contact
from homeserver.config.sections import Config
from homeserver.database.database import Database
from homeserver.runtime.clock import Clock
from homeserver.services.cross_signing_resets import (
    ACCOUNT_PAGE,
    RESET_ACTION,
    CrossSigningResets,
    OAuthStage,
)
from homeserver.services.passwords import Passwords
from homeserver.services.uia import OAUTH, PASSWORD, Stage, UserInteractiveAuth
from homeserver.services.uia_pages import UiaPages
from homeserver.services.uia_stages import (
    DUMMY,
    EMAIL_IDENTITY,
    REGISTRATION_TOKEN,
    TERMS,
    DummyStage,
    EmailStage,
    PasswordStage,
    RegistrationTokenStage,
    TermsStage,
)
from homeserver.services.user_names import UserNames


class InteractiveAuth(msgspec.Struct, frozen=True):
    """Its services. `pages` show stages in a browser; `resets` is what one allows on the page of the account."""

    uia: UserInteractiveAuth
    pages: UiaPages
    resets: CrossSigningResets


def make_interactive_auth(
    config: Config,
    database: Database,
    clock: Clock,
    names: UserNames,
    passwords: Passwords,
    contact: Contact,
) -> InteractiveAuth:
    """Wire them together."""
    stages: dict[str, Stage] = {
        DUMMY: DummyStage(),
        PASSWORD: PasswordStage(passwords, names, contact.named),
        REGISTRATION_TOKEN: RegistrationTokenStage(database, clock),
        TERMS: TermsStage(config.registration.policies),
    }
    if contact.validations.is_possible:
        stages[EMAIL_IDENTITY] = EmailStage(contact.validations, contact.named)
    resets = CrossSigningResets(database, clock)
    if config.public_base_url is not None:
        stages[OAUTH] = OAuthStage(resets, f"{config.public_base_url}{ACCOUNT_PAGE}?action={RESET_ACTION}")
    return InteractiveAuth(
        UserInteractiveAuth(database, clock, stages), UiaPages(database, clock, stages), resets
    )
