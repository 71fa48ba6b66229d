"""docker-compose.yml: valid by its published schema, and hardened as docs/install.md says."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from noisegate import __version__

REPO = Path(__file__).resolve().parents[2]
TEXT = (REPO / "docker-compose.yml").read_text()
STACK: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
# They end, and others wait for their success: nothing stays that could be healthy.
ONE_SHOT = {"migrate", "register-flows"}
every_service = pytest.mark.parametrize("name", sorted(SERVICES))


def strings(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, str):
        yield value


def test_it_is_valid_by_the_published_schema() -> None:
    schema = json.loads((REPO / "tests" / "data" / "compose-spec.json").read_text())
    errors = jsonschema.Draft7Validator(schema).iter_errors(STACK)
    assert [f"{list(error.absolute_path)}: {error.message}" for error in errors] == []


def test_docker_compose_takes_it(tmp_path: Path) -> None:
    version = ["docker", "compose", "version"]
    if shutil.which("docker") is None or subprocess.run(version, capture_output=True).returncode:
        pytest.skip("no docker compose here")
    config = ["docker", "compose", "-f", REPO / "docker-compose.yml", "config", "--quiet"]
    done = subprocess.run(config, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_all_parts_are_there() -> None:
    assert {
        "postgres", "prefect-server", "prefect-worker", "mlflow", "ray-head", "ray-worker",
        "exporter", "prometheus", "alertmanager", "grafana", "otel-collector", "tempo",
    } <= SERVICES.keys()  # fmt: skip


@every_service
def test_its_image_is_pinned_by_an_exact_version(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].rpartition(":")
    assert image and re.search(r"\d+\.\d+", tag) and "latest" not in tag, SERVICES[name]["image"]


def test_our_image_has_our_version_and_the_dockerfile_names_exact_ones() -> None:
    assert SERVICES["exporter"]["image"] == f"noisegate:{__version__}"
    dockerfile = (REPO / "Dockerfile").read_text()
    stages = re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE)
    images = re.findall(r"^(?:FROM (?!\$)|ARG PYTHON=)(\S+)", dockerfile, re.MULTILINE)
    assert images and all(re.search(r":v?\d+\.\d+\.\d+", image) for image in images), images
    built = {one["build"]["target"] for one in SERVICES.values() if "build" in one}
    assert built <= set(stages)
    assert "[dev]" not in dockerfile and re.search(r"^USER 10001", dockerfile, re.MULTILINE)


def test_the_dockerfile_copies_only_what_the_build_context_holds() -> None:
    allowed = {
        line[1:] for line in (REPO / ".dockerignore").read_text().split() if line.startswith("!")
    }
    copies = re.findall(r"^COPY (?!--)(.+)$", (REPO / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source for line in copies for source in line.split()[:-1]}
    assert sources == allowed
    assert all((REPO / source).exists() for source in sources)


@every_service
def test_it_has_a_health_check_or_ends(name: str) -> None:
    check = SERVICES[name].get("healthcheck")
    assert (check is None) == (name in ONE_SHOT)
    if check is not None:
        assert check["test"][0] == "CMD" and {"interval", "timeout", "retries"} <= check.keys()


@every_service
def test_it_waits_until_what_it_needs_is_healthy(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
        assert how["condition"] == expected, needed


@every_service
def test_it_is_no_root_and_can_gain_or_write_nothing(name: str) -> None:
    service = SERVICES[name]
    user = str(service["user"]).partition(":")[0]
    assert user.isdigit() and int(user) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & service.keys()
    assert not any("docker.sock" in text for text in strings(service))


@every_service
def test_it_has_limits_a_restart_policy_and_rotated_logs(name: str) -> None:
    service = SERVICES[name]
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert service["restart"] in ("unless-stopped", "on-failure:5")
    assert (service["restart"] == "on-failure:5") == (name in ONE_SHOT)
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


def test_ports_are_open_on_the_loopback_only_and_only_for_people() -> None:
    open_to = {name: one["ports"] for name, one in SERVICES.items() if one.get("ports")}
    assert open_to.keys() == {"grafana", "prefect-server", "mlflow", "prometheus", "alertmanager"}
    assert all(port.startswith("127.0.0.1:") for ports in open_to.values() for port in ports)


def test_databases_and_ray_stand_in_networks_without_a_way_out() -> None:
    assert STACK["networks"]["store"] == STACK["networks"]["compute"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == ["store"]
    assert SERVICES["ray-head"]["networks"] == SERVICES["ray-worker"]["networks"] == ["compute"]


@every_service
def test_it_reaches_whom_it_names(name: str) -> None:
    service = SERVICES[name]
    named = {
        host
        for text in strings([service.get("environment", {}), service.get("healthcheck", {})])
        for host in re.findall(r"(?:://(?:[\w.-]+@)?|^|tcp:)([a-z][a-z-]+):\d+", text)
    } - {"localhost"}
    for host in named:
        assert host in SERVICES, f"{host} is no service"
        assert set(service["networks"]) & set(SERVICES[host]["networks"]), host


def test_no_secret_stands_in_it() -> None:
    for name, service in SERVICES.items():
        for variable, value in (service.get("environment") or {}).items():
            secret = re.search("PASSWORD|TOKEN|SECRET|AUTH_STRING|KEY", variable)
            if secret:
                assert re.search("_(FILE|PATH)$", variable), f"{name}: {variable}"
                assert value.startswith("/run/secrets/"), f"{name}: {variable}"
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), f"{name}: {variable}"


@every_service
def test_it_is_given_the_secrets_that_it_reads_and_no_others(name: str) -> None:
    service = SERVICES[name]
    own = set(service.get("secrets", []))
    assert own <= STACK["secrets"].keys()
    read = set(re.findall(r"/run/secrets/(\w+)", json.dumps(service)))
    for volume in service.get("volumes", []):
        source = REPO / volume.partition(":")[0]
        if source.is_file():
            text = source.read_text()
            read |= set(re.findall(r"/run/secrets/(\w+)", text))
            read |= set(re.findall(r'SECRETS:-/run/secrets}"?/(\w+)', text))
    assert read - {"FILE"} == own


def test_every_secret_is_a_file_that_is_made_and_kept_out_of_git(tmp_path: Path) -> None:
    run = ["sh", REPO / "deploy" / "make-secrets.sh", tmp_path / "secrets"]
    subprocess.run(run, check=True, capture_output=True)
    files = {path.name: path for path in (tmp_path / "secrets").iterdir()}
    assert files.keys() == STACK["secrets"].keys()
    for name, one in STACK["secrets"].items():
        assert one == {"file": f"deploy/secrets/{name}"}
    # Read by services with users of their own; entered on the host by its owner only.
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o444}
    before = {name: path.read_text() for name, path in files.items()}
    drawn = [
        text for name, text in before.items() if name not in ("slack_webhook_url", "pagerduty_key")
    ]
    assert len(set(drawn)) == len(drawn) and all(len(text) >= 64 for text in drawn)
    again = subprocess.run(run, check=True, capture_output=True, text=True)
    assert before == {name: path.read_text() for name, path in files.items()}
    assert not any(text in again.stdout for text in drawn)
    ignored = (REPO / "deploy" / "secrets" / ".gitignore").read_text().split()
    assert ignored == ["*", "!.gitignore"]


def test_the_example_of_settings_has_no_values() -> None:
    lines = [line for line in (REPO / ".env.example").read_text().splitlines() if "=" in line]
    assert lines and all(re.fullmatch(r"#[A-Z_]+=", line) for line in lines if "`" not in line)
    for name in re.findall(r"\$\{(\w+)", TEXT):
        assert f"#{name}=" in lines, name


def test_every_mounted_file_is_there_and_read_only() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            if source.startswith("./"):
                assert mode == ["ro"], f"{name}: {volume}"
                assert (REPO / source).exists(), f"{name}: {source}: run `make generate`"
            else:
                assert source in STACK["volumes"], f"{name}: {source}"
            assert target.startswith("/")


def test_nobody_is_told_that_it_runs() -> None:
    dockerfile = (REPO / "Dockerfile").read_text()
    for told in (
        "DO_NOT_TRACK=1",
        "HF_HUB_DISABLE_TELEMETRY=1",
        "MLFLOW_DISABLE_TELEMETRY=true",
        "RAY_USAGE_STATS_ENABLED=0",
        "PREFECT_SERVER_ANALYTICS_ENABLED=false",
    ):
        assert told in dockerfile
    tempo = yaml.safe_load((REPO / "deploy" / "tempo.yaml").read_text())
    assert tempo["usage_report"] == {"reporting_enabled": False}


def test_every_target_of_prometheus_is_a_service_that_it_reaches() -> None:
    config = yaml.safe_load((REPO / "deploy" / "prometheus.yml").read_text())
    targets = [
        target
        for one in [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]
        for group in one["static_configs"]
        for target in group["targets"]
    ]
    for target in targets:
        host = urlsplit(f"//{target}").hostname
        name = "prometheus" if host == "localhost" else host
        assert set(SERVICES[str(name)]["networks"]) & set(SERVICES["prometheus"]["networks"]), (
            target
        )
    assert "exporter:9464" in targets and "alertmanager:9093" in targets
