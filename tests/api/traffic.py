"""Watches what other servers are told: every exchange of the server-server API is held against the specification.

Clients of the tests check their own exchanges; between servers nobody but the server itself sees both sides.
"""

import json
from typing import Any

import attrs

from homeserver.app.build import Server
from homeserver.http.application import Application
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.http.router import Match
from tests.openapi import SpecError, Specification

BETWEEN_SERVERS = ("/_matrix/federation/", "/_matrix/key/", "/_matrix/policy/")

OWN_KEYS = (b'key="ed25519:server', b"key=ed25519:server")
"""What our servers sign with, as `tests.federation.harness` names it: of others, only our answers must be right."""

MOST_BYTES = 1_000_000
"""Larger bodies are not looked at: that would take longer than the test."""


class Watched(Application):
    """An application whose exchanges with other servers are checked; what is wrong is added to `problems`."""

    def __init__(
        self, application: Application, specification: Specification, problems: list[SpecError]
    ) -> None:
        super().__init__(
            **{
                field.name.lstrip("_"): getattr(application, field.name)
                for field in attrs.fields(Application)
            }
        )
        object.__setattr__(self, "specification", specification)
        object.__setattr__(self, "problems", problems)

    async def respond(self, request: Request, match: Match) -> Response:
        response = await super().respond(request, match)
        if request.path.startswith(BETWEEN_SERVERS):
            self._watch(request, response)
        return response

    def _watch(self, request: Request, response: Response) -> None:
        checked: Specification = self.__dict__["specification"]
        problems: list[SpecError] = self.__dict__["problems"]
        if not isinstance(response.body, bytes) or len(response.body) > MOST_BYTES:
            return
        authorization = request.headers.get(b"authorization", b"")
        is_own = any(key in authorization for key in OWN_KEYS) and 0 < len(request.body) <= MOST_BYTES
        try:
            checked.check(
                request.method,
                request.path,
                json.loads(request.body) if is_own else None,
                response.status,
                json.loads(response.body) if response.body else None,
            )
        except SpecError as error:
            problems.append(error)


def watch(server: Server, specification: Specification) -> list[SpecError]:
    """Have a server that is not started yet checked; gives the list that problems will be added to."""
    problems: list[SpecError] = []
    for _, listening in server._servers:
        site: Any = listening._site
        listening._site = attrs.evolve(site, application=Watched(site.application, specification, problems))
    return problems
