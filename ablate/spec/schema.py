"""JSON Schema of the files, so that editors complete and check them."""

from __future__ import annotations

from typing import Any

from ablate.spec.base import Spec

_EXTENDS = {
    "type": "string",
    "description": "another such file, relative to this one, that this one lies over",
}


def json_schema(model: type[Spec]) -> dict[str, Any]:
    """The schema (draft 2020-12) of a file read as ``model``; a file that extends another may be partial."""
    schema = model.model_json_schema()
    required = schema.pop("required", [])
    schema["properties"]["extends"] = _EXTENDS
    schema["anyOf"] = [{"required": ["extends"]}, {"required": required}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
