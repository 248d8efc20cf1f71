"""Finding the endpoint for a method and a path."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from homeserver.core.errors import MatrixError, Unrecognized
from homeserver.http.endpoints import Auth, Endpoint, EndpointError

_ALIASES: Final = (
    ("/_matrix/client/v3/", "/_matrix/client/r0/"),
    ("/_matrix/media/v3/", "/_matrix/media/r0/"),
)
"""The paths of version 3 and what they were called before. Spec: "Specification Versions"."""

_NOTHING: Final[Sequence[str]] = ()


class Match(msgspec.Struct, frozen=True, eq=False):
    """What a request is for: an endpoint and the path's parameters as sent, or the error to answer with.

    `template` is the endpoint's path, for logs and metrics; empty if there is none. `is_preflight` says
    that only the headers for CORS are wanted, as OPTIONS does. `body_limit` is in bytes.
    """

    body_limit: int
    template: str = ""
    endpoint: Endpoint | None = None
    values: Sequence[str] = _NOTHING
    error: MatrixError | None = None
    is_preflight: bool = False


class _Node(msgspec.Struct, eq=False):
    """What may follow after some segments of a path, and who serves the path if it ends there."""

    children: dict[str, "_Node"] = msgspec.field(default_factory=dict)
    parameter: "_Node | None" = None
    endpoints: dict[str, Endpoint] = msgspec.field(default_factory=dict)

    def find(self, segments: Sequence[str], values: list[str]) -> "_Node | None":
        """The node with endpoints under `segments`; literal segments go before parameters.

        `values` is filled with what stands in place of the parameters.
        """
        node = self
        for place, segment in enumerate(segments):
            child = node.children.get(segment)
            if child is None:
                if node.parameter is None or not segment:
                    return None
                values.append(segment)
                node = node.parameter
            elif node.parameter is None:
                node = child
            else:
                return self._find_either(node, child, segments[place:], values)
        return node if node.endpoints else None

    def _find_either(
        self, node: "_Node", child: "_Node", segments: Sequence[str], values: list[str]
    ) -> "_Node | None":
        """The segment could be the literal or a parameter's value: try both, in this order."""
        filled = len(values)
        found = child.find(segments[1:], values)
        if found is None and node.parameter is not None:
            del values[filled:]
            values.append(segments[0])
            found = node.parameter.find(segments[1:], values)
        return found


class Router:
    """The endpoints of a listener.

    Paths are split before they are percent-decoded, so a parameter may contain `%2F`; the literal parts of
    a path are compared as sent, so that a reverse proxy's rules about paths cannot be got round by encoding
    them. A slash at the end is permitted. `body_limit` is for endpoints that name none, and for requests
    that reach none.
    """

    def __init__(self, endpoints: Iterable[Endpoint], *, body_limit: int) -> None:
        self._root = _Node()
        self._body_limit = body_limit
        self.is_for_servers = False
        for endpoint in endpoints:
            self.is_for_servers |= endpoint.spec.auth is Auth.SERVER
            path = endpoint.spec.path
            self._add(path, endpoint)
            for new, old in _ALIASES:
                if path.startswith(new):
                    self._add(old + path.removeprefix(new), endpoint)

    def match(self, method: str, path: str) -> Match:
        """Find what is asked for; `path` is as sent, without the query. There is always an answer."""
        if method == "OPTIONS":
            return Match(self._body_limit, is_preflight=True)
        segments = path.split("/")
        if not segments[-1]:
            segments.pop()
        values: list[str] = []
        node = self._root.find(segments, values)
        if node is None:
            return Match(self._body_limit, error=Unrecognized("there is no such endpoint"))
        endpoint = node.endpoints.get(method)
        if endpoint is None and method == "HEAD":
            endpoint = node.endpoints.get("GET")
        if endpoint is None:
            error = Unrecognized(f"this endpoint does not know {method}", status=405)
            return Match(self._body_limit, error=error)
        spec = endpoint.spec
        limit = self._body_limit if spec.body_limit is None else spec.body_limit
        return Match(limit, spec.path, endpoint, values)

    def _add(self, path: str, endpoint: Endpoint) -> None:
        if not path.startswith("/") or (path.endswith("/") and path != "/"):
            raise EndpointError(f"{path!r} must start with a slash, and not end with one")
        node = self._root
        for segment in path.rstrip("/").split("/"):
            if segment.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.children.setdefault(segment, _Node())
        method = endpoint.spec.method
        if method in node.endpoints:
            raise EndpointError(f"{method} {path} is served twice")
        node.endpoints[method] = endpoint
