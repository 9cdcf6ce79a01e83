"""The compose files: Compose takes them, and they hold what they promise."""

import ipaddress
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from prelabel.settings import Settings, known_names

from . import compose
from .compose import NEEDED, REPOSITORY, config, read

DEV, PROD = "docker-compose.yml", "docker-compose.prod.yml"
OVERLAYS = {DEV: "docker-compose.gpu.yml", PROD: "docker-compose.prod.gpu.yml"}
FILES = (*OVERLAYS, *OVERLAYS.values())
OF_ONE_MACHINE = {"SSL_CERTFILE", "SSL_KEYFILE"}
"""Settings that docker-compose.yml does not pass on: files outside of the container."""


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def environment(service):
    """The variables of a service as written: a dict or a list."""
    given = service.get("environment", {})
    return given if isinstance(given, dict) else dict(line.partition("=")[::2] for line in given)


def variables(name):
    """All variables that a compose file takes from .env, with the text after each name."""
    text = (REPOSITORY / name).read_text("utf-8")
    lines = "\n".join(line.partition(" #")[0] for line in text.splitlines())
    return dict(re.findall(r"(?<!\$)\$\{([A-Z_]+)([^}]*)\}", lines))


def publishing(project):
    return {
        name: service["ports"]
        for name, service in project["services"].items()
        if "ports" in service
    }


def test_the_file_for_one_machine_needs_nothing(folder):
    project = config(folder, DEV)
    assert set(project["services"]) == {"label-studio", "ml-backend"}
    images = {name: service["image"] for name, service in project["services"].items()}
    assert images["label-studio"] == "heartexlabs/label-studio:latest"
    assert project["services"]["ml-backend"]["build"]["context"] == str(folder)


def test_one_machine_is_served_on_its_own_ports_to_itself_alone(folder):
    published = publishing(config(folder, DEV))
    assert {
        name: [(port["host_ip"], port["published"], port["target"]) for port in ports]
        for name, ports in published.items()
    } == {
        "label-studio": [("127.0.0.1", "8080", 8080)],
        "ml-backend": [("127.0.0.1", "9090", 9090)],
    }


def test_what_env_says_reaches_the_backend_and_not_what_it_says_of_this_machine(folder):
    given = {"MODE": "lightweight", "PORT": "9191", "MODEL_DIR": "/home/me", "BACKEND": ""}
    project = config(folder, DEV, environment=given)
    backend = project["services"]["ml-backend"]
    assert backend["environment"]["MODE"] == "lightweight"
    assert backend["environment"]["MODEL_DIR"] == "/app/models"
    assert backend["environment"]["PORT"] == "9090"
    assert [port["published"] for port in backend["ports"]] == ["9191"]


def test_every_setting_can_be_given_by_env():
    given = environment(read(DEV)["services"]["ml-backend"])
    missing = {name.upper() for name in Settings.model_fields} - given.keys() - OF_ONE_MACHINE
    assert not missing, f"add to docker-compose.yml: {', '.join(sorted(missing))}"


@pytest.mark.parametrize("name", FILES)
def test_every_variable_of_our_services_is_a_setting(name):
    for service in ("ml-backend", "worker"):
        given = environment(read(name)["services"].get(service, {}))
        held_back = {one for one, value in given.items() if value == ""}
        assert given.keys() - held_back <= known_names()
        assert held_back <= NEEDED.keys() | {"GRAFANA_PASSWORD"}


@pytest.mark.parametrize("name", FILES)
def test_every_variable_that_a_file_asks_for_is_described(name):
    described = set(
        re.findall(r"^#?([A-Z_]+)=", (REPOSITORY / ".env.example").read_text(), re.MULTILINE)
    )
    assert set(variables(name)) <= described


def test_label_studio_reaches_the_backend_by_a_name_that_takes_webhooks(folder):
    networks = config(folder, DEV)["services"]["ml-backend"]["networks"]
    (alias,) = networks["label-studio-network"]["aliases"]
    assert "." in alias
    production = folder / "production"
    production.mkdir()
    networks = config(production, PROD, environment=NEEDED)["services"]["nginx"]["networks"]
    assert networks["label-studio-network"]["aliases"] == [alias]
    certified = " ".join(read(PROD)["services"]["certificates"]["command"])
    assert alias in certified


