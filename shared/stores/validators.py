"""What MongoDB checks by itself: each document's fields have the types of its pydantic model."""

from __future__ import annotations

from typing import Any

from shared.documents import Document

_TYPES = {
    "string": ("string",),
    "integer": ("int", "long"),
    "number": ("double", "int", "long"),
    "boolean": ("bool",),
    "array": ("array",),
    "object": ("object",),
    "null": ("null",),
}
_ALWAYS = ["_id", "version", "created_at", "updated_at"]


def validator(kind: type[Document]) -> dict[str, Any]:
    """A ``$jsonSchema`` of a collection: top-level types and what must be there.

    Fields that are not in the model are let through, so that an older release can run beside a newer one.
    """
    schema = kind.model_json_schema(mode="serialization")
    fields = {
        name: {"bsonType": types} for name, rule in schema["properties"].items() if (types := _types(rule))
    }
    fields["_id"] = fields.pop("id")
    needed = [name for name, field in kind.model_fields.items() if field.is_required()]
    return {"$jsonSchema": {"bsonType": "object", "required": [*_ALWAYS, *needed], "properties": fields}}


def _types(rule: dict[str, Any]) -> list[str]:
    """BSON types of a JSON schema's property; empty where anything goes."""
    options = rule.get("anyOf", [rule])
    names = ["object" if "$ref" in option else option.get("type", "") for option in options]
    if not all(name in _TYPES for name in names):
        return []
    return sorted({bson for name in names for bson in _TYPES[name]})
