"""The two servers that are compared, each a process on a free port of loopback."""

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import load
from engines import Failure


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A process that answers /health once it is ready. `part` plays one level of a plan."""

    def __init__(self, plan):
        self.plan, self.process, self.port, self.folder = plan, None, None, None
        self.facts, self.costs, self.others = {}, {}, {}

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.port = free_port()
        self.log = open(os.path.join(self.folder.name, "log"), "w+", errors="replace")
        self.process = subprocess.Popen([str(word) for word in self.command()], stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL)
        self.await_health()
        load.play(self.port, self.plan.bodies(1, seed=0)[:2], 2)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.folder.cleanup()

    def await_health(self, seconds=60):
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        self.log.seek(0)
        said = self.log.read().strip().splitlines() or ["nothing"]
        raise Failure(f"{self.name} did not start: {said[-1]}")

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return int(re.search(r"VmRSS:\s*(\d+)", file.read())[1]) * 1024

    def part(self, name):
        """One level: so many streams at a time."""
        streams, before = int(name), self.cpu_seconds()
        found = load.play(self.port, self.plan.bodies(streams, self.round), streams)
        found["server_cpus"] = (self.cpu_seconds() - before) / found["wall"]
        found["resident"] = self.resident()
        return found


class Ours(Server):
    """Backplane, with its defaults but for the size of a batch."""

    name = "Backplane"

    def __init__(self, program, model, threads, plan):
        super().__init__(plan)
        self.program, self.model, self.threads = program, model, threads

    def command(self):
        path = os.path.join(self.folder.name, "serve.yaml")
        with open(path, "w") as file:
            file.write(f"backends:\n  cpu: {{ plugin: cpu, threads: {self.threads} }}\n"
                       f"models:\n  m: {{ file: \"{os.path.abspath(self.model)}\", load: eager, context: {self.plan.context}, "
                       f"max_batch: {self.plan.batch}, kv_tokens: {self.plan.batch * self.plan.context} {self.plan.extra} }}\n"
                       f"frontends:\n  http: {{ plugin: http, port: {self.port} }}\n")
        return [self.program, "run", path]


class Peer(Server):
    """llama-server: continuous batching and flash attention are its defaults; what it would copy aside of prompts that never
    come again is off, and so is its page."""

    name = "llama-server"

    def __init__(self, folder, model, threads, plan):
        super().__init__(plan)
        self.folder_of_programs, self.model, self.threads = folder, model, threads

    def command(self):
        return [os.path.join(self.folder_of_programs, "bin", "llama-server"), "-m", self.model, "--host", "127.0.0.1", "--port",
                self.port, "-t", self.threads, "-np", self.plan.slots, "-c", self.plan.slots * self.plan.context, "--cache-ram", 0,
                "--no-ui"]
