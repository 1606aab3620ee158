"""Backends that fail: case numbers are those of the acceptance list. Every server has a healthy device with `smol`, where a
neighbour's stream goes on with the same bits, and one with the fault, with `sick`."""

import json
import socket
import time

import pytest

from conftest import BUILD, Neighbour, Server, answer, error_of, events_of, read_all

FAULTY = BUILD / "tests" / "plugins" / "faulty" / "faulty.so"
PROMPT = {"prompt": "A, B, C, D,", "max_tokens": 4, "temperature": 0}


@pytest.fixture
def start(tmp_path, smollm2):
    """Starts a server whose second device has a fault; at the end it must be gone with 0 and without a leak."""
    started = []

    def start(fault, file=smollm2, top="", bad=None, **options):
        words = "".join(f", {key}: {value}" for key, value in options.items())
        bad = bad or f"plugin: {FAULTY}, fault: {fault}"
        text = (f"{top}backends:\n  good: {{ plugin: cpu, threads: 2 }}\n  bad: {{ {bad}{words} }}\n"
                f"models:\n  smol: {{ file: {smollm2}, backend: good }}\n  sick: {{ file: {file}, backend: bad }}\n"
                "frontends: { http: { plugin: http, port: 0 } }\n")
        started.append(Server(tmp_path, None, text=text))
        return started[-1]

    yield start
    for server in started:
        assert server.process.poll() is not None or server.stop() == 0, "".join(server.log)


def sick(server, **more):
    return server.post("/v1/completions", {**PROMPT, "model": "sick", **more})


def assert_healthy(server):
    assert server.get("/health").status == 200
    reply = server.post("/v1/completions", {**PROMPT, "model": "smol"})
    assert reply.status == 200 and reply.json["choices"][0]["text"] == " E, F,"


def assert_unavailable(server):
    """The sick model is refused with a time to come back, says why, and costs nobody else anything."""
    for stream in (False, True):
        reply = sick(server, stream=stream)
        error = error_of(reply, 503, "model_unavailable")
        assert error["type"] == "server_error" and 1 <= int(reply.headers["retry-after"]) <= 120
    assert {m["id"]: m["state"] for m in server.get("/v1/models").json["data"]} == {"smol": "ready", "sick": "failed"}
    assert_healthy(server)


def assert_last_event_is_an_error(reply, code):
    assert reply.status == 200
    *tokens, error, done = events_of(reply)
    error = json.loads(error)["error"]
    assert done == "[DONE]" and tokens and error["code"] == code and set(error) == {"message", "type", "param", "code"}
    assert all(json.loads(event)["choices"][0]["finish_reason"] is None for event in tokens)


@pytest.mark.parametrize("fault, code", [("error", "internal_error"), ("memory", "internal_error"), ("short", "internal_error"),
                                         ("nan", "internal_error")])
def test_68_70_a_step_that_fails_costs_its_request(start, fault, code):
    server = start(fault, after=6, times=1)
    with Neighbour(server):
        whole = sick(server, max_tokens=3).json["choices"][0]["text"]
        assert sick(server, max_tokens=3).json["choices"][0]["text"] == whole
        error = error_of(sick(server), 500, code)
        assert error["type"] == "server_error"
        assert sick(server).json["choices"][0]["text"] == " E, F,"
        assert_healthy(server)


@pytest.mark.parametrize("fault", ["error", "memory", "short", "nan"])
def test_68_70_a_step_that_fails_in_a_stream(start, fault):
    server = start(fault, after=4, times=1)
    with Neighbour(server):
        assert_last_event_is_an_error(sick(server, max_tokens=20, stream=True), "internal_error")
        assert sick(server).json["choices"][0]["text"] == " E, F,"
        assert_healthy(server)


