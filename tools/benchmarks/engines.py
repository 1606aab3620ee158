"""The two engines that are compared: what each is asked to run, and how its answer is read.

A *part* is one run of each engine; the engines take turns part by part. An answer maps the names of measurements, which are the
same for both engines, to a rate: tokens a second, or embedded texts a second.
"""

import json
import os
import re
import statistics
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


class Failure(Exception):
    """A sentence for the user."""


def run(command, timeout=600):
    """The standard output of a command."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout, errors="replace")
    except subprocess.TimeoutExpired as expired:
        raise Failure(f"\"{' '.join(words)}\" took longer than {timeout} s") from expired
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise Failure(f"\"{' '.join(words)}\" failed: {said[-1]}")
    return done.stdout


class Plan:
    """How much is measured. `prompt` tokens are read; `answer` are written alone, `answers` in each sequence of a batch, behind
    `before` tokens of prompt; `deep` behind `depth`. Texts of `text` tokens are embedded."""

    def __init__(self, prompt=512, answer=128, answers=64, before=32, deep=32, depth=4000, text=128, batches=(8, 32),
                 embed_batches=(1, 8, 32), repetitions=2):
        self.prompt, self.answer, self.answers, self.before, self.deep, self.depth = prompt, answer, answers, before, deep, depth
        self.text, self.batches, self.embed_batches, self.repetitions = text, tuple(batches), tuple(embed_batches), repetitions

    def as_dict(self):
        return dict(vars(self))

    def parts(self, kind):
        return ["embed"] if kind == "embedder" else ["single", "batched", "deep"]

    def names(self, kind):
        """The measurements of a kind of model, in the order of tables."""
        if kind == "embedder":
            return [self.embed_name(batch) for batch in self.embed_batches]
        return [self.prefill_name(), self.decode_name(1), *map(self.decode_name, self.batches), self.deep_name()]

    def prefill_name(self):
        return f"prefill {self.prompt}"

    @staticmethod
    def decode_name(batch):
        return f"decode, batch {batch}"

    def deep_name(self):
        return f"decode at {self.depth:,}"

    def embed_name(self, batch):
        return f"embed {self.text}, batch {batch}"


QUICK = Plan(prompt=128, answer=16, answers=8, before=16, deep=8, depth=512, embed_batches=(1, 8), batches=(8,), repetitions=1)


class Peer:
    """llama.cpp, by its own programs."""

    name = "llama.cpp"

    def __init__(self, folder, model, threads, plan, run=run):
        self.folder, self.model, self.threads, self.plan, self.run = folder, model, threads, plan, run

    def program(self, name):
        return os.path.join(self.folder, "bin", name)

    def bench(self, *arguments):
        return json.loads(self.run([self.program("llama-bench"), "-m", self.model, "-t", self.threads, *arguments, "-o", "json"]))

    def batched(self, *arguments):
        said = self.run([self.program("llama-batched-bench"), "-m", self.model, "-t", self.threads, *arguments, "--output-format", "jsonl"])
        # It writes a rate of nothing as nan, which is no JSON.
        return [json.loads(re.sub(r"-?\bnan\b|-?\binf\b", "null", line)) for line in said.splitlines() if line.startswith("{")]

    def single(self):
        plan, rates = self.plan, {}
        for test in self.bench("-p", plan.prompt, "-n", plan.answer, "-r", plan.repetitions):
            rates[plan.prefill_name() if test["n_prompt"] else plan.decode_name(1)] = statistics.median(test["samples_ts"])
        return rates

    def batched_decode(self):
        plan = self.plan
        context = max(plan.batches) * (plan.before + plan.answers)
        tests = self.batched("-c", context, "-npp", plan.before, "-ntg", plan.answers, "-npl", ",".join(map(str, plan.batches)))
        return {plan.decode_name(test["pl"]): test["speed_tg"] for test in tests}

    def deep(self):
        tests = self.bench("-p", 0, "-n", self.plan.deep, "-d", self.plan.depth, "-r", 1)
        return {self.plan.deep_name(): statistics.median(test["samples_ts"]) for test in tests}

    def embed(self):
        plan = self.plan
        # An encoder reads a text in one piece: four texts of 128 tokens are a batch of 512.
        context = max(plan.embed_batches) * plan.text
        tests = self.batched("-c", context, "-b", 512, "-ub", 512, "-npp", plan.text, "-ntg", 0,
                             "-npl", ",".join(map(str, plan.embed_batches)))
        return {plan.embed_name(test["pl"]): test["speed_pp"] / plan.text for test in tests}

    def part(self, name):
        return {"single": self.single, "batched": self.batched_decode, "deep": self.deep, "embed": self.embed}[name]()


class Ours:
    """Backplane, by `backplane bench`. `facts` is what the reports said of machine and model, `costs` what each measurement reads
    and computes at least for one token or text, `others` the medians of what is not a rate of steps."""

    name = "Backplane"

    def __init__(self, program, model, threads, plan, run=run):
        self.program, self.model, self.threads, self.plan, self.run = program, model, threads, plan, run
        self.facts, self.costs, self.others = {}, {}, {}

    def name_of(self, row):
        plan = self.plan
        if row["name"] == "prefill":
            return plan.prefill_name()
        if row["name"] == "embed":
            return plan.embed_name(row["batch"])
        return plan.deep_name() if row["depth"] == plan.depth else plan.decode_name(row["batch"])

    def rates(self, *arguments):
        said = json.loads(self.run([self.program, "bench", self.model, "--repetitions", self.plan.repetitions, "--json", "--set",
                                    f"backend.threads={self.threads}", *arguments]))
        roofs = said.pop("roofs")
        if roofs["read_bandwidth"]:
            self.facts["roofs"] = roofs
        self.facts.update({key: said[key] for key in said if key != "rows"})
        rates = {}
        for row in said["rows"]:
            if row["name"] in ("prefill", "decode", "embed"):
                rates[self.name_of(row)] = row["median"]
                amount = row["batch"] * (1 if row["name"] == "embed" else row["tokens"])
                self.costs[self.name_of(row)] = {key: row["cost"][key] / amount for key in ("bytes", "int8_ops", "fp32_ops", "bf16_ops")}
            elif row["name"] in ("start to first token", "resident for one answer"):
                self.others[row["name"]] = row["median"]
        return rates

    def single(self):
        plan = self.plan
        return self.rates("--prefill", plan.prompt, "--decode", plan.answer, "--batch", 1, "--start", 3)

    def batched_decode(self):
        plan = self.plan
        return self.rates("--prefill", "", "--decode", plan.answers, "--depth", plan.before,
                          "--batch", ",".join(map(str, plan.batches)), "--start", 0, "--no-roofs")

    def deep(self):
        return self.rates("--prefill", "", "--decode", self.plan.deep, "--depth", self.plan.depth, "--batch", 1, "--start", 0,
                          "--no-roofs")

    def embed(self):
        plan = self.plan
        return self.rates("--embed", plan.text, "--batch", ",".join(map(str, plan.embed_batches)), "--start", 0)

    def part(self, name):
        return {"single": self.single, "batched": self.batched_decode, "deep": self.deep, "embed": self.embed}[name]()
