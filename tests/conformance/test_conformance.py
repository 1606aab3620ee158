"""backplane-plugin-test passes the backends that are right, and fails each plugin that is wrong: the check that is meant, in the
words that say what is wrong."""

import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["BACKPLANE_TEST_BUILD"])
HERE = BUILD / "tests" / "conformance"
PLUGINS = BUILD / "plugins"
SANITIZED = b"__asan" in (BUILD / "bin" / "backplane-plugin-test").read_bytes()
REFUSED = BUILD / "tests" / "plugins" / "files"

# Its kernels are emulated, thread by thread: what the CUDA tests have of their own (whole nets) is left to them.
EMULATED = [word for name in ("plugin.", "device.", "op.qkv", "op.attention", "cache.q8_0", "weight.Q4_K", "calls.", "caps.",
                              "lives.two_models", "lives.two_devices", "steps.batches", "steps.copied", "steps.rows",
                              "leaks.refusals") for word in ("--only", name)]


def conformance(*words):
    command = [BUILD / "bin" / "backplane-plugin-test", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


def seconds(words):
    """That a check may take which says so at its end."""
    return (re.findall(r"within (\d+) second", words) + [60])[0]


# The fault of wrong.so, the check that finds it, and what the check says.
FAULTS = [
    ("close_null", "device.nothing", "in close"),
    ("release_null", "device.nothing", "in release"),
    ("one_device", "device.open", "open: wrong: the device is in use"),
    ("info_overrun", "device.info", "info wrote beyond the 24 bytes"),
    ("info_caps", "device.info", "of which some do not exist"),
    ("memory_overrun", "device.memory", "memory wrote beyond the 16 bytes"),
    ("memory_zero", "device.memory", "memory says 0 bytes of weights"),
    ("last_bit", "op.linear", "where the reference has"),
    ("last_bit", "weight.Q4_K", "a weight of Q4_K [1][256]: number 0 of row 0 is"),
    ("rope", "op.qkv", "QKV rotating pairs: number"),
    ("gelu", "op.linear", "activation gelu: number"),
    ("window", "op.attention", "ATTENTION with a window of 1: number"),
    ("epsilon", "op.norm", "NORM (RMS) of 1 columns"),
    ("neighbours", "steps.batches", "number 1 of 4 in a step: number"),
    ("nan_spreads", "steps.neighbours", "beside NaN and infinity"),
    ("pages", "steps.pages", "with other page numbers"),
    ("chunks", "steps.chunks", "in steps of 1: number"),
    ("late_read", "steps.copied", "wait for"),
    ("overrun", "steps.bounds", "wait wrote outside the"),
    ("row_order", "steps.rows", "of 1 rows the 1.: number"),
    ("counts_steps", "steps.repeat", "the same step for the 2. time"),
    ("full_step", "steps.limits", "submit of a step of 40 tokens, 3 sequences and 40 rows"),
    ("rounding", "steps.rounding", "the caller rounds in another way after a step"),
    ("page_size", "steps.page_sizes", "in pages of 128"),
    ("rewound", "steps.rewound", "after guesses that were rejected"),
    ("supports_all", "calls.unknown", "supports says that it runs a program with an op of the kind 99, and compile fails"),
    ("vague", "calls.unknown", "names neither unknown nor 99: no"),
    ("takes_all", "calls.unknown", "supports and compile take a program with an op of the kind 99, which nobody can run"),
    ("crashes", "calls.programs", "in compile"),
    ("exits", "calls.programs", "the process ended in compile with the status 3; a plugin may not end it"),
    ("leaves_model", "calls.programs", "leaves a model"),
    ("takes_petabytes", "calls.limits", "compile takes a cache larger than any memory"),
    ("no_end", "calls.errors", "its sentence does not end within the 508 bytes"),
    ("wrong_code", "calls.errors", "wait returned -1 and wrote the code -2"),
    ("no_sentence", "calls.errors", "wrote no sentence"),
    ("empty_sentence", "calls.errors", "its sentence is empty"),
    ("touches_error", "calls.errors", "succeeded and wrote into the caller's error"),
    ("no_status", "calls.errors", "returned 7, which is no status"),
    ("wait_any", "calls.wait", "wait succeeds for"),
    ("wait_writes", "calls.wait", "and wrote number"),
    ("topk_missing", "caps.topk", "info promises BP_CAP_TOPK and wait_topk of 1 fails: wrong: there is no wait_topk"),
    ("topk_ties", "caps.topk", "descending, ties to the lowest id"),
    ("copy_half", "caps.copy", "of a sequence whose pages were copied"),
    ("shares_nothing", "caps.share", "a model has 100000 bytes of weights, and two of the same weights 100000 and 100000"),
    ("kv_swapped", "caps.read_kv", "keys and values (32 of each) of position 0 in cache 0"),
    ("one_step_for_all", "lives.two_devices", "while a step of another device was submitted"),
    ("one_scratch", "lives.threads", "on one of two threads"),
    ("leaks_file", "leaks.devices", "24 files stay open after 24 times a device was opened and closed"),
    ("leaks_thread", "leaks.devices", "24 threads stay"),
    ("leaks_heap", "leaks.models", "of the heap stay after 24 times a program was compiled"),
    ("leaks_pages", "leaks.models", "of memory stay after 24 times a program was compiled"),
    ("leaks_refusal", "leaks.refusals", "of the heap stay after 24 times a program was refused"),
    ("leaks_step", "leaks.steps", "of the heap stay after 24 times a step was run"),
    ("hangs", "steps.repeat", "no end in wait within 1 second;"),
]


if SANITIZED:  # which counts what stays of the heap itself, at the end of the process, and knows nothing of maps
    FAULTS = [(fault, check, "all went well until the process ended, with the status" if "of the heap stay" in words else words)
              for fault, check, words in FAULTS if fault != "leaks_pages"]


@pytest.mark.parametrize("fault,check,words", FAULTS, ids=[f"{fault}-{check}" for fault, check, _ in FAULTS])
def test_a_wrong_backend_fails_for_its_reason(fault, check, words):
    done = conformance(HERE / "wrong.so", "--set", f"fault={fault}", "--only", check, "--seconds", seconds(words))
    assert done.returncode == 1, done.stdout + done.stderr
    first = done.stdout.splitlines()[0]
    assert first.startswith(f"FAILED {check}: ") and words in first, done.stdout


# The same of wrong_frontend.so.
FRONTEND_FAULTS = [
    ("close_null", "frontend.nothing", "in close"),
    ("one_at_a_time", "frontend.two", "open of a second one returned 0 and gave none"),
    ("ignores_stop", "frontend.stop", "no end in run, after stop, within 1 second;"),
    ("forgets_stop", "frontend.stop_at_once", "no end in run, after stop, within 1 second;"),
    ("run_fails", "frontend.stop", "run: wrong_frontend: nothing can be written"),
    ("keeps_stream", "frontend.requests", "of 1 streams were not released"),
    ("reads_on", "frontend.requests", "next was called on a stream after its last event"),
    ("releases_twice", "frontend.requests", "release was called twice on one stream"),
    ("cancels_late", "frontend.requests", "cancel was called on a stream that was released"),
    ("no_size", "frontend.requests", "next was given a struct whose size is 0"),
    ("no_request_size", "frontend.requests", "submit was given a request whose size is 0"),
    ("crashes_when_busy", "frontend.busy", "the process"),
    ("hangs_when_failing", "frontend.failing", "no end in run, after stop, within 3 seconds;"),
    ("needs_model", "frontend.no_model", "in open"),
    ("hangs_in_answer", "frontend.stop_answer", "no end in run, after stop, within 1 second;"),
    ("no_sentence", "frontend.options", "open failed with -5 and wrote no sentence"),
    ("leaves_frontend", "frontend.options", "and left a frontend"),
    ("leaks_file", "frontend.leaks", "8 files stay open after 8 times a frontend was opened and closed"),
]


@pytest.mark.parametrize("fault,check,words", FRONTEND_FAULTS, ids=[f"{fault}-{check}" for fault, check, _ in FRONTEND_FAULTS])
def test_a_wrong_frontend_fails_for_its_reason(fault, check, words):
    done = conformance(HERE / "wrong_frontend.so", "--set", f"fault={fault}", "--only", check, "--seconds", seconds(words))
    first = done.stdout.splitlines()[0]
    assert done.returncode == 1 and first.startswith(f"FAILED {check}: ") and words in first, done.stdout + done.stderr


def test_the_same_frontend_without_a_fault_is_right():
    done = conformance(HERE / "wrong_frontend.so")
    assert done.returncode == 0 and "14 kept, 0 failed, 0 not offered" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("words", [("repl.so",), ("http.so", "--set", "port=0", "--set", "connections=4", "--only", "frontend.stop",
                                                  "--only", "frontend.no_model", "--only", "frontend.options")],
                         ids=["repl", "http"])
def test_the_frontends_are_right(words):
    done = conformance(PLUGINS / words[0], *words[1:])
    assert done.returncode == 0 and " 0 failed," in done.stdout, done.stdout + done.stderr


def test_the_batch_frontend_is_right(tmp_path):
    (tmp_path / "in").write_text('{"messages": [{"role": "user", "content": "Hello"}]}\n{"prompt": "One, two,"}\n')
    (tmp_path / "out").symlink_to("/dev/null")  # a file that is there would be gone on with
    done = conformance(PLUGINS / "batch.so", "--set", f"input={tmp_path / 'in'}", "--set", f"output={tmp_path / 'out'}")
    assert done.returncode == 0 and "ok frontend.requests" in done.stdout and " 0 failed," in done.stdout, done.stdout + done.stderr
    done = conformance(PLUGINS / "batch.so")
    assert done.returncode == 1 and "the option input must be written: use --set input=VALUE" in done.stdout


def test_the_same_backend_without_a_fault_is_right():
    done = conformance(HERE / "wrong.so", *(word for kind in ("device.", "steps.", "calls.", "caps.") for word in ("--only", kind)))
    assert done.returncode == 0 and "27 kept, 0 failed, 1 not offered" in done.stdout, done.stdout + done.stderr


def test_a_tolerance_lets_a_last_bit_pass_and_another_function_not():
    done = conformance(HERE / "wrong.so", "--set", "fault=last_bit", "--tolerance", "0.00001", "--only", "op.", "--only", "net.gemma")
    assert done.returncode == 0 and "13 kept, 0 failed" in done.stdout, done.stdout
    done = conformance(HERE / "wrong.so", "--set", "fault=gelu", "--tolerance", "0.00001", "--only", "op.linear")
    assert done.returncode == 1 and "activation gelu: number" in done.stdout, done.stdout
    done = conformance(HERE / "wrong.so", "--set", "fault=chunks", "--tolerance", "1", "--only", "steps.chunks")
    assert done.returncode == 1, done.stdout  # of itself nothing is let pass


def test_every_fault_has_its_line():
    for file, faults in (("wrong.c", FAULTS), ("wrong_frontend.c", FRONTEND_FAULTS)):
        source = (pathlib.Path(__file__).parent / file).read_text()
        names = set(re.findall(r"X\((\w+)\)", source))
        assert len(names) >= 12 and names - {fault for fault, _, _ in faults} == ({"leaks_pages"} if SANITIZED and file == "wrong.c" else set())


# Of what the host refuses, plugin.load says the host's own sentence.
@pytest.mark.parametrize("name,words", [("wrong_major", "is built for plugin ABI "), ("torn_ops", "ends inside a slot"),
                                        ("bad_options", "has a bad option table"), ("no_symbol", "exports no bp_plugin_entry")])
def test_what_the_host_refuses_does_not_load(name, words):
    done = conformance(REFUSED / f"{name}.so", "--only", "plugin.load")
    assert done.returncode == 1 and done.stdout.startswith("FAILED plugin.load: ") and words in done.stdout, done.stdout


def test_a_plugin_exports_its_entry_alone():
    done = conformance(HERE / "talkative.so", "--only", "plugin.symbols")
    assert done.returncode == 1 and "FAILED plugin.symbols: it exports talkative_helper beside bp_plugin_entry" in done.stdout, done.stdout


def test_options_are_explained():
    done = conformance(HERE / "unexplained.so", "--only", "plugin.")
    assert done.returncode == 1 and "ok plugin.load\nok plugin.symbols\nFAILED plugin.options: the option first has no help" in done.stdout, done.stdout


def test_the_cpu_backend_is_right():
    done = conformance(PLUGINS / "cpu.so")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("not")] == [
        "not offered caps.topk: info does not promise BP_CAP_TOPK"]


