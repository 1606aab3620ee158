"""Files and plugins that are wrong, cases 74 to 79, 81 and 82, in one server: each model is refused with a reason that names the
file, its requests are a 503, and a model beside them answers on with the same bits. What is wrong in all the other ways that there
are, the tests of the readers show."""

import json
import shutil
import struct
import subprocess
import time

import pytest

import tiny_models
from conftest import BUILD, Neighbour, Server, assert_released, error_of, held

PLUGINS = BUILD / "tests" / "plugins" / "files"
U64 = struct.Struct("<Q")


def put(data, at, new):
    return data[:at] + new + data[at + len(new):]


def behind(data, key, new, skip=4):
    """With other bytes behind a key and its type."""
    at = data.index(key.encode())
    return put(data, at + len(key) + skip, new)


def u32(number):
    return struct.pack("<I", number & 0xffffffff)


def u64(number):
    return U64.pack(number & 0xffffffffffffffff)


GGUF = {
    74: {"magic": lambda d: b"GGML" + d[4:], "version": lambda d: put(d, 4, u32(4)), "other_end": lambda d: put(d, 4, b"\0\0\0\3"),
         "tensors_minus_1": lambda d: put(d, 8, u64(-1)), "tensors_2_32": lambda d: put(d, 8, u64(1 << 32)),
         "keys_minus_1": lambda d: put(d, 16, u64(-1)), "keys_2_32": lambda d: put(d, 16, u64(1 << 32)),
         "long_key": lambda d: put(d, 24, u64(1 << 62)), "long_value": lambda d: behind(d, "general.architecture", u64(-8)),
         "value_type": lambda d: behind(d, "general.architecture", u32(77), 0),
         "many_words": lambda d: behind(d, "tokenizer.ggml.tokens", u64(1 << 60), 8),
         "dimension_0": lambda d: behind(d, "token_embd.weight", u64(0)), "dimension_minus_1": lambda d: behind(d, "token_embd.weight", u64(-1)),
         "product": lambda d: behind(d, "token_embd.weight", u64(1 << 40) + u64(1 << 40)),
         "rank": lambda d: behind(d, "token_embd.weight", u32(9), 0), "offset": lambda d: behind(d, "token_embd.weight", u64(1 << 40), 24),
         "twins": lambda d: d.replace(b"blk.1.attn_q.weight", b"blk.0.attn_q.weight"), "empty": lambda d: b"", "text": lambda d: b"hello\n" * 99},
    75: {"half": lambda d: d[:len(d) // 2], "without_its_end": lambda d: d[:-1], "header_alone": lambda d: d[:1000]},
    77: {"long_piece": lambda d: behind(d, "tokenizer.ggml.tokens", u64(1 << 33), 16),
         "fewer_pieces": lambda d: d.replace(b"token_embd.weight" + u32(2) + u64(64) + u64(300), b"token_embd.weight" + u32(2) + u64(64) + u64(299))},
    79: {"no_heads": lambda d: behind(d, "llama.attention.head_count", u32(0)), "heads_minus_1": lambda d: behind(d, "llama.attention.head_count", u32(-1)),
         "three_heads": lambda d: behind(d, "llama.attention.head_count", u32(3)), "no_kv_heads": lambda d: behind(d, "llama.attention.head_count_kv", u32(0)),
         "no_width": lambda d: behind(d, "llama.embedding_length", u32(0)), "odd_width": lambda d: behind(d, "llama.embedding_length", u32(65)),
         "no_blocks": lambda d: behind(d, "llama.block_count", u32(0)), "many_blocks": lambda d: behind(d, "llama.block_count", u32(-1))},
}


def with_header(data, change):
    """The safetensors file with another header in front of the same data."""
    size, = U64.unpack(data[:8])
    header = json.loads(data[8:8 + size])
    change(header, header["model.norm.weight"])
    text = json.dumps(header).encode()
    return u64(len(text)) + text + data[8 + size:]


SAFETENSORS = {
    "over_100_mb": lambda d: put(d, 0, u64(101 << 20)), "over_the_file": lambda d: put(d, 0, u64(len(d))), "minus_1": lambda d: put(d, 0, u64(-1)),
    "no_utf8": lambda d: d.replace(b"model.norm.weight", b"model.norm\xff\xfeight"), "longer": lambda d: d + b"\0" * 4, "shorter": lambda d: d[:-4],
    "no_json": lambda d: put(d, 8, b"["), "gone": lambda d: with_header(d, lambda h, t: h.pop("model.norm.weight")),
    "hole": lambda d: with_header(d, lambda h, t: t.update(shape=[63], data_offsets=[t["data_offsets"][0], t["data_offsets"][1] - 4])),
    "overlap": lambda d: with_header(d, lambda h, t: t.update(data_offsets=[t["data_offsets"][0] - 4, t["data_offsets"][1] - 4])),
    "shape": lambda d: with_header(d, lambda h, t: t.update(shape=[1 << 62, 8])), "negative": lambda d: with_header(d, lambda h, t: t.update(shape=[-64])),
    "backwards": lambda d: with_header(d, lambda h, t: t.update(data_offsets=t["data_offsets"][::-1])),
}
FOLDERS = {
    76: {name: ("model.safetensors", change) for name, change in SAFETENSORS.items()},
    77: {"more_words": ("tokenizer.json", lambda d: d.replace(b'"vocab": {', b'"vocab": {' + b"".join(b'"w%d": %d, ' % (i, 265 + i) for i in range(90)))),
         "no_words": ("tokenizer.json", lambda d: b"{}")},
    79: {"heads": ("config.json", lambda d: d.replace(b'"num_attention_heads": 4', b'"num_attention_heads": 0')),
         "odd_heads": ("config.json", lambda d: d.replace(b'"num_attention_heads": 4', b'"num_attention_heads": 5')),
         "minus_width": ("config.json", lambda d: d.replace(b'"hidden_size": 64', b'"hidden_size": -64'))},
}


def write_shards(folder, shard):
    """Of 78: an index, in which one tensor is in another file."""
    size, = U64.unpack((folder / "model.safetensors").read_bytes()[:8])
    names = [name for name in json.loads((folder / "model.safetensors").read_bytes()[8:8 + size]) if name != "__metadata__"]
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    weights = {name: "model-1.safetensors" for name in names} | {names[0]: shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weights}))


