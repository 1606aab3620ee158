"""Clients that mean harm: requests with bytes changed, headers that contradict each other, JSON of other types, connections that end
anywhere, many requests in one packet, from several threads at a time, while a neighbour's stream must keep its bits. Each round is
made from a number, which a failure names. BACKPLANE_HOSTILE_SECONDS lengthens it."""

import json
import os
import random
import socket
import struct
import subprocess
import threading
import time

import pytest

import tiny_models
from conftest import BUILD, Neighbour, Server, assert_released, held

SECONDS = float(os.environ.get("BACKPLANE_HOSTILE_SECONDS", "6"))
THREADS = 8
STATUSES = {100, 200, 400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 417, 422, 429, 431, 501, 503, 505}

MESSAGES = [{"role": "system", "content": "Be."}, {"role": "user", "content": [{"type": "text", "text": "Hi \u00e9"}]}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}, "b": {"enum": ["x", 1, None]},
                                           "c": {"type": "array", "items": {"$ref": "#"}, "maxItems": 3}}, "required": ["a"]}
FUNCTION = {"type": "function", "function": {"name": "f", "description": "F.", "parameters": SCHEMA, "strict": True}}
CALLED = [*MESSAGES, {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
          {"role": "tool", "tool_call_id": "1", "name": "f", "content": "3"}]
ITEMS = [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}, {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
         {"type": "function_call_output", "call_id": "1", "output": "3"}]
BODIES = [
    ("/v1/chat/completions", {"model": "smol", "messages": MESSAGES, "max_tokens": 3, "temperature": 0.5, "seed": 3, "stop": ["x"],
                             "logprobs": True, "top_logprobs": 2, "logit_bias": {"5": 1}, "n": 2, "top_k": 5, "stream": True,
                             "stream_options": {"include_usage": True}, "chat_template_kwargs": {"a": [1]}, "min_p": 0.1,
                             "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
                             "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}),
    ("/v1/completions", {"model": "smol", "prompt": ["Hello", [5, 6]], "max_tokens": 3, "echo": True, "logprobs": 1, "best_of": 2,
                        "stop_token_ids": [7], "ignore_eos": True, "frequency_penalty": 1, "suffix": None}),
    ("/v1/embeddings", {"model": "embeds", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 3, "truncate": True}),
    ("/v1/responses", {"model": "smol", "input": [{"role": "user", "content": "Hi"}], "instructions": "Be.", "stream": True,
                      "max_output_tokens": 16, "text": {"format": {"type": "text"}}}),
    ("/tokenize", {"model": "smol", "content": "Hello"}),
    ("/detokenize", {"model": "smol", "tokens": [5, 6, 7]}),
    ("/apply-template", {"model": "smol", "messages": MESSAGES}),
    ("/models/unload", {"model": "other"}),
    ("/models/load", {"model": "other"}),
    ("/v1/chat/completions", {"model": "smol", "messages": CALLED, "max_tokens": 20, "tools": [FUNCTION], "tool_choice": "required",
                              "parallel_tool_calls": False, "stream": True}),
    ("/v1/chat/completions", {"model": "smol", "messages": MESSAGES, "max_tokens": 20, "grammar": 'root ::= ("a" | [b-c]{2,3})* "\\n"'}),
    ("/v1/completions", {"model": "smol", "prompt": "a", "max_tokens": 20, "regex": "(a|b+){1,4}[^x]*"}),
    ("/v1/responses", {"model": "smol", "input": ITEMS, "max_output_tokens": 20, "tools": [{"type": "function", **FUNCTION["function"]}],
                       "tool_choice": {"type": "function", "name": "f"}, "stream": True}),
    ("/v1/responses", {"model": "smol", "input": ITEMS, "max_output_tokens": 20, "metadata": {"a": "b"},
                       "text": {"format": {"type": "json_schema", "name": "s", "strict": True, "schema": SCHEMA}}}),
    ("/v1/rerank", {"model": "ranks", "query": "What?", "documents": ["a", {"text": "b"}, "c"], "top_n": 2, "return_documents": True}),
    ("/rerank", {"model": "ranks", "query": "What?", "texts": ["a", "b"], "raw_scores": False, "return_text": True, "truncate": True}),
]
VALUES = [None, True, False, 0, -1, 1, 2 ** 31, -2 ** 63, 2 ** 63, 2 ** 64, 0.5, -1e308, 1e308, "", "a", "\u0000", "\ud83e\udd99" * 40, "x" * 5000,
          [], [[]], [[[]]], {}, {"a": {}}, ["a"] * 300, [0] * 300, {"type": "object"}, {"$ref": "#"}, "smol", "../smol", "(a+)+$"]
HEADERS = ["Content-Length: 5", "Content-Length: -1", "Content-Length: 99999999999", "Content-Length: 0", "Transfer-Encoding: chunked",
           "Transfer-Encoding: gzip", "Expect: 100-continue", "Expect: x", "Connection: keep-alive", "Connection: upgrade\r\nUpgrade: websocket",
           "Upgrade: websocket\r\nSec-WebSocket-Key: x", "Content-Encoding: gzip", "Content-Type: text/plain",
           "Content-Type: multipart/form-data; boundary=" + "b" * 200, "Host: a", "Host:", "X: " + "y" * 3000, ": no name", "no colon",
           " folded: x", "Range: bytes=0-", "Authorization: Bearer " + "z" * 500, "If-Modified-Since: now", "Cookie: " + "c=d; " * 200,
           "X-Request-Id: a\tb", "X\u00e9: 1", "Accept-Encoding: gzip"]


def change_json(dice, value):
    """A copy in which something is another thing."""
    if dice.random() < 0.25:
        return dice.choice(VALUES)
    if isinstance(value, dict) and value:
        key = dice.choice(list(value))
        changed = dict(value)
        if dice.random() < 0.1:
            changed[dice.choice(["", "model", "n", "\u0000", "__proto__"])] = changed.pop(key)
        else:
            changed[key] = change_json(dice, value[key])
        return changed
    if isinstance(value, list) and value:
        return [change_json(dice, v) if dice.random() < 0.5 else v for v in value] * dice.choice([1, 1, 2])
    return dice.choice(VALUES)


def change_bytes(dice, data):
    data = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 5, 30])):
        at = dice.randrange(len(data) + 1)
        kind = dice.randrange(5)
        if kind == 0 and at < len(data):
            data[at] = dice.randrange(256)
        elif kind == 1:
            del data[at:at + dice.choice([1, 2, 20])]
        elif kind == 2:
            data[at:at] = dice.choice([b"\0", b"\r\n", b"\n", b"\r\n\r\n", b"%00", b"..", b"\xff", b"{", b"\"", b" " * 100, bytes(50)])
        elif kind == 3:
            data = data[:at]
        else:
            data[at:at] = data[max(0, at - 30):at]
    return bytes(data)


