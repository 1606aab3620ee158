"""What the documentation shows is run as it is written, but for the port."""

import json
import re
import subprocess
import sys

import pytest

from conftest import ROOT, Server

PAGE = (ROOT / "docs" / "http.md").read_text()
PAGES = {"docs/http.md": PAGE, "README.md": (ROOT / "README.md").read_text()}


def blocks(page, language):
    found = re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)
    assert found
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory, smollm2, minilm):
    text = (ROOT / "config" / "many.yaml").read_text().replace("../models/SmolLM2-135M-Instruct.Q4_1.gguf", smollm2).replace("../models/all-MiniLM-L6-v2", minilm)
    s = Server(tmp_path_factory.mktemp("server"), None, text=text.replace("port: 8080", "port: 0"))
    yield s
    assert s.stop() == 0


@pytest.mark.parametrize("page", PAGES)
def test_the_shell_example(server, page):
    command = next(block for block in blocks(page, "sh") if "curl" in block)
    command = command.split("\n", 1)[1].replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert "Paris" in json.loads(done.stdout)["choices"][0]["message"]["content"]


@pytest.mark.parametrize("page", PAGES)
def test_the_python_example(server, page):
    script = blocks(page, "python")[0].replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr


def test_every_route_of_the_page_is_there(server):
    routes = re.findall(r"`(GET|POST) (/[a-z0-9/-]*)(?:ID)?`", PAGE)
    assert len(routes) > 12
    for method, path in routes:
        reply = server.get(path) if method == "GET" else server.post(path, {})
        assert reply.status in ((200, 404) if path == "/v1/models/" else (200, 400)), (method, path, reply.status)


def test_the_dashboard_asks_for_metrics_that_are_there(server):
    metrics = server.get("/metrics").body.decode()
    names = set(re.findall(r"backplane_[a-z_]+", (ROOT / "config" / "grafana.json").read_text()))
    assert len(names) > 10
    for name in names:
        assert re.search(rf"^{name}[{{ ]", metrics, re.MULTILINE), name
