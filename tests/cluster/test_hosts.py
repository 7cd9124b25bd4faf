"""The hosts that tests of clusters run on are as good as machines of their own, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster.hosts import HOME, ROOT, Host, Hosts, hosts, require_hosts

MARK = "86399.25"  # seconds that a process sleeps which nobody else on this machine starts
UNHEARD = """
import socket, sys
peer = socket.create_connection((sys.argv[1], 22), timeout=10)
assert peer.recv(4) == b"SSH-"
print("connected", flush=True)
sys.stdin.readline()
peer.settimeout(1)
try:
    while peer.recv(4096):
        pass
    print("the peer took leave")
except TimeoutError:
    print("nothing was heard")
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.cluster.hosts import hosts
with hosts("one") as net:
    net["one"].start("sleep", sys.argv[1], log=Path(os.devnull))
    while not net["one"].processes(sys.argv[1]):
        pass
    print(net["one"].disk, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ours")


@pytest.fixture(scope="module")
def net(ours: Path) -> Iterator[Hosts]:
    require_hosts()
    with hosts("one", "two", shared=[ours]) as found:
        yield found


def reaches(host: Host, other: Host, seconds: int) -> bool:
    words = ("timeout", str(seconds), "bash", "-c", f"< /dev/tcp/{other.address}/22")
    return host.run(*words, check=False).returncode == 0


def sleepers(mark: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or [])]


def test_each_has_a_name_an_address_processes_and_files_of_its_own(net: Hosts) -> None:
    one, two = net["one"], net["two"]
    assert one.run("hostname").stdout == "one\n"
    assert f"inet {one.address}/24" in one.run("ip", "address").stdout
    for folder in ("/tmp", "/dev/shm", HOME):
        one.run("sh", "-c", f"echo mine > {folder}/mark")
        assert two.run("test", "-e", f"{folder}/mark", check=False).returncode == 1
        assert not Path(folder, "mark").exists()
    assert one.path("/tmp/mark").read_text() == "mine\n"
    sleeper = one.start("sleep", MARK, log=one.path("/tmp/log"))
    while not one.processes(MARK):
        assert sleeper.poll() is None
    assert MARK not in two.run("ps", "-ef").stdout
    assert not two.processes(MARK)


def test_the_checkout_and_its_python_are_there_to_be_read(net: Hosts) -> None:
    found = net["one"].run(sys.executable, "-c", "import ablate; print(ablate.__file__)", cwd=ROOT).stdout
    assert found.strip() == str(ROOT / "ablate" / "__init__.py")
    refused = net["one"].run("touch", ROOT / "mark", check=False)
    assert "Read-only file system" in refused.stderr


def test_a_shared_folder_is_one_for_all(net: Hosts, ours: Path) -> None:
    net["one"].run("sh", "-c", f"echo ours > {ours}/file")
    assert net["two"].run("cat", ours / "file").stdout == (ours / "file").read_text() == "ours\n"


def test_the_operator_alone_gets_in_by_ssh(net: Hosts) -> None:
    where = "echo $(hostname) $HOME"
    assert net.operator.run("ssh", "two", where).stdout == f"two {HOME}\n"
    assert net.operator.run("ssh", net["one"].address, where).stdout == f"one {HOME}\n"
    stranger = net["one"].run("ssh", "-oStrictHostKeyChecking=no", "-oBatchMode=yes", "two", check=False)
    assert "Permission denied (publickey)" in stranger.stderr


def test_nothing_leads_out(net: Hosts) -> None:
    assert net["one"].run("ip", "route").stdout.split()[:3] == ["10.77.0.0/24", "dev", "eth0"]
    assert "default" not in net["one"].run("ip", "route").stdout


def test_a_partition_drops_packets_until_it_heals(net: Hosts) -> None:
    one, two = net["one"], net["two"]
    assert reaches(one, two, 10)
    two.partition()
    assert not reaches(one, two, 1)
    assert not reaches(two, one, 1)
    two.heal()
    assert reaches(one, two, 30)


def test_a_killed_host_says_nothing_and_comes_back_with_its_disk(net: Hosts) -> None:
    one, two = net["one"], net["two"]
    two.run("sh", "-c", "echo kept > /tmp/kept; echo gone > /dev/shm/gone")
    two.start("sleep", MARK, log=two.path("/tmp/log"))
    words = one.words(sys.executable, "-c", UNHEARD, two.address)
    listener = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert listener.stdout is not None
    assert listener.stdout.readline() == "connected\n"
    two.kill()
    assert not two.running
    assert listener.communicate("\n", timeout=30)[0] == "nothing was heard\n"
    assert two.path("/tmp/kept").read_text() == "kept\n"
    two.boot()
    assert reaches(one, two, 30)
    assert not two.processes(MARK)
    assert two.run("ls", "/tmp/kept", "/dev/shm/gone", check=False).stdout == "/tmp/kept\n"


def test_nothing_is_left_of_them() -> None:
    require_hosts()
    mark, interfaces = f"{MARK}1", os.listdir("/sys/class/net")
    with hosts("one") as net:
        disk = net["one"].disk
        net["one"].start("sleep", mark, log=Path(os.devnull))
        while not sleepers(mark):
            pass
    assert not sleepers(mark)
    assert not disk.exists()
    assert os.listdir("/sys/class/net") == interfaces
    assert str(disk) not in Path("/proc/mounts").read_text()


def test_no_process_is_left_of_a_killed_test() -> None:
    require_hosts()
    mark = f"{MARK}2"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, mark], cwd=ROOT, capture_output=True, text=True, check=False
    )
    disk = Path(killed.stdout.strip())
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    try:
        while sleepers(mark):  # those who outlive it are killed by the kernel, which takes a moment
            pass
    finally:
        shutil.rmtree(disk.parents[1])
