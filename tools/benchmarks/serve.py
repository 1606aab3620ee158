"""Both servers under the same load, level by level in turns."""

import os
import statistics

import load
import page
import suite
from engines import Failure

MODELS = "smollm2-q4_1,smollm2-q8_0" # qwen2.5-coder-q4_k_m is slower and says the same
TARGETS = {1: 1.2, 8: 2.0, 32: 3.0} # output tokens a second, by streams


class Plan:
    """`levels` are streams at a time; `each` times as many requests are sent, but at least `least`. Prompts have `shortest` to `longest`
    words, about as many tokens; answers have `answer` tokens."""

    def __init__(self, levels=(1, 8, 32), each=1.5, least=6, shortest=50, longest=700, answer=64, context=1024, slots=8, batch=32, extra=""):
        self.levels, self.each, self.least, self.shortest, self.longest = tuple(levels), each, least, shortest, longest
        self.answer, self.context, self.slots, self.batch, self.extra = answer, context, slots, batch, extra

    def as_dict(self):
        return dict(vars(self))

    def parts(self, _kind="decoder"):
        return [str(level) for level in self.levels]

    def bodies(self, streams, seed):
        texts = load.prompts(max(self.least, int(streams * self.each)), self.shortest, self.longest, f"{seed} {streams}")
        return [{"model": "m", "prompt": text, "max_tokens": self.answer, "ignore_eos": True, "stream": True, "temperature": 0.8, "top_k": 40,
                 "top_p": 0.95, "seed": number, "stream_options": {"include_usage": True}} for number, text in enumerate(texts)]


QUICK = Plan(levels=(1, 4), each=1, least=2, shortest=20, longest=60, answer=16)
ROUNDS = 2


def plan_of(options):
    plan = QUICK if options.quick else Plan()
    if options.streams:
        try:
            plan.levels = tuple(int(number) for number in options.streams.split(","))
        except ValueError as wrong:
            raise Failure(f"--streams takes numbers with commas between them, not \"{options.streams}\"") from wrong
    plan.extra = f", {options.set}" if options.set else ""
    return plan


def measure(results, ours, peer, rounds, plan):
    """Adds rounds until there are as many as asked for; both servers run all the time and are asked in turns."""
    data = results.data
    if results.complete(plan.parts()) >= rounds:
        return
    with peer, ours:
        for number in range(rounds):
            if number == len(data["rounds"]):
                data["rounds"].append({})
                data["loads"].append(os.getloadavg()[0])
            ours.round = peer.round = number + 1
            for part in plan.parts():
                if part not in data["rounds"][number]:
                    data["rounds"][number][part] = suite.take_turns(number, part, ours, peer)
                    results.save()
            suite.say(f"{data['title']}: round {number + 1} of {rounds}")


def summarise(data, plan):
    """A row a level: medians of both engines' rounds, and medians of the rounds' ratios; of times the ratio is theirs to ours."""
    rows = []
    for level in plan.levels:
        found = [turns[str(level)] for turns in data["rounds"] if str(level) in turns]
        if not found:
            continue
        row = {"streams": level, "rounds": len(found)}
        for key in found[0]["ours"]:
            row[key] = {name: statistics.median(turn[name][key] for turn in found) for name in ("ours", "peer")}
        row["speed"] = statistics.median(turn["ours"]["tokens_per_second"] / turn["peer"]["tokens_per_second"] for turn in found)
        row["first"] = statistics.median(turn["peer"]["first_median"] / turn["ours"]["first_median"] for turn in found)
        rows.append(row)
    return rows


def check(data):
    """Both answered the same amount, or nothing can be compared."""
    for turns in data["rounds"]:
        for turn in turns.values():
            if turn["ours"]["answer_tokens"] != turn["peer"]["answer_tokens"]:
                raise Failure(f"{data['title']}: the servers answered {turn['ours']['answer_tokens']} and {turn['peer']['answer_tokens']} tokens")


def misses(data, plan):
    lines = []
    for row in summarise(data, plan):
        wanted = TARGETS.get(row["streams"])
        if wanted and row["speed"] < wanted:
            lines.append(f"- {data['title']}, {row['streams']} streams: {row['speed']:.2f} × llama-server's tokens a second where {wanted:g} were promised")
        if row["first"] <= 1:
            lines.append(f"- {data['title']}, {row['streams']} streams: the first token comes {1 / row['first']:.2f} × as late as llama-server's")
    return lines


HEADS = ["", "streams", "tok/s", "llama-server", "ratio", "first token, median", "p99", "between tokens, median", "p99"]


def milliseconds(seconds):
    return f"{1000 * seconds:,.0f}" if seconds >= 0.01 else f"{1000 * seconds:.1f}"


def cells(data, plan):
    """The table's rows; times in pairs, ours and theirs."""
    rows = []
    for row in summarise(data, plan):
        wanted = TARGETS.get(row["streams"])
        speed = f"{row['speed']:.2f}" if row["speed"] >= (wanted or 0) else f"**{row['speed']:.2f}**"
        times = [f"{milliseconds(row[key]['ours'])} / {milliseconds(row[key]['peer'])}" for key in ("first_median", "first_p99", "gap_median", "gap_p99")]
        rows.append([data["title"], str(row["streams"]), f"{row['tokens_per_second']['ours']:,.0f}",
                     f"{row['tokens_per_second']['peer']:,.0f}", speed + (f" (≥ {wanted:g})" if wanted else ""), *times])
    return rows


def section(found, threads, plan):
    """The page's section on servers."""
    rows = [row for data in found for row in summarise(data, plan)]
    rounds = max(row["rounds"] for row in rows)
    lasts = [(data["title"], summarise(data, plan)[-1]["resident"]) for data in found]
    resident = ", ".join(f"{title} {size['ours'] / 2**20:,.0f} against {size['peer'] / 2**20:,.0f} MiB" for title, size in lasts)
    missed = [line for data in found for line in misses(data, plan)]
    values = {name: str(value) for name, value in plan.as_dict().items() if name in ("shortest", "longest", "answer", "slots", "context", "batch")}
    values.update(threads=str(threads), client=f"{100 * max(max(row['client_share'].values()) for row in rows):.0f}", rounds=str(rounds),
                  s="s" * (rounds != 1), table=page.table(HEADS, [cell for data in found for cell in cells(data, plan)]),
                  resident=resident, misses="\n".join(missed) if missed else "Nothing of it is missed.")
    with open(os.path.join(os.path.dirname(os.path.realpath(__file__)), "serve.md.in")) as file:
        return page.fill(file.read(), values, "serve.md.in")


def print_table(data, plan):
    width = len(data["title"])
    print(f"{data['title']} {'streams':>7} {'ours':>7} {'peer':>7} {'ratio':>6}  {'first token, ms':>24} {'p99':>16} "
          f"{'between tokens':>16} {'p99':>16} {'client':>7}  {'MiB':>9}")
    for row in summarise(data, plan):
        times = "".join(f" {1000 * row[key]['ours']:7.1f} {1000 * row[key]['peer']:8.1f}"
                        for key in ("first_median", "first_p99", "gap_median", "gap_p99"))
        print(f"{'':{width}} {row['streams']:7} {row['tokens_per_second']['ours']:7.0f} {row['tokens_per_second']['peer']:7.0f} {row['speed']:6.2f} "
              f"{row['first']:6.2f}×{times} {100 * max(row['client_share'].values()):5.1f} %  {row['resident']['ours'] / 2**20:4.0f} {row['resident']['peer'] / 2**20:4.0f}")
    for line in misses(data, plan):
        print(line)
