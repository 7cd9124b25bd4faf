"""Stands in for the program `ray`: writes down how it is called, and forwards a port without SSH.

FAKE_RAY_CALLS      file that gets a line of JSON for each call
FAKE_RAY_STATUS     exit status of all commands but dashboard; 0
FAKE_RAY_DASHBOARD  port that `ray dashboard` forwards to; "silent": it forwards none; none: it fails
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time


def main() -> None:
    words = sys.argv[1:]
    with open(os.environ["FAKE_RAY_CALLS"], "a") as calls:
        calls.write(json.dumps({"words": words, "pid": os.getpid(), "environment": dict(os.environ)}) + "\n")
    if words[0] != "dashboard":
        print(f"fake ray {words[0]}")
        sys.exit(int(os.environ.get("FAKE_RAY_STATUS", "0")))
    remote = os.environ.get("FAKE_RAY_DASHBOARD")
    if remote is None:
        sys.exit("RuntimeError: Head node of cluster (hosts) not found!")
    if remote == "silent":
        time.sleep(600)
    asyncio.run(forward(int(words[words.index("--port") + 1]), int(remote)))


async def forward(local: int, remote: int) -> None:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", remote)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, back), pump(there, writer))

    server = await asyncio.start_server(one, "127.0.0.1", local)
    async with server:
        await server.serve_forever()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


if __name__ == "__main__":
    main()
