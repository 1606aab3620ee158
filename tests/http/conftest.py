"""What the tests of the HTTP frontend share: a server on a free port, and requests written byte by byte."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))  # tiny_models, dequantised
BUILD = pathlib.Path(os.environ["BACKPLANE_TEST_BUILD"])
PROGRAM = BUILD / "bin" / "backplane"


class Server:
    """`backplane run` on a configuration; `port` is where it listens."""

    def __init__(self, folder, models, options="", top="", text=None, environment=None, arguments=()):
        config = folder / "server.yaml"
        config.write_text(text or f"{top}backends: {{ cpu: {{ plugin: cpu }} }}\nmodels:\n{models}\n"
                                  f"frontends: {{ http: {{ plugin: http, port: 0 {options} }} }}\n")
        self.process = subprocess.Popen([PROGRAM, "run", *arguments, config], stderr=subprocess.PIPE, text=True,
                                        env=dict(os.environ, **(environment or {})))
        self.log, self.port = [], None
        listening = threading.Event()

        def read():
            for line in self.process.stderr:
                self.log.append(line)
                found = re.search(r"listening on https?://\S+:(\d+)", line)
                if found:
                    self.port = int(found[1])
                    listening.set()
            listening.set()

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()
        assert listening.wait(30) and self.port, "".join(self.log)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.reader.join(5)
        return code

    def raw(self, request, timeout=20, half_close=False):
        """Sends bytes and gives all that comes until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(request)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def post(self, path, body, headers=(), timeout=20):
        """Status and parsed JSON of one request on a connection of its own; a body that is not bytes is dumped."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Connection: close", "Content-Type: application/json",
                 f"Content-Length: {len(body)}", *headers]
        return answer(self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body, timeout))

    def get(self, path, headers=()):
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
        return answer(self.raw("\r\n".join(lines).encode() + b"\r\n\r\n"))


def read_all(connection):
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


class Answer:
    def __init__(self, received):
        head, _, self.body = received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}

    @property
    def json(self):
        return json.loads(self.body)


def answer(received):
    assert received.startswith(b"HTTP/1.1 "), received[:200]
    return Answer(received)


TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 500: "server_error", 503: "server_error"}
CODES = {400: {"invalid_json", "invalid_value", "unsupported", "context_length_exceeded", "limit_exceeded", "invalid_request"},
         401: {"invalid_api_key"}, 403: {"forbidden_host", "forbidden_origin"}, 404: {"model_not_found", "unknown_url"},
         405: {"method_not_allowed"}, 429: {"rate_limit_exceeded"}, 500: {"internal_error", "backend_error", "timeout"},
         503: {"overloaded", "model_unavailable", "shutting_down", "internal_error"}}


def error_of(reply, status, code=None, param=None):
    """The error of a reply, which has the one shape that errors have, and the type, code and headers of its status."""
    assert reply.status == status, (reply.status, reply.body[:300])
    error = reply.json["error"]
    assert set(reply.json) == {"error"} and set(error) == {"message", "type", "param", "code"}
    assert error["message"] and isinstance(error["message"], str) and "\ufffd" not in error["message"]
    assert error["param"] is None or (error["param"] and isinstance(error["param"], str))
    assert error["type"] == TYPES.get(status, "invalid_request_error"), error
    assert error["code"] in CODES[status] if status in CODES else isinstance(error["code"], str), error
    assert reply.headers["content-type"] == "application/json" and reply.headers["x-request-id"]
    assert status not in (429, 503) or 1 <= int(reply.headers["retry-after"]) <= 120
    assert status not in (408, 413, 415, 431, 505) or reply.headers["connection"] == "close"
    assert status != 405 or reply.headers["allow"]
    if code:
        assert error["code"] == code
    if param:
        assert error["param"] == param
    return error


def events_of(reply):
    """The data of a stream's events, without the chunks that they came in."""
    data, rest = b"", reply.body
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        data, rest = data + rest[:int(size, 16)], rest[int(size, 16) + 2:]
    return [line.removeprefix("data: ") for line in data.decode().split("\n\n") if line]


class Neighbour:
    """A client that asks for the same stream over and over while others misbehave. Every answer must have the bytes, log-
    probabilities included, of the first, which it had alone."""

    BODY = {"model": "smol", "prompt": "Once upon a time", "max_tokens": 12, "temperature": 1, "seed": 7, "logprobs": 3,
            "stream": True}

    def __init__(self, server):
        self.server, self.first, self.others, self.count = server, self.ask(server), [], 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    @classmethod
    def ask(cls, server):
        reply = server.post("/v1/completions", cls.BODY)
        assert reply.status == 200, reply.body[-500:]
        *chunks, done = events_of(reply)
        assert done == "[DONE]" and '"finish_reason":"length"' in chunks[-1], chunks[-1:]
        lists = [choice["logprobs"] for chunk in chunks for choice in json.loads(chunk)["choices"] if choice["logprobs"]]
        return [entry for part in lists for entry in zip(part["tokens"], part["token_logprobs"], part["top_logprobs"])]

    def work(self):
        while not self.over.wait(0.05):
            try:
                got = self.ask(self.server)
            except Exception as error:
                got = error
            self.count += 1
            if got != self.first:
                self.others.append(got)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(30)
        assert self.others == [] and self.first, self.others[:1]


class Trap:
    """An address to which nobody must connect."""

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(0.2)
        return f"127.0.0.1:{self.socket.getsockname()[1]}"

    def __exit__(self, *_):
        with self.socket, pytest.raises(TimeoutError):
            self.socket.accept()


@pytest.fixture(scope="session")
def smollm2():
    return subprocess.run([ROOT / "tools" / "fetch", "smollm2"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="session")
def minilm():
    return subprocess.run([ROOT / "tools" / "fetch", "minilm"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def server(tmp_path_factory, smollm2):
    """One model, `smol`; after each test it must still answer."""
    s = Server(tmp_path_factory.mktemp("server"), f"  smol: {{ file: {smollm2}, system_prompt: You are a helpful assistant }}")
    yield s
    assert s.stop() == 0, "".join(s.log)


@pytest.fixture
def alive(server):
    """The server answers after the test as before it."""
    yield server
    reply = server.post("/v1/completions", {"model": "smol", "prompt": "A, B, C, D,", "max_tokens": 2, "temperature": 0})
    assert reply.status == 200 and reply.json["choices"][0]["text"] == " E,"


def held(server):
    """Descriptors and threads of the server's process."""
    folder = pathlib.Path("/proc") / str(server.process.pid)
    return len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir()))


def assert_released(server, before):
    """Soon no more is held than before; a connection takes a moment to end."""
    until = time.monotonic() + 10
    while any(now > then for now, then in zip(held(server), before)) and time.monotonic() < until:
        time.sleep(0.1)
    after = held(server)
    assert all(now <= then for now, then in zip(after, before)), (before, after)


@pytest.fixture(scope="module")
def steady(server):
    """While the module's tests run, a neighbour's stream goes on with the same bits; after them nothing is left of them."""
    with Neighbour(server) as neighbour:
        before = held(server)
        yield neighbour
    assert_released(server, before)
