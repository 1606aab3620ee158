"""SIGHUP: models and backends come, change and go under load; no request fails, and none of their bits change. CI moves two real models
to another backend; all four are moved by

    BACKPLANE_MOVED="smollm2 minilm qwen2.5-coder gemma3" ctest --test-dir build/release -R http.reload --verbose
"""

import os
import re
import signal
import subprocess
import threading
import time

import pytest

from conftest import BUILD, ROOT, Server, error_of, held

EMULATED = BUILD / "plugins" / "cuda-emulated.so"
HTTP = "frontends: { http: { plugin: http, port: 0 } }\n"


def text_of(models, backends="cpu: { plugin: cpu, threads: 2 }", top="", frontends=HTTP):
    return f"{top}backends: {{ {backends} }}\nmodels:\n{models}\n{frontends}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    subprocess.run([BUILD / "bin" / "write_tiny_llama", path], check=True)
    return path


class Served(Server):
    """A server whose configuration is written anew while it runs."""

    def __init__(self, folder, text):
        self.file = folder / "server.yaml"
        super().__init__(folder, None, text=text)

    def reload(self, text, expect=r"models of .*: (\d+) new, (\d+) changed, (\d+) gone, (\d+) as before"):
        """What the log's line says: four numbers, or what was not good."""
        before = len(self.log)
        self.file.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            for line in self.log[before:]:
                if found := re.search(expect, line):
                    return tuple(map(int, found.groups())) or line
            time.sleep(0.01)
        raise AssertionError("".join(self.log[before:]))

    def count(self, name, model):
        found = re.search(rf'^backplane_{name}{{model="{model}"}} (\d+)$', self.get("/metrics").body.decode(), re.M)
        return int(found[1]) if found else None

    def names(self):
        return sorted(m["id"] for m in self.get("/v1/models").json["data"])


ASK = {"max_tokens": 24, "temperature": 1, "logprobs": 3, "ignore_eos": True, "prompt": "Once upon a time"}


