"""The examples of docs/operating.md, as far as they can be run without root. Where systemd-analyze, nginx and HAProxy are installed, the
unit is verified, and the proxies stand before a server whose tokens must come through one by one; elsewhere what matters of each is looked
for in its text."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time

import pytest

from conftest import BUILD, PROGRAM, ROOT, Server

PAGE = (ROOT / "docs" / "operating.md").read_text()


def block(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


def program(name):
    """Where it is; None if it is not installed."""
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")


def assert_has(text, *words):
    assert [word for word in words if word not in text] == []


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_the_unit(tmp_path):
    assert_has(block("ini"), "[Unit]", "[Service]", "[Install]", "Restart=on-failure", "LimitNOFILE=")
    drain, stop = (int(re.search(pattern, block("ini"))[1]) for pattern in (r"--drain (\d+)", r"TimeoutStopSec=(\d+)"))
    assert stop > drain + 5
    analyze, unit = program("systemd-analyze"), tmp_path / "backplane.service"
    if not analyze:
        return
    unit.write_text(block("ini").replace("/usr/local/bin/backplane", str(PROGRAM)).replace("User=backplane", "User=daemon"))
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True)
    assert "backplane.service" not in done.stderr, done.stderr


def test_every_metric_of_the_page_is_there(server):
    assert server.get("/health").status == 200
    metrics = server.get("/metrics").body.decode()
    names = set(re.findall(r"`(backplane_[a-z_]+)`", PAGE))
    assert len(names) > 5
    for name in names:
        assert re.search(rf"^{name}(_count|_bucket)?[{{ ]", metrics, re.MULTILINE), name


def test_every_option_of_the_page_is_there():
    reference = (ROOT / "docs" / "configuration.md").read_text()
    for name in ("body_limit", "body_seconds", "connections", "max_batch", "queue_limit", "memory_budget", "step_seconds", "key_requests",
                 "key_concurrency", "mixed_step_tokens", "kv_memory", "certificate", "access_log"):
        assert f"`{name}`" in reference and f"`{name}" in PAGE, name


# --- proxies ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A server whose steps take 50 ms, and a certificate."""
    folder = tmp_path_factory.mktemp("proxy")
    subprocess.run([BUILD / "bin" / "write_tiny_llama", folder / "tiny.gguf"], check=True)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-keyout", folder / "models.key", "-out", folder / "models.pem", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    (folder / "models.both.pem").write_text((folder / "models.pem").read_text() + (folder / "models.key").read_text())
    faulty = BUILD / "tests" / "plugins" / "faulty" / "faulty.so"
    s = Server(folder, None, text=(
        f"backends: {{ b: {{ plugin: {faulty}, fault: slow, milliseconds: 50 }} }}\n"
        "models: { tiny: { file: tiny.gguf, drafts: 0 } }\nfrontends: { http: { plugin: http, port: 0 } }\n"))
    s.folder = folder
    assert s.post("/v1/completions", {"model": "tiny", "prompt": "x", "max_tokens": 1}).status == 200
    yield s
    assert s.stop() == 0


def connect(slow, port):
    trust = ssl.create_default_context(cafile=slow.folder / "models.pem")
    until = time.monotonic() + 10
    while True:
        try:
            return trust.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=20), server_hostname="localhost")
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.1)


def send(connection, tokens):
    data = json.dumps({"model": "tiny", "prompt": "Hello", "max_tokens": tokens, "ignore_eos": True, "stream": True}).encode()
    connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: models.example\r\nContent-Type: application/json\r\n"
                       b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(data) + data)


def assert_streams(slow, port):
    """Events come apart, and a client that leaves takes its request with it."""
    with connect(slow, port) as connection:
        send(connection, 14)
        times, received = [], b""
        while piece := connection.recv(65536):
            received += piece
            times.append(time.monotonic())
    assert b"200 OK" in received and b"[DONE]" in received
    assert len(times) > 6 and times[-1] - times[0] > 0.4
    with connect(slow, port) as connection:
        send(connection, 240)
        connection.recv(100)
    until = time.monotonic() + 5
    while re.search(r"^backplane_requests_running\S* [^0]", slow.get("/metrics").body.decode(), re.MULTILINE):
        assert time.monotonic() < until, "the request of a client that left still runs"
        time.sleep(0.1)


def run_proxy(slow, command, port):
    proxy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=slow.folder)
    try:
        assert_streams(slow, port)
    except AssertionError:
        proxy.kill()
        raise AssertionError(proxy.stderr.read())
    finally:
        proxy.terminate()
        proxy.wait(10)
        proxy.stderr.close()


def placed(slow, text, port):
    return (text.replace("127.0.0.1:8080", f"127.0.0.1:{slow.port}").replace("/etc/ssl", str(slow.folder))
            .replace("listen 443", f"listen 127.0.0.1:{port}").replace("bind :443", f"bind 127.0.0.1:{port}"))


def test_nginx(slow):
    assert_has(block("nginx"), "proxy_buffering off;", "proxy_set_header Host localhost;", "proxy_http_version 1.1;", "proxy_read_timeout")
    nginx, port, folder = program("nginx"), free_port(), slow.folder
    if not nginx:
        return
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = folder / "nginx.conf"
    config.write_text(f"daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;\nevents {{ }}\n"
                      f"http {{ access_log off; {paths}\n{placed(slow, block('nginx'), port)}}}\n")
    command = [nginx, "-p", folder, "-e", "stderr", "-c", config]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    run_proxy(slow, command, port)


def test_haproxy(slow):
    assert_has(block("haproxy"), "option httpchk GET /health", "set-header Host localhost", "timeout server", "timeout http-request")
    haproxy, port = program("haproxy"), free_port()
    if not haproxy:
        return
    config = slow.folder / "haproxy.cfg"
    config.write_text(placed(slow, block("haproxy"), port))
    subprocess.run([haproxy, "-c", "-f", config], check=True, capture_output=True)
    run_proxy(slow, [haproxy, "-db", "-f", config], port)