@pytest.mark.parametrize("path, body", [("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
                                        ("/v1/responses", {"input": "Hi"})])
def test_68_70_other_routes(start, path, body):
    server = start("nan")
    with Neighbour(server):
        error_of(server.post(path, {**body, "model": "sick"}), 500, "internal_error")
        reply = server.post(path, {**body, "model": "sick", "stream": True})
        assert reply.status == 500 or b'"failed"' in reply.body
        assert_healthy(server)


def test_68_a_lost_device_takes_its_models_and_no_others(start):
    server = start("lost", after=3)
    with Neighbour(server):
        assert_last_event_is_an_error(sick(server, max_tokens=20, stream=True), "backend_error")
        assert_unavailable(server)
        error_of(server.post("/models/load", {"model": "sick"}), 503, "model_unavailable")
        assert 'backplane_model_ready{model="sick"} 0' in server.get("/metrics").body.decode()


def test_68_a_lost_cuda_device_takes_its_models_and_no_others(start):
    """The CUDA backend's own way to lose a device: an error that stays, of a launch in the middle of an answer."""
    server = start(None, bad="plugin: cuda-emulated, threads: 2", fail_at=3000)
    with Neighbour(server):
        assert_last_event_is_an_error(sick(server, max_tokens=20, stream=True), "backend_error")
        assert_unavailable(server)
        error_of(server.post("/models/load", {"model": "sick"}), 503, "model_unavailable")


def test_68_a_device_that_is_lost_before_the_first_byte(start):
    server = start("lost")
    with Neighbour(server):
        for stream in (False, True):
            error_of(sick(server, stream=stream), 503 if stream else 500, "model_unavailable" if stream else "backend_error")
        assert_unavailable(server)


@pytest.mark.parametrize("fault", ["open", "compile", "compile_memory"])
def test_68_82_a_device_that_takes_no_model(start, fault):
    server = start(fault)
    with Neighbour(server):
        assert_unavailable(server)


def test_68_a_load_that_failed_once_works_when_it_is_asked_for(start):
    server = start("compile_memory", times=1)
    error_of(sick(server), 503, "model_unavailable")
    assert server.post("/models/load", {"model": "sick"}).status == 200
    assert sick(server).json["choices"][0]["text"] == " E, F,"
    assert_healthy(server)


@pytest.mark.parametrize("after", [0, 3])
def test_69_a_device_that_hangs(start, after):
    server = start("hang", top="step_seconds: 1\n", after=after)
    with Neighbour(server) as neighbour:
        began = time.monotonic()
        reply = sick(server, max_tokens=20, stream=True)
        assert 0.9 < time.monotonic() - began < 10
        if after:
            assert_last_event_is_an_error(reply, "backend_error")
        else:
            assert "did not come back" in error_of(reply, 500, "backend_error")["message"]
        assert_unavailable(server)
        error_of(server.post("/models/load", {"model": "sick"}), 503, "model_unavailable")
        assert server.post("/models/unload", {"model": "sick"}).status == 503
        assert_healthy(server)
    assert neighbour.count > 0
    began = time.monotonic()
    assert server.stop() == 0 and time.monotonic() - began < 5


def test_69_a_device_that_comes_back_too_late(start):
    server = start("hang", top="step_seconds: 1\n", after=1, times=1, milliseconds=2500)
    assert_healthy(server)
    error_of(sick(server), 500, "backend_error")
    assert_unavailable(server)
    time.sleep(2)
    assert_unavailable(server)
    assert any("too late" in line for line in server.log)


def test_69_a_device_that_is_slow(start):
    server = start("slow", top="step_seconds: 1\n", milliseconds=100)
    with Neighbour(server) as neighbour:
        began = time.monotonic()
        assert sick(server, max_tokens=10).json["choices"][0]["text"].startswith(" E, F,")
        assert time.monotonic() - began > 0.9 and neighbour.count > 0
        assert_healthy(server)


def test_a_client_that_stops_sending_reads_an_unbroken_stream(start):
    server = start("slow", milliseconds=300)
    body = json.dumps({"model": "sick", "prompt": "A, B, C, D,", "max_tokens": 4, "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                           b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        received = connection.recv(65536)
        connection.shutdown(socket.SHUT_WR)
        received += read_all(connection)
    assert received.count(b"HTTP/1.1") == 1 and events_of(answer(received))[-1] == "[DONE]"


def test_70_infinity_is_a_number_that_json_has(start):
    server = start("infinity")
    with Neighbour(server):
        reply = sick(server, logprobs=3)
        lists = reply.json["choices"][0]["logprobs"]
        assert lists["tokens"] == [" E", ",", " F", ","] and lists["token_logprobs"] == [0.0] * 4
        assert b"Infinity" not in reply.body and b"nan" not in reply.body.lower()
        chat = server.post("/v1/chat/completions", {"model": "sick", "messages": [{"role": "user", "content": "Hi"}],
                                                    "max_tokens": 2, "logprobs": True, "top_logprobs": 4}).json
        for entry in chat["choices"][0]["logprobs"]["content"]:
            assert entry["logprob"] == 0 and all(top["logprob"] in (0, -9999.0) for top in entry["top_logprobs"])
        echo = sick(server, prompt="one fish two", echo=True, logprobs=1).json["choices"][0]["logprobs"]["token_logprobs"]
        assert echo[0] is None and -9999.0 in echo and set(echo[1:]) <= {0, -9999.0}
        assert_healthy(server)


@pytest.mark.parametrize("fault", ["nan", "short", "error"])
def test_70_vectors_that_are_no_numbers(start, minilm, fault):
    server = start(fault, file=minilm, after=1, times=1)
    with Neighbour(server):
        ask = {"model": "sick", "input": "Hello"}
        whole = server.post("/v1/embeddings", ask)
        error_of(server.post("/v1/embeddings", ask), 500, "internal_error")
        again = server.post("/v1/embeddings", ask)
        assert whole.status == again.status == 200 and whole.json == again.json
        assert_healthy(server)