SHARDS = {"missing": "model-2.safetensors", "above": "../whole/model.safetensors", "absolute": "/etc/passwd", "not_a_name": 3, "itself": "."}
BACKENDS = {81: ["wrong_major", "newer_minor", "no_symbol", "torn_ops", "half", "foreign"], 82: ["fails_open", "twin"]}
CASES = [(number, name) for number in (74, 75, 76, 77, 78, 79) for names in (GGUF.get(number, {}), FOLDERS.get(number, {}), SHARDS if number == 78 else {})
         for name in names]


def write_models(folder):
    """One file or folder for each case, and one of each kind that is whole."""
    subprocess.run([BUILD / "bin" / "write_tiny_llama", folder / "tiny.gguf"], check=True)
    whole = (folder / "tiny.gguf").read_bytes()
    tiny_models.mistral(folder / "whole", headless=False)
    for number, name in CASES:
        out = folder / f"{number}_{name}"
        if name in GGUF.get(number, {}):
            out = out.with_suffix(".gguf")
            out.write_bytes(GGUF[number][name](whole))
            assert out.read_bytes() != whole, name
            continue
        shutil.copytree(folder / "whole", out)
        if number == 78:
            write_shards(out, SHARDS[name])
            continue
        part, change = FOLDERS[number][name]
        before = (out / part).read_bytes()
        (out / part).write_bytes(change(before))
        assert (out / part).read_bytes() != before, name


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_models(folder)
    binary = (PLUGINS / "sparse.so").read_bytes()
    (folder / "half.so").write_bytes(binary[:len(binary) // 2])
    (folder / "foreign.so").write_bytes(put(binary, 18, b"\x08\x00"))  # MIPS
    plugins = {name: folder / f"{name}.so" if (folder / f"{name}.so").exists() else PLUGINS / f"{name}.so" for names in BACKENDS.values() for name in names}
    models = ["  smol: { file: tiny.gguf, backend: good }", "  whole: { file: whole, backend: good }"]
    models += [f"  {n}_{name}: {{ file: '{n}_{name}{'.gguf' if name in GGUF.get(n, {}) else ''}', backend: good }}" for n, name in CASES]
    models += [f"  on_{name}: {{ file: tiny.gguf, backend: {name} }}" for name in plugins]
    text = ("backends:\n  good: { plugin: cpu, threads: 1 }\n" + "".join(f"  {name}: {{ plugin: '{path}' }}\n" for name, path in plugins.items()) +
            "models:\n" + "\n".join(models) + "\nfrontends: { http: { plugin: http, port: 0 } }\n")
    s = Server(folder, None, text=text)
    s.folder = folder
    reply = s.post("/v1/completions", {"model": "whole", "prompt": "Hello", "max_tokens": 1})
    assert reply.status == 200, reply.body
    with Neighbour(s) as neighbour:
        before = held(s)
        yield s
    assert neighbour.count > 0
    assert_released(s, before)
    assert s.stop() == 0, "".join(s.log[-20:])


def refused(server, model, *words):
    """Of both kinds of answers and of a load, which names the file."""
    for path, body in [("/v1/completions", {"prompt": "Hello", "max_tokens": 2}), ("/v1/completions", {"prompt": "Hello", "stream": True}),
                       ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}), ("/models/load", {})]:
        error = error_of(server.post(path, {**body, "model": model}), 503, "model_unavailable")
        assert all(word in error["message"] for word in words), error["message"]
    state, = [m["state"] for m in server.get("/v1/models").json["data"] if m["id"] == model]
    assert state == "failed"