def test_the_emulated_cuda_backend_is_right():
    done = conformance(PLUGINS / "cuda-emulated.so", *EMULATED)
    assert done.returncode == 0 and ", 0 failed, 1 not offered" in done.stdout, done.stdout + done.stderr


def example(name, folder):
    subprocess.run([os.environ["BACKPLANE_TEST_COMPILER"], "-std=c11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{ROOT}/core/include",
                    ROOT / "docs" / "example" / f"{name}.c", "-o", folder / f"{name}.so", "-lm"], check=True)
    return folder / f"{name}.so"


def test_an_engine_of_whole_models_is_known_by_its_family(tmp_path):
    """It runs no op alone, and of the nets those that are a llama of floats; its sums have an order of their own."""
    file = example("llama", tmp_path)
    done = conformance(file, "--tolerance", "0.00001")
    said = {line.split(":")[0] for line in done.stdout.splitlines()}
    assert done.returncode == 0, done.stdout
    assert said >= {"ok net.f32", "ok calls.supports", "ok calls.programs", "ok calls.limits", "ok steps.pages", "ok steps.shared",
                    "ok leaks.refusals", "not offered op.qkv", "not offered net.q8_0"}, done.stdout
    done = conformance(file, "--only", "net.f32")
    assert done.returncode == 1 and "FAILED net.f32: the net f32: number" in done.stdout, done.stdout


