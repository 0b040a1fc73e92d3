"""The image and the cloud launcher's configuration say what they have to: locked, closed, and without secrets."""

import fnmatch
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import ray.autoscaler
import yaml
from commands import REPOSITORY
from jsonschema import Draft7Validator

DOCKERFILE = REPOSITORY / "cluster" / "docker" / "Dockerfile"
LAUNCHER = REPOSITORY / "cluster" / "aws" / "ray-cluster.yaml"
SECRET = re.compile("PASSWORD|SECRET|CREDENTIAL|API_KEY|ACCESS_KEY|TOKEN$")
"""In the name of a variable that would hold one; RAY_AUTH_TOKEN_PATH holds a path."""
EVERYWHERE = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}
"""In the environment of every Ray node, however it came up."""


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """(instruction, its arguments) of the Dockerfile."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in whole.splitlines() if line)]


@pytest.fixture(scope="module")
def launcher() -> dict[str, Any]:
    return yaml.safe_load(LAUNCHER.read_text())


def test_the_image_has_the_python_of_the_project_and_its_lock(instructions: list[tuple[str, str]]) -> None:
    (base,) = [rest for word, rest in instructions if word == "ARG" and rest.startswith("BASE=")]
    wanted = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    version = wanted["tool"]["pyright"]["pythonVersion"]
    assert base.startswith(f"BASE=python:{version}-")
    assert f"Python {version}" in (REPOSITORY / "constraints.txt").read_text().splitlines()[0]
    installs = [rest for word, rest in instructions if word == "RUN" and "pip install" in rest]
    for command in " && ".join(installs).split("&&"):
        if "pip install" in command:
            locked = ("--constraint constraints.txt", "constraints.txt)", "--no-deps")
            assert any(how in command for how in locked), command


def test_the_image_runs_as_nobody_in_particular(instructions: list[tuple[str, str]]) -> None:
    users = [rest for word, rest in instructions if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    last = max(number for number, (word, _) in enumerate(instructions) if word == "USER")
    assert all(word in ("RUN", "CMD") for word, _ in instructions[last + 1 :])


def test_the_image_takes_nothing_from_elsewhere_and_keeps_no_secret(instructions: list[tuple[str, str]]) -> None:
    assert "ADD" not in {word for word, _ in instructions}
    variables = [rest.partition("=")[0] for word, rest in instructions if word == "ARG"]
    environment: dict[str, str] = {}
    for word, rest in instructions:
        if word == "ENV":
            environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
    assert not [name for name in (*variables, *environment) if SECRET.search(name)]
    assert environment.items() >= EVERYWHERE.items()
    assert not re.search(r"https?://", DOCKERFILE.read_text())


def test_only_what_is_named_reaches_the_builder() -> None:
    patterns = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] not in ("#", "")]
    assert patterns[0] == "*"
    named = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    assert all((REPOSITORY / name).exists() for name in named)
    for kept_out in (".git", ".venv", "runs", "tests", "secrets.env"):
        assert not any(fnmatch.fnmatch(kept_out, name) for name in named)


def test_the_launcher_takes_its_configuration(launcher: dict[str, Any]) -> None:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    validator = Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(launcher)] == []
    misspelt = launcher | {"max_worker": 1}
    assert ["max_worker" in error.message for error in validator.iter_errors(misspelt)] == [True]


def test_no_node_of_the_launcher_is_seen_from_outside(launcher: dict[str, Any]) -> None:
    assert launcher["provider"]["use_internal_ips"] is True
    for name, kind in launcher["available_node_types"].items():
        node = kind["node_config"]
        assert node["SubnetIds"], name
        assert node["SecurityGroupIds"], name
        assert set(node["IamInstanceProfile"]) == {"Name"}, name  # a role, and no keys
        assert node["MetadataOptions"]["HttpTokens"] == "required", name
        assert all(disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"]), name
    assert launcher["available_node_types"]["gpu"]["max_workers"] <= launcher["max_workers"]
    (head,) = [command for command in launcher["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in head


def test_every_node_of_the_launcher_has_the_environment(launcher: dict[str, Any]) -> None:
    (file,) = [command for command in launcher["setup_commands"] if command.startswith("cat > ~/ndm.env")]
    exported = dict(re.findall(r"(\w+)=(\S+)", file))
    assert exported.items() >= EVERYWHERE.items()
    assert {"RAY_AUTH_TOKEN_PATH", "NDM_ROOT", "NDM_STORE", "MLFLOW_TRACKING_URI"} <= {*exported}
    assert not [name for name in exported if SECRET.search(name)]
    assert exported["RAY_enable_metrics_collection"] == "0"
    assert exported["DASHBOARD_METRIC_PORT"] == exported["AUTOSCALER_METRIC_PORT"] == "-1"
    for command in (*launcher["head_start_ray_commands"], *launcher["worker_start_ray_commands"]):
        assert command.startswith(". ~/ndm.env && ")
    assert any("-c ~/ndm/constraints.txt" in command for command in launcher["setup_commands"])
