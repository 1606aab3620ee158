"""Plugins of older minors on this build's program, and this build's plugins on a program of the next minor.

The older plugins are old/*.c, compiled from headers of their time; they look at every struct that they get, and their own end
where memory does. The next minor is this source tree with every struct that may grow grown, every table with slots
more, and the minor raised; only the program is built of it."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

import abi
from conftest import BUILD, COMPILER, ROOT

OLD = BUILD / "tests" / "abi" / "old"
MINOR = int(abi.read_constants(abi.record_paths(abi.HERE, 1)[1])["BP_ABI_MINOR"])
TABLES = {"bp_host", "bp_backend_ops", "bp_engine_api", "bp_frontend_ops"}
LAST_GROWS = {"bp_request": "bp_sampling"}  # what grows by the struct that lies last in it
QUESTION = "What is the capital of France?"


def grow(include):
    """Makes the headers those of the next minor. Returns the structs that grew."""
    grown = set()

    def append(match):
        name, body = match[1], match[2]
        if not body.lstrip().startswith("uint32_t size") or name in LAST_GROWS:
            return match[0]
        grown.add(name)
        more = "void (*next_minor[4])(void)" if name in TABLES else "uint64_t next_minor[4]"
        return f"typedef struct {name} {{{body}    {more};\n}} {name};"

    for header in (include / "backplane").glob("*.h"):
        text = re.sub(r"typedef struct (bp_\w+) \{(.*?\n)\} \1;", append, header.read_text(), flags=re.DOTALL)
        text = re.sub(rf"(#define BP_ABI_MINOR) {MINOR}\b", rf"\1 {MINOR + 1}", text)
        header.write_text(text)
    return grown


@pytest.fixture(scope="module")
def next_source(tmp_path_factory):
    source = tmp_path_factory.mktemp("next")
    shutil.copy(ROOT / "CMakeLists.txt", source)
    for folder in ("cmake", "conformance", "core", "plugins", "frontends"):
        shutil.copytree(ROOT / folder, source / folder)
    grown = grow(source / "core" / "include")
    structs = abi.read_structs(abi.record_paths(abi.HERE, 1)[0])
    assert grown | LAST_GROWS.keys() == {name for name, struct in structs.items() if struct.sized}
    return source


@pytest.fixture(scope="module")
def programs(next_source):
    """This build's program, and that of the next minor."""
    build = next_source / "build"
    for command in (["cmake", "-G", "Ninja", "-S", next_source, "-B", build, "-DBACKPLANE_TESTS=OFF", "-DCMAKE_BUILD_TYPE=None",
                     f"-DCMAKE_C_COMPILER={COMPILER}"], ["cmake", "--build", build, "--target", "backplane"]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return {"this": BUILD / "bin" / "backplane", "next": build / "bin" / "backplane"}


@pytest.fixture(params=["this", "next"])
def program(request, programs):
    return programs[request.param]


def outside(include, folder):
    """docs/example, built against some headers."""
    folder.mkdir()
    subprocess.run([COMPILER, "-std=c11", "-shared", "-fPIC", "-fvisibility=hidden", "-I", include,
                    ROOT / "docs" / "example" / "outside.c", "-o", folder / "outside.so"], check=True)
    return folder


@pytest.fixture
def answer(tmp_path):
    """What a program prints, asked through a frontend with a backend."""
    def ask(program, backend, frontend, *directories, stdin=""):
        options = {"old_frontend": f"question: '{QUESTION}'", "repl": f"prompt: '{QUESTION}'", "batch": "input: '-', output: '-'"}
        config = tmp_path / "config.yaml"
        config.write_text(f"plugin_path: [{', '.join(map(str, [BUILD / 'plugins', OLD, *directories]))}]\n"
                          f"backends: {{ b: {{ plugin: {backend} }} }}\n"
                          f"models: {{ m: {{ file: '{os.environ['BACKPLANE_SMOLLM2']}', backend: b, temperature: 0, max_tokens: 16,\n"
                          f"               system_prompt: You are a helpful assistant }} }}\n"
                          f"frontends: {{ f: {{ plugin: {frontend}, model: m, {options[frontend]} }} }}\n")
        done = subprocess.run([program, "run", config], input=stdin, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout
    return ask


def lines_of(said):
    return dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)


def test_the_older_layouts_are_not_todays():
    """Else the plugins would show nothing: both miss what has come since."""
    structs = abi.read_structs(abi.record_paths(abi.HERE, 1)[0])
    sizes = {match[1]: int(match[2]) for kind in ("backend", "frontend")
             for match in re.finditer(r"SIZE\((\w+), (\d+)\)", (abi.HERE / "old" / f"offsets_{kind}.h").read_text())}
    shorter = {name for name, size in sizes.items() if size * 8 < structs[name].size}
    assert {"bp_batch", "bp_backend_ops", "bp_engine_api"} <= shorter
    assert all(size * 8 <= structs[name].size for name, size in sizes.items())


def test_an_older_frontend_gets_the_answer_of_todays(program, answer):
    lines = lines_of(answer(program, "cpu", "old_frontend"))
    assert lines["answer"].strip() == answer(program, "cpu", "repl").strip()
    assert "Paris" in lines["answer"] and lines["finish"] == "stop"


def test_an_older_backend_computes_what_the_same_one_of_today_does(program, answer, tmp_path):
    today = outside(abi.INCLUDE, tmp_path / "today")
    said = answer(program, "old_backend", "repl")
    assert said.strip() and said == answer(program, "outside", "repl", today)


def test_older_plugins_meet(program, answer):
    lines = lines_of(answer(program, "old_backend", "old_frontend"))
    assert lines["finish"] == "length" and "Paris" not in lines["answer"]


def test_both_are_listed_with_their_device(program):
    done = subprocess.run([program, "plugins", "--path", OLD], capture_output=True, text=True, check=True)
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "old_backend backend   1.0" in lines and "device a device of ABI 1.0" in lines
    assert any(line.split()[:2] == ["old_frontend", "frontend"] for line in lines)


def test_the_next_minor_is_a_compatible_one(next_source):
    verdict = abi.judge(next_source / "core" / "include")
    assert verdict.kind == "compatible", verdict.text


def test_this_builds_plugins_run_on_the_next_minor(programs, answer):
    done = subprocess.run([programs["next"], "plugins", "--path", BUILD / "plugins"], capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.splitlines() if re.match(r"[\w-]+ +(backend|frontend) ", line)}
    assert {path.stem for path in (BUILD / "plugins").glob("*.so")} <= listed, done.stdout
    assert answer(programs["next"], "cpu", "repl") == answer(programs["this"], "cpu", "repl")
    line = '{"messages": [{"role": "user", "content": "' + QUESTION + '"}], "logprobs": true, "seed": 7}\n'
    assert answer(programs["next"], "cpu", "batch", stdin=line) == answer(programs["this"], "cpu", "batch", stdin=line)


def test_a_plugin_of_the_next_minor_waits_for_its_program(programs, next_source, answer, tmp_path):
    newer = outside(next_source / "core" / "include", tmp_path / "newer")
    done = subprocess.run([programs["this"], "plugins", "--path", newer], capture_output=True, text=True)
    assert f"outside.so needs plugin ABI 1.{MINOR + 1} and this is 1.{MINOR}; update Backplane" in done.stdout, done.stdout
    assert answer(programs["next"], "outside", "repl", newer) == answer(programs["next"], "old_backend", "repl")
