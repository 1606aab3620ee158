"""Both frontends in the program, on the default model."""

import json
import signal
import subprocess
import time

import pytest

from conftest import PROGRAM, Terminal, fetch, run

FRANCE = "What is the capital of France?"
HELPFUL = "You are a helpful assistant"


@pytest.fixture
def chat(model):
    return [str(PROGRAM), "chat", model, "--temperature", "0", "--system", HELPFUL, "--max-tokens", "40"]


def test_one_answer(chat):
    said = run([*chat, "--prompt", FRANCE])
    assert said.returncode == 0 and b"Paris" in said.stdout and said.stderr == b"" and said.stdout.endswith(b"\n")


def test_a_conversation_over_a_pipe(chat):
    said = run([*chat, "--set", "frontend.separator=--"], f"{FRANCE}\n/regenerate\n/undo\n/stats\n".encode())
    first, again, _, stats, rest = said.stdout.decode().split("\n--\n")
    assert "Paris" in first and first == again and "2 requests" in stats and rest == ""


def test_on_a_terminal(chat):
    with Terminal(chat) as t:
        t.expect("Ctrl-D leaves")
        t.prompt()
        t.type(FRANCE + "\r")
        t.expect("Paris")
        t.expect("tokens/s")
        t.prompt()
        assert "max_tokens" in t.ask("/set")
        t.ask("/set max_tokens 0")
        t.type("Tell me a long story about a very old tree.\r")
        t.expect("\r\n")
        time.sleep(0.5)
        t.type("\x03")
        assert "stopped" in t.prompt()
        t.type("\x04")
        assert t.leave() == 0


def test_an_error_is_a_sentence_and_a_status(chat):
    said = run([*chat, "--context", "16", "--prompt", FRANCE])
    assert said.returncode == 1 and b"context" in said.stderr and said.stdout == b"" and said.stderr.count(b"\n") == 1


def test_a_prompt_that_is_too_long_fails_alone(model, tmp_path):
    lines, out = tmp_path / "in", tmp_path / "out"
    short, long = {"prompt": "one two", "max_tokens": 4}, {"messages": [{"role": "user", "content": "word " * 100}]}
    lines.write_text("".join(json.dumps(r) + "\n" for r in [short, long, short, long, short]))
    assert run([PROGRAM, "batch", lines, out, "--model", model, "--set", "model.context=64"]).returncode == 0
    results = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r.get("error", {}).get("code") for r in results] == [None, *["context_length_exceeded", None] * 2]


@pytest.fixture(scope="module")
def requests(tmp_path_factory):
    file = tmp_path_factory.mktemp("batch") / "in.jsonl"
    with open(file, "w") as f:
        for i in range(20):
            body = {"messages": [{"role": "user", "content": f"Name {i} things that are blue."}], "max_tokens": 8 + i % 7,
                    "seed": i, "temperature": 0.8 if i % 2 else 0}
            if i % 4 == 0:
                body.update(logprobs=True, top_logprobs=3)
            f.write(json.dumps({"custom_id": f"request {i}", "body": body}) + "\n")
    return file


def batch(model, requests, output, parallel):
    return [str(PROGRAM), "batch", str(requests), str(output), "--model", model, "--set", f"frontend.parallel={parallel}"]


def test_a_batch_has_the_same_bytes_alone_together_and_resumed(model, requests, tmp_path):
    alone, together, resumed = (tmp_path / name for name in ("alone", "together", "resumed"))
    assert run(batch(model, requests, alone, 1)).returncode == 0
    assert run(batch(model, requests, together, 8)).returncode == 0
    expected = alone.read_bytes()
    assert expected.count(b"\n") == 20 and b'"error"' not in expected and expected == together.read_bytes()
    first = json.loads(expected.splitlines()[0])["response"]["choices"][0]
    assert len(first["logprobs"]["content"][0]["top_logprobs"]) == 3
    command = batch(model, requests, resumed, 2)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as p:
        while not resumed.exists() or resumed.stat().st_size == 0:
            time.sleep(0.01)
        p.send_signal(signal.SIGKILL)
    assert 0 < resumed.stat().st_size < len(expected)
    assert run(command).returncode == 0 and resumed.read_bytes() == expected


def test_a_batch_that_is_held_to_forms(tmp_path):
    """A schema, and a call that is forced; the same input gives the same bytes, ids of calls included."""
    lines, out = tmp_path / "in", [tmp_path / "one", tmp_path / "two"]
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                                                                          "required": ["a", "b"]}}}
    asked = [{"role": "user", "content": "What is 2 + 3?"}]
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}}
    wrong = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}
    requests = [{"messages": asked, "response_format": shape}, {"messages": asked, "tools": [tool], "tool_choice": "required", "parallel_tool_calls": False},
                {"messages": asked, "response_format": wrong}]
    lines.write_text("".join(json.dumps({**r, "max_tokens": 40, "temperature": 0}) + "\n" for r in requests))
    for path in out:
        run([PROGRAM, "batch", lines, path, "--model", fetch("qwen2.5-coder"), "--set", "model.context=512"])
    assert out[0].read_bytes() == out[1].read_bytes()
    said, called, refused = sorted(map(json.loads, out[0].read_text().splitlines()), key=lambda line: line["line"])
    assert isinstance(json.loads(said["response"]["choices"][0]["message"]["content"])["n"], int)
    choice = called["response"]["choices"][0]
    call, = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None and call["function"]["name"] == "add"
    assert set(json.loads(call["function"]["arguments"])) == {"a", "b"}
    assert refused["error"]["param"] == "response_format"


def test_a_batch_over_models_that_take_each_others_place(tmp_path):
    """Lines of two models in turn, of which one fits: neither waits for room that the other's answers hold."""
    lines, out, config = tmp_path / "in", tmp_path / "out", tmp_path / "batch.yaml"
    asks = [{"model": ("qwen", "gemma")[i % 2], "prompt": f"{i}, ", "max_tokens": 60, "ignore_eos": True, "seed": i, "logprobs": 5} for i in range(6)]
    lines.write_text("".join(json.dumps(ask) + "\n" for ask in asks))
    config.write_text(f"""
memory_budget: 700MiB
backends: {{ cpu: {{ plugin: cpu }} }}
models:
  qwen: {{ file: {fetch("qwen2.5-coder")}, context: 1024, kv_tokens: 4096 }}
  gemma: {{ file: {fetch("gemma3")}, context: 1024, kv_tokens: 4096 }}
frontends: {{ batch: {{ plugin: batch, input: {lines}, output: {out}, parallel: 6 }} }}
""")
    said = run([PROGRAM, "run", config])
    assert said.returncode == 0, said.stderr.decode()
    results = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["line"] for r in results] == list(range(1, 7)) and not any(r.get("error") for r in results)
