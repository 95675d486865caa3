"""The manifests as kustomize makes them are valid, and a restricted namespace refuses none of them."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from platform_assets.build import build_defs
from platform_assets.settings import load_settings
from platform_assets_tests.deploy.test_profiles import PLACES
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.integration.installation import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
NOT_OF_KUBERNETES = {"ExternalSecret", "SecretStore"}


@cache
def manifests() -> list[dict[str, Any]]:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    command = [program, "kustomize", str(FOLDER / "overlays" / "example")]
    made = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    return list(yaml.safe_load_all(made.stdout))


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for manifest in manifests():
        if manifest["kind"] == "Deployment":
            yield manifest["metadata"]["name"], manifest["spec"]["template"]
        if manifest["kind"] == "CronJob":
            yield manifest["metadata"]["name"], manifest["spec"]["jobTemplate"]["spec"]["template"]


def named(kind: str, name: str) -> dict[str, Any]:
    return next(
        manifest
        for manifest in manifests()
        if manifest["kind"] == kind and manifest["metadata"]["name"] == name
    )


def refuse_lax_pod(pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]


def test_every_manifest_has_the_form_that_the_api_declares() -> None:
    for manifest in manifests():
        if manifest["kind"] not in NOT_OF_KUBERNETES:
            kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    assert Counter(manifest["kind"] for manifest in manifests()) == {
        "Namespace": 1,
        "ServiceAccount": 4,
        "Role": 1,
        "RoleBinding": 1,
        "ConfigMap": 2,
        "Service": 2,
        "Deployment": 3,
        "PodDisruptionBudget": 1,
        "CronJob": 1,
        "NetworkPolicy": 6,
        "ExternalSecret": 1,
        "SecretStore": 1,
    }


def test_pods_run_without_rights_and_with_limits_and_probes() -> None:
    found = dict(pods())
    assert set(found) == {"webserver", "daemon", "code", "upkeep"}
    for name, pod in found.items():
        refuse_lax_pod(pod)
        (container,) = pod["spec"]["containers"]
        assert container["image"] == "registry.example.org/platform_assets:0.1.0"
        if name != "upkeep":
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
    # Only what launches runs may speak to the cluster.
    assert {name for name, pod in found.items() if pod["spec"]["automountServiceAccountToken"]} == {
        "webserver",
        "daemon",
    }


def test_selectors_ports_maps_and_accounts_exist() -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in pods()}
    for name in ("webserver", "code"):
        service = named("Service", name)
        assert service["spec"]["selector"].items() <= labels[name].items()
        (container,) = dict(pods())[name]["spec"]["containers"]
        assert {one["name"] for one in container["ports"]} == {
            one["targetPort"] for one in service["spec"]["ports"]
        }
    accounts = {
        manifest["metadata"]["name"] for manifest in manifests() if manifest["kind"] == "ServiceAccount"
    }
    maps = {manifest["metadata"]["name"] for manifest in manifests() if manifest["kind"] == "ConfigMap"}
    for _, pod in pods():
        assert pod["spec"]["serviceAccountName"] in accounts
        sources = pod["spec"]["containers"][0]["envFrom"]
        assert {source["configMapRef"]["name"] for source in sources if "configMapRef" in source} <= maps
    secret = named("ExternalSecret", "platform")["spec"]
    assert secret["secretStoreRef"]["name"] == named("SecretStore", "platform")["metadata"]["name"]
    environment = named("ConfigMap", "platform")["data"]
    assert environment["PLATFORM_NAMESPACE"] == named("Namespace", "platform")["metadata"]["name"]
    assert environment["PLATFORM_DAGSTER_CONFIG_MAP"] in maps


def test_the_environment_of_the_pods_is_all_that_the_profile_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {**named("ConfigMap", "platform")["data"]}
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        if name not in ("HOME", "DAGSTER_HOME", "PLATFORM_CONFIG"):
            monkeypatch.setenv(name, value)
    assert given["PLATFORM_CONFIG"] == "/opt/platform/config/kubernetes.conf"
    settings = load_settings(ROOT / "config" / "kubernetes.conf")
    secrets = {one["secretKey"] for one in named("ExternalSecret", "platform")["spec"]["data"]}
    needed = {str(secret).removeprefix("secret://env/") for secret in settings.secrets()}
    assert needed | {"DAGSTER_PG_PASSWORD"} == secrets


def test_the_pod_of_a_run_is_valid_and_takes_what_its_job_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import (
        DagsterK8sJobConfig,
        UserDefinedDagsterK8sConfig,
        construct_dagster_k8s_job,
        get_user_defined_k8s_config,
    )

    for name, value in PLACES.items():
        monkeypatch.setenv(name, value)
    defs = build_defs(load_settings(ROOT / "config" / "kubernetes.conf"))
    launcher = yaml.safe_load((FOLDER / "base" / "dagster.yaml").read_text())["run_launcher"]["config"]
    memory = {}
    for name in ("totesys_to_warehouse", "lake_upkeep", "freshness_checks_job"):
        tags = defs.resolve_job_def(name).run_tags
        context = K8sContainerContext(
            run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(launcher["run_k8s_config"])
        ).merge(K8sContainerContext(run_k8s_config=get_user_defined_k8s_config(tags)))
        job = construct_dagster_k8s_job(
            DagsterK8sJobConfig(
                job_image="registry.example.org/platform_assets:0.1.0",
                dagster_home=launcher["dagster_home"],
                instance_config_map="platform-dagster",
                service_account_name=launcher["service_account_name"],
                env_config_maps=launcher["env_config_maps"],
                env_secrets=launcher["env_secrets"],
            ),
            args=["dagster", "api", "execute_run"],
            job_name="run",
            user_defined_k8s_config=context.run_k8s_config,
            component="run_worker",
        )
        from kubernetes.client import ApiClient

        made = ApiClient().sanitize_for_serialization(job)
        kubernetes_validate.validate(made, kubernetes_validate.latest_version(), strict=True)
        refuse_lax_pod(made["spec"]["template"])
        (container,) = made["spec"]["template"]["spec"]["containers"]
        memory[name] = container["resources"]["limits"]["memory"]
    assert memory == {
        "totesys_to_warehouse": "2048Mi",
        "lake_upkeep": "2048Mi",
        "freshness_checks_job": "768Mi",
    }
