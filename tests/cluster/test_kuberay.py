"""clusters/kuberay.yaml: the operator's schema takes it, without unknown fields, and it is what it says."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.strict_schema import closed, mistakes

ROOT = Path(__file__).parents[2]
SCHEMA = Path(__file__).parent / "schemas" / "kuberay-rayjobs-v1.json.gz"
DOCUMENTS = list(yaml.safe_load_all((ROOT / "clusters" / "kuberay.yaml").read_text()))
[RAYJOB] = [document for document in DOCUMENTS if document["kind"] == "RayJob"]
CLUSTER = RAYJOB["spec"]["rayClusterSpec"]
HEAD = CLUSTER["headGroupSpec"]["template"]["spec"]
[WORKERS] = CLUSTER["workerGroupSpecs"]
WORKER = WORKERS["template"]["spec"]
SUBMITTER = RAYJOB["spec"]["submitterPodTemplate"]["spec"]
OURS = {"app.kubernetes.io/part-of": "ablate"}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """Of a RayJob. Its metadata, of which operators' schemas say nothing, are those of a pod's template."""
    known = json.loads(gzip.decompress(SCHEMA.read_bytes()))
    template = known["properties"]["spec"]["properties"]["submitterPodTemplate"]
    known["properties"]["metadata"] = template["properties"]["metadata"]
    return closed(known)


def copied(job: dict[str, Any]) -> dict[str, Any]:
    """With parts of its own where the file refers to one by an anchor."""
    copy: dict[str, Any] = json.loads(json.dumps(job))
    return copy


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for document in DOCUMENTS if document["kind"] == kind]


def test_the_operators_schema_takes_the_rayjob(schema: dict[str, Any]) -> None:
    assert (RAYJOB["apiVersion"], RAYJOB["kind"]) == ("ray.io/v1", "RayJob")
    assert mistakes(schema, RAYJOB) == []


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        ((), "sepc"),
        (("metadata",), "label"),
        (("spec",), "entryPoint"),
        (("spec", "rayClusterSpec"), "enableInTreeAutoscalling"),
        (("spec", "rayClusterSpec", "authOptions"), "secret"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0), "minReplica"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec"), "toleration"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "tolerations", 0), "operater"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0), "resource"),
        (
            ("spec", "submitterPodTemplate", "spec", "containers", 0, "securityContext"),
            "allowPrivilegeEscalate",
        ),
    ],
)
def test_a_typo_is_refused_at_any_depth(schema: dict[str, Any], where: tuple[Any, ...], wrong: str) -> None:
    job = copied(RAYJOB)
    here = job
    for step in where:
        here = here[step]
    here[wrong] = "x"
    [said] = mistakes(schema, job)
    assert wrong in said
    assert said.startswith(".".join(map(str, where)) + ":")


@pytest.mark.parametrize(
    ("key", "value"), [("maxReplicas", "eight"), ("groupName", 1), ("rayStartParams", {"num-gpus": 1})]
)
def test_a_value_of_the_wrong_type_is_refused(schema: dict[str, Any], key: str, value: Any) -> None:
    job = copied(RAYJOB)
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0][key] = value
    [said] = mistakes(schema, job)
    assert key in said


def test_an_amount_may_be_a_number_or_text_but_not_nonsense(schema: dict[str, Any]) -> None:
    for amount, good in [(4, True), ("500m", True), ("four", False)]:
        job = copied(RAYJOB)
        limits = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0][
            "resources"
        ]
        limits["limits"]["cpu"] = amount
        assert (mistakes(schema, job) == []) == good, amount


def test_workers_come_from_none_on_spot_nodes_and_nothing_is_trained_on_the_head() -> None:
    assert CLUSTER["enableInTreeAutoscaling"] is True
    assert (WORKERS["replicas"], WORKERS["minReplicas"]) == (0, 0)
    assert WORKERS["maxReplicas"] > 0
    assert WORKER["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    tolerated = {toleration["key"] for toleration in WORKER["tolerations"]}
    assert {"cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority"} <= tolerated
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "tolerations" not in HEAD
    [term] = HEAD["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert {rule["operator"] for rule in term["matchExpressions"]} == {"DoesNotExist", "NotIn"}


def test_pods_ask_for_no_more_than_they_may_have_and_run_as_an_ordinary_user() -> None:
    [namespace] = of_kind("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in (HEAD, WORKER, SUBMITTER):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
    assert CLUSTER["autoscalerOptions"]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_ray_asks_for_the_token_which_is_not_in_the_file() -> None:
    assert CLUSTER["authOptions"] == {"mode": "token", "secretName": "ablate-token"}
    assert of_kind("Secret") == []


def test_only_the_head_may_speak_to_kubernetes() -> None:
    accounts = {account["metadata"]["name"]: account for account in of_kind("ServiceAccount")}
    assert HEAD["serviceAccountName"] in accounts
    assert accounts[WORKER["serviceAccountName"]]["automountServiceAccountToken"] is False
    assert WORKER["automountServiceAccountToken"] is SUBMITTER["automountServiceAccountToken"] is False
    assert not {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} & {d["kind"] for d in DOCUMENTS}


def test_pods_are_reached_by_each_other_and_the_dashboard_by_the_operator() -> None:
    [policy] = of_kind("NetworkPolicy")
    assert policy["spec"]["podSelector"] == {}, "every pod of the namespace"
    own, operator = policy["spec"]["ingress"]
    assert own == {"from": [{"podSelector": {"matchLabels": OURS}}]}
    assert operator["ports"] == [{"protocol": "TCP", "port": 8265}]
    for template in (CLUSTER["headGroupSpec"], WORKERS):
        assert template["template"]["metadata"]["labels"] == OURS
    assert RAYJOB["spec"]["submitterPodTemplate"]["metadata"]["labels"] == OURS
    assert CLUSTER["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert "enableIngress" not in CLUSTER["headGroupSpec"]
    assert not {"Service", "Ingress"} & {document["kind"] for document in DOCUMENTS}


def test_a_pod_that_has_to_go_has_time_to_save() -> None:
    [container] = WORKER["containers"]
    notice = {variable["name"]: variable["value"] for variable in container["env"]}["ABLATE_PREEMPTION"]
    assert notice.startswith("file:")
    [*_, hook] = container["lifecycle"]["preStop"]["exec"]["command"]
    waits = re.fullmatch(r"echo .* >(\S+); sleep (\d+)", hook)
    assert waits is not None
    assert waits[1] == notice.removeprefix("file:")
    assert int(waits[2]) < WORKER["terminationGracePeriodSeconds"]


def test_everything_is_in_one_namespace_under_one_label() -> None:
    for document in DOCUMENTS:
        assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "ablate"
        if document["kind"] != "Namespace":
            assert document["metadata"]["namespace"] == "ablate"


def test_the_operator_is_told_the_ray_that_the_image_has() -> None:
    assert f"ray=={CLUSTER['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
    dockerfile = (ROOT / "clusters" / "Dockerfile").read_text()
    assert "clusters/setup.sh .venv" in dockerfile
    uid = HEAD["securityContext"]["runAsUser"]
    assert f"--uid {uid}" in dockerfile


def test_one_image_for_all_and_the_sweep_where_its_command_is_looked_for() -> None:
    images = {pod["containers"][0]["image"] for pod in (HEAD, WORKER, SUBMITTER)}
    assert len(images) == 1
    [mount] = HEAD["containers"][0]["volumeMounts"]
    assert RAYJOB["spec"]["entrypoint"] == f"bash {mount['mountPath']}/command"