def test_the_example_is_a_plugin_and_computes_nothing(tmp_path):
    """It is right in all that is about being a plugin, and in nothing that is about numbers."""
    done = conformance(example("outside", tmp_path))
    said = {line.split(":")[0] for line in done.stdout.splitlines()}
    assert done.returncode == 1
    assert said >= {"ok plugin.load", "ok plugin.options", "ok device.open", "ok device.nothing", "ok steps.copied", "ok steps.rows",
                    "ok calls.wait", "ok lives.threads", "ok leaks.models", "not offered device.info", "not offered device.memory"}, done.stdout
    assert said >= {"FAILED op.linear", "FAILED weight.Q4_K", "FAILED net.q8_0", "FAILED calls.unknown"}, done.stdout
    assert not any(line.startswith("FAILED steps.") or line.startswith("FAILED lives.") for line in said), done.stdout


def test_a_wrong_command_says_so():
    for words, said in [((), "no plugin is named"), (("no.so",), "there is no file no.so"),
                        ((PLUGINS / "cpu.so", "--only", "nothing"), "there is no check nothing"),
                        ((PLUGINS / "cpu.so", "--set"), "a value is missing after --set"),
                        ((PLUGINS / "cpu.so", "--set", "threads"), "--set takes KEY=VALUE, not threads"),
                        ((PLUGINS / "cpu.so", "--seconds", "soon"), "has a value that is no number")]:
        done = conformance(*words)
        assert done.returncode == 2 and said in done.stderr, (words, done.stderr)
    done = conformance(PLUGINS / "cpu.so", "--set", "thread=2", "--only", "device.open")
    assert done.returncode == 1 and "--set thread=2: " in done.stdout and "threads" in done.stdout


def test_the_list_says_what_each_check_proves():
    lines = conformance("--list").stdout.splitlines()
    names = [line.split()[0] for line in lines]
    assert len(names) == len(set(names)) > 90 and all(line.endswith(".") for line in lines)
    assert {check for _, check, _ in FAULTS + FRONTEND_FAULTS} <= set(names)
