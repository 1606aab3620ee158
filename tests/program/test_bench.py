"""backplane bench: on any backend, in three forms."""

import csv
import io
import json

from conftest import backplane

SHORT = ["--prefill", "16", "--decode", "4", "--batch", "1,3", "--depth", "0,40", "--repetitions", "2", "--start", "1"]


def names(rows):
    return {(row["name"], int(row["tokens"]), int(row["batch"]), int(row["depth"])) for row in rows}


EXPECTED = {("prefill", 16, 1, 0), ("decode", 4, 1, 0), ("decode", 4, 3, 0), ("decode", 4, 1, 40),
            ("start to first token", 0, 0, 0), ("resident for one answer", 0, 0, 0), ("load", 0, 0, 0)}


def test_json(model):
    said = json.loads(backplane("bench", model, *SHORT, "--json").expect(0).out)
    assert EXPECTED <= names(said["rows"]) and said["weights"] == "Q4_1" and said["backend"].startswith("cpu")
    assert all(row["min"] <= row["median"] <= row["max"] for row in said["rows"])


def test_csv_on_a_backend_that_is_not_in_the_tree(outside, model):
    said = backplane("bench", model, "--backend", outside, *SHORT, "--csv").expect(0).out
    assert EXPECTED <= names(csv.DictReader(io.StringIO(said)))


def test_the_table_is_for_people(model):
    said = backplane("bench", model, *SHORT[:-2], "--start", "0").expect(0).out
    assert "prefill" in said and "tok/s" in said and "keys and values" in said and "start to first token" not in said


def test_a_plan_that_does_not_fit_the_context(model):
    assert "context of" in backplane("bench", model, "--prefill", "100000", "--start", "0").expect(1).err
