"""clusters/gcp-gpu.yaml and gcp-account.sh, up to the requests that Google would get.

Google's library makes the requests and its description of the API says what may be in them; nothing is sent.
"""

from __future__ import annotations

import json
import os
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.strict_schema import mistakes, of_discovery

ROOT = Path(__file__).parents[2]
FILE, ACCOUNT = ROOT / "clusters" / "gcp-gpu.yaml", ROOT / "clusters" / "gcp-account.sh"
VALUES: dict[str, Any] = yaml.safe_load(FILE.read_text())
PROJECT = VALUES["provider"]["project_id"]
TYPES = VALUES["available_node_types"]
GCLOUD = """#!/bin/sh
printf '%s\\n' "$*" >>"$FAKE_GCLOUD_CALLS"
case "$*" in *describe*) ;; *) exit 0 ;; esac
for name in $FAKE_GCLOUD_THERE; do
  case "$*" in *"$name"*) exit 0 ;; esac
done
exit 1
"""
NEEDS = "Ray speaks to Google by google-api-python-client, which is not installed"


@pytest.fixture(scope="module")
def instance() -> dict[str, Any]:
    """The schema of a machine in Google's API."""
    pytest.importorskip("googleapiclient", reason=NEEDS)
    from googleapiclient.discovery_cache import get_static_doc

    text = get_static_doc("compute", "v1")
    assert text is not None
    return of_discovery(json.loads(text), "Instance")


def test_ray_takes_the_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    whole = prepare_config(yaml.safe_load(FILE.read_text()))
    validate_config(whole)
    assert whole["available_node_types"]["gpu"]["min_workers"] == 0
    assert whole["available_node_types"]["head"]["max_workers"] == 0
    assert whole["docker"] == {}
    assert whole["worker_setup_commands"] == VALUES["setup_commands"]
    assert all("--constraint" in c for c in whole["head_setup_commands"] if "pip install" in c)


@pytest.mark.parametrize("kind", ["head", "gpu"])
def test_google_knows_every_field_of_a_machine(instance: dict[str, Any], kind: str) -> None:
    assert mistakes(instance, TYPES[kind]["node_config"]) == []


@pytest.mark.parametrize(
    ("where", "wrong"),
    [((), "machinetype"), (("scheduling",), "preemptable"), (("disks", 0, "initializeParams"), "sizeGb")],
)
def test_a_typo_is_refused(instance: dict[str, Any], where: tuple[Any, ...], wrong: str) -> None:
    config = deepcopy(TYPES["gpu"]["node_config"])
    here = config
    for step in where:
        here = here[step]
    here[wrong] = "x"
    [said] = mistakes(instance, config)
    assert wrong in said


class Google:
    """What Google is asked for machines, in Google's own library; each request is granted."""

    def __init__(self) -> None:
        from google.auth.credentials import AnonymousCredentials
        from googleapiclient import discovery
        from googleapiclient.http import HttpMock

        self.inserted: list[dict[str, Any]] = []
        http = HttpMock(headers={"status": "200"})
        http.credentials = AnonymousCredentials()
        self.compute = discovery.build(
            "compute", "v1", http=http, static_discovery=True, requestBuilder=self._request
        )

    def _request(self, http: Any, postproc: Any, uri: str, method: str, body: Any = None, **more: Any) -> Any:  # noqa: ARG002
        if more["methodId"] == "compute.instances.insert":
            self.inserted.append(json.loads(body))
        answer = {"name": "operation", "status": "DONE", "items": []}

        class Granted:
            def execute(self, **named: Any) -> dict[str, Any]:  # noqa: ARG002
                return answer

        return Granted()


