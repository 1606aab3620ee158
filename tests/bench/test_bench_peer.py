"""tools/benchmarks and what is made of it: what the engines print is read right, a suite goes on where it was cut off, and the page says what was missed.
Nothing here is timed: the engines' answers are canned."""

import importlib.machinery
import importlib.util
import json
import pathlib
import socketserver
import sys
import threading
import time
import xml.etree.ElementTree

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "benchmarks"))

import engines  # noqa: E402
import load  # noqa: E402
import models  # noqa: E402
import page  # noqa: E402
import serve  # noqa: E402
import suite  # noqa: E402

LLAMA_BENCH = json.dumps([{"n_prompt": 512, "n_gen": 0, "samples_ts": [400.0, 300.0, 350.0]},
                          {"n_prompt": 0, "n_gen": 128, "samples_ts": [100.0, 120.0]}])
LLAMA_BATCHED = """main: something it says first
{"n_kv_max": 3072, "pp": 32, "tg": 64, "pl": 8, "t_pp": 0.8, "speed_pp": 320.0, "speed_tg": 200.0}

{"n_kv_max": 3072, "pp": 32, "tg": 64, "pl": 32, "speed_pp": 310.0, "speed_tg": 250.5}
"""
LLAMA_ENCODED = """{"pp": 128, "tg": 0, "pl": 1, "speed_pp": 2560.0, "t_tg": 0.000000, "speed_tg": -nan}
{"pp": 128, "tg": 0, "pl": 8, "speed_pp": 1280.0, "t_tg": 0.000000, "speed_tg": -nan}
"""
OURS = {"model": "m", "backend": "cpu (2 threads, avx512-vnni)", "weights": "Q4_1",
        "machine": {"processor": "Some <Processor>", "features": "avx2 fma", "kernel": "Linux 6", "build": "GNU 12, Release",
                    "processors": 2, "numa_nodes": 1, "memory": 2**34, "last_cache": 2**25, "load": 0.1},
        "roofs": {"read_bandwidth": 30e9, "int8_ops": 900e9, "fp32_ops": 200e9, "bf16_ops": 400e9},
        "rows": [{"name": "start to first token", "unit": "ms", "tokens": 0, "batch": 0, "depth": 0, "median": 62.0},
                 {"name": "resident for one answer", "unit": "MiB", "tokens": 0, "batch": 0, "depth": 0, "median": 110.0},
                 {"name": "prefill", "unit": "tok/s", "tokens": 512, "batch": 1, "depth": 0, "median": 1400.0,
                  "cost": {"bytes": 96e6, "int8_ops": 512 * 200e6, "fp32_ops": 0, "bf16_ops": 0, "of_bandwidth": 0.1, "of_compute": 0.3}},
                 {"name": "decode", "unit": "tok/s", "tokens": 128, "batch": 1, "depth": 0, "median": 240.0,
                  "cost": {"bytes": 128 * 100e6, "int8_ops": 128 * 200e6, "fp32_ops": 0, "bf16_ops": 0, "of_bandwidth": 0.8, "of_compute": 0.1}}]}


def canned(**answers):
    """A runner that answers by the name of the program, and keeps what it was asked."""
    asked = []

    def run(command, timeout=600):
        asked.append([str(word) for word in command])
        return answers[pathlib.Path(asked[-1][0]).name.replace("-", "_")]
    run.asked = asked
    return run


def test_what_the_peer_prints():
    run = canned(llama_bench=LLAMA_BENCH, llama_batched_bench=LLAMA_BATCHED)
    peer = engines.Peer("/peer", "m.gguf", 2, engines.Plan(), run)
    assert peer.part("single") == {"prefill 512": 350.0, "decode, batch 1": 110.0}
    assert peer.part("batched") == {"decode, batch 8": 200.0, "decode, batch 32": 250.5}
    assert run.asked[0][:5] == ["/peer/bin/llama-bench", "-m", "m.gguf", "-t", "2"]
    # Room for every sequence's prompt and answer.
    assert run.asked[1][run.asked[1].index("-c") + 1] == str(32 * (32 + 64))
    peer = engines.Peer("/peer", "m.gguf", 2, engines.Plan(), canned(llama_batched_bench=LLAMA_ENCODED))
    assert peer.part("embed") == {"embed 128, batch 1": 20.0, "embed 128, batch 8": 10.0}


