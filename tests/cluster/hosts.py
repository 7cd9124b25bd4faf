"""Real hosts on this machine, for tests: each as good as a machine of its own, and gone when the test is.

    with hosts("head", "worker-1", "worker-2") as net:
        net.operator.run("ssh", "head", "hostname")         # the laptop: it has the key, and no sshd
        net["head"].run("ray", "start", "--head", ...)      # as if typed on that host; no SSH involved
        net["worker-1"].partition(); net["worker-1"].heal() # its packets are dropped for a while
        net["worker-2"].kill(); net["worker-2"].boot()      # the plug is pulled; it starts again
        net["head"].processes(), net["head"].path("/tmp")   # what is left on it

A host has network, process, mount, IPC and UTS namespaces of its own: an address (10.77.0.11 and so on, the
operator 10.77.0.10) on a switch that leads nowhere else, a hostname that all hosts know, its own processes
(so that a tool which stops "every ray process here" stops no others), an own /tmp, /var/tmp, /var/log,
/var/spool, /run, /dev/shm and home folder, and an sshd that takes one key. ``private`` names more folders of
which each host has its own, empty at first; ``shared`` names folders that lie at the same place on all hosts
and can be written, like a network disk. All else is this machine's file system. The checkout and the Python
that runs the tests are visible at their own paths and can only be read.

All of it hangs on processes that die with the thread that made them (and on SIGKILL of the test, too). The
namespaces, and with them interfaces and mounts, go with their last process, so nothing has to be cleaned up,
and test runs at the same time cannot collide: the switch too is in a namespace of its own, so that the same
addresses serve each. This also means that a test reaches hosts by ``run`` only, not by their addresses.

What it cannot do: clocks are the machine's (Linux has no namespace for the time of day), so skew between
hosts has to be tested otherwise; and CPUs and memory are shared, so each host believes to have all of them.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
HOME = Path(pwd.getpwuid(os.getuid()).pw_dir)
NETWORK = "10.77.0"
OPERATOR = "laptop"
PRIVATE = (Path("/tmp"), Path("/var/tmp"), Path("/var/log"), Path("/var/spool"), HOME)
SSHD = "/usr/sbin/sshd"  # it insists on its whole path
START_SSHD = f"""{SSHD} -f /run/host/sshd_config -E /run/sshd.log
until (: </dev/tcp/127.0.0.1/22) 2>/dev/null; do sleep .05; done"""
_PATH = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NEEDED = ("ip", "mount", "nsenter", "setpriv", "ssh", "ssh-keygen", "unshare", SSHD)
_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--mount-proc", "--kill-child")
_WITH_US = ("setpriv", "--pdeathsig", "KILL")

_SSHD_CONFIG = """\
HostKey /run/host/host_key
AuthorizedKeysFile /run/host/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
PidFile none
MaxStartups 100
Subsystem sftp internal-sftp
"""
_SSH_CONFIG = """\
Host *
  IdentityFile ~/.ssh/id_ed25519
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
"""


def missing() -> str:
    """Why there can be no hosts here; empty if there can."""
    if not sys.platform.startswith("linux"):
        return "namespaces are Linux's"
    if os.getuid() != 0:
        return "making namespaces and mounts takes root"
    absent = [name for name in _NEEDED if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: iproute2, openssh-server, util-linux)"
    tried = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, check=False)
    return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else ""


def require_hosts() -> None:
    """Skip the test, with the reason, where there can be no hosts."""
    if reason := missing():
        pytest.skip(reason)


@dataclass(frozen=True)
class Process:
    """A process by the id that it has on its host."""

    pid: int
    command: str


class Switch:
    """What all hosts are plugged into: a bridge in a network namespace that holds nothing else."""

    def __init__(self, stack: ExitStack) -> None:
        words = [*_WITH_US, "unshare", "--net", "sh", "-c", "echo up; exec sleep infinity"]
        self._holder = stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        stack.callback(self._holder.kill)
        if _line(self._holder) != "up":
            raise RuntimeError("no network namespace could be made")
        self._ip("link add switch type bridge", "link set switch up")

    def plug_in(self, port: str, pid: int, card: str) -> None:
        """Give the namespace of a process, as this machine counts, an ``eth0`` of the address ``card``."""
        self._ip(
            f"link add {port} type veth peer name eth0 address {card} netns {pid}", f"link set {port} up"
        )
        self.connect(port)

    def connect(self, port: str) -> None:
        self._ip(f"link set {port} master switch")

    def disconnect(self, port: str) -> None:
        """The port keeps its carrier: what is sent is lost, and nobody is told."""
        self._ip(f"link set {port} nomaster")

    def unplug(self, port: str) -> None:
        """The kernel may have done so already: an interface goes with its namespace, a moment later."""
        self._ip(f"link delete {port}", check=False)

    def _ip(self, *commands: str, check: bool = True) -> None:
        words = ["nsenter", f"--target={self._holder.pid}", "--net", "ip", "-batch", "-"]
        _run(words, input="\n".join(commands) + "\n", check=check)


class Host:
    """One host; see the module. ``state`` is its disk: it outlives ``kill``."""

    def __init__(self, name: str, number: int, state: Path, switch: Switch, layout: Layout) -> None:
        self.name, self.address = name, f"{NETWORK}.{number}"
        self._state, self._switch, self._layout = state, switch, layout
        self._number, self._boots = number, 0
        self.disk = state / "disk"
        self._holder: subprocess.Popen[str] | None = None
        self._init = 0
        self._own: set[int] = set()
        for folder in layout.private:
            self.path(folder).mkdir(parents=True)
        self.path("/tmp").chmod(0o1777)
        self.path("/var/tmp").chmod(0o1777)

    @property
    def _port(self) -> str:
        return f"port{self._number}-{self._boots}"

    @property
    def running(self) -> bool:
        return self._holder is not None and self._holder.poll() is None

    def boot(self) -> None:
        """Start it: with the disk that it had, an empty /run and /dev/shm, and nothing running but sshd."""
        self._boots += 1
        log = self._state / "boot.log"
        with log.open("w") as errors:
            self._holder = subprocess.Popen(
                [*_WITH_US, *_UNSHARE, "bash", "-c", self._layout.script(self)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        assert self._holder.stdin is not None
        if _line(self._holder) != "mounted":
            raise RuntimeError(f"{self.name} does not start: {log.read_text()}")
        [first] = psutil.Process(self._holder.pid).children()
        self._init = first.pid
        self._switch.plug_in(self._port, self._init, f"02:00:00:00:00:{self._number:02x}")
        self._holder.stdin.write("plugged in\n")
        self._holder.stdin.flush()
        if _line(self._holder) != "up":
            raise RuntimeError(f"{self.name} does not start: {log.read_text()}")
        self._own = {process.pid for process in self._all()}

    def kill(self) -> None:
        """Pull the plug: all processes are gone at once, and no peer hears of it."""
        if self._holder is None:
            return
        if self.running and self._init:
            self._switch.disconnect(self._port)  # else the kernel would take leave of its peers
            os.kill(self._init, signal.SIGKILL)
        elif self.running:
            self._holder.kill()
        self._holder.communicate()  # returns when the last process of the namespace is gone
        self._switch.unplug(self._port)
        self._holder, self._init = None, 0

    def partition(self) -> None:
        """Drop all its packets, in both directions, until ``heal``."""
        self._switch.disconnect(self._port)

    def heal(self) -> None:
        self._switch.connect(self._port)

    def run(
        self,
        *words: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = HOME,
        timeout: float = 120.0,
        check: bool = True,
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on it to the end. It has the environment of a fresh login, the PATH of this Python
        and ``env``. Raises RuntimeError with its output if it fails and ``check``."""
        return _run(self.words(*words, env=env, cwd=cwd), check=check, timeout=timeout, input=input)

    def start(
        self,
        *words: str | Path,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = HOME,
    ) -> subprocess.Popen[str]:
        """Begin a command on it; ``log``, a path of the test, takes its output. Killing what is returned
        kills the command."""
        with log.open("w") as out:
            return subprocess.Popen(
                self.words(*words, env=env, cwd=cwd),
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip

    def words(
        self, *words: str | Path, env: Mapping[str, str] | None = None, cwd: str | Path = HOME
    ) -> list[str]:
        """The command of this machine that runs a command on it, which ends with it; see ``run``."""
        if not self.running:
            raise RuntimeError(f"{self.name} is not running")
        login = {"HOME": str(HOME), "USER": pwd.getpwuid(os.getuid()).pw_name, "SHELL": "/bin/bash",
                 "PATH": _PATH, "LANG": "C.UTF-8", **(env or {})}  # fmt: skip
        enter = ["nsenter", f"--target={self._init}", "--mount", "--uts", "--ipc", "--net", "--pid"]
        fresh = ["env", "-i", "-C", str(cwd), *(f"{name}={value}" for name, value in login.items())]
        return [*enter, *_WITH_US, *fresh, *map(str, words)]

    def processes(self, word: str = "") -> list[Process]:
        """What runs on it, beyond what it started with, and has ``word`` in its command."""
        found = self._all() if self.running else []
        return [p for p in found if p.pid not in self._own and word in p.command]

    def path(self, inside: str | Path) -> Path:
        """Where the test finds a file of a private folder of it, also while it is down. Beware of absolute
        links in there: they are followed as this machine's."""
        inside = Path(inside)
        if self._layout.hidden(inside):
            return self.disk / inside.relative_to("/")
        raise ValueError(f"{inside} is in no folder that {self.name} has for itself: {self._layout.private}")

    def _all(self) -> list[Process]:
        found = []
        for folder in Path(f"/proc/{self._init}/root/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                continue
            found += [Process(int(folder.name), command)] if command else []  # a zombie has none
        return sorted(found, key=lambda process: process.pid)


@dataclass(frozen=True)
class Layout:
    """What is mounted where, on all hosts alike. ``state`` holds what sshd and name lookup need."""

    state: Path
    private: tuple[Path, ...]
    shared: tuple[Path, ...]

    def script(self, host: Host) -> str:
        """What the first process of a host does. It then stays, as the parent of orphans."""
        # Paths that a private folder would hide are taken aside first, and put back at their place.
        read_only = [ROOT, Path(sys.prefix), *(p for p in (Path(sys.base_prefix),) if self.hidden(p))]
        kept = [(path, "ro") for path in read_only] + [(path, "rw") for path in self.shared]
        name, q = shlex.quote(host.name), shlex.quote
        lines = ["set -eu", "mount -t tmpfs -o mode=755 host /run", "mkdir -p /run/host /run/sshd /run/lock",
                 f"mount --bind {q(str(self.state))} /run/host", "mkdir /run/disk",
                 f"mount --bind {q(str(host.disk))} /run/disk"]  # fmt: skip
        for number, (path, _) in enumerate(kept):
            lines += [f"mkdir -p /run/kept/{number}", f"mount --bind {q(str(path))} /run/kept/{number}"]
        for folder in sorted(self.private, key=lambda p: len(p.parts)):
            lines.append(f"mount --bind /run/disk{q(str(folder))} {q(str(folder))}")
        for number, (path, mode) in enumerate(kept):
            lines += [f"mkdir -p {q(str(path))}", f"mount --bind /run/kept/{number} {q(str(path))}"]
            lines += [f"mount -o remount,bind,ro {q(str(path))}"] if mode == "ro" else []
        lines += [
            "mount -t tmpfs -o mode=1777 host /dev/shm",
            "mount -t devpts -o newinstance,mode=620,ptmxmode=666 host /dev/pts",
            "mount --bind /dev/pts/ptmx /dev/ptmx",
            "mount --bind /run/host/hosts /etc/hosts",
            f"echo {name} > /proc/sys/kernel/hostname",
            "echo mounted; read -r _",
            "ip link set lo up",
            f"ip address add {host.address}/24 dev eth0",
            "ip link set eth0 up",
            "" if host.name == OPERATOR else START_SSHD,
            "sleep infinity >/dev/null &",
            "echo up; wait",
        ]
        return "\n".join(lines)

    def hidden(self, path: Path) -> bool:
        """Whether a host has something of its own there."""
        return any(path.is_relative_to(folder) for folder in self.private)


class Hosts(Mapping[str, Host]):
    """The hosts by name, and with them the operator's."""

    def __init__(self, found: dict[str, Host]) -> None:
        self._found = found

    @property
    def operator(self) -> Host:
        return self._found[OPERATOR]

    def __getitem__(self, name: str) -> Host:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


@contextmanager
def hosts(
    *names: str, private: Sequence[str | Path] = (), shared: Sequence[str | Path] = ()
) -> Iterator[Hosts]:
    """Running hosts of these names, and the operator's; see the module. To be used in one thread."""
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ablate-hosts-")))
        layout = Layout(
            _common(state / "common", names),
            (*PRIVATE, *(Path(p) for p in private)),
            tuple(Path(p) for p in shared),
        )
        switch = Switch(stack)
        found = {
            name: Host(name, number, state / name, switch, layout)
            for number, name in enumerate((OPERATOR, *names), start=10)
        }
        for host in found.values():
            stack.callback(host.kill)
            host.boot()
        _give_key(found[OPERATOR], state / "common")
        yield Hosts(found)


def _common(folder: Path, names: Sequence[str]) -> Path:
    """What all hosts have in /run/host. The private key is none of it."""
    folder.mkdir()
    for key in ("host_key", "key"):
        _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)])
    (folder / "key.pub").rename(folder / "authorized_keys")
    (folder / "sshd_config").write_text(_SSHD_CONFIG)
    known = [f"{NETWORK}.{number} {name}" for number, name in enumerate((OPERATOR, *names), start=10)]
    (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *known]) + "\n")
    return folder


def _give_key(operator: Host, common: Path) -> None:
    folder = operator.path(HOME / ".ssh")
    folder.mkdir(mode=0o700)
    shutil.move(common / "key", folder / "id_ed25519")
    (folder / "config").write_text(_SSH_CONFIG)
    (folder / "config").chmod(0o600)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _run(
    words: Sequence[str], *, check: bool = True, timeout: float = 60.0, input: str | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        words, input=input, stdin=subprocess.DEVNULL if input is None else None,
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    if check and done.returncode:
        raise RuntimeError(f"{shlex.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done