def test_machines_are_asked_for_as_the_file_says(
    instance: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.autoscaler._private.gcp import node_provider

    google = Google()
    monkeypatch.setattr(
        node_provider, "construct_clients_from_provider_config", lambda _: (None, None, google.compute, None)
    )
    provider = node_provider.GCPNodeProvider(VALUES["provider"], VALUES["cluster_name"])
    for kind, count in (("head", 1), ("worker", 2)):
        config = TYPES["head" if kind == "head" else "gpu"]["node_config"]
        name = f"ray-{VALUES['cluster_name']}-{kind}"
        provider.create_node(config, {"ray-node-type": kind, "ray-node-name": name}, count)
    head, *workers = google.inserted
    assert len(workers) == 2
    for machine in google.inserted:
        assert mistakes(instance, machine) == []
        assert machine["name"].startswith("ray-ablate-"), "what the head's rights hang on"
        assert machine["labels"]["project"] == "ablate"
        assert machine["disks"][0]["autoDelete"] is True
    assert "scheduling" not in head
    assert workers[0]["scheduling"]["provisioningModel"] == "SPOT"
    assert workers[0]["scheduling"]["instanceTerminationAction"] == "DELETE", "a stopped one's disk costs on"


def test_nodes_carry_accounts_of_ours_and_a_key_of_their_own() -> None:
    for kind, name in (("head", "ablate-head"), ("gpu", "ablate-worker")):
        config = TYPES[kind]["node_config"]
        [account] = config["serviceAccounts"]
        assert account["email"] == f"{name}@{PROJECT}.iam.gserviceaccount.com"
        given = {item["key"]: item["value"] for item in config["metadata"]["items"]}
        assert given["ssh-keys"].startswith(f"{VALUES['auth']['ssh_user']}:")
        assert given["block-project-ssh-keys"] == "true"
        assert config["tags"] == {"items": ["ablate"]}
    assert "ssh_private_key" in VALUES["auth"], "else Ray makes a key for all machines of the project"


def test_zone_and_region_are_the_same_wherever_they_are_said() -> None:
    region, zone = VALUES["provider"]["region"], VALUES["provider"]["availability_zone"]
    assert zone.startswith(f"{region}-")
    for kind in TYPES.values():
        config = kind["node_config"]
        assert f"/zones/{zone}/" in config["disks"][0]["initializeParams"]["diskType"]
        assert f"/regions/{region}/" in config["networkInterfaces"][0]["subnetwork"]


def test_nodes_know_the_token_and_when_they_are_to_go() -> None:
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "RAY_AUTH_MODE=token" in VALUES[key][-1]
        assert "0.0.0.0" not in VALUES[key][-1]
    assert "ABLATE_PREEMPTION=gcp" in VALUES["worker_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in VALUES["head_start_ray_commands"][-1]
    assert TYPES["head"]["resources"]["CPU"] == 0
    assert VALUES["provider"]["cache_stopped_nodes"] is False
    for here in VALUES["file_mounts"].values():
        assert here.startswith("~") or (ROOT / here).exists()


def account(
    tmp_path: Path, *words: str, there: str = ""
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """What gcp-account.sh does with these words where ``there`` exists already: the calls of gcloud that
    change something."""
    program = tmp_path / "gcloud"
    program.write_text(GCLOUD)
    program.chmod(0o755)
    calls = tmp_path / "calls"
    calls.unlink(missing_ok=True)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "FAKE_GCLOUD_CALLS": str(calls),
        "FAKE_GCLOUD_THERE": there,
    }
    done = subprocess.run([ACCOUNT, *words], env=environment, capture_output=True, text=True, check=False)
    lines = calls.read_text().splitlines() if calls.exists() else []
    return done, [line.split(maxsplit=3)[3] for line in lines if " describe " not in line]


def test_the_account_gets_a_closed_network_and_narrow_identities(tmp_path: Path) -> None:
    done, calls = account(tmp_path, "mine", "us-central1", "my-sweeps", "203.0.113.7/32")
    assert done.returncode == 0, done.stderr
    [ssh] = [call for call in calls if "firewall-rules create ablate-ssh" in call]
    assert "--allow tcp:22 --source-ranges 203.0.113.7/32" in ssh
    worker = [call for call in calls if "--member serviceAccount:ablate-worker@" in call]
    assert [call.split()[:4] for call in worker] == [
        ["storage", "buckets", "add-iam-policy-binding", "gs://my-sweeps"]
    ]
    [named] = [call for call in calls if "roles/ablateWorkers" in call and "add-iam-policy-binding" in call]
    assert 'startsWith("ray-ablate-")' in named
    assert any(call.startswith("iam service-accounts disable ray-autoscaler-sa-v1@") for call in calls)
    granted = [call for call in calls if call.startswith("iam roles create")]
    assert granted
    assert not any("*" in call or "setIamPolicy" in call for call in granted)
    assert TYPES["gpu"]["node_config"]["disks"][0]["initializeParams"]["labels"]
    assert any("compute.disks.setLabels" in call for call in granted), "the head makes disks that have labels"


def test_run_again_it_makes_nothing_twice_but_moves_the_address(tmp_path: Path) -> None:
    there = "ablate my-sweeps ray-autoscaler"
    _, calls = account(tmp_path, "mine", "us-central1", "my-sweeps", "198.51.100.1/32", there=there)
    assert not [call for call in calls if " create " in call]
    assert "compute firewall-rules update ablate-ssh --source-ranges 198.51.100.1/32" in calls


def test_an_address_that_is_open_to_many_is_refused(tmp_path: Path) -> None:
    done, calls = account(tmp_path, "mine", "us-central1", "my-sweeps", "0.0.0.0/0")
    assert done.returncode == 1
    assert "ADDRESS is '0.0.0.0/0'" in done.stderr
    assert calls == []


def test_what_it_made_it_removes_but_not_the_results_and_the_roles(tmp_path: Path) -> None:
    _, made = account(tmp_path, "mine", "us-central1", "my-sweeps", "203.0.113.7/32")
    _, removed = account(tmp_path, "--remove", "mine", "us-central1", there="projects ablate autoscaler")
    gone = " ".join(removed)
    for call in made:
        words = call.split()
        if "create" in words and not {"storage", "roles"} & set(words):
            assert words[words.index("create") + 1] in gone, call
    assert not any("storage" in call or "roles" in call for call in removed)


def test_nothing_is_taken_for_removed_in_a_project_that_cannot_be_seen(tmp_path: Path) -> None:
    done, removed = account(tmp_path, "--remove", "mine", "us-central1", there="ablate")
    assert done.returncode == 1
    assert "project mine cannot be seen" in done.stderr
    assert removed == []


def test_a_removal_that_was_cut_short_goes_on(tmp_path: Path) -> None:
    done, removed = account(tmp_path, "--remove", "mine", "us-central1", there="projects ablate-worker")
    assert done.returncode == 0, done.stderr
    assert [call.split("@")[0] for call in removed] == ["iam service-accounts delete ablate-worker"]
