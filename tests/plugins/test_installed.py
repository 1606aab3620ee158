"""What a plugin's author has: an installation that was moved, compilers, and nothing of the sources.

Plugins are built from the prefix alone, with every warning an error, and run on a real model."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import tiny_models  # noqa: E402

BUILD = pathlib.Path(os.environ["BACKPLANE_TEST_BUILD"])
FLAGS = "-Wall -Wextra -Wpedantic -Werror"
KINDS = {"backend": [], "backend-cpp": ["--cpp"], "frontend": ["--frontend"], "frontend-cpp": ["--frontend", "--cpp"]}
PARROT = "You are a helpful AI assistant named SmolLM, trained by Hugging Face\n"  # as the model's template begins


class Installation:
    """A moved prefix. Commands find it by the PATH alone; nothing else of this machine's environment is passed on."""

    def __init__(self, folder):
        done = subprocess.run(["cmake", "--install", BUILD, "--prefix", folder / "first"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.folder, self.prefix = folder, folder / "prefix"
        (folder / "first").rename(self.prefix)
        self.environment = {"PATH": f"{self.prefix / 'bin'}:{os.environ['PATH']}", "HOME": str(folder),
                            "MODEL": os.environ["BACKPLANE_SMOLLM2"]}

    def run(self, *command, code=0, **keywords):
        keywords = {"capture_output": True, "text": True, "timeout": 60, "cwd": self.folder, "env": self.environment} | keywords
        done = subprocess.run([str(word) for word in command], **keywords)
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def new_plugin(self, name, options):
        self.run("backplane", "new-plugin", name, *options)
        return Project(self, name)


class Project:
    def __init__(self, installation, name):
        self.installation, self.folder = installation, installation.folder / name
        self.file, self.configuration = self.folder / "build" / f"{name}.so", self.folder / f"{name}.yaml"
        self.source = next(file for file in self.folder.iterdir() if file.suffix in (".c", ".cpp"))

    def build(self):
        language = {".c": "C", ".cpp": "CXX"}[self.source.suffix]
        self.installation.run("cmake", "-S", self.folder, "-B", self.folder / "build", f"-DCMAKE_{language}_FLAGS={FLAGS}")
        self.installation.run("cmake", "--build", self.folder / "build")

    def change(self, old, new, file=None):
        file = file or self.source
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))

    def run(self, text="", **keywords):
        return self.installation.run("backplane", "run", self.configuration, input=text, **keywords)


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    return Installation(tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def projects(installation):
    made = {kind: installation.new_plugin(kind, options) for kind, options in KINDS.items()}
    for project in made.values():
        project.build()
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_exports_one_symbol_and_is_listed(projects, kind):
    project = projects[kind]
    symbols = project.installation.run("nm", "-D", "--defined-only", project.file).stdout
    assert [line.split()[-1] for line in symbols.splitlines()] == ["bp_plugin_entry"]
    listed = project.installation.run("backplane", "plugins", "--path", project.file.parent, kind).stdout
    assert listed.split()[:2] == [kind, kind.split("-")[0]] and str(project.file) in listed


@pytest.mark.parametrize("kind", ["backend", "backend-cpp"])
def test_a_new_backend_runs_a_model(projects, kind):
    assert projects[kind].run().stdout == PARROT


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_keeps_what_it_promises(projects, kind):
    """A frontend all there is. A backend what is asked of devices, steps and lives: it looks at no program, so it can neither
    compute one nor refuse a broken one."""
    checks = ["plugin.", "device.", "steps.", "lives.", "calls.wait", "leaks.models", "leaks.steps"] if "backend" in kind else []
    words = [word for check in checks for word in ("--only", check)]
    said = projects[kind].installation.run("backplane-plugin-test", projects[kind].file, *words).stdout
    assert int(re.search(r"^(\d+) kept, 0 failed", said, re.MULTILINE)[1]) > 10, said


def test_one_word_asks_the_model_itself(projects):
    project = projects["backend"]
    cpu = project.folder / "cpu.yaml"
    cpu.write_text(project.configuration.read_text().replace("plugin: ./build/backend.so", "plugin: cpu"))
    said = project.installation.run("backplane", "run", cpu).stdout
    assert "help" in said and said != PARROT


@pytest.mark.parametrize("kind", ["frontend", "frontend-cpp"])
def test_a_new_frontend_asks_a_model(projects, kind):
    done = projects[kind].run("The capital of France is\n\nOne, two, three,")
    first, empty, last, end = done.stdout.split("\n")
    assert first == "The capital of France is Paris." and empty == end == ""
    assert last.startswith("One, two, three, four,")
    assert f"error: {kind}: the prompt is empty" in done.stderr


@pytest.mark.parametrize("kind", ["frontend", "frontend-cpp"])
def test_a_new_frontend_says_what_it_cannot_do(projects, kind):
    assert "longer than 64 KiB; cut it into shorter ones" in projects[kind].run("a" * 70000, code=1).stderr
    with open("/dev/full", "w") as full:
        done = projects[kind].run("One", code=1, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert "standard output cannot be written" in done.stderr


@pytest.mark.parametrize("kind", ["frontend", "frontend-cpp"])
def test_a_new_frontend_stops_when_it_is_told_to(projects, kind):
    project = projects[kind]
    with subprocess.Popen(["backplane", "run", project.configuration], env=project.installation.environment, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        process.stdin.write("The capital of France is\n")
        process.stdin.flush()
        assert process.stdout.readline() == "The capital of France is Paris.\n"
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0 and time.monotonic() - begin < 5  # while standard input is open
        watchdog.cancel()


@pytest.mark.parametrize("options, code, sentence", [
    (["--cpp"], 1, "thrown on purpose"),
    (["--frontend", "--cpp"], 1, "thrown on purpose"),
])
def test_an_exception_ends_at_the_boundary(installation, options, code, sentence):
    """In every function that can throw: the first of them that is called says it, and the program goes on to its own end."""
    project = installation.new_plugin("throws" + options[0].strip("-"), options)
    project.change("#include <exception>\n", "#include <exception>\n#include <stdexcept>\n")
    project.change("return work();", 'throw std::runtime_error("thrown on purpose");\n        return work();')
    project.build()
    assert sentence in project.run("One\n", code=code).stderr


# --- docs/example/llama.c: a backend with an engine of its own ------------------------------------------------------------

PROMPTS = ["hello world", "the end of it and what you are in the world is to the", "a" * 90, "in on of", "you are what you are"]


@pytest.fixture(scope="module")
def example(installation):
    """Runs a model on the example and on other backends, five requests at once or one by one."""
    build, requests = installation.folder / "examples", installation.folder / "requests.jsonl"
    installation.run("cmake", "-S", ROOT / "docs" / "example", "-B", build, f"-DCMAKE_C_FLAGS={FLAGS}")
    installation.run("cmake", "--build", build)
    requests.write_text("".join(json.dumps({"custom_id": str(i), "method": "POST", "url": "/v1/completions", "body": {
        "prompt": prompt, "max_tokens": 24, "logprobs": 5}}) + "\n" for i, prompt in enumerate(PROMPTS)))

    def run(model, plugin, settings="", parallel=8, code=0):
        configuration, results = installation.folder / "example.yaml", installation.folder / "results.jsonl"
        configuration.write_text(f"plugin_path: [{build}]\nbackends: {{ here: {{ plugin: {plugin} }} }}\n"
                                 f"models: {{ m: {{ file: {model}, backend: here, temperature: 0, kv_type: f32{settings} }} }}\n")
        results.unlink(missing_ok=True)
        done = installation.run("backplane", "batch", "--config", configuration, "--set", f"frontend.parallel={parallel}", requests,
                                results, code=code)
        return results.read_text() if code == 0 else done.stderr
    return run


@pytest.fixture(scope="module")
def llamas(tmp_path_factory):
    """A GGUF file whose head is its embedding, and a Hugging Face folder with a head of its own and a window of attention."""
    folder = tmp_path_factory.mktemp("llamas")
    subprocess.run([BUILD / "bin" / "write_tiny_llama", folder / "tied.gguf", "3"], check=True)
    return {"tied": folder / "tied.gguf", "window": tiny_models.mistral(folder / "window", headless=False),
            "embedder": tiny_models.mistral(folder / "embedder")}


@pytest.mark.parametrize("name", ["tied", "window"])
def test_the_examples_engine_computes_what_the_cpu_does(example, llamas, name):
    own, cpu = ([json.loads(line)["response"]["choices"][0] for line in example(llamas[name], plugin).splitlines()]
                for plugin in ("llama", "cpu"))
    assert len(own) == len(PROMPTS) and len({choice["text"] for choice in own}) > 1
    compared, worst = 0, 0.0
    for ours, theirs in zip(own, cpu, strict=True):
        assert ours["text"] == theirs["text"]
        for here, there in zip(ours["logprobs"]["top_logprobs"], theirs["logprobs"]["top_logprobs"], strict=True):
            for token in here.keys() & there.keys():
                compared, worst = compared + 1, max(worst, abs(here[token] - there[token]))
    assert compared > 300 and worst < 1e-4, (compared, worst)


def test_the_examples_answers_do_not_depend_on_neighbours(example, llamas):
    together, alone = example(llamas["window"], "llama"), example(llamas["window"], "llama", parallel=1)
    assert together == alone


def test_the_example_refuses_what_its_engine_does_not_know(example, llamas):
    for model, sentence in [(os.environ["BACKPLANE_SMOLLM2"], "llama: tensor token_embd.weight is Q8_0, and its engine has F32 alone"),
                            (os.environ["BACKPLANE_QWEN"], "llama: its engine knows the family llama, and this is qwen2"),
                            (llamas["embedder"], "llama: its engine makes logits, and the last op of this model is not LOGITS")]:
        assert sentence in example(model, "llama", settings=", task: embed" if model == llamas["embedder"] else "", code=1)


# --- docs/tutorial.md ---------------------------------------------------------------------------------------------------

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
SHELL = re.compile(r"```sh\n(.*?)```\n(?:```text\n(.*?)```\n)?", re.DOTALL)


def plain(said, home):
    """Without what differs between homes and versions: the folder, the minor of the ABI, how many checks there are."""
    said = said.replace(str(home), "/home/you")
    said = re.sub(r"\d+ kept, (\d+) failed, \d+ not offered", r"\1 failed", said)
    return re.sub(r"ABI 1\.\d+ and this is 1\.\d+", "a newer ABI", said)


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """Who does as the page says: what was shown and what was said, a command each, and the home with all that it left."""
    home = tmp_path_factory.mktemp("home")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    script = ["set -eu"]
    for commands, _ in SHELL.findall(TUTORIAL):
        commands = commands.replace("cmake --install build/release", f"cmake --install '{BUILD}'")
        script.append(commands.replace("$(tools/fetch smollm2)", f"'{os.environ['BACKPLANE_SMOLLM2']}'") + "echo '--- done'")
    done = subprocess.run(["bash", "-c", "\n".join(script)], cwd=home, env=environment, text=True, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    said = done.stdout.split("--- done\n")[:-1]
    return home, [(plain(shown, home), plain(says, home)) for (_, shown), says in zip(SHELL.findall(TUTORIAL), said, strict=True)]


def test_the_tutorials_commands_print_what_it_shows(followed):
    _, outputs = followed
    assert len(outputs) > 12 and sum(bool(shown) for shown, _ in outputs) > 10
    for shown, said in outputs:
        assert said == shown


def test_the_tutorial_shows_all_code_of_both_plugins(followed):
    home, _ = followed
    files = [(home / "plugins" / name / f"{name}.c").read_text() for name in ("parrot", "lines")]
    shown = "".join(re.findall(r"```c\n(.*?)```", TUTORIAL, re.DOTALL))
    assert [line for line in shown.splitlines() if line] == [line for file in files for line in file.splitlines() if line]
    for file in files:
        assert len(file.splitlines()) < 150  # as the page says


def test_the_tutorials_check_of_a_backend_can_fail(followed):
    """A backend that keeps texts outside of its pages, as the page suggests."""
    home, _ = followed
    folder = home / "plugins"
    text = (folder / "parrot" / "parrot.c").read_text()
    place = "return &m->cache[(size_t)pages[p / m->limits.page_tokens] * m->limits.page_tokens + p % m->limits.page_tokens];"
    assert text.count(place) == 1
    (folder / "parrot" / "parrot.c").write_text(text.replace(place, "(void)pages, (void)p; return &m->cache[position];"))
    check = next(commands for commands, _ in SHELL.findall(TUTORIAL) if "cmp " in commands)
    script = f"cmake --build parrot/build > /dev/null; rm *.jsonl; {check.replace('&& echo the same bytes', '')}"
    done = subprocess.run(["bash", "-c", script], cwd=folder, text=True, capture_output=True, timeout=60,
                          env={"PATH": f"{home / 'backplane' / 'bin'}:{os.environ['PATH']}", "MODEL": os.environ["BACKPLANE_SMOLLM2"]})
    assert done.returncode == 1 and "differ" in done.stdout, done.stdout + done.stderr
