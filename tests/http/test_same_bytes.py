"""The same requests, with seeds, give the same bytes whatever else goes on: alone, among others, after a restart, after the model
left memory, with its beginning in the prefix cache, on another number of threads, after SIGHUP, on another backend."""

import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest

from conftest import BUILD, ROOT, Server, events_of

EMULATED = BUILD / "plugins" / "cuda-emulated.so"
SAYS = [{"role": "user", "content": "Name three rivers of Europe and say one thing about each of them."}]
SEEDED = {"temperature": 1, "top_p": 0.9, "seed": 11, "max_tokens": 16}
REQUESTS = {
    "chat": ("/v1/chat/completions", {"model": "smol", "messages": SAYS, "logprobs": True, "top_logprobs": 5, **SEEDED}),
    "chat, streamed": ("/v1/chat/completions", {"model": "smol", "messages": SAYS, "logprobs": True, "top_logprobs": 2, "stream": True,
                                                **SEEDED}),
    "two completions": ("/v1/completions", {"model": "smol", "prompt": "The river that", "n": 2, "logprobs": 5, **SEEDED}),
    "greedy": ("/v1/completions", {"model": "smol", "prompt": "A, B, C, D,", "temperature": 0, "max_tokens": 12, "logprobs": 1}),
    "embeddings": ("/v1/embeddings", {"model": "mini", "input": ["A man is eating food.", "word " * 40, "x"]}),
    "hidden states": ("/v1/embeddings", {"model": "smol-embed", "input": ["A man is eating food."], "encoding_format": "base64"}),
}
# What names the answer, its moment, or how it was come by.
ASIDE = re.compile(r'"(id|created|cached_tokens)":("[^"]*"|\d+),?')


