"""clusters/aws-gpu.yaml and aws-account.yaml, up to the machines that `ray up` and the autoscaler ask for.

EC2, IAM and CloudFormation are moto's, on loopback. No machine ever answers there, so that nothing after the
launch is tested.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import boto3
import pytest
import yaml
from moto.moto_api import recorder
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).parents[2]
FILE, ACCOUNT = ROOT / "clusters" / "aws-gpu.yaml", ROOT / "clusters" / "aws-account.yaml"
VALUES: dict[str, Any] = yaml.safe_load(FILE.read_text())
REGION = VALUES["provider"]["region"]
ADDRESS, BUCKET = "203.0.113.7/32", "my-sweeps"
PATIENCE = 100  # seconds for `ray up` to ask for its head; it takes a few

Call = dict[str, str]  # parameters of a request to EC2 or IAM, among them its Action


@dataclass
class Account:
    """The mocked account with the stack of aws-account.yaml, and what `ray up` did there."""

    home: Path
    outputs: dict[str, str]
    calls: list[Call]  # of `ray up`
    config: dict[str, Any]  # the file as `ray up` completed it, which the autoscaler works by

    def of(self, action: str) -> list[Call]:
        return [call for call in self.calls if call.get("Action") == action]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    pytest.importorskip("openapi_spec_validator", reason="moto's CloudFormation needs moto[cloudformation]")
    folder = tmp_path_factory.mktemp("aws")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "_location", str(folder / "calls"))
        server.start()
        host, port = server.get_host_and_port()
        for name, value in environment(folder, f"http://{host}:{port}").items():
            patch.setenv(name, value)
        try:
            outputs = deploy()
            recorder.start_recording()
            config = ray_up(folder, outputs)
            yield Account(folder / "home", outputs, recorded(folder / "calls"), config)
        finally:
            recorder.stop_recording()
            server.stop()


def environment(folder: Path, endpoint: str) -> dict[str, str]:
    """In which the AWS libraries speak to the mock, and no program `ssh` reaches anybody."""
    for part in ("home/.ray", "bin", "tmp"):
        (folder / part).mkdir(parents=True)
    (folder / "home/.ray/auth_token").write_text("f00d" * 16)
    for program in ("ssh", "rsync"):
        (folder / "bin" / program).write_text("#!/bin/sh\nexit 255\n")
        (folder / "bin" / program).chmod(0o755)
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),  # where Ray keeps the completed file
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def deploy() -> dict[str, str]:
    vpcs = boto3.client("ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])
    given = {"Address": ADDRESS, "Vpc": vpcs["Vpcs"][0]["VpcId"], "BucketName": BUCKET}
    cloud = boto3.client("cloudformation")
    cloud.create_stack(
        StackName="ablate",
        TemplateBody=ACCOUNT.read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    [stack] = cloud.describe_stacks(StackName="ablate")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def ray_up(folder: Path, outputs: dict[str, str]) -> dict[str, Any]:
    """Run `ray up` until it has launched the head, for which it would wait. Returns the completed file."""
    file = folder / "aws-gpu.yaml"
    file.write_text(FILE.read_text().replace("sg-00000000000000000", outputs["SecurityGroup"]))
    command = [str(Path(sys.executable).with_name("ray")), "up", "--yes", str(file)]
    said = folder / "ray-up.log"
    with said.open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not boto3.client("ec2").describe_instances()["Reservations"]:
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    [completed] = (folder / "tmp").glob("ray-config-*")
    config: dict[str, Any] = json.loads(completed.read_text())["config"]
    return config


def recorded(file: Path) -> list[Call]:
    bodies = (base64.b64decode(json.loads(line)["body"] or "") for line in file.read_text().splitlines())
    return [dict(parse_qsl(body.decode(errors="replace"))) for body in bodies]


def listed(call: Call, prefix: str) -> dict[str, str]:
    """The tags in a request: of each ``<prefix>.N.Key`` its value."""
    keys = {name: value for name, value in call.items() if name.startswith(prefix) and name.endswith(".Key")}
    return {key: call[f"{name.removesuffix('Key')}Value"] for name, key in keys.items()}


def check_machine(call: Call, account: Account) -> None:
    """What holds for every node."""
    assert call["SecurityGroupId.1"] == account.outputs["SecurityGroup"]
    assert "SecurityGroupId.2" not in call
    assert call["MetadataOptions.HttpTokens"] == "required"
    assert call["MetadataOptions.HttpPutResponseHopLimit"] == "1"
    assert call["BlockDeviceMapping.1.Ebs.Encrypted"] == "true"
    assert call["BlockDeviceMapping.1.Ebs.DeleteOnTermination"] == "true"
    assert "BlockDeviceMapping.2.DeviceName" not in call
    assert call["ImageId"].startswith("resolve:ssm:/aws/service/deeplearning/ami/x86_64/")
    kinds = {name: value for name, value in call.items() if name.endswith(".ResourceType")}
    assert set(kinds.values()) == {"instance", "volume"}
    for name in kinds:
        tags = listed(call, name.removesuffix("ResourceType"))
        assert tags["Project"] == "ablate"
        assert "Owner" in tags


def test_cloudformation_takes_the_template_and_no_typo() -> None:
    pytest.importorskip("cfnlint", reason="AWS's schemas come with cfn-lint, by moto[cloudformation]")
    from cfnlint.api import lint

    text = ACCOUNT.read_text()
    assert lint(text, regions=[REGION]) == []
    [said] = lint(text.replace("SecurityGroupIngress:", "SecurityGroupIngres:"), regions=[REGION])
    assert "SecurityGroupIngres" in said.message


def test_ray_takes_the_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    whole = prepare_config(yaml.safe_load(FILE.read_text()))
    validate_config(whole)
    assert whole["available_node_types"]["gpu"]["min_workers"] == 0
    assert whole["available_node_types"]["head"]["max_workers"] == 0
    assert whole["provider"]["cache_stopped_nodes"] is False, "a stopped machine's disk costs on"
    assert whole["docker"] == {}
    assert whole["head_setup_commands"] == whole["worker_setup_commands"] == VALUES["setup_commands"]


def test_the_head_is_launched_on_demand_as_the_file_says(account: Account) -> None:
    [call] = account.of("RunInstances")
    check_machine(call, account)
    assert call["InstanceType"] == VALUES["available_node_types"]["head"]["node_config"]["InstanceType"]
    assert call["IamInstanceProfile.Name"] == "ablate-head"
    assert call["MaxCount"] == "1"
    assert not any(name.startswith("InstanceMarketOptions") for name in call)
    tags = listed(call, "TagSpecification.1.")
    assert tags["ray-cluster-name"] == "ablate-gpu"
    assert tags["ray-node-type"] == "head"


def test_ray_up_makes_nothing_else_but_a_key(account: Account) -> None:
    made = [c["Action"] for c in account.calls if "Action" in c and not c["Action"].startswith("Describe")]
    assert set(made) <= {"CreateKeyPair", "RunInstances", "CreateTags"}
    [key] = account.of("CreateKeyPair")
    file = account.home / ".ssh" / f"{key['KeyName']}.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_workers_are_launched_at_spot_prices_as_workers(account: Account) -> None:
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.aws.utils import client_cache, resource_cache

    before = len(recorded(Path(recorder._location)))
    provider = AWSNodeProvider(account.config["provider"], account.config["cluster_name"])
    tags = {
        "ray-node-type": "worker",
        "ray-user-node-type": "gpu",
        "ray-node-name": "ray-ablate-gpu-worker",
        "ray-launch-config": "hash",
        "ray-node-status": "uninitialized",
    }
    made = provider.create_node(account.config["available_node_types"]["gpu"]["node_config"], tags, 2)
    calls = recorded(Path(recorder._location))[before:]
    [call] = [call for call in calls if call.get("Action") == "RunInstances"]
    check_machine(call, account)
    assert call["InstanceType"] == VALUES["available_node_types"]["gpu"]["node_config"]["InstanceType"]
    assert call["IamInstanceProfile.Name"] == "ablate-worker"
    assert call["MaxCount"] == "2"
    assert call["InstanceMarketOptions.MarketType"] == "spot"
    assert call["InstanceMarketOptions.SpotOptions.SpotInstanceType"] == "one-time"
    assert call["InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior"] == "terminate"

    provider.terminate_nodes(list(made))
    left = boto3.client("ec2").describe_instances(InstanceIds=list(made))["Reservations"]
    states = {instance["State"]["Name"] for reservation in left for instance in reservation["Instances"]}
    assert states <= {"shutting-down", "terminated"}
    for cache in (client_cache, resource_cache):  # they would speak to this mock for ever
        cache.cache_clear()


def test_the_number_of_cpus_and_gpus_is_known_but_for_the_head_that_has_none(account: Account) -> None:
    types = account.config["available_node_types"]
    assert types["head"]["resources"]["CPU"] == 0
    assert types["gpu"]["resources"]["GPU"] == 1
    assert types["gpu"]["resources"]["CPU"] > 0


def test_ssh_is_open_to_one_address_and_all_else_to_the_nodes(account: Account) -> None:
    group = account.outputs["SecurityGroup"]
    [found] = boto3.client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"]
    outside = [rule for rule in found["IpPermissions"] if rule["IpRanges"] or rule.get("Ipv6Ranges")]
    [ssh] = outside
    assert (ssh["IpProtocol"], ssh["FromPort"], ssh["ToPort"]) == ("tcp", 22, 22)
    assert [network["CidrIp"] for network in ssh["IpRanges"]] == [ADDRESS]
    [among] = [rule for rule in found["IpPermissions"] if rule["UserIdGroupPairs"]]
    assert among["IpProtocol"] == "-1"
    assert [pair["GroupId"] for pair in among["UserIdGroupPairs"]] == [group]


def test_why_the_group_is_named_rays_own_would_be_open_to_all() -> None:
    from ray.autoscaler._private.aws.config import _create_default_inbound_rules

    ours = {"FromPort": 22, "ToPort": 22, "IpProtocol": "tcp", "IpRanges": [{"CidrIp": ADDRESS}]}
    rules = _create_default_inbound_rules({"sg-1"}, [ours])
    assert {"CidrIp": "0.0.0.0/0"} in [network for rule in rules for network in rule.get("IpRanges", [])]


def statements(role: str) -> list[dict[str, Any]]:
    """All that a role may do."""
    iam = boto3.client("iam")
    found: list[dict[str, Any]] = []
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == []
    for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        policy = iam.get_policy(PolicyArn=attached["PolicyArn"])["Policy"]
        version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])
        document = version["PolicyVersion"]["Document"]
        found += (document if isinstance(document, dict) else json.loads(document))["Statement"]
    return found


def many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_a_worker_may_use_the_bucket_and_nothing_else(account: Account) -> None:  # noqa: ARG001
    allowed = statements("ablate-worker")
    assert allowed
    for statement in allowed:
        assert statement["Effect"] == "Allow"
        for action in many(statement["Action"]):
            assert action.startswith("s3:")
            assert "*" not in action
        for resource in many(statement["Resource"]):
            assert resource in (f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*")


def test_the_head_may_launch_workers_and_end_what_is_tagged_as_ours(account: Account) -> None:
    allowed = statements("ablate-head")
    for statement in allowed:
        assert not any("*" in action for action in many(statement["Action"]))
        if "*" in many(statement["Resource"]):
            assert all(action.startswith("ec2:Describe") for action in many(statement["Action"]))
    by_name = {statement["Sid"]: statement for statement in allowed if "Sid" in statement}
    worker = boto3.client("iam").get_role(RoleName="ablate-worker")["Role"]["Arn"]
    [passing] = [statement for statement in allowed if "iam:PassRole" in many(statement["Action"])]
    assert many(passing["Resource"]) == [worker]
    assert by_name["LaunchTagged"]["Condition"] == {"StringEquals": {"aws:RequestTag/Project": "ablate"}}
    assert by_name["KeepOwn"]["Condition"] == {"StringEquals": {"ec2:ResourceTag/Project": "ablate"}}
    groups = [r for r in by_name["LaunchHere"]["Resource"] if ":security-group/" in r]
    assert [group.rpartition("/")[2] for group in groups] == [account.outputs["SecurityGroup"]]
    [image] = [s for s in allowed if "ssm:GetParameters" in many(s["Action"])]
    named = VALUES["available_node_types"]["gpu"]["node_config"]["ImageId"].removeprefix("resolve:ssm:")
    assert fnmatchcase(f"arn:aws:ssm:{REGION}::parameter{named}", image["Resource"])


def test_the_bucket_is_there_closed_to_the_public_and_outlives_the_stack(account: Account) -> None:
    assert account.outputs["Storage"] == f"s3://{BUCKET}"
    boto3.client("s3").head_bucket(Bucket=BUCKET)
    bucket = yaml.safe_load(ACCOUNT.read_text())["Resources"]["Sweeps"]
    assert bucket["DeletionPolicy"] == "Retain"
    closed = bucket["Properties"]["PublicAccessBlockConfiguration"]  # which moto leaves out
    assert closed == dict.fromkeys(
        ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
    )


def test_nodes_know_the_token_where_the_bucket_is_and_when_they_are_to_go() -> None:
    for key, more in (
        ("head_start_ray_commands", ""),
        ("worker_start_ray_commands", "ABLATE_PREEMPTION=aws"),
    ):
        start = VALUES[key][-1]
        assert "RAY_AUTH_MODE=token" in start
        assert f"AWS_REGION={REGION}" in start
        assert more in start
        assert "0.0.0.0" not in start
    assert "--dashboard-host=127.0.0.1" in VALUES["head_start_ray_commands"][-1]
    assert VALUES["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for here in VALUES["file_mounts"].values():
        assert here.startswith("~") or (ROOT / here).exists()
