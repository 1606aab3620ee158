"""backplane bench: on any backend, in three forms."""

import csv
import io
import json
import subprocess

import pytest

from conftest import ROOT, backplane

SHORT = ["--prefill", "16", "--decode", "4", "--batch", "1,3", "--depth", "0,40", "--repetitions", "2", "--start", "1"]


@pytest.fixture(scope="module")
def minilm():
    done = subprocess.run([ROOT / "tools" / "fetch", "minilm"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def names(rows):
    return {(row["name"], int(row["tokens"]), int(row["batch"]), int(row["depth"])) for row in rows}


EXPECTED = {("prefill", 16, 1, 0), ("decode", 4, 1, 0), ("decode", 4, 3, 0), ("decode", 4, 1, 40),
            ("start to first token", 0, 0, 0), ("resident for one answer", 0, 0, 0), ("load", 0, 0, 0)}


def test_json(model):
    said = json.loads(backplane("bench", model, *SHORT, "--json").expect(0).out)
    assert EXPECTED <= names(said["rows"]) and said["weights"] == "Q4_1" and said["backend"].startswith("cpu")
    assert all(row["min"] <= row["median"] <= row["max"] for row in said["rows"])


def test_figures_read_as_fractions_of_measured_roofs(model):
    said = json.loads(backplane("bench", model, *SHORT[:-2], "--start", "0", "--json").expect(0).out)
    roofs, rows = said["roofs"], {(row["name"], row["batch"], row["depth"]): row for row in said["rows"]}
    assert roofs["read_bandwidth"] > 1e8 and roofs["int8_ops"] > 1e8 and roofs["fp32_ops"] > 1e8 and roofs["bf16_ops"] > 1e8
    alone, three, deep = (rows["decode", batch, depth]["cost"] for batch, depth in [(1, 0), (3, 0), (1, 40)])
    # Four steps read the weights four times, whatever the batch; its sums and products grow with it.
    weights = 4 * 92.0 * 2**20
    assert weights < alone["bytes"] < three["bytes"] < 1.01 * alone["bytes"]
    assert three["int8_ops"] == 3 * alone["int8_ops"] and deep["int8_ops"] == alone["int8_ops"]
    # 30 layers of 3 heads of 64 keep keys and values of two bytes: 40 more positions of them in each step.
    assert deep["bytes"] - alone["bytes"] == 4 * 40 * 30 * 3 * 64 * 2 * 2
    assert deep["fp32_ops"] - alone["fp32_ops"] == 4 * 40 * 30 * 9 * 64 * 4
    decode = rows["decode", 1, 0]
    seconds = 4 / decode["median"]
    assert alone["of_bandwidth"] == pytest.approx(alone["bytes"] / seconds / roofs["read_bandwidth"], rel=1e-6)
    compute = alone["int8_ops"] / roofs["int8_ops"] + alone["fp32_ops"] / roofs["fp32_ops"]
    assert alone["of_compute"] == pytest.approx(compute / seconds, rel=1e-6)


def test_the_machine_is_named(model):
    machine = json.loads(backplane("bench", model, *SHORT[:-2], "--start", "0", "--no-roofs", "--json").expect(0).out)["machine"]
    assert machine["processors"] >= 1 and machine["memory"] > 2**20 and machine["load"] >= 0
    assert machine["processor"] and machine["kernel"] and machine["build"]


def test_kernels_without_roofs_say_so_and_go_on(model):
    done = backplane("bench", model, "--prefill", "2", "--decode", "", "--repetitions", "1", "--start", "0", "--json",
                     "--set", "backend.isa=generic").expect(0)
    assert "isa generic has no measured limits" in done.err
    said = json.loads(done.out)
    assert said["roofs"]["int8_ops"] == 0 and "read bandwidth" not in {row["name"] for row in said["rows"]}


def test_a_backend_without_a_name_or_memory(outside, model):
    said = json.loads(backplane("bench", model, "--backend", outside, *SHORT[:-2], "--start", "0", "--json").expect(0).out)
    assert "outside" in said["backend"]
    assert all(row["median"] >= 0 for row in said["rows"])


def test_a_model_that_is_not_there_is_said_once():
    assert backplane("bench", "nowhere.gguf").expect(1).err.count("nowhere.gguf") == 1


def test_an_embedder_is_measured_in_texts(minilm):
    done = backplane("bench", minilm, "--embed", "8,40", "--batch", "1,20", "--repetitions", "1", "--start", "1", "--no-roofs",
                     "--json").expect(0)
    rows = {(row["name"], row["tokens"], row["batch"]): row for row in json.loads(done.out)["rows"]}
    assert {("embed", tokens, batch) for tokens in (8, 40) for batch in (1, 20)} <= set(rows)
    # 20 texts of 40 tokens are two steps of at most 512 tokens: their weights are read twice.
    assert 1.9 < rows["embed", 40, 20]["cost"]["bytes"] / rows["embed", 40, 1]["cost"]["bytes"] < 2.6
    assert rows["embed", 40, 20]["cost"]["fp32_ops"] == 20 * rows["embed", 40, 1]["cost"]["fp32_ops"]
    assert "no chat template" in done.err and ("prefill", 512, 1) not in rows


def test_csv_on_a_backend_that_is_not_in_the_tree(outside, model):
    said = backplane("bench", model, "--backend", outside, *SHORT, "--csv").expect(0).out
    assert EXPECTED <= names(csv.DictReader(io.StringIO(said)))


def test_the_table_is_for_people(model):
    said = backplane("bench", model, *SHORT[:-2], "--start", "0").expect(0).out
    assert "prefill" in said and "tok/s" in said and "keys and values" in said and "start to first token" not in said


def test_a_plan_that_does_not_fit_the_context(model):
    assert "context of" in backplane("bench", model, "--prefill", "100000", "--start", "0").expect(1).err
