"""The manifests of cluster/kubernetes, as kubectl builds them: fields that exist, names that meet, and closed doors.

No cluster is asked. The schemas beside this file hold the fields that are used and forbid every other, so a misspelt
one fails.
"""

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import REPOSITORY
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

FOLDER = REPOSITORY / "cluster" / "kubernetes"
SCHEMAS = Path(__file__).with_name("schemas")
BUILT = ("services", "ray", "job")
RAY = ("RayCluster", "RayJob")
MADE_BY_HAND = {"ray-token", "s3", "mlflow", "mlflow-account", "postgres"}
"""Secrets, which are in no file: docs/cluster/kubernetes.md says how each is made."""
OF_KUBERNETES = {"kube-root-ca.crt"}
"""Config maps that every namespace has."""

Object = dict[str, Any]


@cache
def built(folder: str) -> list[Object]:
    """The objects that `kubectl kustomize` makes of a folder."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    made = subprocess.run(["kubectl", "kustomize", FOLDER / folder], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return list(yaml.safe_load_all(made.stdout))


def objects(*kinds: str) -> list[Object]:
    found = [thing for folder in BUILT for thing in built(folder)]
    return [thing for thing in found if not kinds or thing["kind"] in kinds]


def mistakes(thing: Object) -> list[str]:
    """What the schema of its kind has against it."""
    schemas = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    registry = Registry().with_resources((name, Resource.from_contents(schema)) for name, schema in schemas.items())
    file = "kuberay.json" if thing["kind"] in RAY else "kubernetes.json"
    validator = Draft202012Validator({"$ref": f"{file}#/$defs/{thing['kind']}"}, registry=registry)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(thing)]


def cluster_spec(thing: Object) -> Object:
    return thing["spec"]["rayClusterSpec"] if thing["kind"] == "RayJob" else thing["spec"]


def pods() -> Iterator[tuple[str, Object]]:
    """(name, its template) of all pods."""
    for thing in objects():
        name = f"{thing['kind']} {thing['metadata']['name']}"
        if thing["kind"] in RAY:
            spec = cluster_spec(thing)
            yield f"{name} head", spec["headGroupSpec"]["template"]
            for group in spec["workerGroupSpecs"]:
                yield f"{name} {group['groupName']}", group["template"]
        elif "template" in thing.get("spec", {}):
            yield name, thing["spec"]["template"]


def test_every_field_exists_and_has_its_type() -> None:
    assert {thing["kind"]: mistakes(thing) for thing in objects() if mistakes(thing)} == {}
    assert {"RayCluster", "RayJob", "Deployment", "StatefulSet", "NetworkPolicy"} <= {t["kind"] for t in objects()}


@pytest.mark.parametrize(
    ("kind", "path", "misspelt"),
    [
        ("RayCluster", ["spec", "authOptions"], "modes"),
        ("RayCluster", ["spec", "workerGroupSpecs", 0], "minReplica"),
        ("RayJob", ["spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0], "resource"),
        ("RayJob", ["spec", "deletionStrategy", "deletionRules", 0, "condition"], "ttl"),
        ("Deployment", ["spec", "template", "spec", "containers", 0, "securityContext"], "allowPrivilegeEscalations"),
        ("NetworkPolicy", ["spec"], "policyType"),
    ],
)
def test_a_misspelt_field_is_found(kind: str, path: list[str | int], misspelt: str) -> None:
    thing = copy.deepcopy(objects(kind)[0])
    place: Any = thing
    for step in path:
        place = place[step]
    place[misspelt] = "anything"
    assert any(misspelt in mistake for mistake in mistakes(thing))


def test_workers_are_not_deleted_first_where_an_autoscaler_brings_them_back() -> None:
    (job,) = objects("RayJob")
    assert job["spec"]["deletionStrategy"]["deletionRules"][0]["policy"] == "DeleteWorkers"
    job = copy.deepcopy(job)
    job["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] = True
    assert mistakes(job) != []


def test_every_ray_lets_in_by_token_and_has_it_in_a_file() -> None:
    for thing in objects(*RAY):
        spec = cluster_spec(thing)
        assert spec["authOptions"] == {"mode": "token", "secretName": "ray-token"}
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            (container,) = group["template"]["spec"]["containers"]
            environment = {entry["name"]: entry["value"] for entry in container["env"]}
            assert environment["RAY_AUTH_MODE"] == "token"
            assert environment["RAY_AUTH_TOKEN"] == ""  # or KubeRay puts the token there, for every task to read
            folder = str(Path(environment["RAY_AUTH_TOKEN_PATH"]).parent)
            mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
            assert volumes[mounted[folder]]["secret"]["secretName"] == "ray-token"


def test_every_ray_node_has_the_settings() -> None:
    (settings,) = objects("ConfigMap")
    assert {"NDM_ROOT", "NDM_STORE", "MLFLOW_TRACKING_URI", "RAY_USAGE_STATS_ENABLED"} <= {*settings["data"]}
    assert settings["data"]["AWS_REQUEST_CHECKSUM_CALCULATION"] == "when_required"
    assert settings["data"]["AWS_RESPONSE_CHECKSUM_VALIDATION"] == "when_required"
    for name, pod in pods():
        if pod["metadata"]["labels"]["ndm/part"] == "ray":
            (container,) = pod["spec"]["containers"]
            assert container["envFrom"] == [{"configMapRef": {"name": settings["metadata"]["name"]}}], name


def test_what_is_named_is_there() -> None:
    claims = {claim["metadata"]["name"] for claim in objects("PersistentVolumeClaim")}
    settings = {thing["metadata"]["name"] for thing in objects("ConfigMap")} | OF_KUBERNETES
    labels = {tuple(sorted(pod["metadata"]["labels"].items())) for _, pod in pods()}
    for name, pod in pods():
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        for container in pod["spec"]["containers"]:
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            assert mounts - volumes <= {"data"}, name  # which the claim template of the stateful set makes
    text = "\n".join(yaml.safe_dump(thing) for thing in objects())
    assert set(re.findall(r"secretName: (\S+)", text)) == MADE_BY_HAND
    assert set(re.findall(r"claimName: (\S+)", text)) <= claims
    assert set(re.findall(r"configMapRef:\s+name: (\S+)", text)) | {"kube-root-ca.crt"} == settings
    for thing in objects("Service"):
        assert tuple(sorted(thing["spec"]["selector"].items())) in labels
    for thing in objects("NetworkPolicy"):
        chosen = thing["spec"]["podSelector"].get("matchLabels")
        assert chosen is None or tuple(sorted(chosen.items())) in labels


def test_no_pod_runs_as_root_or_without_limits_or_with_a_way_to_the_api_server() -> None:
    for name, pod in pods():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & {*spec}, name
        for container in spec["containers"]:
            assert {"cpu", "memory"} <= {*container["resources"]["limits"]}, name
            assert {"cpu", "memory"} <= {*container["resources"]["requests"]}, name
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert {"readinessProbe", "livenessProbe"} <= {*container}, name
            assert "api" not in {mount["name"] for mount in container["volumeMounts"]}, name


def test_nothing_is_open_to_the_world() -> None:
    for thing in objects("Service"):
        assert thing["spec"].get("type", "ClusterIP") == "ClusterIP"
    for thing in objects(*RAY):
        assert cluster_spec(thing)["headGroupSpec"]["serviceType"] == "ClusterIP"
    policies = {thing["metadata"]["name"]: thing["spec"] for thing in objects("NetworkPolicy")}
    assert policies["nobody"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    for name, policy in policies.items():
        for rule in policy.get("ingress", []):
            assert rule["from"], name
            assert all(peer["podSelector"]["matchLabels"] for peer in rule["from"]), name
    (database,) = policies["postgres"]["ingress"]
    assert database["from"] == [{"podSelector": {"matchLabels": {"ndm/part": "mlflow"}}}]


def test_no_secret_is_in_a_file_or_in_an_environment() -> None:
    assert objects("Secret") == []
    for name, pod in pods():
        for container in pod["spec"]["containers"]:
            for entry in container.get("env", []):
                assert "valueFrom" not in entry, name
                if re.search("TOKEN|PASSWORD|SECRET|KEY", entry["name"]):
                    assert entry["value"] == "" or entry["value"].startswith("/"), name