def test_what_ours_prints():
    ours = engines.Ours("backplane", "m.gguf", 2, engines.Plan(), canned(backplane=json.dumps(OURS)))
    assert ours.part("single") == {"prefill 512": 1400.0, "decode, batch 1": 240.0}
    assert ours.others == {"start to first token": 62.0, "resident for one answer": 110.0}
    assert ours.facts["roofs"]["int8_ops"] == 900e9 and ours.facts["backend"].startswith("cpu")
    # Costs are of one token, as rates are.
    assert ours.costs["decode, batch 1"] == {"bytes": 100e6, "int8_ops": 200e6, "fp32_ops": 0, "bf16_ops": 0}


def test_a_program_that_fails_is_one_sentence():
    with pytest.raises(engines.Failure, match="failed: .*nowhere"):
        engines.run(["ls", "/nowhere/at/all"])
    with pytest.raises(engines.Failure, match="took longer than 1 s"):
        engines.run(["sleep", "5"], timeout=1)


class Turns:
    """An engine whose rates are `start`, then one more each time; `order` is shared and says who was asked when."""

    def __init__(self, name, order, start, fails_at=None):
        self.name, self.order, self.next, self.fails_at = name, order, start, fails_at
        self.facts, self.costs, self.others = {}, {}, {}

    def part(self, part):
        self.order.append(self.name)
        if self.fails_at == len(self.order):
            raise engines.Failure("it broke")
        self.next += 1
        return {part: float(self.next)}


def results_at(path, stamp="s"):
    return suite.Results(str(path / "m.json"), "m", "Model", "decoder", stamp)


def test_a_suite_goes_on_where_it_was_cut_off(tmp_path):
    plan, order = engines.Plan(), []
    first = results_at(tmp_path)
    suite.measure(first, Turns("ours", order, 100), Turns("peer", order, 10), 1, plan)
    assert order == ["peer", "ours"] * 3 and first.complete(plan.parts("decoder")) == 1
    again = results_at(tmp_path)
    del again.data["rounds"][0]["deep"] # as if it had been cut off there
    order.clear()
    suite.measure(again, Turns("ours", order, 200), Turns("peer", order, 20), 2, plan)
    # The part that was missing, then a round in which ours begins.
    assert order == ["peer", "ours"] + ["ours", "peer"] * 3
    rows = suite.summarise(results_at(tmp_path).data, ["single", "deep"])
    assert [row["rounds"] for row in rows] == [2, 2]
    assert rows[0]["ratio_min"] == pytest.approx(101 / 11) and rows[0]["ours"] == (101 + 202) / 2


def test_another_program_begins_anew(tmp_path):
    order = []
    suite.measure(results_at(tmp_path), Turns("ours", order, 1), Turns("peer", order, 1), 1, engines.Plan())
    assert results_at(tmp_path).data["rounds"] and not results_at(tmp_path, "other").data["rounds"]
    (tmp_path / "m.json").write_text("{")
    assert not results_at(tmp_path).data["rounds"]


def test_the_fingerprint_follows_files_and_plan(tmp_path):
    file = tmp_path / "f"
    file.write_text("one")
    one = suite.fingerprint([file], 2, engines.Plan())
    assert one == suite.fingerprint([file], 2, engines.Plan())
    assert one != suite.fingerprint([file], 3, engines.Plan()) and one != suite.fingerprint([file], 2, engines.Plan(answer=5))
    file.write_text("other")
    assert one != suite.fingerprint([file], 2, engines.Plan())


def test_a_failure_is_kept_and_tried_again(tmp_path):
    order = []
    results = results_at(tmp_path)
    suite.measure(results, Turns("ours", order, 1, fails_at=2), Turns("peer", order, 1), 3, engines.Plan())
    assert results.data["error"] == "it broke" and json.loads((tmp_path / "m.json").read_text())["error"] == "it broke"
    assert results_at(tmp_path).data["error"] is None


