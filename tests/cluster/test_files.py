"""What kind of cluster a file describes, what is wrong with it and where; and what it offers to trials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, reject
from hypothesis import strategies as st

from ablate.cluster.files import read_cluster
from ablate.cluster.kind import ClusterError
from ablate.cluster.launcher import LauncherCluster
from ablate.cluster.launcher_file import read_launcher
from ablate.cluster.room import Offer, too_large
from ablate.cluster.sets import put
from ablate.spec.sweep import Resources
from tests.cluster.fakes import AWS, HOSTS, SWEEP, write

CLUSTERS = Path(__file__).parents[2] / "clusters"


def mistakes(folder: Path, text: str, *sets: str) -> list[str]:
    """What is said of a file, a line each, without its name."""
    path = write(folder / "c.yaml", text)
    with pytest.raises(ClusterError) as caught:
        read_cluster(path, sets)
    return [line.removeprefix(f"{path}:").strip() for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aws-gpu.yaml", "LauncherCluster"),
        ("gcp-gpu.yaml", "LauncherCluster"),
        ("onprem.yaml", "LauncherCluster"),
        ("local.yaml", "LauncherCluster"),
        ("kuberay.yaml", "KubeCluster"),
        ("slurm.sbatch", "SlurmCluster"),
    ],
)
def test_the_files_that_come_with_ablate_are_what_their_names_say(name: str, kind: str) -> None:
    assert type(read_cluster(CLUSTERS / name)).__name__ == kind


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Deployment\n", "found kind: Deployment; a cluster's file is YAML with `provider`"),
        (SWEEP, "found the keys name, question, base, space, search; a cluster's file is"),
        ("- a\n", "found no mapping of keys to values"),
        ("", "found no mapping of keys to values"),
    ],
)
def test_a_file_of_something_else_is_refused_with_what_was_found_and_what_is_allowed(
    tmp_path: Path, text: str, said: str
) -> None:
    assert said in mistakes(tmp_path, text)[0]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for name in ("gone.yaml", "gone.sbatch"):
        with pytest.raises(ClusterError, match=rf"{name}: .*[Nn]o such file"):
            read_cluster(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("provider: {type: aws\nx: 1\n", "2:2: not YAML"),
        ("a: 1\n---\nprovider: {}\nprovider: {}\n", "4:1: provider: duplicate key"),
    ],
)
def test_what_is_no_yaml_is_told_with_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    assert mistakes(tmp_path, text)[0].startswith(said)


def test_all_mistakes_are_told_at_their_lines_with_the_nearest_key(tmp_path: Path) -> None:
    text = HOSTS.replace("setup_commands", "setup_comands").replace("ssh_user", "ssh_usr")
    text += "max_workers: many\nidle_timeout_minutes: -1\n"
    unknown, wrong_key, many, negative = mistakes(tmp_path, text)
    assert unknown.startswith("6:8: auth.ssh_usr: unknown key; did you mean 'ssh_user'? (allowed: ssh_user,")
    assert wrong_key.startswith(
        "10:1: setup_comands: unknown key; did you mean 'setup_commands'? (allowed: cluster_name,"
    )
    assert many == "11:14: max_workers: found 'many' (allowed: integer)"
    assert negative == "12:23: idle_timeout_minutes: -1 is less than the minimum of 0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            HOSTS.replace("type: local", "type: locl"),
            "3:9: provider.type: found 'locl'; did you mean 'local'? (Ray knows: ",
        ),
        (HOSTS.replace("  type: local\n", ""), "2:1: provider: 'type' is a required property"),
        (
            HOSTS.replace("[10.0.0.2, 10.0.0.3]", "10.0.0.2"),
            "5:15: provider.worker_ips: found '10.0.0.2' (allowed: array)",
        ),
        (
            HOSTS.replace("[10.0.0.2, 10.0.0.3]", "[7]"),
            "5:15: provider.worker_ips: must be a list of the other hosts'",
        ),
        (
            HOSTS.replace("  head_ip: 10.0.0.1\n", ""),
            "2:1: provider.head_ip: must be the address of the host",
        ),
        (HOSTS + "available_node_types: {}\n", "11:1: available_node_types: is not for hosts of one's own"),
        (AWS.replace("head_node_type: head\n", ""), "1:1: head_node_type is missing"),
        (
            AWS.replace("CPU: 4", "CPU: four"),
            "12:22: available_node_types.gpu.large.resources.CPU: found 'four' (allowed: integer)",
        ),
    ],
)
def test_what_a_provider_needs_is_checked_before_ray_is_asked(tmp_path: Path, text: str, said: str) -> None:
    [found] = mistakes(tmp_path, text)
    assert found.startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (AWS.replace("head_node_type: head", "head_node_type: hed"), "`head_node_type` must be one of"),
        (AWS + "docker: {image: some/image}\n", "Must provide a container & image name"),
    ],
)
def test_what_only_ray_itself_finds_is_told_too(tmp_path: Path, text: str, said: str) -> None:
    [found] = mistakes(tmp_path, text)
    assert f"Ray refuses it: {said}" in found


def test_values_are_read_as_ray_reads_them(tmp_path: Path) -> None:
    """Its YAML is 1.1, where yes is true and keys can be merged."""
    text = AWS.replace("InstanceType: g6.xlarge,", "EbsOptimized: yes, InstanceType: g6.xlarge,")
    text = text.replace("node_config: {InstanceType: m7i.large}", "node_config: &n {InstanceType: m7i.large}")
    path = write(tmp_path / "c.yaml", text + "metadata:\n  <<: *n\n")
    file = read_launcher(path)
    assert file.values == yaml.safe_load(path.read_text())
    assert file.values["available_node_types"]["gpu.large"]["node_config"]["EbsOptimized"] is True
    assert file.values["metadata"] == {"InstanceType": "m7i.large"}


def test_set_reaches_keys_with_dots_lists_and_new_keys(tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", AWS + "setup_commands: [a, b]\n")
    sets = [
        "available_node_types.gpu.large.max_workers=2",
        "file_mounts.~/.ray/auth_token=/other",
        "setup_commands.1=c",
        "provider.use_internal_ips=true",
        "docker.pull_before_run=true",
    ]
    values = read_launcher(path, sets).values
    assert values["available_node_types"]["gpu.large"]["max_workers"] == 2
    assert values["file_mounts"]["~/.ray/auth_token"] == "/other"
    assert values["setup_commands"] == ["a", "c"]
    assert values["provider"]["use_internal_ips"] is True
    assert values["docker"] == {"pull_before_run": True}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("max_workers", "--set max_workers: expected key=value"),
        ("max_workers=[", "--set max_workers=[: not YAML"),
        ("max_worker=4", "--set max_worker=4: max_worker: unknown key; did you mean 'max_workers'?"),
        ("max_workers=few", "--set max_workers=few: max_workers: found 'few' (allowed: integer)"),
        ("cluster_name.first=a", "--set cluster_name.first=a: cluster_name is 'hosts', which holds no keys"),
        ("setup_commands.7=a", "--set setup_commands.7=a: 7 is none of the 1 entries of a list"),
    ],
)
def test_a_mistaken_set_is_told_as_that(tmp_path: Path, given: str, said: str) -> None:
    assert mistakes(tmp_path, HOSTS, given)[0].startswith(said)


names = st.text("abc.", min_size=1, max_size=4).filter(lambda name: all(name.split(".")))
trees = st.recursive(st.integers(), lambda below: st.dictionaries(names, below, max_size=3), max_leaves=8)


@given(tree=st.dictionaries(names, trees, min_size=1, max_size=3), data=st.data())
def test_set_replaces_what_its_key_names_and_nothing_else(tree: dict[str, Any], data: st.DataObject) -> None:
    path: tuple[str, ...] = ()
    here: Any = tree
    while isinstance(here, dict) and here and (not path or data.draw(st.booleans())):
        path = (*path, data.draw(st.sampled_from(sorted(here))))
        here = here[path[-1]]
    found = json.loads(json.dumps(tree))
    try:
        taken = put(found, f"{'.'.join(path)}=new")
    except ClusterError:  # "a.b" is a number here, so that "a.b.c" is nothing, whatever is in "a"
        reject()
    assert ".".join(map(str, taken)) == ".".join(path)
    *above, last = taken
    changed, before = found, tree
    for step in above:
        changed, before = changed[step], before[step]
    assert changed.pop(last) == "new"
    before.pop(last)
    assert found == tree


# --- what there is room for -------------------------------------------------------------------------------

nodes = st.builds(
    lambda count, cpus, gpus: Offer("node", count, {"CPU": cpus, "GPU": gpus}),
    st.integers(0, 4),
    st.integers(0, 9),
    st.integers(0, 3),
)
needs = st.builds(
    lambda workers, cpus, gpus: Resources(workers=workers, cpus=cpus, gpus=float(gpus)),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(0, 2),
)


@given(needs, st.lists(nodes, max_size=3), st.integers(0, 6))
def test_a_trial_has_room_where_its_workers_can_be_placed_one_by_one(
    wanted: Resources, offers: list[Offer], most: int
) -> None:
    single = [dict(offer.resources) for offer in offers for _ in range(offer.count)]
    counts = []
    for node in single:
        placed = 0
        while node["CPU"] >= wanted.cpus and node["GPU"] >= wanted.gpu_share:
            node["CPU"] -= wanted.cpus
            node["GPU"] -= wanted.gpu_share
            placed += 1
        counts.append(placed)
    fits = sum(sorted(counts)[::-1][:most]) >= wanted.workers
    assert (too_large(wanted, offers, most=most) is None) == fits


def test_what_is_not_known_of_a_node_is_not_held_against_a_trial() -> None:
    large = Resources(cpus=64, gpus=8.0)
    assert too_large(large, [Offer("any", 1, {}, all_named=False)]) is None
    assert too_large(large, [Offer("any", 0, {}, all_named=False)]) is not None
    assert too_large(large, [Offer("small", 4, {"CPU": 8}, all_named=False)]) is not None
    assert too_large(Resources(cpus=8, gpus=1.0), [Offer("small", 1, {"CPU": 8}, all_named=False)]) is None


def test_there_may_be_any_number_of_nodes() -> None:
    endless = [Offer("any", 2**31 - 1, {"CPU": 1})]
    assert too_large(Resources(workers=3), endless) is None
    assert "any: 2147483647 x 1 CPUs" in str(too_large(Resources(cpus=2), endless))


def test_fractions_of_gpus_share_one_and_auto_needs_a_whole_one() -> None:
    node = [Offer("gpu", 1, {"CPU": 8, "GPU": 1})]
    assert too_large(Resources(gpus=0.25, cpus=2), node) is None
    assert too_large(Resources(gpus="auto"), node) is None
    said = too_large(Resources(gpus="auto"), [Offer("cpu", 3, {"CPU": 8})])
    assert said is not None
    assert said.startswith("a trial needs 1 worker(s) of 1 CPU(s) and 1 GPU(s) each, but there is room for 0")
    assert "cpu: 3 x 8 CPUs and 0 GPUs" in said


def test_a_file_offers_its_head_and_as_many_workers_as_it_allows(tmp_path: Path) -> None:
    file = read_launcher(write(tmp_path / "c.yaml", AWS))
    offers = [(offer.name, offer.count, offer.resources) for offer in file.offers]
    assert offers == [("head", 1, {"CPU": 0}), ("gpu.large", 3, {"CPU": 4, "GPU": 1})]
    assert too_large(Resources(workers=3, cpus=4, gpus=1.0), file.offers, most=4) is None
    assert too_large(Resources(workers=4, cpus=4, gpus=1.0), file.offers, most=4) is not None
    hosts = read_launcher(write(tmp_path / "h.yaml", HOSTS))
    assert [(offer.name, offer.count) for offer in hosts.offers] == [("head", 1), ("workers", 2)]
    assert too_large(Resources(workers=64, cpus=64), hosts.offers) is None  # not known before they join


def test_reading_a_cluster_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    path = write(tmp_path / "c.yaml", HOSTS)
    assert isinstance(read_cluster(path), LauncherCluster)
    assert not (tmp_path / "home").exists()
