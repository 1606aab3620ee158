"""backplane batch: files, pipes, order, and going on where it was stopped."""

import json
import signal

from conftest import Running, backplane

QUESTIONS = [f"What is {number} and {number}?" for number in range(12)]


def requests(tokens=6):
    return "".join(json.dumps({"custom_id": f"q{number}", "body": {
        "messages": [{"role": "user", "content": question}], "max_tokens": tokens, "temperature": 0}}) + "\n"
        for number, question in enumerate(QUESTIONS))


def answers(text):
    results = [json.loads(line) for line in text.splitlines()]
    assert [result["custom_id"] for result in results] == [f"q{number}" for number in range(len(results))]
    return [result["response"]["choices"][0]["message"]["content"] for result in results]


def test_results_are_in_order_and_the_same_alone(write, tmp_path, model):
    source = write(requests(), "in.jsonl")
    backplane("batch", source, tmp_path / "out.jsonl", "--model", model).expect(0)
    backplane("batch", source, tmp_path / "alone.jsonl", "--model", model, "--set", "frontend.parallel=1").expect(0)
    together = answers((tmp_path / "out.jsonl").read_text())
    assert len(together) == len(QUESTIONS) and together == answers((tmp_path / "alone.jsonl").read_text())


def test_pipes(model):
    said = backplane("batch", "-", "-", "--model", model, stdin=requests()).expect(0)
    assert len(answers(said.out)) == len(QUESTIONS)


def test_it_goes_on_where_it_was_stopped(write, tmp_path, model):
    source, out = write(requests(40), "in.jsonl"), tmp_path / "out.jsonl"
    command = ["batch", source, out, "--model", model, "--set", "frontend.parallel=2"]
    with Running(*command) as running:
        while not out.exists() or not out.read_text().count("\n"):
            assert running.process.poll() is None
        running.signal(signal.SIGTERM)
        running.wait()
    begun = out.read_text()
    assert begun.endswith("\n") and 1 <= len(answers(begun)) < len(QUESTIONS)
    backplane(*command).expect(0)
    assert out.read_text().startswith(begun) and len(answers(out.read_text())) == len(QUESTIONS)


def test_a_file_that_is_not_there(tmp_path, model):
    assert "no.jsonl" in backplane("batch", "no.jsonl", "out.jsonl", "--model", model, directory=tmp_path).expect(1).err