def fetch(name):
    return subprocess.run([ROOT / "tools" / "fetch", name], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def text(smollm2):
    return ("backends: { cpu: { plugin: cpu } }\nmodels:\n"
            f"  smol: {{ file: {smollm2}, context: 1024, kv_tokens: 8192, queue_limit: 256 }}\n"
            f"  mini: {{ file: {fetch('minilm')} }}\n"
            f"  smol-embed: {{ file: {smollm2}, context: 512, task: embed, pooling: mean }}\n"
            "frontends: { http: { plugin: http, port: 0 } }\n")


def ask(server, name):
    """The bytes of the answer but for what is set aside; of a stream, what its chunks come to."""
    path, body = REQUESTS[name]
    reply = server.post(path, body, timeout=100)
    assert reply.status == 200, reply.body[:300]
    if not body.get("stream"):
        return ASIDE.sub("", reply.body.decode())
    *chunks, done = events_of(reply)
    assert done == "[DONE]"
    choices = [choice for chunk in chunks for choice in json.loads(chunk)["choices"]]
    listed = [entry for choice in choices if choice.get("logprobs") for entry in choice["logprobs"]["content"]]
    return json.dumps([("".join(choice["delta"].get("content") or "" for choice in choices)), listed])


def ask_all(server):
    return {name: ask(server, name) for name in REQUESTS}


def count(server, name, model):
    return int(re.search(rf'^backplane_{name}{{model="{model}"}} (\d+)$', server.get("/metrics").body.decode(), re.M)[1])


@pytest.fixture(scope="module")
def alone(text, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("alone"), None, text=text)
    first = ask_all(server)
    assert server.stop() == 0
    return first


def served(folder, text):
    return Server(folder, None, text=text)


def test_after_a_restart(alone, text, tmp_path):
    server = served(tmp_path, text)
    assert ask_all(server) == alone
    assert server.stop() == 0


def test_the_answers_are_answers(alone):
    """What is the same everywhere is not the same nothing."""
    content = json.loads(alone["chat"])["choices"][0]
    assert len(content["logprobs"]["content"]) == 16 and content["message"]["content"] == json.loads(alone["chat, streamed"])[0]
    two = [choice["text"] for choice in json.loads(alone["two completions"])["choices"]]
    assert two[0] != two[1] and len(json.loads(alone["embeddings"])["data"][2]["embedding"]) == 384


def test_among_others(alone, text, tmp_path):
    """Eight clients at once send them in orders of their own, beside longer ones that nobody compares."""
    server = served(tmp_path, text)
    wrong, over = [], threading.Event()

    def work(i):
        names = list(REQUESTS)
        for name in names[i % len(names):] + names[:i % len(names)]:
            try:
                got = ask(server, name)
            except Exception as error:
                got = error
            if got != alone[name]:
                wrong.append((name, got))

    def disturb(i):
        while not over.is_set():
            server.post("/v1/completions", {"model": "smol", "prompt": "noise " * (3 + 40 * i), "max_tokens": 30, "seed": i,
                                            "temperature": 1.5}, timeout=100)

    others = [threading.Thread(target=disturb, args=(i,)) for i in range(2)]
    clients = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in others + clients:
        thread.start()
    most = 0
    while any(thread.is_alive() for thread in clients):
        most = max(most, count(server, "requests_running", "smol"))
        time.sleep(0.01)
    over.set()
    for thread in others + clients:
        thread.join()
    assert wrong == [] and most > 2
    assert server.stop() == 0


def test_with_a_beginning_that_is_known(alone, text, tmp_path):
    """Twice the same, and once behind another conversation that begins alike."""
    server = served(tmp_path, text)
    path, body = REQUESTS["chat"]
    server.post(path, {**body, "messages": SAYS + [{"role": "assistant", "content": "The Rhine."}, {"role": "user", "content": "More."}]})
    known = []
    for _ in range(2):
        reply = server.post(path, body)
        known.append(reply.json["usage"]["prompt_tokens_details"]["cached_tokens"])
        assert ASIDE.sub("", reply.body.decode()) == alone["chat"]
    assert min(known) > 8, known
    assert ask_all(server) == alone
    assert server.stop() == 0


def test_after_it_left_memory(alone, text, smollm2, tmp_path):
    """A budget for one model of its size, and another that is asked for in between."""
    os.symlink(smollm2, tmp_path / "other.gguf")
    server = served(tmp_path, "memory_budget: 300MiB\n" + text.replace(
        "  mini:", f"  other: {{ file: {tmp_path / 'other.gguf'}, context: 1024, kv_tokens: 8192 }}\n  mini:"))
    assert ask(server, "chat") == alone["chat"]
    for name in REQUESTS:
        assert server.post("/v1/completions", {"model": "other", "prompt": "Hi", "max_tokens": 1}).status == 200
        assert ask(server, name) == alone[name]
    assert count(server, "model_loads_total", "smol") >= 3
    assert server.stop() == 0


@pytest.mark.parametrize("threads", [1, 3])
def test_on_another_number_of_threads(alone, text, tmp_path, threads):
    server = served(tmp_path, text.replace("plugin: cpu", f"plugin: cpu, threads: {threads}"))
    assert ask_all(server) == alone
    assert server.stop() == 0


def reload(server, file, text):
    before = len(server.log)
    file.write_text(text)
    server.process.send_signal(signal.SIGHUP)
    until = time.monotonic() + 30
    while not any("models of" in line for line in server.log[before:]):
        assert time.monotonic() < until, "".join(server.log)
        time.sleep(0.01)


def test_after_another_configuration(alone, text, tmp_path):
    server = served(tmp_path, text)
    assert ask_all(server) == alone
    reload(server, tmp_path / "server.yaml", text.replace("kv_tokens: 8192", "kv_tokens: 4096, drafts: 0, max_batch: 3"))
    assert ask_all(server) == alone
    assert server.stop() == 0


@pytest.mark.skipif(not EMULATED.exists(), reason="the CUDA backend's kernels are not emulated in this build")
def test_on_another_backend(alone, text, tmp_path):
    """Emulated kernels take their time: the embeddings, and the shortest of the answers."""
    server = served(tmp_path, text)
    assert ask(server, "embeddings") == alone["embeddings"]
    reload(server, tmp_path / "server.yaml", text.replace("plugin: cpu", "plugin: cuda-emulated"))
    for name in ("embeddings", "hidden states", "greedy"):
        assert ask(server, name) == alone[name]
    assert server.stop() == 0
