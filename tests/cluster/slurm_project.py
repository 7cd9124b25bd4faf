"""A project for ``clusters/slurm.sbatch`` whose `ray` and `ablate` only say what they are told, and wait.

They append a line to ``said.jsonl`` for whatever befalls them. `ablate` ends with the status in the file
``finish`` as soon as that is there, and, as the real one does, with 1 after a SIGINT.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import indent
from typing import Any

SCRIPT = Path(__file__).parents[2] / "clusters" / "slurm.sbatch"
_PROGRAM = f"""\
#!{sys.executable} -I
import json, os, signal, socket, sys, time
from pathlib import Path

def say(what, **more):
    line = json.dumps({{"who": Path(sys.argv[0]).name, "what": what, "node": os.uname().nodename, **more}})
    with open("said.jsonl", "a") as file:
        file.write(line + "\\n")

try:
    {{body}}
except KeyboardInterrupt:  # which there is only where SIGINT was not ignored when this began
    say("SIGINT")
    while Path("slow-save").exists():
        time.sleep(0.02)
    sys.exit(1)
"""
_RAY = """\
if Path("no-ray").exists():
    sys.exit("ray: no such luck")
options = dict(word.partition("=")[::2] for word in sys.argv[1:])
say("began", words=sys.argv[1:], environment=dict(os.environ))
while Path("slow-ray").exists():
    time.sleep(0.02)
if "--head" in options:
    host, port = options.get("--node-ip-address", "127.0.0.1"), int(options["--port"])
    server = socket.create_server((host, port))
    server.settimeout(0.02)
    (Path(options["--temp-dir"]) / "ray_current_cluster").write_text(f"{host}:{port}")
while not Path("die-" + ("head" if "--head" in options else "worker")).exists():
    if "--head" not in options:
        time.sleep(0.02)
        continue
    try:
        server.accept()
        say("asked")
    except TimeoutError:
        pass
sys.exit("ray: died")
"""
_ABLATE = """\
token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
modes = [path.stat().st_mode & 0o777 for path in (token.parent, token)]
Path("token").write_text(token.read_text())
say("began", words=sys.argv[1:], environment=dict(os.environ), modes=modes)
if Path("be-terminated").exists():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    os.kill(os.getpid(), signal.SIGTERM)
while not Path("finish").exists():
    time.sleep(0.02)
sys.exit(int(Path("finish").read_text()))
"""


class Project:
    """The folder with a ``sweep.yaml``, in which jobs are submitted."""

    def __init__(self, folder: Path) -> None:
        self.folder, programs = folder, folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        (programs / "python").symlink_to(sys.executable)
        for name, body in (("ray", _RAY), ("ablate", _ABLATE)):
            (programs / name).write_text(_PROGRAM.replace("{body}", indent(body, "    ").strip()))
            (programs / name).chmod(0o755)
        (folder / "sweep.yaml").write_text("name: stand-in\n")

    def finish(self, status: int = 0) -> None:
        partial = self.folder / "finish.part"
        partial.write_text(str(status))
        partial.rename(self.folder / "finish")

    def said(self, who: str, what: str = "") -> list[dict[str, Any]]:
        """What `ray` or `ablate` has said by now, in order."""
        file = self.folder / "said.jsonl"
        lines = file.read_text().split("\n")[:-1] if file.exists() else []  # the last may yet be written
        found = [json.loads(line) for line in lines]
        return [each for each in found if each["who"] == who and what in ("", each["what"])]