def figures(key, title, kind, rates, costs=None, others=None, error=None):
    """What a suite leaves: three rounds of the same rates."""
    part = {"ours": {name: ours for name, (ours, _) in rates.items()}, "peer": {name: peer for name, (_, peer) in rates.items()}, "seconds": 5}
    return {"key": key, "title": title, "kind": kind, "stamp": "s", "peer": "llama.cpp", "rounds": [{"part": part}] * 3,
            "facts": {"machine": OURS["machine"], "roofs": OURS["roofs"], "backend": OURS["backend"]}, "costs": costs or {},
            "others": others or {}, "loads": [0.1, 0.2], "error": error}


FOUND = [figures("smollm2-q4_1", "SmolLM2-135M Q4_1", "decoder",
                 {"prefill 512": (2000.0, 300.0), "decode, batch 1": (150.0, 100.0)},
                 {"prefill 512": {"bytes": 1e5, "int8_ops": 100e6, "fp32_ops": 0, "bf16_ops": 0}, "decode, batch 1": {"bytes": 100e6, "int8_ops": 2e8, "fp32_ops": 0, "bf16_ops": 0}},
                 {"start to first token": [70.0, 66.0, 64.0], "resident for one answer": [110.0]}),
         figures("qwen2.5-coder-q4_k_m", "Qwen", "decoder", {}, error="this build knows llama"),
         figures("minilm-f32", "MiniLM-L6 F32", "embedder", {"embed 128, batch 1": (100.0, 30.0), "embed 128, batch 8": (90.0, 30.0)})]


def write_page(tmp_path, found=FOUND):
    page.write(found, str(tmp_path), str(tmp_path), engines.Plan())
    return (tmp_path / "benchmarks.md").read_text(), (tmp_path / "benchmarks.svg").read_text()


def test_the_page_says_what_was_measured_and_what_was_missed(tmp_path):
    text, _ = write_page(tmp_path)
    assert "| SmolLM2-135M Q4_1 | 6.67 (≥ 5) | **1.50** (≥ 2" in text
    missed = text.split("## What is missed")[1].split("##")[0]
    assert "SmolLM2-135M Q4_1, decode, batch 1: 1.50 where 2" in missed and "prefill 512: 6.67" not in missed
    assert "prefill at 22 % of compute where 40 % was promised" in missed
    assert "66 ms from start to first token where 60 ms" in missed
    assert "Qwen: not measured to the end: this build knows llama" in missed
    assert "MiniLM-L6 F32: texts a second do not grow with every batch" in missed
    assert "30.0 GB/s" in text and "{{" not in text
    # 150 tokens of 100 MB each are half of 30 GB/s.
    assert "| 150 | 100 | 1.50 | 1.50 – 1.50 | 50 % | 3 % |" in text


def test_the_page_takes_what_other_tools_left(tmp_path):
    (tmp_path / "free-order.json").write_text(json.dumps(
        {"freed": ["sums"], "rows": [{"model": "m", "name": "prefill 512", "fixed": 2000.0, "free": 2030.0, "ratio": 1.015}]}))
    (tmp_path / "drafts.json").write_text(json.dumps(
        {"rows": [{"model": "m", "prompt": "quote", "without": 200.0, "with": 300.0, "ratio": 1.5}]}))
    text, _ = write_page(tmp_path)
    assert "| m | quote | 200 | 300 | 1.50 |" in text
    assert "| m | prefill 512 | 2,000 | 2,030 | +1.5 % |" in text and "- sums\n" in text


def test_the_plot_is_svg_with_a_bar_a_measurement(tmp_path):
    _, plot = write_page(tmp_path)
    root = xml.etree.ElementTree.fromstring(plot)
    space = "{http://www.w3.org/2000/svg}"
    bars, marks = root.findall(f"{space}rect"), [line for line in root.findall(f"{space}line") if line.get("class") == "mark"]
    assert len(bars) == 4 and len(marks) == 4 and len(plot) < 10_000
    widths = [float(bar.get("width")) for bar in bars]
    assert widths[0] / widths[1] == pytest.approx((2000 / 300) / 1.5, rel=0.01)