@pytest.mark.parametrize("name", [DEV, PROD])
def test_label_studio_may_call_the_addresses_that_docker_gives_and_no_others_of_its_kind(name):
    given = environment(read(name)["services"]["label-studio"])
    assert given["USE_DEFAULT_BANNED_SUBNETS"] == "false"
    banned = [
        ipaddress.ip_network(one) for one in given["USER_ADDITIONAL_BANNED_SUBNETS"].split(",")
    ]

    def allowed(address):
        address = ipaddress.ip_address(address)
        return not any(
            address in network for network in banned if network.version == address.version
        )

    assert all(map(allowed, ["172.18.0.3", "192.168.16.2", "10.1.2.3", "93.184.216.34"]))
    refused = ["127.0.0.1", "169.254.169.254", "0.0.0.0", "100.100.100.200", "::1", "fd00:ec2::254"]
    assert not any(map(allowed, [*refused, "fe80::1", "::ffff:169.254.169.254", "224.0.0.1"]))


@pytest.mark.parametrize("name", [DEV, PROD])
def test_both_read_the_same_files_under_the_same_path_and_the_backend_only_reads(name):
    services = read(name)["services"]
    root = environment(services["label-studio"])["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"]
    assert environment(services["ml-backend"])["LOCAL_FILES_DOCUMENT_ROOT"] == root
    shared = "${SHARED_DATA:-shared-data}:" + root
    assert shared in services["label-studio"]["volumes"]
    assert f"{shared}:ro" in services["ml-backend"]["volumes"]


def test_a_folder_of_the_machine_may_be_shared_instead_of_a_volume(folder):
    frames = folder / "frames"
    frames.mkdir()
    project = config(folder, DEV, environment={"SHARED_DATA": "./frames"})
    for service in project["services"].values():
        sources = {one["source"]: one["type"] for one in service["volumes"]}
        assert sources[str(frames)] == "bind"


@pytest.mark.parametrize("name", [DEV, PROD])
def test_every_server_says_whether_it_is_well_and_comes_back_when_it_is_not(name):
    own_image = {"worker", "certificates"}  # the image looks after the first; the other ends
    for service, says in read(name)["services"].items():
        tested = "test" in says.get("healthcheck", {})
        assert tested or service in own_image or (name, service) == (PROD, "ml-backend")
        assert says["restart"] in {"unless-stopped", "on-failure:3"}


def test_production_asks_for_what_it_needs_by_name(folder):
    for name in NEEDED:
        said = config(
            folder, PROD, environment={k: v for k, v in NEEDED.items() if k != name}, code=1
        )
        assert f"required variable {name} is missing" in said


@pytest.fixture
def production(folder):
    return config(folder, PROD, environment=NEEDED)["services"]


def test_production_has_three_replicas_with_limits_and_workers(production):
    for service, replicas in {"ml-backend": 3, "worker": 1}.items():
        deploy = production[service]["deploy"]
        assert deploy["replicas"] == replicas
        limits = deploy["resources"]["limits"]
        assert (limits["cpus"], int(limits["memory"])) == (2, 4 * 1024**3)
    assert production["worker"]["command"] == ["prelabel", "worker"]
    assert "ports" not in production["ml-backend"]  # three cannot have one port


def test_production_publishes_nginx_alone_and_the_backend_to_this_machine_only(production):
    published = {
        name: service["ports"] for name, service in production.items() if "ports" in service
    }
    assert set(published) == {"nginx"}
    ports = {
        port["target"]: (port.get("host_ip"), port["published"]) for port in published["nginx"]
    }
    assert ports == {8080: (None, "80"), 8443: (None, "443"), 9090: ("127.0.0.1", "9090")}


@pytest.mark.parametrize(
    "service", ["ml-backend", "worker", "nginx", "postgres", "redis", "certificates"]
)
def test_production_containers_can_write_nowhere_but_where_they_must(production, service):
    says = production[service]
    assert says["read_only"] is True
    assert says["cap_drop"] == ["ALL"]
    assert says["security_opt"] == ["no-new-privileges:true"]
    assert says.get("user", "10001").split(":")[0] != "0" or service == "certificates"


def test_production_speaks_tls_to_its_database_and_redis_and_checks_whom_it_speaks_to(production):
    for service in ("ml-backend", "worker"):
        given = production[service]["environment"]
        assert given["DATABASE_URL"].endswith("?sslmode=verify-full&sslrootcert=/tls/ca.crt")
        assert given["REDIS_URL"].startswith("rediss://:made-up-3@redis:6379/0?ssl_ca_certs=/tls/")
        assert given["SSL_CERTFILE"].startswith("/tls/")
        settings = {name.lower(): value for name, value in given.items() if value}
        read_back = {
            name: settings[name] for name in Settings.model_fields.keys() & settings.keys()
        } | {"ssl_certfile": None, "ssl_keyfile": None, "local_files_document_root": None}
        Settings(_env_file=None, **read_back)
    studio = production["label-studio"]["environment"]
    assert (studio["PGSSLMODE"], studio["DJANGO_DB"]) == ("verify-full", "default")