class Load:
    """Clients that ask for the same seeded answers over and over. None may fail, and each has the bits of the first."""

    def __init__(self, server, model, clients):
        self.server, self.model, self.count, self.wrong, self.over = server, model, 0, [], threading.Event()
        self.alone = [self.ask(seed) for seed in range(clients)]
        self.threads = [threading.Thread(target=self.work, args=(i,), daemon=True) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def ask(self, seed):
        reply = self.server.post("/v1/completions", {**ASK, "model": self.model, "seed": seed})
        return reply.json["choices"] if reply.status == 200 else (reply.status, reply.body)

    def work(self, seed):
        while not self.over.is_set():
            try:
                got = self.ask(seed)
            except Exception as error:
                got = error
            self.count += 1
            if got != self.alone[seed]:
                self.wrong.append(got)

    def more(self, answers):
        """Waits until so many more have been given."""
        until, wanted = time.monotonic() + 60, self.count + answers
        while self.count < wanted:
            assert time.monotonic() < until, "the answers stopped"
            time.sleep(0.005)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(60)
        assert self.wrong == [] and self.alone[0] != self.alone[1], self.wrong[:1]


def test_models_come_change_and_go(tiny, tmp_path):
    kept = f"  kept: {{ file: {tiny}, queue_limit: 64 }}"
    server = Served(tmp_path, text_of(kept))
    with Load(server, "kept", 4) as load:
        assert server.reload(text_of(f"{kept}\n  more: {{ file: {tiny}, aliases: [another] }}")) == (1, 0, 0, 1)
        assert server.names() == ["kept", "more"]
        first = server.post("/v1/completions", {**ASK, "model": "another", "seed": 0}).json["choices"]
        assert first == load.alone[0]
        assert server.count("model_loads_total", "more") == 1
        load.more(8)
        assert server.reload(text_of(f"{kept}\n  more: {{ file: {tiny}, context: 64 }}")) == (0, 1, 0, 1)
        assert server.post("/v1/completions", {**ASK, "model": "more", "seed": 0}).json["choices"] == first
        error_of(server.post("/v1/completions", {**ASK, "model": "more", "prompt": "x " * 200}), 400, "context_length_exceeded")
        error_of(server.post("/v1/completions", {**ASK, "model": "another"}), 404, "model_not_found")
        assert server.count("model_loads_total", "more") == 2  # the counter goes on under its name
        load.more(8)
        assert server.reload(text_of(kept)) == (0, 0, 1, 1)
        error_of(server.post("/v1/completions", {**ASK, "model": "more"}), 404, "model_not_found")
        assert server.names() == ["kept"]
        load.more(8)
    assert server.count("model_loads_total", "kept") == 1  # it never left
    assert server.stop() == 0


def test_what_runs_is_finished_by_what_it_began_with(tiny, tmp_path):
    """A long stream, while its model is changed, changed again and removed."""
    server = Served(tmp_path, text_of(f"  tiny: {{ file: {tiny}, context: 250, drafts: 0, queue_limit: 64 }}"))
    ask = {**ASK, "model": "tiny", "seed": 5, "max_tokens": 190, "n": 32}
    alone = server.post("/v1/completions", ask).json["choices"]
    got = []
    thread = threading.Thread(target=lambda: got.append(server.post("/v1/completions", ask)))
    thread.start()
    while server.count("requests_running", "tiny") == 0:
        assert not got, "it was over too soon to be of use"
    server.reload(text_of(f"  tiny: {{ file: {tiny}, context: 240 }}"))
    server.reload(text_of(f"  tiny: {{ file: {tiny}, context: 230 }}\n  other: {{ file: {tiny} }}"))
    server.reload(text_of(f"  other: {{ file: {tiny} }}"))
    thread.join(60)
    assert got[0].status == 200 and got[0].json["choices"] == alone
    assert server.names() == ["other"]
    assert server.stop() == 0


@pytest.mark.skipif(not EMULATED.exists(), reason="the CUDA backend's kernels are not emulated in this build")
def test_a_backend_is_swapped_under_load(tiny, tmp_path):
    """One word changes, there and back, several times: the same bits from both, and nothing that was opened stays open."""
    cpu = text_of(f"  tiny: {{ file: {tiny}, queue_limit: 64 }}", "main: { plugin: cpu, threads: 2 }")
    cuda = cpu.replace("plugin: cpu", "plugin: cuda-emulated")
    server = Served(tmp_path, cpu)
    assert server.post("/v1/completions", {**ASK, "model": "tiny"}).status == 200
    with Load(server, "tiny", 4) as load:
        load.more(8)
        for _ in range(3):
            for text in (cuda, cpu):
                assert server.reload(text) == (0, 1, 0, 0)
                load.more(8)
    until = time.monotonic() + 10
    tasks = held(server)[1]
    assert server.reload(cuda) == (0, 1, 0, 0)  # twice more: threads of closed devices do not add up
    assert server.reload(cpu) == (0, 1, 0, 0)
    while held(server)[1] > tasks:
        assert time.monotonic() < until, (held(server), tasks)
        time.sleep(0.05)
    assert server.count("model_loads_total", "tiny") >= 7
    assert server.stop() == 0


def fetched(name):
    return subprocess.run([ROOT / "tools" / "fetch", name], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(not EMULATED.exists(), reason="the CUDA backend's kernels are not emulated in this build")
def test_real_models_on_another_backend(tmp_path):
    """Chat and embedding models: one word, the same bits, and who asks meanwhile notices nothing."""
    names = os.environ.get("BACKPLANE_MOVED", "smollm2 minilm").split()
    cpu = text_of("\n".join(f"  {name}: {{ file: {fetched(name)}, context: 256 }}" for name in names), "main: { plugin: cpu }")
    server = Served(tmp_path, cpu)
    asks = [("/v1/embeddings", {"model": name, "input": ["one line", "two"]}) if name == "minilm" else
            ("/v1/completions", {**ASK, "model": name, "seed": 3, "max_tokens": 2}) for name in names]

    def ask(path, body):
        reply = server.post(path, body, timeout=250)  # emulated kernels take their time
        assert reply.status == 200, reply.body
        return reply.json.get("choices") or reply.json["data"]

    alone = [ask(*each) for each in asks]
    wrong, over = [], threading.Event()

    def work(each, want):
        while not over.is_set():
            try:
                got = ask(*each)
            except Exception as error:
                got = error
            if got != want:
                wrong.append(got)

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in zip(asks, alone)]
    for thread in threads:
        thread.start()
    assert server.reload(cpu.replace("plugin: cpu", "plugin: cuda-emulated")) == (0, len(names), 0, 0)
    assert [ask(*each) for each in asks] == alone
    assert {m["backend"] for m in server.get("/v1/models").json["data"]} == {"main"}
    over.set()
    for thread in threads:
        thread.join(250)
    assert wrong == [] and server.stop() == 0


@pytest.mark.parametrize("break_it, says", [
    (lambda text: text.replace("models:", "modells:"), r"goes on: .*server.yaml:\d+:\d+: .*modells"),
    (lambda text: text + "  : [", r"goes on: .*server.yaml:\d+"),
    (lambda text: text.replace("tiny.gguf", "absent.gguf"), r"goes on: .*absent.gguf"),
    (lambda text: text.replace("plugin: cpu", "plugin: nothing"), r"goes on: .*nothing"),
    (lambda text: text.replace("threads: 2", "threads: 2, isa: z80"), r"goes on: .*server.yaml:\d+:\d+: "),
    (lambda text: text.replace("tiny:", "tiny: { file: no.gguf }\n  tiny2:").replace("context: 100", "context: 1e9"), r"goes on: ")])
def test_what_cannot_be_read_changes_nothing(tiny, tmp_path, break_it, says):
    good = text_of(f"  tiny: {{ file: {tiny}, context: 100 }}")
    server = Served(tmp_path, good)
    first = server.post("/v1/completions", {**ASK, "model": "tiny", "seed": 1}).json["choices"]
    line = server.reload(break_it(good), says)
    assert line.startswith("backplane: error: "), line
    assert server.names() == ["tiny"]
    assert server.post("/v1/completions", {**ASK, "model": "tiny", "seed": 1}).json["choices"] == first
    assert server.reload(good) == (0, 0, 0, 1) and server.count("model_loads_total", "tiny") == 1
    assert server.stop() == 0


def test_what_a_running_server_does_not_take_up_is_said(tiny, tmp_path):
    good = text_of(f"  tiny: {{ file: {tiny} }}")
    server = Served(tmp_path, good)
    changed = good.replace("port: 0", "port: 0, idle_seconds: 7")
    assert server.reload(changed, r"warning: frontends: changed in \S+server.yaml")
    assert server.reload(changed) == (0, 0, 0, 1)
    assert server.stop() == 0


def test_a_load_is_logged_and_memory_only_where_something_changed(tiny, tmp_path):
    text = text_of(f"  tiny: {{ file: {tiny} }}", top="memory_budget: 1GiB\n")
    server = Served(tmp_path, text)
    said = lambda what: sum(what in line for line in list(server.log))
    assert said("model tiny needs") == 1 and said("is loaded") == 0
    assert [m["task"] for m in server.get("/v1/models").json["data"]] == [None]
    assert server.post("/v1/completions", {**ASK, "model": "tiny"}).status == 200
    assert [m["task"] for m in server.get("/v1/models").json["data"]] == ["generate"]
    assert server.reload(text) == (0, 0, 0, 1)
    assert server.reload(text.replace("1GiB", "2GiB")) == (0, 0, 0, 1)
    server.stop()
    assert said("model tiny needs") == 2 and said("model tiny is loaded (") == 1, "".join(server.log)


def test_a_file_that_was_replaced_is_loaded_anew(tiny, tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny.read_bytes())
    text = text_of(f"  tiny: {{ file: {path} }}")
    server = Served(tmp_path, text)
    assert server.post("/v1/completions", {**ASK, "model": "tiny"}).status == 200
    assert server.reload(text) == (0, 0, 0, 1)
    other = tmp_path / "new.gguf"
    other.write_bytes(tiny.read_bytes())
    other.rename(path)
    assert server.reload(text) == (0, 1, 0, 0)
    assert server.post("/v1/completions", {**ASK, "model": "tiny"}).status == 200
    assert server.count("model_loads_total", "tiny") == 2
    assert server.stop() == 0


def test_many_at_once_and_one_while_it_stops(tiny, tmp_path):
    text = text_of(f"  tiny: {{ file: {tiny}, load: eager }}")
    server = Served(tmp_path, text)
    for _ in range(50):
        server.process.send_signal(signal.SIGHUP)
    server.reload(text.replace("eager", "eager, context: 77"), "0 new, 1 changed, 0 gone, 0 as before")  # others may come before it
    server.process.send_signal(signal.SIGHUP)
    assert server.stop() == 0
