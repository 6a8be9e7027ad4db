"""What deploy/ holds, judged as what will read it: `check.py WHAT SPLITPOOL_BINARY`."""
import configparser
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
BINARY = sys.argv[2]


def check_config(name, files):
    """Each Splitpool configuration is one that Splitpool takes."""
    with tempfile.TemporaryDirectory() as folder:
        for file, text in files.items():
            pathlib.Path(folder, file).write_text(text)
        environment = {"POD_IP": "10.0.0.1", "PEERS": "peers"}
        command = [BINARY, "check", "--config", f"{folder}/splitpool.toml"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stderr}"


def is_hardened(container):
    context = container["securityContext"]
    assert context["runAsNonRoot"] and context["runAsUser"] == 65532, container["name"]
    assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def check_pods(name, documents):
    """The pods are those that the issue of running Splitpool asks for, and what scrapes them finds its port."""
    checked = 0
    for document in documents:
        if document["kind"] == "Secret":
            check_config(name, document["stringData"])
        if document["kind"] != "Deployment":
            continue
        pod = document["spec"]["template"]["spec"]
        found = [c for c in pod.get("initContainers", []) + pod["containers"] if c["name"] == "splitpool"]
        assert len(found) == 1, name
        container = found[0]
        is_hardened(container)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert "splitpool-http" in ports
        assert container["startupProbe"]["httpGet"] == {"path": "/live", "port": "splitpool-http"}
        assert container["livenessProbe"]["httpGet"]["path"] == "/live"
        if container in pod["containers"]:
            assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
        else:
            assert container["restartPolicy"] == "Always", "a native sidecar"
            assert "readinessProbe" not in container, "it would take the application out of its service"
            assert container["lifecycle"]["preStop"]["sleep"]["seconds"] > 0
        checked += 1
    labels = [
        document["spec"]["template"]["metadata"]["labels"] for document in documents if document["kind"] == "Deployment"
    ]
    for document in documents:
        if document["kind"] == "PodMonitor":
            wanted = document["spec"]["selector"]["matchLabels"].items()
            assert any(wanted <= given.items() for given in labels), f"{name}: nobody has {wanted}"
            assert document["spec"]["podMetricsEndpoints"][0]["port"] == "splitpool-http"
    return checked


def read(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def manifests():
    documents = [document for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")) for document in read(path)]
    assert check_pods("kubernetes", documents) == 2, "the sidecar and the service"


def chart():
    for path in sys.argv[3:]:
        assert check_pods(path, read(pathlib.Path(path))) == 1


def compose():
    services = yaml.safe_load(sys.stdin)["services"]
    wanted = {"postgres", "postgres-replica1", "postgres-replica2", "mariadb", "mariadb-replica1", "mariadb-replica2"}
    assert set(services) == wanted | {"splitpool", "prometheus", "grafana"}, sorted(services)
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            assert pathlib.Path(source).exists(), f"{name}: {source}"
        for port in service.get("ports", []):
            at = port["host_ip"] if isinstance(port, dict) else port.split(":")[0]
            assert at == "127.0.0.1", f"{name} can be reached from elsewhere"
    assert services["splitpool"]["read_only"] is True
    text = (DEPLOY / "compose/splitpool.toml").read_text()
    check_config("compose", {"splitpool.toml": text})
    for host in re.findall(r'address = "([^:"]+):', text):
        assert host in services, host
    target = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    assert target["static_configs"][0]["targets"] == ["splitpool:9432"]


class Unit(configparser.RawConfigParser):
    """A unit file: keys keep their case and may come again."""

    def __init__(self, path):
        super().__init__(strict=False, dict_type=dict)
        self.optionxform = str
        self.lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        self.read_string(path.read_text())

    def all(self, key):
        return [line.split("=", 1)[1] for line in self.lines if line.startswith(f"{key}=")]


def units():
    service = Unit(DEPLOY / "systemd/splitpool.service")["Service"]
    assert service["Type"] == "notify" and service["NotifyAccess"] == "main"
    assert service["ExecReload"].endswith("-HUP $MAINPID")
    assert service["DynamicUser"] == "yes" and service["NoNewPrivileges"] == "yes"
    assert "--config /etc/splitpool/splitpool.toml" in service["ExecStart"]
    sockets = Unit(DEPLOY / "systemd/splitpool.socket")
    example = (ROOT / "config.example.toml").read_text()
    addresses = sockets.all("ListenStream")
    assert len(addresses) == 3
    for address in addresses:
        assert f'= "{address}"' in example, f"{address} is none of [listen]"


def image():
    stages = (ROOT / "Dockerfile").read_text().split("\nFROM ")
    last = stages[-1].splitlines()
    assert last[0] == "scratch"
    user = next(line.split()[1] for line in last if line.startswith("USER "))
    assert all(int(part) > 0 for part in user.split(":")), "a number, and not root's"
    start = next(line for line in last if line.startswith("ENTRYPOINT "))
    assert json.loads(start.split(" ", 1)[1]) == ["/splitpool"]
    assert not any(line.startswith("RUN ") for line in last), "there is no shell"


{"manifests": manifests, "chart": chart, "compose": compose, "units": units, "image": image}[sys.argv[1]]()