def test_the_template_and_the_page_agree():
    with pytest.raises(engines.Failure, match="do not agree on unknown"):
        page.fill("{{known}} {{unknown}}", {"known": "x"})


def test_promises_are_found_by_measurement():
    q4_1 = next(model for model in models.SUITE if model.key == "smollm2-q4_1")
    assert models.promise(q4_1, "prefill 512") == 5 and models.promise(q4_1, "decode, batch 32") == 5
    assert models.promise(q4_1, "decode at 4,000") == 2 and models.promise(q4_1, "decode, batch 16") is None
    minilm = next(model for model in models.SUITE if model.kind == "embedder")
    assert models.promise(minilm, "embed 128, batch 32") == 2.5


def test_zen_4_is_told_by_family_and_model(tmp_path):
    file = tmp_path / "cpuinfo"
    for number, zen4 in [(17, True), (97, True), (1, False), (33, False)]:
        file.write_text(f"vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: {number}\nmodel name\t: AMD\n")
        assert models.is_zen4(file) is zen4
    assert not models.is_zen4(tmp_path / "none")


def test_what_is_made_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "MADE", str(tmp_path / "made"))

    def half(path):
        pathlib.Path(path).write_text("half")
        raise engines.Failure("cut off")
    with pytest.raises(engines.Failure):
        models.made("x.gguf", half)
    assert not (tmp_path / "made" / "x.gguf").exists()
    assert pathlib.Path(models.made("x.gguf", lambda path: pathlib.Path(path).write_text("whole"))).read_text() == "whole"


