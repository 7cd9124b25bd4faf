"""Schemas of Kubernetes and of Google's APIs, as JSON Schemas that refuse what they do not know."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

Schema = dict[str, Any]


def mistakes(schema: Schema, value: Any) -> list[str]:
    """What is wrong with ``value``, each with where it is."""
    errors = Draft202012Validator(schema).iter_errors(value)
    return sorted(f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors)


def closed(schema: Schema) -> Schema:
    """A structural schema of Kubernetes that allows no fields beside those it names.

    Fields are open where it says ``x-kubernetes-preserve-unknown-fields``, and where they are a map's keys.
    ``allOf`` and the like only narrow what is named elsewhere, so that they stay as they are; among them is
    what makes an ``x-kubernetes-int-or-string``.
    """
    found = dict(schema)
    if "properties" in found:
        found["properties"] = {name: closed(below) for name, below in found["properties"].items()}
    if isinstance(found.get("items"), dict):
        found["items"] = closed(found["items"])
    if isinstance(found.get("additionalProperties"), dict):
        found["additionalProperties"] = closed(found["additionalProperties"])
    elif found.get("type") == "object" and not found.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    return found


def of_discovery(document: Schema, name: str) -> Schema:
    """What Google's discovery document says of ``name``, closed likewise."""
    known = {other: _of_google(schema) for other, schema in document["schemas"].items()}
    return {"$ref": f"#/$defs/{name}", "$defs": known}


def _of_google(schema: Schema) -> Schema:
    if "$ref" in schema:
        return {"$ref": f"#/$defs/{schema['$ref']}"}
    found: Schema = {key: schema[key] for key in ("type", "enum", "pattern") if key in schema}
    if schema.get("format") in ("int64", "uint64"):  # as text in JSON; numbers are taken too
        found["type"] = ["string", "integer"]
    if schema.get("type") == "any":
        del found["type"]
    if "items" in schema:
        found["items"] = _of_google(schema["items"])
    if schema.get("type") == "object":
        found["properties"] = {n: _of_google(below) for n, below in schema.get("properties", {}).items()}
        more = schema.get("additionalProperties")
        found["additionalProperties"] = _of_google(more) if more else False
    return found
