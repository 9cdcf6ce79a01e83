"""The Kubernetes manifests, as kustomize renders them."""

import copy
import re

import kubernetes_validate
import pytest

from prelabel.cli.serve import GRACE_S
from prelabel.launch import workers
from prelabel.server.stopping import NOTICE_S
from prelabel.settings import known_names, load

from .kustomize import REPOSITORY, SECRET, SERVER, VARIANTS, WORKER, manifests


@pytest.fixture(params=VARIANTS)
def rendered(request):
    return manifests(request.param)


def validate(document, version):
    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_kubernetes_takes_every_manifest(rendered, version):
    documents = [one for one in rendered.documents if one["kind"] != "ServiceMonitor"]
    assert len(documents) >= 10
    for document in documents:
        validate(document, version)


def test_kubernetes_takes_the_example_of_a_secret():
    validate(SECRET, "1.37")


def test_a_misspelt_field_is_found():
    deployment = copy.deepcopy(manifests("base").one("Deployment", "prelabel-server"))
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 40
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        validate(deployment, "1.37")


def test_the_example_of_a_secret_is_never_applied():
    assert not any(manifests(variant).of("Secret") for variant in VARIANTS)


def test_every_variable_is_a_setting(rendered):
    names = set(SECRET["stringData"]) | set(rendered.one("ConfigMap")["data"])
    for deployment in rendered.of("Deployment"):
        names |= {one["name"] for one in rendered.container(deployment["metadata"]["name"])["env"]}
    assert names <= known_names()


def test_no_setting_is_given_twice(rendered):
    assert not set(rendered.one("ConfigMap")["data"]) & set(SECRET["stringData"])