def assert_logged(server, *words):
    """A line of the log, which comes through a pipe, has all of them."""
    until = time.monotonic() + 10
    while not any(all(word in line for word in words) for line in list(server.log)):
        assert time.monotonic() < until, f"no line of the log has {words}"
        time.sleep(0.02)


def refused_file(server, number, name):
    refused(server, f"{number}_{name}", f"{number}_{name}")
    assert_logged(server, f"{number}_{name}", "error")


def of(number):
    return pytest.mark.parametrize("name", [name for n, name in CASES if n == number])


@of(74)
def test_74_gguf_that_is_none(server, name):
    refused_file(server, 74, name)


@of(75)
def test_75_data_that_is_cut(server, name):
    refused_file(server, 75, name)


@of(76)
def test_76_safetensors_that_are_none(server, name):
    refused_file(server, 76, name)


@of(77)
def test_77_vocabularies_that_do_not_fit(server, name):
    refused_file(server, 77, name)


@of(78)
def test_78_shards_that_are_missing_or_elsewhere(server, name):
    refused_file(server, 78, name)


@of(79)
def test_79_dimensions_that_do_not_fit(server, name):
    refused_file(server, 79, name)


@pytest.mark.parametrize("name", BACKENDS[81])
def test_81_plugins_that_are_none(server, name):
    refused(server, f"on_{name}", name)
    assert_logged(server, "left out", f"{name}.so")


@pytest.mark.parametrize("name", BACKENDS[82])
def test_82_plugins_that_fail_at_once(server, name):
    refused(server, f"on_{name}")
    assert_logged(server, "left out", f"{name}.so")


@pytest.mark.parametrize("kind", ["tiny.gguf", "whole"])
def test_75_a_file_that_shrinks_while_it_is_in_use(tmp_path, kind):
    """Its model fails, and the server goes on; whole again, it can be loaded."""
    folder = tmp_path / "models"
    folder.mkdir()
    subprocess.run([BUILD / "bin" / "write_tiny_llama", folder / "tiny.gguf"], check=True)
    tiny_models.mistral(folder / "whole", headless=False)
    shutil.copy(folder / "tiny.gguf", folder / "smol.gguf")
    s = Server(tmp_path, f"  smol: {{ file: models/smol.gguf }}\n  victim: {{ file: models/{kind} }}")
    ask = {"model": "victim", "prompt": "Hello", "max_tokens": 4, "temperature": 0, "logprobs": 2}
    with Neighbour(s):
        good = s.post("/v1/completions", ask).json["choices"]
        file = folder / kind if kind.endswith("gguf") else folder / kind / "model.safetensors"
        whole = file.read_bytes()
        with open(file, "r+b") as opened:
            opened.truncate(4096)
        for stream in (False, True, False):
            reply = s.post("/v1/completions", {**ask, "stream": stream})
            # Weights that were copied into the backend's own order do not need the file any more.
            assert reply.status in (500, 503) or (not stream and reply.json["choices"] == good) or (stream and b"[DONE]" in reply.body)
        assert s.get("/health").status == 200 and s.process.poll() is None
        file.write_bytes(whole)
        for action in ("unload", "load"):
            assert s.post(f"/models/{action}", {"model": "victim"}).status == 200
        assert s.post("/v1/completions", ask).json["choices"] == good
    assert s.stop() == 0
