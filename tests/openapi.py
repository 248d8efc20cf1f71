"""Checks HTTP traffic against the specification's OpenAPI files, and counts which operations were exercised.

The files are looked for in the folder that `MATRIX_SPEC_DIR` names, else in `shared/spec` beside the checkout; without
them nothing is checked, and the report says so.
"""

import os
import re
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

APIS = ("client-server", "server-server")
METHODS = ("get", "put", "post", "delete")
_OF_TYPE = re.compile(r"/_matrix/client/v3/rooms/[^/]+/state/[^/]+")
SHARED = {"peekEvents": "room_id", "inviteBy3PID": "medium"}
"""Operations at URLs of others, and what requests name that are theirs."""
ERROR_SCHEMA = {
    "type": "object",
    "required": ["errcode", "error"],
    "properties": {"errcode": {"type": "string", "pattern": "^M_[A-Z0-9_]+$"}, "error": {"type": "string"}},
}


def spec_dir() -> Path | None:
    """Where the specification's data files are, `None` if they are not there."""
    named = os.environ.get("MATRIX_SPEC_DIR")
    path = Path(named) if named else Path(__file__).parents[2] / "shared" / "spec"
    return path if (path / "api").is_dir() else None


@attrs.frozen
class Operation:
    """One operation of the specification; `document` is the OpenAPI file it stands in."""

    api: str
    method: str
    path: str
    operation_id: str
    document: Path
    definition: Mapping[str, Any] = attrs.field(repr=False, eq=False)
    pointer: str = attrs.field(repr=False)


class SpecError(AssertionError):
    """Traffic that is not as the specification says."""


