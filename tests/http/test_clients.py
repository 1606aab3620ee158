"""Clients that leave, stop reading or come in crowds, and a server that is told to stop; case numbers as in the acceptance
list."""

import json
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import ROOT, Server, error_of, read_all

LONG = {"model": "smol", "prompt": "Once upon a time", "max_tokens": 6000, "temperature": 0, "ignore_eos": True}


def send(server, path, body):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    data = json.dumps(body).encode()
    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                       f"Connection: close\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    return connection


def busy(server):
    """Processor seconds of the server, which stand still when no request runs."""
    fields = open(f"/proc/{server.process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def assert_idle_within(server, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        before = busy(server)
        time.sleep(0.3)
        if busy(server) - before < 0.05:
            return
    raise AssertionError("a request still runs whose client is gone")


@pytest.mark.parametrize("stream", [True, False])
def test_63_a_client_that_leaves(alive, stream):
    connection = send(alive, "/v1/completions", {**LONG, "stream": stream})
    time.sleep(0.5)
    if stream:
        assert connection.recv(100)
    connection.close()
    assert_idle_within(alive, 5)


@pytest.mark.parametrize("stream", [True, False])
def test_64_a_client_that_will_send_no_more(alive, stream):
    connection = send(alive, "/v1/completions", {**LONG, "max_tokens": 60, "stream": stream})
    connection.shutdown(socket.SHUT_WR)
    received = read_all(connection)
    assert b"HTTP/1.1 200" in received and (b"[DONE]" in received or b'"completion_tokens":60' in received)


def test_65_a_reader_that_stops(alive):
    still = send(alive, "/v1/completions", {**LONG, "stream": True})
    reply = alive.post("/v1/completions", {**LONG, "max_tokens": 20})
    assert reply.status == 200
    still.close()
    assert_idle_within(alive, 5)


def test_the_same_answers_alone_and_in_a_crowd(alive):
    bodies = [{"model": "smol", "prompt": f"The number {i} is", "max_tokens": 12, "temperature": 1, "seed": i, "logprobs": 2}
              for i in range(12)]
    alone = [alive.post("/v1/completions", body).json["choices"] for body in bodies]
    together = [None] * len(bodies)

    def work(i):
        together[i] = alive.post("/v1/completions", bodies[i]).json["choices"]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_62_limits_of_a_key(tmp_path, smollm2):
    (tmp_path / "keys").write_text("a\nb\n")
    s = Server(tmp_path, f"  smol: {{ file: {smollm2} }}", ", api_key_file: keys, key_requests: 3, key_concurrency: 1")
    a, b = ["Authorization: Bearer a"], ["Authorization: Bearer b"]
    short = {**LONG, "max_tokens": 1}
    assert [s.post("/v1/completions", short, a).status for _ in range(3)] == [200] * 3
    error = error_of(reply := s.post("/v1/completions", short, a), 429, "rate_limit_exceeded")
    assert error["type"] == "rate_limit_error" and 1 <= int(reply.headers["retry-after"]) <= 21
    assert s.post("/v1/completions", short, b).status == 200
    running = threading.Thread(target=s.post, args=("/v1/completions", {**LONG, "max_tokens": 200}, b))
    running.start()
    time.sleep(0.3)
    error_of(s.post("/v1/completions", short, b), 429, "rate_limit_exceeded")
    running.join()
    assert s.stop() == 0


def test_metrics_and_the_access_log(tmp_path, smollm2):
    s = Server(tmp_path, f"  smol: {{ file: {smollm2} }}", ", access_log: access.jsonl")
    assert s.post("/v1/completions", {**LONG, "max_tokens": 5}, ["X-Request-Id: one"]).status == 200
    assert s.get("/v1/nothing").status == 404
    reply = s.get("/metrics")
    values = dict(line.rsplit(" ", 1) for line in reply.body.decode().splitlines() if not line.startswith("#"))
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert values['backplane_http_requests_total{status="200"}'] == "1" == values['backplane_http_requests_total{status="404"}']
    assert values['backplane_completion_tokens_total{model="smol"}'] == "5" and values['backplane_model_ready{model="smol"}'] == "1"
    assert values["backplane_time_to_first_token_seconds_count"] == "1"
    assert values["backplane_token_interval_seconds_count"] == "4"
    assert s.stop() == 0
    lines = [json.loads(line) for line in (tmp_path / "access.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == [200, 404, 200] and lines[0]["id"] == "one"
    assert lines[0]["model"] == "smol" and lines[0]["completion_tokens"] == 5 and lines[0]["first_token_seconds"] > 0


def test_72_the_end_of_a_server_lets_streams_finish(tmp_path, smollm2):
    s = Server(tmp_path, f"  smol: {{ file: {smollm2} }}")
    connection = send(s, "/v1/completions", {**LONG, "max_tokens": 100, "stream": True})
    received = connection.recv(1000)
    s.process.send_signal(signal.SIGTERM)
    received += read_all(connection)
    assert b'"finish_reason":"length"' in received and received.rstrip().endswith(b"0") and b"[DONE]" in received
    assert s.process.wait(30) == 0


def test_73_a_second_signal_ends_at_once(tmp_path, smollm2):
    s = Server(tmp_path, f"  smol: {{ file: {smollm2} }}")
    connection = send(s, "/v1/completions", {**LONG, "stream": True})
    connection.recv(1000)
    s.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    s.process.send_signal(signal.SIGTERM)
    assert s.process.wait(5) != 0


def test_the_example_with_many_models(tmp_path, smollm2, minilm):
    text = (ROOT / "config" / "many.yaml").read_text().replace("../models/SmolLM2-135M-Instruct.Q4_1.gguf", smollm2).replace("../models/all-MiniLM-L6-v2", minilm)
    s = Server(tmp_path, None, text=text.replace("port: 8080", "port: 0"))
    body = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 20}
    assert "Paris" in s.post("/v1/chat/completions", {**body, "model": "smollm2"}).json["choices"][0]["message"]["content"]
    assert s.post("/v1/chat/completions", {**body, "model": "storyteller"}).json["usage"]["completion_tokens"] > 0
    assert [m["state"] for m in s.get("/v1/models").json["data"]] == ["ready", "ready", "unloaded", "unloaded"]
    for model, width in [("minilm", 384), ("smollm2-embed", 576)]:
        assert len(s.post("/v1/embeddings", {"model": model, "input": "A ship."}).json["data"][0]["embedding"]) == width
    assert s.stop() == 0


def test_models_take_turns_within_a_budget(tmp_path, smollm2):
    models = "".join(f"  m{i}: {{ file: {smollm2}, context: 512, temperature: 0 }}\n" for i in range(4))
    s = Server(tmp_path, models, top="memory_budget: 300MiB\n")
    body = {"prompt": "A, B, C, D,", "max_tokens": 4, "n": 2}
    failed = []

    def work(seed):
        for i in range(4):
            reply = s.post("/v1/completions", {**body, "model": f"m{(seed + i) % 4}"})
            if reply.status != 200 or [c["text"] for c in reply.json["choices"]] != [" E, F,"] * 2:
                failed.append(reply.body)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    values = dict(line.rsplit(" ", 1) for line in s.get("/metrics").body.decode().splitlines() if not line.startswith("#"))
    loads = [int(values[f'backplane_model_loads_total{{model="m{i}"}}']) for i in range(4)]
    held = sum(int(values[f'backplane_model_bytes{{model="m{i}"}}']) for i in range(4))
    assert min(loads) >= 1 and sum(loads) > 4 and held <= 300 << 20
    assert s.stop() == 0


def test_a_port_that_is_taken(tmp_path, smollm2, server):
    config = tmp_path / "taken.yaml"
    config.write_text(f"backends: {{ cpu: {{ plugin: cpu }} }}\nmodels: {{ smol: {{ file: {smollm2} }} }}\n"
                      f"frontends: {{ http: {{ plugin: http, port: {server.port} }} }}\n")
    done = subprocess.run([server.process.args[0], "run", config], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and f"cannot listen on 127.0.0.1 port {server.port}" in done.stderr
    assert "Address already in use" in done.stderr and "; choose another host or port" in done.stderr