@pytest.fixture(scope="module")
def free():
    loader = importlib.machinery.SourceFileLoader("bench_free", str(ROOT / "tools" / "bench-free"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_free", loader))
    loader.exec_module(module)
    return module


def test_a_change_is_made_once_or_not_at_all(free, tmp_path):
    (tmp_path / "f.c").write_text("one two\nthree two")
    assert free.Change("", "f.c", r"one", r"\\1").apply(tmp_path) and (tmp_path / "f.c").read_text() == "\\\\1 two\nthree two"
    assert not free.Change("", "f.c", "two", "2").apply(tmp_path)
    assert not free.Change("", "f.c", "nowhere", "2").apply(tmp_path)
    assert not free.Change("", "g.c", "one", "2").apply(tmp_path)
    assert (tmp_path / "f.c").read_text() == "\\\\1 two\nthree two"


def test_a_free_build_that_computes_something_else_is_refused(free, monkeypatch):
    model = models.Model("m", "Model", "decoder", None, {}, 1)
    said = {"fixed": {" a": -0.5, " b": -2.0}, "near": {" a": -0.51, " c": -2.0}, "far": {" a": -1.5}, "other": {" z": -0.1}}
    monkeypatch.setattr(free, "first_logprobs", lambda program, file, folder: said[program])
    assert free.check_same_model(model, "fixed", "near", "f", "d") == pytest.approx(0.01)
    for build in ("far", "other"):
        with pytest.raises(engines.Failure, match="computes something else"):
            free.check_same_model(model, "fixed", build, "f", "d")


class Streaming(socketserver.StreamRequestHandler):
    """Answers three tokens in two pieces with a pause between them, the second split where a piece begins; or as the body asks."""

    def handle(self):
        head = list(iter(self.rfile.readline, b"\r\n"))
        length = next(int(line.split(b":")[1]) for line in head if line.startswith(b"Content-Length"))
        body = json.loads(self.rfile.read(length))
        self.server.bodies.append(body)
        if body.get("refuse"):
            self.wfile.write(b"HTTP/1.1 503 Busy\r\n\r\nlater")
            return
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\ndata: {}\n\nda")
        time.sleep(0.05)
        self.wfile.write(b'ta: {}\n\ndata: {"usage":{"prompt_tokens":7,"completion_tokens": 3}}\n\n' + b"data: [DONE]\n\n" * (not body.get("cut")))


@pytest.fixture
def streaming():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Streaming) as server:
        server.bodies, server.daemon_threads = [], True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_what_clients_see(streaming):
    port = streaming.server_address[1]
    found = load.play(port, [{"number": number} for number in range(6)], 2)
    assert sorted(body["number"] for body in streaming.bodies) == list(range(6))
    assert found["requests"] == 6 and found["prompt_tokens"] == 42 and found["answer_tokens"] == 18 and found["pieces"] == 18
    assert found["tokens_per_second"] == pytest.approx(18 / found["wall"]) and found["wall"] >= 3 * 0.05
    assert 0 < found["first_median"] < 0.05 <= found["gap_median"] <= found["gap_p99"] < 0.5 and 0 < found["client_share"] < 1
    with pytest.raises(engines.Failure, match="refused a request: HTTP/1.1 503 Busy"):
        load.play(port, [{"refuse": True}], 1)
    with pytest.raises(engines.Failure, match="closed a connection before its answer was complete"):
        load.play(port, [{"cut": True}], 1)


def test_prompts_are_of_all_lengths_and_none_begins_like_another():
    texts = load.prompts(32, 50, 700, "seed")
    lengths = sorted(len(text.split()) for text in texts)
    assert 50 <= lengths[0] < 60 and 600 < lengths[-1] <= 700 and 150 < lengths[16] < 250
    assert len({tuple(text.split()[:4]) for text in texts}) == 32
    assert texts == load.prompts(32, 50, 700, "seed") != load.prompts(32, 50, 700, "another")


def turn(rate, first, tokens=640):
    return {"tokens_per_second": rate, "first_median": first, "first_p99": 2 * first, "gap_median": 0.005, "gap_p99": 0.05, "wall": 1.0,
            "answer_tokens": tokens, "client_share": 0.03, "resident": 2**28}


def servers(rates):
    return {"key": "smollm2-q4_1", "title": "SmolLM2-135M Q4_1", "rounds": [{"8": {"ours": turn(ours, 0.1), "peer": turn(peer, first)}}
                                                                             for ours, peer, first in rates]}


def test_the_section_on_servers_says_what_was_missed(tmp_path):
    plan = serve.Plan(levels=(8,))
    good = servers([(500.0, 200.0, 0.3), (520.0, 250.0, 0.2), (400.0, 100.0, 0.4)])
    assert serve.summarise(good, plan)[0]["speed"] == 2.5
    text = serve.section([good], 2, plan)
    assert "| SmolLM2-135M Q4_1 | 8 | 500 | 200 | 2.50 (≥ 2) | 100 / 300 | 200 / 600 | 5.0 / 5.0 | 50 / 50 |" in text
    assert "Nothing of it is missed." in text and "3 % of one at most" in text and "Medians of 3 rounds" in text
    text = serve.section([servers([(150.0, 100.0, 0.05)])], 2, plan)
    assert "**1.50** (≥ 2)" in text and "8 streams: 1.50 × llama-server's tokens a second where 2 were promised" in text
    assert "8 streams: the first token comes 2.00 × as late as llama-server's" in text
    write_page(tmp_path)
    written = (tmp_path / "benchmarks.md").read_text()
    assert "## Servers under load\n\nNot measured.\n\n## " in written
    page.put_servers(text, str(tmp_path))
    again = (tmp_path / "benchmarks.md").read_text()
    assert again.replace(text, "").replace("\n", "") == written.replace("## Servers under load\n\nNot measured.\n", "").replace("\n", "")
    write_page(tmp_path)
    assert (tmp_path / "benchmarks.md").read_text() == again
    uneven = servers([(1.0, 1.0, 1.0)])
    uneven["rounds"][0]["8"]["peer"]["answer_tokens"] = 639
    with pytest.raises(engines.Failure, match="answered 640 and 639 tokens"):
        serve.check(uneven)
