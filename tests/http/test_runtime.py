"""What goes wrong while requests run: case numbers are those of the acceptance list. The model is a tiny one."""

import json
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import BUILD, Neighbour, Server, answer, assert_released, error_of, events_of, held, read_all


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    subprocess.run([BUILD / "bin" / "write_tiny_llama", path], check=True)
    return path


def send(server, body, path="/v1/completions"):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    data = json.dumps({"model": "tiny", "prompt": "Hello", "ignore_eos": True, **body}).encode()
    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
                       f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return connection


def metric(server, name, labels=None, missing=None):
    labels = re.escape(labels) if labels else r"(?:{[^}]*})?"
    found = re.search(rf"^{name}{labels} ([0-9.e+-]+)$", server.get("/metrics").body.decode(), re.MULTILINE)
    return float(found[1]) if found or missing is None else missing


# --- 60 ---------------------------------------------------------------------------------------------------------------


ENDLESS = "{% for i in range(99999999) %}{% for j in range(99999999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize("template", [ENDLESS, "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
                                      "{% for i in range(99999999) %}{{ 'x' * 9999999 }}{% endfor %}"])
def test_60_a_template_that_does_not_end(tiny, tmp_path, template):
    whole = tiny.read_bytes()
    length = whole.index(b"tokenizer.chat_template") + len("tokenizer.chat_template") + 4
    begin, size = length + 8, int.from_bytes(whole[length:length + 8], "little")
    assert b"im_start" in whole[begin:begin + size] and len(template) <= size
    (tmp_path / "tiny.gguf").write_bytes(whole[:begin] + template.ljust(size).encode() + whole[begin + size:])
    server = Server(tmp_path, f"  tiny: {{ file: tiny.gguf }}\n  smol: {{ file: {tiny} }}")
    with Neighbour(server):
        began = time.monotonic()
        for stream in (False, True):
            error_of(answer(read_all(send(server, {"messages": [{"role": "user", "content": "Hi"}], "stream": stream},
                                          "/v1/chat/completions"))), 400, param="messages")
        assert time.monotonic() - began < 20
    assert server.post("/v1/completions", {"model": "tiny", "prompt": "Hello", "max_tokens": 2}).status == 200
    assert server.stop() == 0, "".join(server.log)


# --- 63 ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def leisurely(tiny, tmp_path_factory):
    """A model whose steps take 50 ms and read 16 tokens of a prompt, one request at a time; and `smol`, on another device."""
    folder = tmp_path_factory.mktemp("leisurely")
    faulty = BUILD / "tests" / "plugins" / "faulty" / "faulty.so"
    server = Server(folder, None, text=(
        f"backends: {{ good: {{ plugin: cpu, threads: 1 }}, slow: {{ plugin: {faulty}, fault: slow, milliseconds: 50 }} }}\n"
        f"models:\n  smol: {{ file: {tiny}, backend: good }}\n"
        f"  tiny: {{ file: {tiny}, backend: slow, max_batch: 1, queue_limit: 8, max_step_tokens: 16, page_tokens: 16, drafts: 0 }}\n"
        "frontends: { http: { plugin: http, port: 0, access_log: access.jsonl } }\n"))
    server.access_log = folder / "access.jsonl"
    with Neighbour(server) as neighbour:
        server.post("/v1/completions", {"model": "tiny", "prompt": "Hello", "max_tokens": 1})
        before = held(server)
        yield server
    assert neighbour.count > 0
    assert_released(server, before)
    assert server.stop() == 0, "".join(server.log)