class Specification:
    """The operations of one or several APIs, and what has been exercised of them."""

    def __init__(self, root: Path, apis: tuple[str, ...] = APIS) -> None:
        self._root = root
        self.apis = apis
        self._validators: dict[str, Draft202012Validator] = {}
        self.exercised: dict[Operation, set[int]] = {}

    @cached_property
    def operations(self) -> list[Operation]:
        """All operations, in the order of the files."""
        found: list[Operation] = []
        for api in self.apis:
            for document in sorted((self._root / "api" / api).glob("*.yaml")):
                found += self._operations_of(api, document)
        return found

    def find(self, method: str, path: str, names: Collection[str] = ()) -> Operation | None:
        """The operation that a request is one of; `path` without the query, r0 counted as v3.

        `names`: what the request says in its query and at the top of its body.
        """
        path = path.replace("/_matrix/client/r0/", "/_matrix/client/v3/")
        path = path.rstrip("/") or path
        candidates = self._by_length.get((method, path.count("/")), [])
        for pattern, operation in candidates:
            if SHARED.get(operation.operation_id, "") in {"", *names} and pattern.fullmatch(path):
                return operation
        return None

    def check(
        self,
        method: str,
        path: str,
        request: object,
        status: int,
        response: object,
        *,
        query: Collection[str] = (),
    ) -> Operation | None:
        """Check one exchange; `request` and `response` are decoded bodies, `None` for none.

        Of the `query` the names alone are looked at. Errors: SpecError.
        """
        names = {*query, *(request if isinstance(request, dict) else ())}
        operation = self.find(method, path, names)
        if operation is None:
            return None
        self.exercised.setdefault(operation, set()).add(status)
        responses = operation.definition.get("responses", {})
        if status >= 400 and (str(status) not in responses or _is_about_the_token(response)):
            self._validate(f"{method} {path} {status}", None, ERROR_SCHEMA, response)
            return operation
        if str(status) not in responses:
            raise SpecError(f"{method} {path}: status {status} is not in the specification")
        where = f"{operation.pointer}/responses/{status}"
        self._check_body(operation, where, responses[str(status)], response, f"{method} {path} {status}")
        if status < 300 and request is not None and "requestBody" in operation.definition:
            body = operation.definition["requestBody"]
            self._check_body(
                operation, f"{operation.pointer}/requestBody", body, request, f"{method} {path} request"
            )
        return operation

    def _check_body(
        self, operation: Operation, where: str, definition: Mapping[str, Any], body: object, label: str
    ) -> None:
        if "$ref" in definition:
            file, _, where = definition["$ref"].partition("#")
            base = (operation.document.parent / file).resolve() if file else operation.document
            definition = _load(base)
            for name in where.split("/")[1:]:
                definition = definition[name]
        else:
            base = operation.document
        content = definition.get("content", {})
        if "application/json" not in content or "schema" not in content["application/json"]:
            return
        pointer = f"{base.as_uri()}#{where}/content/application~1json/schema"
        self._validate(label, pointer, None, body)

    def _validate(
        self, label: str, pointer: str | None, schema: Mapping[str, Any] | None, body: object
    ) -> None:
        key = pointer or "error"
        validator = self._validators.get(key)
        if validator is None:
            validator = self._validators[key] = Draft202012Validator(
                schema if schema is not None else {"$ref": pointer}, registry=_REGISTRY
            )
        error = best_match(validator.iter_errors(body))
        if error is not None:
            path = "/".join(map(str, error.absolute_path))
            raise SpecError(f"{label}: at {path or 'the top'}: {error.message[:500]}")

    @cached_property
    def _by_length(self) -> dict[tuple[str, int], list[tuple[re.Pattern[str], Operation]]]:
        found: dict[tuple[str, int], list[tuple[re.Pattern[str], Operation]]] = {}
        for operation in self.operations:
            # Literal segments first: /rooms/{id}/state/{type} must not take what has a name of its own.
            pattern = "".join(
                "[^/]+" if part.startswith("{") else re.escape(part)
                for part in re.split(r"(\{[^}]*\})", operation.path)
            )
            key = (operation.method, operation.path.count("/"))
            found.setdefault(key, []).append((re.compile(pattern), operation))
        for listed in found.values():
            listed.sort(key=lambda pair: (pair[1].path.count("{"), pair[1].operation_id not in SHARED))
        return found

    def _operations_of(self, api: str, document: Path) -> list[Operation]:
        data = _load(document)
        base = data["servers"][0].get("variables", {}).get("basePath", {}).get("default", "")
        found = []
        for path, methods in data["paths"].items():
            for method in METHODS:
                if method in methods:
                    pointer = f"/paths/{path.replace('~', '~0').replace('/', '~1')}/{method}"
                    found.append(
                        Operation(
                            api,
                            method.upper(),
                            (base + path).strip().rstrip("/"),
                            methods[method]["operationId"],
                            document,
                            methods[method],
                            _quoted(pointer),
                        )
                    )
        return found


def _is_about_the_token(response: object) -> bool:
    """Whether it is one of "these error codes can be returned by any API endpoint", also where 401 means more."""
    return isinstance(response, dict) and response.get("errcode") in {
        *("M_MISSING_TOKEN", "M_UNKNOWN_TOKEN", "M_USER_LOCKED"),
    }


def _quoted(pointer: str) -> str:
    """The pointer as a URI fragment."""
    return pointer.replace("{", "%7B").replace("}", "%7D").replace(" ", "%20")


_DOCUMENTS: dict[Path, Any] = {}


def _load(path: Path) -> Any:
    if path not in _DOCUMENTS:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        _DOCUMENTS[path] = _only_string_keys(yaml.load(path.read_text(), Loader=loader))
    return _DOCUMENTS[path]


def _only_string_keys(value: Any) -> Any:
    """YAML reads response codes as numbers where they are not quoted."""
    if isinstance(value, dict):
        return {str(key): _only_string_keys(item) for key, item in value.items()}
    return [_only_string_keys(item) for item in value] if isinstance(value, list) else value


def _retrieve(uri: str) -> Resource[Any]:
    return Resource.from_contents(_load(Path(uri.removeprefix("file://"))), default_specification=DRAFT202012)


_REGISTRY: Registry[Any] = Registry(retrieve=_retrieve)  # type: ignore[call-arg]  # mypy cannot tell
