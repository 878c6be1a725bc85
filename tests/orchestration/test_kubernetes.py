"""deploy/kubernetes as far as it can be tried without a cluster: the pod of a run, and the image file."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from seqpricing_dagster.project import REPOSITORY

FOLDER = REPOSITORY / "deploy/kubernetes"


def laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Values as Helm merges them."""
    merged = copy.deepcopy(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = laid_over(merged[key], value) if both else copy.deepcopy(value)
    return merged


def values(*names: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name in names:
        merged = laid_over(merged, yaml.safe_load((FOLDER / name).read_text()))
    return merged


@pytest.fixture(params=["values.yaml", "values-gpu.yaml"])
def chart_values(request: pytest.FixtureRequest) -> dict[str, Any]:
    return values("values.yaml", *([request.param] if request.param != "values.yaml" else []))


def run_job(chart_values: dict[str, Any]) -> dict[str, Any]:
    """What Dagster's own launcher makes of these values, as the chart passes them on."""
    job = pytest.importorskip("dagster_k8s.job", reason="pip install 'seqpricing[kubernetes]'")
    from kubernetes.client import ApiClient

    launcher = chart_values["runLauncher"]["config"]["k8sRunLauncher"]
    deployment = chart_values["dagster-user-deployments"]["deployments"][0]
    raw = launcher["runK8sConfig"]
    config = job.UserDefinedDagsterK8sConfig.from_dict(
        {
            "container_config": {
                "resources": launcher["resources"],
                "security_context": launcher["securityContext"],
                "env": deployment["env"],
                "env_from": [{"secret_ref": {"name": one["name"]}} for one in deployment["envSecrets"]],
                "volume_mounts": deployment["volumeMounts"],
            },
            "pod_template_spec_metadata": {"labels": launcher["labels"]},
            "pod_spec_config": raw["podSpecConfig"]
            | {"volumes": deployment["volumes"], "security_context": deployment["podSecurityContext"]},
            "job_spec_config": raw["jobSpecConfig"],
        }
    )
    image = deployment["image"]
    manifest = job.construct_dagster_k8s_job(
        job.DagsterK8sJobConfig(
            job_image=f"{image['repository']}:{image['tag']}",
            dagster_home=chart_values["global"]["dagsterHome"],
            image_pull_policy=launcher["imagePullPolicy"],
            instance_config_map="dagster-instance",
            postgres_password_secret=chart_values["global"]["postgresqlSecretName"],
        ),
        args=["dagster", "api", "execute_run"],
        job_name="dagster-run",
        user_defined_k8s_config=config,
    )
    return ApiClient().sanitize_for_serialization(manifest)


@pytest.mark.integration
def test_the_pod_of_a_run_is_valid_and_without_rights(chart_values: dict[str, Any]) -> None:
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="pip install 'seqpricing[exercise]'"
    )
    manifest = run_job(chart_values)
    kubernetes_validate.validate(manifest, "1.33", strict=True)
    pod = manifest["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    gpu = "nvidia.com/gpu" in container["resources"]["limits"]
    assert gpu == ("tolerations" in pod) == ("nodeSelector" in pod)
    secrets = {name["name"] for name in container["env"] if "value" in name and "SECRET" in name["name"]}
    assert not secrets, "secrets come by reference"
    assert {"secretRef": {"name": "seqpricing-store"}} in container["envFrom"]


def test_nothing_is_open_and_no_secret_is_written(chart_values: dict[str, Any]) -> None:
    assert chart_values["telemetry"] == {"enabled": False}
    assert chart_values["ingress"] == {"enabled": False}
    assert chart_values["dagsterWebserver"]["enableReadOnly"]
    assert not chart_values["generatePostgresqlPasswordSecret"]
    assert "postgresqlPassword" not in chart_values["postgresql"]
    assert not re.search(r"(?i)(password|secret_access_key)\W+\w{6,}", json.dumps(chart_values))
    for part in ("dagsterWebserver", "dagsterDaemon"):
        assert chart_values[part]["podSecurityContext"]["runAsNonRoot"]
        assert chart_values[part]["image"]["tag"] != "latest"


def test_the_image_is_pinned_in_two_stages_and_not_root() -> None:
    """The linter where it is installed; what it does not know, here."""
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    stages = [line for line in lines if line.startswith("FROM")]
    assert len(stages) == 2
    assert all(re.match(r"FROM python:3\.11\.\d+-slim-\w+", stage) for stage in stages)
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001:10001"]
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY") and "--from" not in line]
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for source in (name.removeprefix("./") for names in copied for name in names):
        assert (REPOSITORY / source).exists(), source
        assert f"!{source}" in ignored, source
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint:
        subprocess.run([hadolint, str(FOLDER / "Dockerfile")], check=True)