def test_passwords_that_are_not_prelabels_do_not_reach_it(production):
    given = production["ml-backend"]["environment"]
    assert "made-up-2" not in given.values()
    assert not given["REDIS_PASSWORD"]
    assert not given["GRAFANA_PASSWORD"]


def test_only_the_maker_of_certificates_has_the_key_of_the_authority(production):
    holders = {
        name
        for name, service in production.items()
        if any(one["source"] == "tls-authority" for one in service.get("volumes", []))
    }
    assert holders == {"certificates"}


def test_each_key_belongs_to_the_user_who_runs_with_it(production):
    owners = dict(
        re.match(r"([a-z-]+)@(\d+)=", one).groups() for one in production["certificates"]["command"]
    )
    for service in ("nginx", "postgres", "redis"):
        assert production[service]["user"].split(":")[0] == owners[service]
    assert owners["public"] == owners["nginx"]
    dockerfile = REPOSITORY / "Dockerfile"
    assert f"USER {owners['ml-backend']}" in dockerfile.read_text()


def test_production_makes_its_certificates_as_it_says(production, tmp_path):
    says = production["certificates"]
    script = REPOSITORY / "deploy/tls/make_certificates.sh"
    mounted = {one["target"]: one["source"] for one in says["volumes"]}
    assert Path(mounted["/make_certificates.sh"]).parts[-3:] == script.parts[-3:]
    servers = [re.sub(r"@\d+", "", one) for one in says["command"]]  # only root gives files away
    subprocess.run(["sh", str(script), str(tmp_path / "tls"), *servers], check=True)
    made = {path.name for path in (tmp_path / "tls").iterdir()}
    assert {f"/tls/{name}" for name in made} == mounted.keys() - {"/make_certificates.sh"}


@pytest.mark.parametrize(("base", "overlay"), OVERLAYS.items())
def test_on_a_gpu_the_image_is_built_for_it_and_the_models_use_it(folder, base, overlay):
    services = config(folder, base, overlay, environment=NEEDED)["services"]
    for name in {"ml-backend", "worker"} & services.keys():
        service = services[name]
        assert service["build"]["args"]["VARIANT"] == "cuda"
        given = service["environment"]
        assert (given["DEVICE"], given["GROUNDING_DINO_DEVICE"]) == ("cuda", "cuda")
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]
        assert given["LABEL_STUDIO_URL"] == "http://label-studio:8080"


def test_the_networks_are_named_as_users_know_them(folder):
    assert config(folder, DEV)["networks"]["label-studio-network"]["name"] == "label-studio-network"
    assert read(PROD)["networks"]["data-network"] == {"internal": True}


def test_the_configuration_of_nginx_names_the_services_and_ports_of_production(production):
    shipped = (REPOSITORY / "deploy/nginx/tls.conf").read_text()
    for scheme, name, port in re.findall(r"set \$\w+ (https?)://([a-z-]+):(\d+);", shipped):
        assert name in production
        served = production[name]["environment"]
        assert (scheme == "https") == ("SSL_CERTFILE" in served)
        assert served.get("PORT", "8080") == port
    listening = {int(port) for port in re.findall(r"listen (\d+)", shipped)}
    assert listening == {port["target"] for port in production["nginx"]["ports"]}
    targets = {one["target"] for one in production["nginx"]["volumes"]}
    assert targets == {"/etc/nginx/nginx.conf", "/tls", "/public"}


@pytest.mark.skipif(not shutil.which("make"), reason="apt-get install make")
@pytest.mark.parametrize(
    ("asked", "files"),
    [
        ([], []),  # those that Compose takes by itself
        (["GPU=1"], [DEV, OVERLAYS[DEV]]),
        (["PROD=1"], [PROD]),
        (["PROD=1", "GPU=1"], [PROD, OVERLAYS[PROD]]),
    ],
)
@pytest.mark.parametrize("target", ["up", "down", "logs"])
def test_make_takes_the_files_that_were_asked_for(target, asked, files):
    command = ["make", "--dry-run", target, *asked]
    # Of a make that runs these tests it is to know nothing.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    said = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=True, env=environment
    )
    assert re.match(r"docker[ -]compose ", said.stdout)
    assert re.findall(r"-f (\S+)", said.stdout) == files


def test_compose_is_the_real_one():
    said = subprocess.run(
        [*compose.program(), "version"], capture_output=True, text=True, check=True
    )
    assert "Docker Compose version" in said.stdout
