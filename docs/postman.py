"""A Postman collection (v2.1) from the OpenAPI document, in an order that runs from top to bottom.

Creating requests come first and keep the ids that they are answered; deletes come last.
"""

from __future__ import annotations

import json
from typing import Any

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
#: collection variables that path parameters and fields are taken from
VARIABLES = {
    "baseUrl": "http://127.0.0.1:8000",
    "studyFile": "study.zip",
    "patientId": "",
    "scanId": "",
    "uploadId": "",
    "jobId": "",
}
PARAMETERS = {
    "patient_id": "{{patientId}}",
    "scan_id": "{{scanId}}",
    "upload_id": "{{uploadId}}",
    "job_id": "{{jobId}}",
    "number": "1",
    "block": "0",
}
#: what a creating request is answered, and the variable that keeps its id
KEEPS = {"/api/patients": "patientId", "/api/scans": "scanId", "/api/uploads": "uploadId"}


def collection(openapi: dict[str, Any]) -> dict[str, Any]:
    """The collection of an OpenAPI document."""
    folders: dict[str, list[dict[str, Any]]] = {}
    deletes: list[dict[str, Any]] = []
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            item = _item(path, method.upper(), operation, openapi)
            if method == "delete":
                # what was made last goes first
                deletes.insert(0, item)
            else:
                folders.setdefault(operation["tags"][0], []).append(item)
    items = [
        {"name": tag, "item": sorted(requests, key=lambda one: "event" not in one)}
        for tag, requests in folders.items()
    ]
    return {
        "info": {
            "name": openapi["info"]["title"],
            "description": openapi["info"]["description"] + " Set baseUrl and studyFile, then run it all.",
            "schema": SCHEMA,
        },
        "item": [*items, {"name": "delete", "item": deletes}],
        "variable": [{"key": name, "value": value} for name, value in VARIABLES.items()],
    }


def _item(path: str, method: str, operation: dict[str, Any], openapi: dict[str, Any]) -> dict[str, Any]:
    filled = path
    for name, value in PARAMETERS.items():
        filled = filled.replace("{" + name + "}", value)
    query = [
        {
            "key": parameter["name"],
            "value": PARAMETERS.get(parameter["name"], ""),
            "description": parameter.get("description", parameter.get("schema", {}).get("description", "")),
            "disabled": True,
        }
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query"
    ]
    request: dict[str, Any] = {
        "method": method,
        "header": [],
        "url": {
            "raw": "{{baseUrl}}" + filled,
            "host": ["{{baseUrl}}"],
            "path": filled.strip("/").split("/"),
            **({"query": query} if query else {}),
        },
        "description": operation.get("summary", ""),
    }
    body = _body(operation.get("requestBody", {}).get("content", {}), openapi)
    if body:
        request["body"] = body
        if body["mode"] == "raw":
            request["header"].append({"key": "Content-Type", "value": "application/json"})
    item: dict[str, Any] = {"name": operation.get("summary", f"{method} {path}"), "request": request}
    if method == "POST" and path in KEEPS:
        item["event"] = [
            {
                "listen": "test",
                "script": {
                    "type": "text/javascript",
                    "exec": [
                        'pm.test("201 Created", () => pm.response.to.have.status(201));',
                        f'pm.collectionVariables.set("{KEEPS[path]}", pm.response.json().id);',
                    ],
                },
            }
        ]
    return item


def _body(content: dict[str, Any], openapi: dict[str, Any]) -> dict[str, Any]:
    """The body of a request: a form with its file, JSON of the required fields, or a file."""
    if "multipart/form-data" in content:
        properties = _resolved(content["multipart/form-data"]["schema"], openapi)["properties"]
        form = []
        for name, schema in properties.items():
            if name == "file":
                form.append({"key": name, "type": "file", "src": "{{studyFile}}"})
            else:
                form.append({"key": name, "type": "text", "value": _example(name, schema, openapi)})
        return {"mode": "formdata", "formdata": form}
    if "application/json" in content:
        example = _example("", content["application/json"]["schema"], openapi)
        text = json.dumps(example, ensure_ascii=False, indent=2)
        return {"mode": "raw", "raw": text, "options": {"raw": {"language": "json"}}}
    if content:
        return {"mode": "file", "file": {"src": "{{studyFile}}"}}
    return {}


def _resolved(schema: dict[str, Any], openapi: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    if not reference:
        return schema
    found: dict[str, Any] = openapi["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def _example(name: str, schema: dict[str, Any], openapi: dict[str, Any]) -> Any:
    """A value that a schema takes: of an object its required fields, or its first where none is."""
    if name in PARAMETERS:
        return PARAMETERS[name]
    schema = _resolved(schema, openapi)
    if "properties" in schema:
        names = schema.get("required") or list(schema["properties"])[:1]
        return {key: _example(key, schema["properties"][key], openapi) for key in names}
    if schema.get("examples"):
        return schema["examples"][0]
    if schema.get("enum"):
        return schema["enum"][0]
    kinds = [schema, *schema.get("anyOf", [])]
    kind = next((one["type"] for one in kinds if one.get("type") not in (None, "null")), "string")
    if kind == "string":
        return schema.get("default") or name.replace("_", " ")
    return {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}[kind]
