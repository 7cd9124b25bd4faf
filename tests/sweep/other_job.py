"""Another Ray job that holds both CPUs of a cluster until the sweep says what it is waiting for."""

import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

_PROGRAM = """
    import sys
    import ray
    from ray.util import placement_group
    ray.init(address=sys.argv[1], log_to_driver=False)
    ray.get(placement_group([{"CPU": 1}, {"CPU": 1}]).ready())
    print("holding", flush=True)
    sys.stdin.read()
"""


class _Listener(logging.Handler):
    """Ends the other job when the sweep says what it misses."""

    def __init__(self, holder: subprocess.Popen[str]) -> None:
        super().__init__()
        self.heard: list[str] = []
        self._holder = holder

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())
        assert self._holder.stdin is not None
        self._holder.stdin.close()


@contextmanager
def cpus_held(address: str) -> Iterator[list[str]]:
    """Inside, the two CPUs of the cluster are held; what the sweep says of that is put into the list."""
    program = [sys.executable, "-c", textwrap.dedent(_PROGRAM), address]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        listener, logger = _Listener(holder), logging.getLogger("ablate.sweep.capacity")
        logger.addHandler(listener)
        try:
            yield listener.heard
        finally:
            logger.removeHandler(listener)
            holder.kill()