def request(dice):
    path, body = dice.choice(BODIES)
    if dice.random() < 0.7:
        body = change_json(dice, body)
    data = json.dumps(body).encode()
    if dice.random() < 0.15:
        data = change_bytes(dice, data)
    method = "POST" if dice.random() < 0.95 else dice.choice(["GET", "HEAD", "PUT", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "x", ""])
    if dice.random() < 0.1:
        method, path, data = "GET", dice.choice(["/", "/v1/models", "/v1/models/smol", "/metrics", "/openapi.json", "/health?x=" + "y" * 500]), b""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {len(data)}"]
    if dice.random() < 0.25:
        lines.insert(dice.randrange(1, len(lines) + 1), dice.choice(HEADERS))
    if dice.random() < 0.1:
        size = dice.randrange(1, 40)
        lines[3] = "Transfer-Encoding: chunked"
        data = b"".join(b"%x\r\n%s\r\n" % (len(data[i:i + size]), data[i:i + size]) for i in range(0, len(data), size)) + b"0\r\n\r\n"
    whole = "\r\n".join(lines).encode() + b"\r\n\r\n" + data
    return change_bytes(dice, whole) if dice.random() < 0.25 else whole


def statuses(received):
    """Of every response that begins in what was received."""
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()]


def attack(server, number):
    dice = random.Random(number)
    data = b"".join(request(dice) for _ in range(dice.choice([1, 1, 1, 2, 4])))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.settimeout(dice.choice([0.02, 0.1, 0.4]))
        end = dice.randrange(8)
        try:
            if end == 0:  # in the middle
                connection.sendall(data[:dice.randrange(len(data) + 1)])
            elif end == 1:  # in pieces
                for i in range(0, min(len(data), 3000), 97):
                    connection.sendall(data[i:i + 97])
            else:
                connection.sendall(data)
            if end == 2:
                connection.shutdown(socket.SHUT_WR)
            if end in (3, 4):  # without a word, or with a reset
                if end == 4:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            received = b""
            while piece := connection.recv(dice.choice([10, 65536])):
                received += piece
                if len(received) > 4_000_000:
                    return
        except OSError:
            received = locals().get("received", b"")
        wrong = [s for s in statuses(received) if s not in STATUSES]
        assert not wrong, received[-600:]


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """Tiny models; what a sanitizer says of the server is in its log."""
    folder = tmp_path_factory.mktemp("hostile")
    subprocess.run([BUILD / "bin" / "write_tiny_llama", folder / "tiny.gguf", "1", "tools"], check=True)
    tiny_models.cross_encoder(folder / "ranks")
    tiny_models.mistral(folder / "embeds")
    s = Server(folder, "  smol: { file: tiny.gguf, queue_limit: 256 }\n  other: { file: tiny.gguf }\n  ranks: { file: ranks }\n"
                       "  embeds: { file: embeds, task: embed }", ", body_seconds: 2, idle_seconds: 2")
    yield s
    code = s.stop()
    assert code == 0, "".join(s.log[-60:])


def test_harm(target):
    seed = int(os.environ.get("BACKPLANE_HOSTILE_SEED", "1"))
    failures, over, counts = [], time.monotonic() + SECONDS, [0] * THREADS

    def work(thread):
        while time.monotonic() < over and not failures and target.process.poll() is None:
            number = seed * 1_000_000 + thread * 100_000 + counts[thread]
            counts[thread] += 1
            try:
                attack(target, number)
            except (AssertionError, OSError) as error:
                failures.append((number, error))

    with Neighbour(target) as neighbour:
        time.sleep(0.5)
        before = held(target)
        threads = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert target.process.poll() is None, "".join(target.log[-60:])
        assert not failures, failures
    print(f"{sum(counts)} attacks, {neighbour.count} answers of the neighbour")
    assert sum(counts) > 10 * THREADS and neighbour.count > 3
    assert_released(target, before)