@pytest.mark.parametrize("name", ["prelabel-server", "prelabel-worker"])
def test_what_a_pod_names_is_there(rendered, name):
    pod, container = rendered.pod(name), rendered.container(name)
    sources = [(kind, one["name"]) for entry in container["envFrom"] for kind, one in entry.items()]
    settings = rendered.one("ConfigMap")["metadata"]["name"]
    assert sources == [("configMapRef", settings), ("secretRef", SECRET["metadata"]["name"])]
    required = [one for one in container["env"] if "valueFrom" in one]
    assert {one["name"] for one in required} == {"DATABASE_URL", "REDIS_URL"}
    for variable in required:
        reference = variable["valueFrom"]["secretKeyRef"]
        assert reference["name"] == SECRET["metadata"]["name"]
        assert reference["key"] == variable["name"]
        assert reference["key"] in SECRET["stringData"]
    assert rendered.one("ServiceAccount", pod["serviceAccountName"])
    claims = {one["metadata"]["name"] for one in rendered.of("PersistentVolumeClaim")}
    used = [v["persistentVolumeClaim"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert {one["claimName"] for one in used} == claims
    mounts = {one["name"] for one in container["volumeMounts"]}
    assert mounts == {one["name"] for one in pod["volumes"]}


def test_weights_and_data_are_written_where_a_volume_is(rendered):
    settings = rendered.one("ConfigMap")["data"]
    for name in ("prelabel-server", "prelabel-worker"):
        mounts = rendered.container(name)["volumeMounts"]
        written = {one["mountPath"] for one in mounts if not one.get("readOnly")}
        assert written == {settings["MODEL_DIR"], settings["DATA_DIR"], "/tmp"}


@pytest.mark.parametrize("name", ["prelabel-server", "prelabel-worker"])
def test_each_deployment_finds_its_own_pods(rendered, name):
    spec = rendered.one("Deployment", name)["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert labels == {"prelabel-server": SERVER, "prelabel-worker": WORKER}[name]
    assert spec["selector"]["matchLabels"] == labels
    spread = spec["template"]["spec"]["topologySpreadConstraints"]
    assert [one["labelSelector"]["matchLabels"] for one in spread] == [labels] * len(spread)


def test_the_service_leads_to_servers_only(rendered):
    service = rendered.one("Service")["spec"]
    (port,) = service["ports"]
    (container_port,) = rendered.container("prelabel-server")["ports"]
    assert service["selector"] == SERVER
    assert port["targetPort"] == container_port["name"]
    assert str(container_port["containerPort"]) == rendered.one("ConfigMap")["data"]["PORT"]


def test_the_budget_protects_servers_and_never_blocks_a_drain(rendered):
    budget = rendered.one("PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"] == SERVER
    assert budget["maxUnavailable"] == 1


@pytest.mark.parametrize("variant", ["base", "overlays/cpu"])
def test_the_autoscaler_keeps_at_least_the_three_servers(variant):
    rendered = manifests(variant)
    scaler = rendered.one("HorizontalPodAutoscaler")["spec"]
    target = rendered.one("Deployment", scaler["scaleTargetRef"]["name"])
    assert target["metadata"]["name"] == "prelabel-server"
    assert target["spec"]["replicas"] == 3 == scaler["minReplicas"] < scaler["maxReplicas"]
    # A share of what is requested can only be computed where something is.
    assert "cpu" in rendered.container("prelabel-server")["resources"]["requests"]


@pytest.mark.parametrize("variant", ["base", "overlays/cpu"])
@pytest.mark.parametrize("name", ["prelabel-server", "prelabel-worker"])
def test_a_pod_asks_for_what_was_agreed(variant, name):
    assert manifests(variant).container(name)["resources"] == {
        "requests": {"cpu": "1", "memory": "2Gi"},
        "limits": {"cpu": "2", "memory": "4Gi"},
    }


@pytest.mark.parametrize("name", ["prelabel-server", "prelabel-worker"])
def test_pods_keep_to_the_restricted_standard(rendered, name):
    pod, container = rendered.pod(name), rendered.container(name)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not any("hostPath" in volume for volume in pod["volumes"])
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert pod["automountServiceAccountToken"] is False
    assert rendered.one("ServiceAccount")["automountServiceAccountToken"] is False


def test_no_server_goes_before_another_is_there():
    spec = manifests("overlays/cpu").one("Deployment", "prelabel-server")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_pod_has_the_time_that_an_orderly_end_takes(rendered):
    server, worker = rendered.pod("prelabel-server"), rendered.pod("prelabel-worker")
    waits = rendered.container("prelabel-server")["lifecycle"]["preStop"]["exec"]["command"]
    assert waits[0] == "sleep"
    gone_after_s = float(waits[1]) + max(workers._GONE_AFTER_S, NOTICE_S + GRACE_S)
    assert server["terminationGracePeriodSeconds"] > gone_after_s
    assert server["terminationGracePeriodSeconds"] >= 30
    assert worker["terminationGracePeriodSeconds"] > workers._GONE_AFTER_S


def test_a_gpu_for_each_pod_and_models_that_use_it():
    rendered = manifests("overlays/cuda")
    for name in ("prelabel-server", "prelabel-worker"):
        limits = rendered.container(name)["resources"]["limits"]
        assert limits["nvidia.com/gpu"] == "1"
        assert rendered.pod(name)["tolerations"][0]["key"] == "nvidia.com/gpu"
        assert rendered.container(name)["image"].endswith("-cuda")
        update = rendered.one("Deployment", name)["spec"]["strategy"]["rollingUpdate"]
        assert update == {"maxSurge": 0, "maxUnavailable": 1}
    data = rendered.one("ConfigMap")["data"]
    assert data["DEVICE"] == data["GROUNDING_DINO_DEVICE"] == "cuda"
    assert data["MODEL_DIR"]  # the other settings are still there
    assert not rendered.of("HorizontalPodAutoscaler")


def test_https_is_served_with_the_certificate_of_the_secret_and_asked_for_by_all():
    rendered = manifests("overlays/tls")
    container = rendered.container("prelabel-server")
    named = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    volumes = {one["name"]: one for one in rendered.pod("prelabel-server")["volumes"]}
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "certificate"]
    assert volumes["certificate"]["secret"]["secretName"] == "prelabel-tls"
    assert named == {
        "SSL_CERTFILE": f"{mount['mountPath']}/tls.crt",
        "SSL_KEYFILE": f"{mount['mountPath']}/tls.key",
    }
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["scheme"] == "HTTPS"
    (endpoint,) = rendered.one("ServiceMonitor")["spec"]["endpoints"]
    service = rendered.one("Service")["metadata"]
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"]["serverName"].startswith(
        f"{service['name']}.{service['namespace']}.svc."
    )


def test_both_images_are_of_this_version():
    project = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    version = re.search(r'^version = "(.+)"', project, re.MULTILINE).group(1)
    for overlay, suffix in (("overlays/cpu", ""), ("overlays/cuda", "-cuda")):
        for name in ("prelabel-server", "prelabel-worker"):
            image = manifests(overlay).container(name)["image"]
            assert image == f"registry.example.com/prelabel:{version}{suffix}"


def test_manifests_and_image_agree(rendered):
    dockerfile = (REPOSITORY / "Dockerfile").read_text("utf-8")
    settings = rendered.one("ConfigMap")["data"]
    for name in ("MODEL_DIR", "DATA_DIR", "PORT", "BIND_ADDRESS"):
        assert re.search(rf"\b{name}={re.escape(settings[name])}\b", dockerfile), name
    assert re.search(r"^USER 10001\b", dockerfile, re.MULTILINE)
    assert re.search(r"^EXPOSE 9090$", dockerfile, re.MULTILINE)
    # What the weights of the hub are kept in lies on the same volume.
    assert f"HF_HOME={settings['MODEL_DIR']}/" in dockerfile
    assert "ENTRYPOINT" not in dockerfile  # the manifests say `args: [prelabel, …]`


def test_a_cluster_without_shared_storage_needs_no_claim():
    rendered = manifests("overlays/own")
    assert not rendered.of("PersistentVolumeClaim")
    for name in ("prelabel-server", "prelabel-worker"):
        (models,) = [one for one in rendered.pod(name)["volumes"] if one["name"] == "models"]
        assert set(models) == {"name", "emptyDir"}


def test_the_monitor_finds_the_service():
    rendered = manifests("overlays/own")
    service, spec = rendered.one("Service"), rendered.one("ServiceMonitor")["spec"]
    assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {one["port"] for one in spec["endpoints"]} == {
        one["name"] for one in service["spec"]["ports"]
    }
    assert set(spec["endpoints"][0]) == {
        "port",
        "path",
        "interval",
        "scrapeTimeout",
        "authorization",
    }


def test_the_settings_can_be_read(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in (
        manifests("overlays/own").one("ConfigMap")["data"] | SECRET["stringData"]
    ).items():
        monkeypatch.setenv(name, value)
    settings = load()
    assert settings.log_format == "json"
    assert not settings.open_to_all


def test_the_overlay_of_the_docs_says_what_is_different_there():
    rendered = manifests("overlays/own")
    settings = rendered.one("ConfigMap")["data"]
    assert settings["LABEL_STUDIO_URL"] == "http://studio.annotation.svc.cluster.local:8080"
    assert settings["MODEL_DIR"] == "/app/models"
    for name in ("prelabel-server", "prelabel-worker"):
        image = rendered.container(name)["image"]
        assert image.startswith("registry.our-lab.example/prelabel:")
    assert rendered.one("ServiceMonitor")["metadata"]["labels"]["release"]


@pytest.mark.parametrize("page", ["kubernetes.md", "cloud_gpu.md"])
def test_every_link_of_the_pages_leads_somewhere(page):
    text = (REPOSITORY / "docs" / page).read_text("utf-8")
    links = [one for one in re.findall(r"\]\(([^)#]+)", text) if not one.startswith("http")]
    assert links
    assert not [one for one in links if not (REPOSITORY / "docs" / one).exists()]


@pytest.mark.parametrize("page", ["kubernetes.md", "cloud_gpu.md"])
def test_every_file_that_a_command_of_the_pages_names_is_there(page):
    text = (REPOSITORY / "docs" / page).read_text("utf-8")
    named = set(
        re.findall(
            r"\bdeploy/[\w./-]+", "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
        )
    )
    missing = {one for one in named if not (REPOSITORY / one).exists()}
    assert named
    assert missing <= {"deploy/kubernetes/overlays/own"}  # which the reader is about to write
