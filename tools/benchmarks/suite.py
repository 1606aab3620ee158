"""Rounds of alternating parts, kept in a file per model so that a run that was cut off goes on where it was.

A results file belongs to one state of things: program, model file, threads and plan. When one of them changes it begins anew.
"""

import hashlib
import json
import os
import statistics
import sys
import time

from engines import Failure


def say(text):
    print(f"tools/bench-peer: {text}", file=sys.stderr, flush=True)


def fingerprint(files, threads, plan):
    """Changes when a file does, or what is asked of it."""
    state = [threads, plan.as_dict()]
    for file in files:
        status = os.stat(file)
        state.append([os.path.basename(file), status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]


class Results:
    """What is known of one model. `rounds` are {part: {"ours": rates, "peer": rates, "seconds": s}}; `error` why ours did not
    run, if it did not."""

    def __init__(self, path, key, title, kind, stamp):
        self.path = path
        self.data = {"key": key, "title": title, "kind": kind, "stamp": stamp, "rounds": [], "facts": {}, "costs": {},
                     "others": {}, "loads": [], "error": None}
        try:
            with open(path) as file:
                found = json.load(file)
        except (OSError, ValueError):
            return
        if found.get("stamp") == stamp and not found.get("error"):
            self.data = found

    def save(self):
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        partial = self.path + ".partial"
        with open(partial, "w") as file:
            json.dump(self.data, file, indent=1)
            file.write("\n")
        os.replace(partial, self.path)

    def complete(self, parts):
        """How many rounds hold all parts."""
        return sum(all(part in found for part in parts) for found in self.data["rounds"])


def take_turns(number, part, ours, peer):
    """Both engines on a part; the peer begins in even rounds."""
    engines = [("peer", peer), ("ours", ours)] if number % 2 == 0 else [("ours", ours), ("peer", peer)]
    begin = time.monotonic()
    said = {name: engine.part(part) for name, engine in engines}
    return {**said, "seconds": time.monotonic() - begin}


def keep_facts(results, ours):
    data = results.data
    roofs = [facts["roofs"] for facts in (data["facts"], ours.facts) if "roofs" in facts]
    data["facts"].update(ours.facts)
    if roofs: # others on the machine only ever make it slower
        data["facts"]["roofs"] = {key: max(found[key] for found in roofs) for key in roofs[0]}
    data["costs"].update(ours.costs)
    for name, value in ours.others.items():
        data["others"].setdefault(name, []).append(value)
    ours.others.clear()


def measure(results, ours, peer, rounds, plan):
    """Adds rounds until there are as many as asked for."""
    data, parts = results.data, plan.parts(results.data["kind"])
    data["peer"] = peer.name
    for number in range(rounds):
        if number == len(data["rounds"]):
            data["rounds"].append({})
            data["loads"].append(os.getloadavg()[0])
        for part in parts:
            if part in data["rounds"][number]:
                continue
            try:
                data["rounds"][number][part] = take_turns(number, part, ours, peer)
            except Failure as failure:
                data["error"] = str(failure)
                results.save()
                return
            keep_facts(results, ours)
            results.save()
        say(f"{data['title']}: round {number + 1} of {rounds}")


def summarise(data, names):
    """A row a measurement that both engines made in all of its rounds, in the order of `names`."""
    rows = []
    for name in names:
        pairs = [(part["ours"][name], part["peer"][name]) for found in data["rounds"] for part in found.values()
                 if name in part["ours"] and name in part["peer"]]
        if not pairs:
            continue
        ratios = [own / theirs for own, theirs in pairs]
        rows.append({"name": name, "ours": statistics.median(own for own, _ in pairs),
                     "peer": statistics.median(theirs for _, theirs in pairs), "ratio": statistics.median(ratios),
                     "ratio_min": min(ratios), "ratio_max": max(ratios), "rounds": len(pairs),
                     "cost": data["costs"].get(name)})
    return rows


def shares(row, roofs):
    """(of bandwidth, of compute) that our median reaches; None where one is unknown."""
    cost = row["cost"]
    if not cost or not roofs or not roofs["read_bandwidth"]:
        return None
    compute = sum(cost[key] / roofs[key] for key in ("int8_ops", "fp32_ops", "bf16_ops"))
    return cost["bytes"] * row["ours"] / roofs["read_bandwidth"], compute * row["ours"]


def seconds_left(jobs, rounds):
    """An estimate for [(model, results, plan)]: a round takes as long as the model's last did."""
    total = 0.0
    for model, results, plan in jobs:
        parts = plan.parts(model.kind)
        done = [found for found in results.data["rounds"] if all(part in found for part in parts)]
        each = sum(part["seconds"] for part in done[-1].values()) if done else model.seconds
        total += each * max(0, rounds - len(done))
    return total
