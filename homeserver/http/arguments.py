"""From a request to the arguments of an endpoint, decided once, before the first of them."""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from homeserver.core.errors import BadJson, InvalidParam, MissingParam
from homeserver.core.identifiers import (
    EventID,
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
    parse_event_id,
    parse_room_alias,
    parse_room_id,
    parse_server_name,
    parse_user_id,
)
from homeserver.core.json import JsonObject, decode
from homeserver.core.requester import Requester
from homeserver.http.request import Request, decode_percent

Loader: TypeAlias = Callable[[Request], object]
Parser: TypeAlias = Callable[[str], object]

_IDENTIFIERS: Final[Mapping[object, Parser]] = {
    UserID: parse_user_id,
    RoomID: parse_room_id,
    EventID: parse_event_id,
    RoomAlias: parse_room_alias,
    ServerName: parse_server_name,
}

_SPECIAL: Final = frozenset({"requester", "origin", "request", "body", "query"})


class Arguments(msgspec.Struct, frozen=True, eq=False):
    """How one endpoint's arguments are made.

    `path` holds, per path parameter, the argument's name, its place among the parameters, and its parser.
    """

    path: Sequence[tuple[str, int, Parser]]
    body: Loader | None
    query: Loader | None
    wants_requester: bool
    wants_origin: bool
    wants_request: bool

    @classmethod
    def of(cls, function: Callable[..., object], template: str) -> "Arguments":
        """For `function`, a method, on the path `template`.

        Errors: TypeError if an argument could not be filled, or a path parameter is not asked for.
        """
        parameters = dict(list(inspect.signature(function).parameters.items())[1:])
        hints = typing.get_type_hints(function)
        in_path = parameter_names(template)
        for name, parameter in parameters.items():
            if name not in in_path and name not in _SPECIAL and parameter.default is parameter.empty:
                raise TypeError(f"nothing is known to pass for the parameter {name!r}")
        if unused := [name for name in in_path if name not in parameters]:
            raise TypeError(f"{template} has the parameter {unused[0]!r}, and the method has not")
        return cls(
            path=tuple((name, place, _path_parser(hints[name])) for place, name in enumerate(in_path)),
            body=_body_loader(hints["body"]) if "body" in parameters else None,
            query=_query_loader(hints["query"]) if "query" in parameters else None,
            wants_requester="requester" in parameters,
            wants_origin="origin" in parameters,
            wants_request="request" in parameters,
        )

    def load(
        self,
        request: Request,
        values: Sequence[str],
        requester: Requester | None,
        origin: ServerName | None,
    ) -> dict[str, object]:
        """The arguments for one request; `values` are the path parameters as sent.

        Errors: InvalidParam, MissingParam, NotJson, BadJson.
        """
        arguments: dict[str, object] = {}
        for name, place, parse in self.path:
            value = values[place]
            if "%" in value:
                value = decode_percent(value, what="the path")
            arguments[name] = parse(value)
        if self.wants_requester:
            arguments["requester"] = requester
        if self.wants_origin:
            arguments["origin"] = origin
        if self.wants_request:
            arguments["request"] = request
        if self.query is not None:
            arguments["query"] = self.query(request)
        if self.body is not None:
            arguments["body"] = self.body(request)
        return arguments


def parameter_names(template: str) -> list[str]:
    """The names of a path template's parameters, in order."""
    return [segment[1:-1] for segment in template.split("/") if segment.startswith("{")]


def _path_parser(hint: object) -> Parser:
    if hint in _IDENTIFIERS:
        return _IDENTIFIERS[hint]
    while isinstance(hint, typing.NewType):
        hint = hint.__supertype__
    if hint is str:
        return str
    wanted: typing.Any = hint

    def parse(value: str) -> object:
        try:
            return msgspec.convert(value, wanted, strict=False)
        except msgspec.ValidationError as error:
            raise InvalidParam(f"the path has a wrong value: {error}") from None

    msgspec.inspect.type_info(wanted)  # a type that msgspec cannot convert to is reported now
    return parse


def _body_loader(hint: object) -> Loader:
    """The body as the endpoint's annotation wants it; all JSON has passed the strict decoder."""
    if hint is bytes:
        return lambda request: request.body
    if hint == JsonObject:
        return Request.json
    wanted: typing.Any = hint
    is_struct = isinstance(hint, type) and issubclass(hint, msgspec.Struct)
    msgspec.inspect.type_info(wanted)  # as above

    def load(request: Request) -> object:
        value = request.json() if is_struct else decode(request.body or b"{}")
        try:
            return msgspec.convert(value, wanted)
        except msgspec.ValidationError as error:
            raise BadJson(str(error)) from None

    return load


def _query_loader(hint: object) -> Loader:
    """The query as a Struct: of a repeated parameter the first value counts, unless its field is a list."""
    if not (isinstance(hint, type) and issubclass(hint, msgspec.Struct)):
        raise TypeError("`query` must be a Struct")
    struct = msgspec.inspect.type_info(hint)
    assert isinstance(struct, msgspec.inspect.StructType)  # noqa: S101 - for the type checker
    fields = [(field.encode_name, _takes_list(field.type)) for field in struct.fields]

    def load(request: Request) -> object:
        parameters = request.parameters()
        document: dict[str, object] = {}
        for name, takes_list in fields:
            values = parameters.get(name)
            if values is not None:
                document[name] = values if takes_list else values[0]
        try:
            return msgspec.convert(document, hint, strict=False)
        except msgspec.ValidationError as error:
            if str(error).startswith("Object missing required field"):
                missing = next(name for name, _ in fields if f"`{name}`" in str(error))
                raise MissingParam(f"the query lacks `{missing}`") from None
            raise InvalidParam(f"the query has a wrong value: {error}") from None

    return load


def _takes_list(wanted: msgspec.inspect.Type) -> bool:
    if isinstance(wanted, msgspec.inspect.UnionType):
        return any(_takes_list(part) for part in wanted.types)
    return isinstance(wanted, msgspec.inspect.CollectionType)
