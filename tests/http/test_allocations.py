"""Case 67: every allocation that a request makes fails in turn, those of the libraries under the server included. What
comes is the right answer, an error of the one shape, or a closed connection; never a crash, never half an answer, and the next
request is as good as ever."""

import json
import mmap
import re
import struct
import subprocess

import pytest

import tiny_models
from conftest import BUILD, Server, answer, assert_released, error_of, events_of, held

PRELOAD = BUILD / "tests" / "support" / "failing_malloc.so"
pytestmark = pytest.mark.skipif(not PRELOAD.exists(), reason="a sanitizer has its own allocator")

GOOD = {"model": "tiny", "prompt": "Hello", "max_tokens": 2, "temperature": 0, "ignore_eos": True}
MESSAGES = [{"role": "user", "content": "Say \"A\", and then \u00e9."}]
CHAT = {"model": "tiny", "messages": MESSAGES, "max_tokens": 2, "seed": 1, "ignore_eos": True}
# What it says is said by one part of the schema or another: without any of them it would be another answer.
SCHEMA = {"allOf": [{"type": ["object", "null"], "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}, {"$ref": "#/$defs/b"}],
          "$defs": {"b": {"type": "object", "properties": {"b": {"const": "x"}, "a": {"enum": [2, 3]}}, "required": ["b"],
                          "anyOf": [{"minProperties": 2}], "title": "NUMBER"}}}
NO_SPACE = {str(token): -100 for token in (12, 13, 14, 15, 16, 31, 32, 33, 34, 35)} # which would fill an answer
FUNCTION = {"name": "f", "description": "F.", "parameters": SCHEMA, "strict": True}
REQUESTS = {
    "schema": ("/v1/chat/completions", {**CHAT, "max_tokens": 40, "ignore_eos": False, "logit_bias": NO_SPACE, "response_format": {
        "type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}}),
    "tools": ("/v1/chat/completions", {**CHAT, "max_tokens": 80, "ignore_eos": False, "logit_bias": NO_SPACE, "tool_choice": "required",
                                       "parallel_tool_calls": False, "tools": [{"type": "function", "function": FUNCTION}]}),
    "called": ("/v1/responses", {"model": "tiny", "input": "Hi", "max_output_tokens": 60, "seed": 1, "parallel_tool_calls": False,
                                 "tool_choice": {"type": "function", "name": "f"}, "tools": [{"type": "function", **FUNCTION}]}),
    "completion": ("/v1/completions", {**GOOD, "logprobs": 2, "stop": ["x", "yz"], "logit_bias": {"5": 1}, "echo": True}),
    "best": ("/v1/completions", {**GOOD, "prompt": ["Hello", [5, 6]], "temperature": 1, "seed": 3, "n": 2, "best_of": 3}),
    "chat": ("/v1/chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 2, "chat_template_kwargs": {"a": [1]}}),
    "stream": ("/v1/chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}}),
    "responses": ("/v1/responses", {"model": "tiny", "input": [{"role": "user", "content": "Hi"}], "instructions": "Be.",
                                    "max_output_tokens": 16, "stream": True, "seed": 1}),
    "tokens": ("/tokenize", {"model": "tiny", "content": "Hello world"}),
    "text": ("/detokenize", {"model": "tiny", "tokens": [5, 6, 7, 8]}),
    "embeddings": ("/v1/embeddings", {"model": "vectors", "input": ["a text", "another one"], "prompt_name": "query", "dimensions": 8}),
    "rerank": ("/v1/rerank", {"model": "scores", "query": "food?", "documents": ["eating", {"text": "x"}], "return_documents": True}),
    "template": ("/apply-template", {"model": "tiny", "messages": MESSAGES}),
}


class Memory:
    """The control of the preloaded allocator."""

    def __init__(self, path):
        path.write_bytes(bytes(16))
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 16)

    def fail(self, n):
        self.map[:16] = struct.pack("<qq", n, 0)

    def has_failed(self):
        left, failed = struct.unpack("<qq", self.map[:16])
        self.map[:8] = bytes(8)
        return failed > 0


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory")
    memory = Memory(folder / "control")
    subprocess.run([BUILD / "bin" / "write_tiny_llama", folder / "tiny.gguf", "1", "tools"], check=True)
    vectors, scores = tiny_models.mistral(folder / "vectors"), tiny_models.cross_encoder(folder / "scores")
    tiny_models.write_prompts(vectors, {"query": "Find: "}, None)
    models = f"  tiny: {{ file: tiny.gguf }}\n  vectors: {{ file: {vectors} }}\n  scores: {{ file: {scores} }}"
    server = Server(folder, models, environment={
        "LD_PRELOAD": str(PRELOAD), "BACKPLANE_FAILING_MALLOC": str(folder / "control")})
    yield server, memory
    memory.fail(0)
    assert server.stop() == 0, "".join(server.log)


def ask(server, path, body, number=0):
    """Status and what was answered, whose ids and times are cut out. The status is None for a connection that was closed
    without a word, or in the middle of an answer. The number makes it a schema that was not read before."""
    data = json.dumps(body).replace("NUMBER", str(number)).encode()
    received = server.raw(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
                          f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
    if b"\r\n\r\n" not in received:
        return None, None
    reply = answer(received)
    if reply.status != 200:
        error_of(reply, reply.status)
        return reply.status, None
    if "content-length" in reply.headers:
        whole = len(reply.body) == int(reply.headers["content-length"])
        return (200, plain(json.dumps(reply.json))) if whole else (None, None)
    return streamed(reply) if reply.body.endswith(b"0\r\n\r\n") else (None, None)


def streamed(reply):
    """The texts and reasons of a stream; its status is 500 if it ended with an error."""
    text = ""
    for event in events_of(reply):
        event = event.split("data: ")[-1]
        if event == "[DONE]":
            continue
        event = json.loads(event)
        if "error" in event or event.get("type") == "error":
            return 500, None
        for choice in event.get("choices", []):
            text += (choice["delta"].get("content") or "") + (choice["finish_reason"] or "")
        text += event.get("delta", "") + event.get("response", {}).get("status", "")
    return 200, text


def plain(text):
    return re.sub(r'"(id|created|created_at|cached_tokens|system_fingerprint|title)": ("[^"]*"|\d+)', "", text)


@pytest.mark.parametrize("name", REQUESTS)
def test_67_every_allocation_fails_in_turn(rig, name):
    server, memory = rig
    assert ask(server, *REQUESTS[name])[0] == 200
    if name in ("schema", "tools"):
        assert r'\"b\":\"x\"' in ask(server, *REQUESTS[name])[1]
    right, good = ask(server, *REQUESTS[name]), ask(server, "/v1/completions", GOOD)
    before, seen, n = held(server), {}, 0
    while True:
        n += 1
        memory.fail(n)
        status, got = ask(server, *REQUESTS[name], n)
        if not memory.has_failed():
            break
        seen[status] = seen.get(status, 0) + 1
        assert status in (500, 503, None) or (status, got) == right, (n, status, got, right)
        assert server.process.poll() is None, (n, "".join(server.log[-5:]))
        if n % 16 == 0:
            assert ask(server, "/v1/completions", GOOD) == good
    assert ask(server, "/v1/completions", GOOD) == good
    assert n > 20 and seen.get(500, 0) + seen.get(503, 0) > n / 4 and seen.get(None, 0) < 8, seen
    assert_released(server, before)
