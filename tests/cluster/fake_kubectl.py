"""Stands in for kubectl: keeps what it is given in a file, and writes down how it is called.

FAKE_KUBECTL  a folder. ``calls`` gets a line of JSON for each call; ``state.json`` holds
              ``objects`` ("Kind/name" -> manifest), ``phases`` (what the statuses of a RayJob are at one look
              after another; the last stays), ``printed`` ("job" -> text), ``refuse`` (a verb -> what it says)
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

EMPTY: dict[str, Any] = {"objects": {}, "phases": [], "printed": {}, "refuse": {}}
KINDS = {"rayjobs.ray.io": "RayJob", "secret": "Secret", "job": "Job", "pods": "Pod"}


def main() -> None:
    words, stdin = sys.argv[1:], sys.stdin.read()
    folder = Path(os.environ["FAKE_KUBECTL"])
    with (folder / "calls").open("a") as calls:
        calls.write(json.dumps({"words": words, "stdin": stdin}) + "\n")
    file = folder / "state.json"
    state = json.loads(file.read_text()) if file.exists() else EMPTY
    if words[0] == "--namespace":
        words = words[2:]
    verb, *words = words
    if verb in state["refuse"]:
        sys.exit(state["refuse"][verb])
    {"config": config, "get": get, "create": create, "apply": keep, "delete": delete, "logs": logs}[verb](
        state, words, stdin
    )
    file.write_text(json.dumps(state))


def config(state: Any, words: list[str], stdin: str) -> None:  # noqa: ARG001
    print("somewhere")


def get(state: Any, words: list[str], stdin: str) -> None:  # noqa: ARG001
    kind, *rest = words
    options = dict(word.removeprefix("--").partition("=")[::2] for word in rest if word.startswith("--"))
    output = options["output"]
    if output.startswith("custom-columns"):
        print(f"table of {kind}")
        return
    of_kind = {n: o for n, o in state["objects"].items() if n.startswith(f"{KINDS[kind]}/")}
    if "selector" in options:
        label, _, value = options["selector"].partition("=")
        print(
            json.dumps(
                {"items": [o for o in of_kind.values() if o["metadata"]["labels"].get(label) == value]}
            )
        )
        return
    found = of_kind.get(f"{KINDS[kind]}/{rest[0]}")
    if found is None:
        return
    if kind == "rayjobs.ray.io" and state["phases"]:
        found["status"] = state["phases"][0]
        del state["phases"][: len(state["phases"]) > 1]
    print(json.dumps(found) if output == "json" else f"{kind}/{rest[0]}")


def create(state: Any, words: list[str], stdin: str) -> None:
    if words[0] == "secret":
        state["objects"][f"Secret/{words[2]}"] = {}
        print(f"secret/{words[2]} created")
        return
    made = json.loads(stdin)
    name = f"{made['kind']}/{made['metadata']['name']}"
    if name in state["objects"]:
        sys.exit(f"Error from server (AlreadyExists): {name} already exists")
    if made["kind"] in state["refuse"]:
        sys.exit(state["refuse"][made["kind"]])
    made["metadata"]["uid"] = f"uid of {name}"
    state["objects"][name] = made
    print(json.dumps(made) if "--output=json" in words else f"{name} created")


def keep(state: Any, words: list[str], stdin: str) -> None:  # noqa: ARG001
    for made in json.loads(stdin)["items"]:
        state["objects"][f"{made['kind']}/{made['metadata']['name']}"] = made
        print(f"{made['kind']}/{made['metadata']['name']} applied")


def delete(state: Any, words: list[str], stdin: str) -> None:
    names = (
        [f"{made['kind']}/{made['metadata']['name']}" for made in json.loads(stdin)["items"]] if stdin else []
    )
    if words[0] in KINDS:
        kind = KINDS[words[0]]
        every = words[1].startswith("--selector")
        names = (
            [name for name in state["objects"] if name.startswith(f"{kind}/")]
            if every
            else [f"{kind}/{words[1]}"]
        )
    for name in names:
        if state["objects"].pop(name, None) is not None:
            print(f"{name} deleted")


def logs(state: Any, words: list[str], stdin: str) -> None:  # noqa: ARG001
    print(state["printed"][words[0].removeprefix("job/")], end="")


if __name__ == "__main__":
    main()
