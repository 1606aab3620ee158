"""TLS on the port itself, with a certificate that the test makes."""

import json
import re
import socket
import ssl
import subprocess
import time

import pytest

from conftest import BUILD, PROGRAM, Server, answer, events_of, read_all


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A certificate, alone and with its key, and a tiny model."""
    path = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-keyout", path / "key.pem", "-out", path / "certificate.pem", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    (path / "both.pem").write_text((path / "certificate.pem").read_text() + (path / "key.pem").read_text())
    (path / "garbage.pem").write_text("this is no certificate\n")
    subprocess.run([BUILD / "bin" / "write_tiny_llama", path / "tiny.gguf"], check=True)
    return path


@pytest.fixture(scope="module")
def server(folder):
    s = Server(folder, "  tiny: { file: tiny.gguf }", ", certificate: both.pem, body_seconds: 2")
    assert any("listening on https://" in line for line in s.log)
    yield s
    assert s.stop() == 0, "".join(s.log)


def connect(server, folder):
    trust = ssl.create_default_context(cafile=folder / "certificate.pem")
    return trust.wrap_socket(socket.create_connection(("127.0.0.1", server.port), timeout=20), server_hostname="localhost")


def request(body, path="/v1/completions"):
    data = json.dumps({"model": "tiny", "prompt": "Hello", "max_tokens": 8, "seed": 1, "ignore_eos": True, **body}).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
            f"Content-Length: {len(data)}\r\n\r\n").encode() + data


def ask(server, folder, body):
    with connect(server, folder) as connection:
        connection.sendall(request(body))
        return answer(read_all(connection))


def test_answers_and_streams(server, folder):
    whole = ask(server, folder, {}).json["choices"][0]["text"]
    chunks = events_of(ask(server, folder, {"stream": True}))
    assert "".join(json.loads(chunk)["choices"][0]["text"] for chunk in chunks[:-1]) == whole and chunks[-1] == "[DONE]"
    with connect(server, folder) as connection:
        assert connection.version() in ("TLSv1.2", "TLSv1.3")


def test_01_what_is_no_tls_is_closed(server, folder):
    for bytes_sent in (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b""):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(bytes_sent)
            try:
                connection.shutdown(socket.SHUT_WR)
            except OSError:  # it was quick
                pass
            assert b"HTTP/1.1 200" not in read_all(connection)
    assert ask(server, folder, {}).status == 200


def test_12_a_handshake_that_does_not_go_on(server, folder):
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(4)]
    assert ask(server, folder, {}).status == 200
    began = time.monotonic()
    assert [read_all(connection) for connection in silent] == [b""] * 4 and time.monotonic() - began < 10


def test_63_a_client_that_leaves(server, folder):
    def gone():
        with connect(server, folder) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            metrics = read_all(connection).decode()
        running = re.search(r'backplane_requests_running\{model="tiny"\} (\d+)', metrics)[1]
        return running == "0" and re.search(r'backplane_http_requests_total\{status="499"\} (\d+)', metrics)

    for i, stream in enumerate((True, False), 1):
        connection = connect(server, folder)
        connection.sendall(request({"max_tokens": 250, "stream": stream, "n": 64}))
        time.sleep(0.05)
        connection.close()
        until = time.monotonic() + 10
        while not ((left := gone()) and left[1] == str(i)):
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.mark.parametrize("file, reason", [("missing.pem", "cannot be read: No such file"), ("garbage.pem", "garbage.pem"),
                                          ("certificate.pem", "cannot open private key file")])
def test_a_certificate_that_is_none_is_told_at_start(folder, file, reason):
    config = folder / "wrong.yaml"
    config.write_text("backends: { cpu: { plugin: cpu } }\nmodels: { tiny: { file: tiny.gguf } }\n"
                      f"frontends: {{ http: {{ plugin: http, port: 0, certificate: {file} }} }}\n")
    done = subprocess.run([PROGRAM, "run", config], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "frontend http: " in done.stderr and reason in done.stderr, done.stderr
