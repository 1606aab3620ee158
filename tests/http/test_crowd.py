"""Many connections at a time: idle ones that stay, streams that run, and more of either than there are threads for. CI plays a sample; the
whole is

    BACKPLANE_CROWD="2000 256" ctest --test-dir build/release -R http.crowd --verbose
"""

import json
import os
import re
import select
import socket
import time

import pytest

from conftest import Server, answer, error_of

IDLE, STREAMS = map(int, os.environ.get("BACKPLANE_CROWD", "300 32").split())
STREAM = {"model": "smol", "prompt": "Once upon a time", "max_tokens": 24, "temperature": 0, "ignore_eos": True, "stream": True}


def request(path, body=None, key=None):
    data = json.dumps(body).encode() if body else b""
    length = f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n" if body else ""
    bearer = f"Authorization: Bearer {key}\r\n" if key else ""
    return f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: localhost\r\n{bearer}{length}\r\n".encode() + data


def connect(server, path, body=None, key=None):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.sendall(request(path, body, key))
    return connection


def read_reply(connection):
    """One reply with a length; the connection stays."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    length = int(re.search(rb"Content-Length: (\d+)", received)[1])
    while len(received.partition(b"\r\n\r\n")[2]) < length:
        received += connection.recv(65536)
    return answer(received)


class Streams:
    """Connections whose streams are read as they come."""

    def __init__(self, connections):
        self.poll, self.received = select.epoll(), {connection: b"" for connection in connections}
        self.by_number = {connection.fileno(): connection for connection in connections}
        for connection in connections:
            self.poll.register(connection, select.EPOLLIN)

    def read_until(self, done, seconds=120):
        until = time.monotonic() + seconds
        missing = {connection for connection, received in self.received.items() if not done(received)}
        while missing:
            assert time.monotonic() < until, f"{len(missing)} of {len(self.received)} streams are missing"
            for number, _ in self.poll.poll(1):
                connection = self.by_number[number]
                piece = connection.recv(65536)
                assert piece, "a stream was cut"
                self.received[connection] += piece
                if done(self.received[connection][-400:] if done is ended else piece):
                    missing.discard(connection)

    def texts(self):
        return ["".join(json.loads(event)["choices"][0]["text"] for event in re.findall(r"data: (\{.*\})\n", received.decode()))
                for received in self.received.values()]

    def close(self):
        for connection in self.received:
            connection.close()


def resident(server):
    with open(f"/proc/{server.process.pid}/status") as file:
        return int(re.search(r"VmRSS:\s*(\d+)", file.read())[1]) * 1024


def at_once(server, path):
    began = time.monotonic()
    reply = server.get(path)
    assert reply.status == 200 and time.monotonic() - began < 5
    return reply


def started(received):
    return b"data: {" in received


def ended(received):
    return b"data: [DONE]" in received


def test_idle_connections_and_streams_are_held_together(tmp_path, smollm2):
    connections = (IDLE + STREAMS) * 8 // 7 + 64
    s = Server(tmp_path, f"  smol: {{ file: {smollm2}, load: eager, context: 256, max_batch: {min(STREAMS, 64)}, queue_limit: {STREAMS} }}",
               f", connections: {connections}, idle_seconds: 300")
    whole = {**STREAM, "stream": False}
    alone = s.post("/v1/completions", whole).json["choices"][0]["text"]
    before = resident(s)
    idle = [connect(s, "/health") for _ in range(IDLE)]
    assert all(read_reply(connection).status == 200 for connection in idle)
    held = resident(s)
    print(f"\n{IDLE} idle connections: {(held - before) / IDLE / 1024:.1f} KiB each")
    assert held - before < IDLE * 64 * 1024
    streams = Streams([connect(s, "/v1/completions", STREAM) for _ in range(STREAMS)])
    streams.read_until(started)
    at_once(s, "/health")
    metrics = at_once(s, "/metrics").body.decode()
    print(f"{STREAMS} streams: {(resident(s) - held) / STREAMS / 1024:.1f} KiB each, {resident(s) / 2**20:.0f} MiB in all")
    assert resident(s) - held < STREAMS * 1024 * 1024
    assert "backplane_requests_running" in metrics
    streams.read_until(ended)
    assert streams.texts() == [alone] * STREAMS
    streams.close()
    for connection in idle[::150]: # still good for a request
        connection.sendall(request("/v1/completions", {**whole, "max_tokens": 4}))
        assert alone.startswith(read_reply(connection).json["choices"][0]["text"])
    for connection in idle:
        connection.close()
    assert s.stop() == 0


def test_61_streams_for_all_threads_leave_some_for_health(tmp_path, smollm2):
    """48 connections: from the 43rd on they are closed after their answer, and the last three get no answer of a model."""
    s = Server(tmp_path, f"  smol: {{ file: {smollm2}, load: eager, context: 2048, queue_limit: 256 }}", ", connections: 48, idle_seconds: 300")
    idle = [connect(s, "/health") for _ in range(30)]
    assert all(read_reply(connection).headers["connection"] == "keep-alive" for connection in idle)
    streams = Streams([connect(s, "/v1/completions", {**STREAM, "max_tokens": 1500}) for _ in range(15)])
    streams.read_until(started)
    for _ in range(3):
        late = connect(s, "/v1/completions", STREAM)
        reply = read_reply(late)
        assert error_of(reply, 503, "overloaded")["type"] == "server_error"
        assert 1 <= int(reply.headers["retry-after"]) <= 120 and reply.headers["connection"] == "close"
        late.close()
        at_once(s, "/health")
        at_once(s, "/metrics")
    late = connect(s, "/health")
    assert read_reply(late).headers["connection"] == "close" and late.recv(1) == b""
    late.close()
    for connection in idle:
        connection.close()
    deadline = time.monotonic() + 20
    while s.post("/v1/completions", {**STREAM, "stream": False, "max_tokens": 1}).status != 200: # once they are seen to be gone
        assert time.monotonic() < deadline
        time.sleep(0.1)
    streams.close()
    assert s.stop() == 0


def order_of(server, asked):
    """Sends (key, body) while one request runs that none of them may push aside, and gives the places in `asked` in the order in which
    their answers came."""
    hold = Streams([connect(server, "/v1/completions", {**STREAM, "max_tokens": 4000, "priority": 5}, "a")])
    hold.read_until(started)
    connections = []
    for place, (key, body) in enumerate(asked):
        connections.append(connect(server, "/v1/completions", {**STREAM, "max_tokens": 2, **body}, key))
        deadline = time.monotonic() + 20
        while f'backplane_requests_waiting{{model="smol"}} {place + 1}\n' not in server.get("/metrics", ["Authorization: Bearer a"]).body.decode():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    hold.close()
    streams, order = Streams(connections), []
    while len(order) < len(asked):
        for number, _ in streams.poll.poll(1):
            connection = streams.by_number[number]
            streams.received[connection] += connection.recv(65536)
            place = connections.index(connection)
            if ended(streams.received[connection]) and place not in order:
                order.append(place)
    streams.close()
    return order


def test_keys_take_turns_and_priorities_go_first(tmp_path, smollm2):
    (tmp_path / "keys").write_text("a\nb\n")
    s = Server(tmp_path, f"  smol: {{ file: {smollm2}, load: eager, context: 4096, max_batch: 1 }}", ", api_key_file: keys, max_priority: 5")
    order = order_of(s, [("a", {})] * 8 + [("b", {}), ("b", {})])
    assert order[0] == 8 and 9 in order[:3] and [place for place in order if place < 8] == list(range(8))
    assert order_of(s, [("a", {"priority": -1}), ("a", {}), ("b", {"priority": 5}), ("a", {"priority": 2})]) == [2, 3, 1, 0]
    for path, body in [("/v1/completions", STREAM), ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
                       ("/v1/embeddings", {"input": "Hi"})]:
        for wrong in (6, 101, -101, 1.5, "1"):
            reply = s.post(path, {"model": "smol", **body, "stream": False, "priority": wrong} if "input" not in body else
                           {"model": "smol", **body, "priority": wrong}, ["Authorization: Bearer a"])
            error_of(reply, 400, "invalid_value", "priority")
    assert s.stop() == 0


@pytest.mark.parametrize("path, body", [("/v1/completions", {"prompt": "word " * 5000}),
                                        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 5000}]})])
def test_61_a_full_queue_refuses_before_it_reads_a_prompt(tmp_path, smollm2, path, body):
    s = Server(tmp_path, f"  smol: {{ file: {smollm2}, load: eager, context: 4096, max_batch: 1, queue_limit: 1 }}")
    error_of(s.post(path, {"model": "smol", **body}), 400, "context_length_exceeded")
    running = Streams([connect(s, "/v1/completions", {**STREAM, "max_tokens": 4000})])
    running.read_until(started)
    waiting = connect(s, "/v1/completions", {**STREAM, "max_tokens": 1})
    while "backplane_requests_waiting{model=\"smol\"} 1" not in s.get("/metrics").body.decode():
        time.sleep(0.02)
    reply = s.post(path, {"model": "smol", **body})
    error = error_of(reply, 503, "overloaded")
    assert error["type"] == "server_error" and "the queue is full" in error["message"] and 1 <= int(reply.headers["retry-after"]) <= 120
    at_once(s, "/health")
    running.close()
    last = Streams([waiting])
    last.read_until(ended)
    last.close()
    assert s.stop() == 0