def wait_for(condition, seconds=30):
    """How long it took to come true."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("state", ["queued", "prefill", "decoding"])
def test_63_a_client_that_leaves_in_every_state(leisurely, state, stream):
    server = leisurely

    def tiny(name):
        return metric(server, f"backplane_{name}", '{model="tiny"}')

    ask = {"prompt": "Hello", "max_tokens": 3, "temperature": 1, "seed": 4, "logprobs": 2}
    alone = answer(read_all(send(server, ask))).json["choices"]
    steps, ended, gone = tiny("steps_total"), tiny("requests_total"), metric(server, "backplane_http_requests_total", '{status="499"}', 0)
    if state == "queued":
        first = send(server, {"max_tokens": 200, "stream": True})
        assert first.recv(100)
    leaving = send(server, {"prompt": [5] * 240 if state == "prefill" else "Hello", "max_tokens": 200 if state != "prefill" else 10,
                            "stream": stream})
    wait_for(lambda: tiny("requests_waiting") if state == "queued" else tiny("steps_total") >= steps + (2 if state == "prefill" else 5))
    assert tiny("requests_running") == 1 and tiny("kv_pages_used") > 0
    leaving.close()
    took = wait_for(lambda: metric(server, "backplane_http_requests_total", '{status="499"}', 0) == gone + 1)
    took += wait_for(lambda: tiny("requests_waiting") == 0 if state == "queued" else tiny("requests_running") == 0)
    assert took < 1, "it was not seen at once"
    if state == "queued":
        first.close()
    wait_for(lambda: tiny("requests_running") == 0 and tiny("kv_pages_used") == 0)
    assert tiny("requests_total") > ended
    assert answer(read_all(send(server, ask))).json["choices"] == alone
    line = [json.loads(line) for line in server.access_log.read_text().splitlines() if '"status":499' in line][int(gone)]
    assert line["path"] == "/v1/completions" and line["model"] == "tiny" and line["completion_tokens"] < 200


# --- 64 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
def test_64_a_client_that_will_send_no_more_is_answered(leisurely, stream):
    ask = {"prompt": "Hello", "max_tokens": 12, "temperature": 1, "seed": 4, "stream": stream}
    whole = read_all(send(leisurely, ask))
    half = send(leisurely, ask)
    half.shutdown(socket.SHUT_WR)
    # An interim response is how the server sees that the client is there.
    received = read_all(half).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")

    def plain(data):
        return re.sub(rb"(?i)\"id\":\"[^\"]*\"|\"created\":\d+|x-request-id: \w+|\"cached_tokens\":\d+|content-length: \d+", b"", data)

    assert received.startswith(b"HTTP/1.1 200") and plain(received) == plain(whole)


# --- 65 ---------------------------------------------------------------------------------------------------------------


def test_65_a_reader_that_stops_loses_its_answer(tiny, tmp_path):
    """Tens of megabytes of events, more than a socket holds, for somebody who does not read them and keeps the connection open."""
    server = Server(tmp_path, f"  tiny: {{ file: {tiny}, drafts: 0, queue_limit: 256 }}", ", body_seconds: 2")
    ask = {"model": "tiny", "prompt": "Hi", "max_tokens": 20, "seed": 3, "temperature": 1, "ignore_eos": True, "logprobs": 2}
    alone = server.post("/v1/completions", ask).json["choices"]
    still = socket.socket()
    still.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    still.settimeout(30)
    still.connect(("127.0.0.1", server.port))
    body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 180, "n": 128, "stream": True,
                       "logprobs": True, "top_logprobs": 20, "temperature": 1, "ignore_eos": True}).encode()
    still.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body) + body)
    until = time.monotonic() + 60
    while 'backplane_http_requests_total{status="499"} 1' not in server.get("/metrics").body.decode():
        assert time.monotonic() < until, "nobody reads it, and it is not given up"
        assert server.post("/v1/completions", ask).json["choices"] == alone
    assert metric(server, "backplane_requests_running") + metric(server, "backplane_requests_waiting") == 0
    still.close()
    assert server.post("/v1/completions", ask).json["choices"] == alone
    assert server.stop() == 0


# --- 66 ---------------------------------------------------------------------------------------------------------------


def test_66_a_cache_that_is_full(tiny, tmp_path):
    """Twelve answers want three times the pages that there are: some wait, some start again, and all are right."""
    server = Server(tmp_path, f"  tiny: {{ file: {tiny}, kv_tokens: 512, page_tokens: 16, max_batch: 8, queue_limit: 64 }}")
    bodies = [{"model": "tiny", "prompt": f"Number {i}.", "max_tokens": 150, "temperature": 1, "seed": i, "ignore_eos": True,
               "logprobs": 1} for i in range(12)]
    alone = [server.post("/v1/completions", body).json["choices"] for body in bodies]
    together = [None] * len(bodies)
    start = threading.Barrier(len(bodies))

    def work(i):
        start.wait()
        together[i] = server.post("/v1/completions", bodies[i]).json.get("choices")

    until = time.monotonic() + 60
    while metric(server, "backplane_preemptions_total") == 0:  # a machine may be too busy to send them all at once
        assert time.monotonic() < until, "twelve at once, and none had to start again"
        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(bodies))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert together == alone
    # One that can never fit is told so, and is not waited for.
    error_of(server.post("/v1/completions", {**bodies[0], "prompt": [5] * 600}), 400, "context_length_exceeded")
    assert server.post("/v1/completions", bodies[0]).json["choices"] == alone[0]
    assert server.stop() == 0


# --- 71 ---------------------------------------------------------------------------------------------------------------


def test_71_half_a_character_at_the_end(leisurely):
    server = leisurely
    texts = {i: server.post("/detokenize", {"model": "smol", "tokens": [i]}).json["content"] for i in range(3, 259)}
    halves = [i for i, text in texts.items() if text == "\ufffd" and i > 3]  # 3 is NUL
    assert len(halves) == 128
    for half in halves[::16]:
        body = {"model": "smol", "prompt": "Hello", "max_tokens": 3, "temperature": 0, "ignore_eos": True,
                "logit_bias": {str(half): 100}, "logprobs": 1}
        reply = server.post("/v1/completions", body)
        choice = reply.json["choices"][0]
        assert reply.status == 200 and choice["finish_reason"] == "length" and set(choice["text"]) == {"\ufffd"}
        chunks = events_of(server.post("/v1/completions", {**body, "stream": True}))
        assert "".join(json.loads(c)["choices"][0]["text"] for c in chunks[:-1]) == choice["text"] and chunks[-1] == "[DONE]"
    chat = server.post("/v1/chat/completions", {"model": "smol", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1,
                                                "temperature": 0, "logit_bias": {str(halves[-1]): 100}, "logprobs": True})
    (entry,) = chat.json["choices"][0]["logprobs"]["content"]
    assert chat.json["choices"][0]["message"]["content"] == "\ufffd" and len(entry["bytes"]) == 1


# --- 72 and 73 --------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow(tiny, tmp_path):
    """A server whose steps take 50 ms, and whose time to drain is one second."""
    faulty = BUILD / "tests" / "plugins" / "faulty" / "faulty.so"
    return Server(tmp_path, None, arguments=("--drain", "1"), text=(
        f"backends: {{ b: {{ plugin: {faulty}, fault: slow, milliseconds: 50 }} }}\n"
        f"models: {{ tiny: {{ file: {tiny}, max_batch: 2, queue_limit: 8 }} }}\nfrontends: {{ http: {{ plugin: http, port: 0 }} }}\n"))


def test_72_the_time_to_drain_ends(slow):
    """Who is not done by then gets an error: as an event where the answer has begun, as a status where it has not."""
    streams = [send(slow, {"max_tokens": 200, "stream": True}), send(slow, {"max_tokens": 200})]
    first = streams[0].recv(4000)
    queued = send(slow, {"max_tokens": 3})
    time.sleep(0.2)
    began = time.monotonic()
    slow.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    late = answer(read_all(send(slow, {"max_tokens": 1})))
    assert int(late.headers["retry-after"]) <= 120
    error_of(late, 503, "shutting_down")
    health = slow.get("/health")
    assert health.status == 503 and health.json == {"status": "draining"}
    *tokens, error, done = events_of(answer(first + read_all(streams[0])))
    assert done == "[DONE]" and json.loads(error)["error"]["code"] == "shutting_down" and len(tokens) > 5
    for connection in (streams[1], queued):
        error_of(answer(read_all(connection)), 503, "shutting_down")
    assert slow.process.wait(10) == 0 and 0.9 < time.monotonic() - began < 5
    assert any("cut short" in line for line in slow.log)


def test_73_a_second_signal_while_it_drains(slow):
    connection = send(slow, {"max_tokens": 200, "stream": True})
    connection.recv(4000)
    slow.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    began = time.monotonic()
    slow.process.send_signal(signal.SIGTERM)
    assert slow.process.wait(5) == 128 + signal.SIGTERM and time.monotonic() - began < 0.5
    read_all(connection)


# --- a model that is on its way ---------------------------------------------------------------------------------------


def test_a_client_that_leaves_before_its_model_came(tmp_path, smollm2, minilm):
    """Its request ends at once, not when the two minutes are over that a model may take; and then nobody makes room for the model."""
    server = Server(tmp_path, f"  smol: {{ file: {smollm2}, kv_tokens: 4096 }}\n  mini: {{ file: {minilm} }}", top="memory_budget: 240MiB\n")
    ask = {"model": "smol", "prompt": "Hello", "max_tokens": 4000, "temperature": 1, "seed": 1}
    running = send(server, {**ask, "stream": True})
    assert running.recv(100)
    for path, body in [("/v1/embeddings", {"input": "Hello"}), ("/v1/rerank", {"query": "a", "documents": ["b"]})]:
        leaving = send(server, {"model": "mini", **body}, path)
        leaving.settimeout(1)
        with pytest.raises(TimeoutError):
            leaving.recv(1)
        leaving.close()
    until = time.monotonic() + 10
    while 'backplane_http_requests_total{status="499"} 2' not in server.get("/metrics").body.decode():
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(2.5) # so long a load that nobody waits for keeps its place
    assert metric(server, "backplane_requests_running") == 1
    running.close()
    assert server.post("/v1/completions", {**ask, "max_tokens": 2}).status == 200
    assert 'backplane_model_loads_total{model="mini"} 0' in server.get("/metrics").body.decode()
    assert server.post("/v1/embeddings", {"model": "mini", "input": "Hello"}).status == 200
    assert server.stop() == 0
