"""Clients other than the official one, each a program of its own in tests/http/clients, on one port with chat models and
embedders. They come from tools/python clients and tools/node clients."""

import subprocess

import pytest

from conftest import ROOT, Server

CLIENTS = ROOT / "tests" / "http" / "clients"


def tool(name, *arguments):
    return subprocess.run([ROOT / "tools" / name, *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def base(tmp_path_factory, smollm2):
    folder = tmp_path_factory.mktemp("server")
    s = Server(folder, f"  smol: {{ file: {smollm2}, system_prompt: You are a helpful assistant }}\n"
                       f"  coder: {{ file: {tool('fetch', 'qwen2.5-coder')}, context: 2048 }}\n"
                       f"  mini: {{ file: {tool('fetch', 'minilm')} }}\n"
                       f"  smol-embed: {{ file: {smollm2}, task: embed, pooling: mean }}")
    yield f"http://127.0.0.1:{s.port}/v1"
    assert s.stop() == 0, "".join(s.log)


def run(command, tmp_path):
    # A folder of their own, and nothing that they might find in the environment or fetch.
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path,
                          env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                               "LANGSMITH_TRACING": "false"})
    assert done.returncode == 0 and done.stdout.endswith("passed\n"), done.stdout + done.stderr


@pytest.mark.parametrize("client", ["litellm", "langchain"])
def test_a_client_of_python(base, client, tmp_path):
    run([tool("python", "clients"), CLIENTS / f"{client}_client.py", base], tmp_path)


def test_the_client_of_node(base, tmp_path):
    run(["node", CLIENTS / "openai_client.mjs", tool("node", "clients"), base], tmp_path)
