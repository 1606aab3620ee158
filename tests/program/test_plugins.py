"""backplane plugins: what is listed, what is refused and why, options, and the reference page."""

import re
import shutil

import pytest

from conftest import PLUGIN_FILES, ROOT, backplane

MAJOR, MINOR = (int(re.search(rf"#define BP_ABI_{name} (\d+)", (ROOT / "core/include/backplane/plugin.h").read_text())[1]) for name in ("MAJOR", "MINOR"))

# What each broken file of tests/plugins is refused with.
REFUSALS = {
    "wrong_major": f"is built for plugin ABI {MAJOR + 1}.{MINOR}",
    "newer_minor": f"needs plugin ABI {MAJOR}.{MINOR + 1}",
    "short_messages": "whose messages are shorter",
    "no_symbol": "exports no bp_plugin_entry",
    "no_descriptor": "returned no descriptor",
    "no_ops": "has no operations table",
    "oversized": "built for another ABI",
    "oversized_ops": "has an operations table of",
    "torn_ops": "ends inside a slot",
    "undersized": "has a descriptor of 16 bytes",
    "bad_name": 'has the name "Bad Name"',
    "bad_options": "has a bad option table",
    "unknown_kind": "is of the kind 77",
    "unresolved": "undefined symbol",
    "wrong_name": "a plugin's file is named after it",
}


def test_the_builds_own_plugins_are_listed():
    said = backplane("plugins").expect(0).out
    version = backplane("--version").expect(0).out.split()[1]
    for folder, kind in [("plugins/cpu", "backend"), ("frontends/repl", "frontend"), ("frontends/batch", "frontend")]:
        if (ROOT / folder / "CMakeLists.txt").exists():
            assert any(line.split() == [folder.split("/")[1], kind, version] for line in said.splitlines()), folder
    assert "refused" not in said


def test_a_backend_is_listed_with_its_device():
    lines = [line.strip() for line in backplane("plugins", "--path", PLUGIN_FILES).expect(0).out.splitlines()]
    assert any(line.startswith("device cpu (") for line in lines)
    assert any(line.startswith("no device: ") for line in lines)  # fails_open


def test_a_backend_without_a_name_has_a_device(outside):
    lines = [line.strip() for line in backplane("plugins", "outside", "--path", outside.parent).expect(0).out.splitlines()]
    assert "device without a name" in lines and not any("no device" in line for line in lines)


def test_81_broken_plugins_are_refused_by_name_and_the_rest_is_listed():
    lines = backplane("plugins", "--path", PLUGIN_FILES).expect(0).out.splitlines()
    for name, reason in REFUSALS.items():
        refused = [line for line in lines if line.startswith("refused") and f"/{name}.so " in line]
        assert len(refused) == 1 and reason in refused[0], name
    assert any(line.split()[:2] == ["greeter", "frontend"] for line in lines)
    assert any(line.split()[:2] == ["cpu", "backend"] for line in lines)


@pytest.fixture
def damaged(tmp_path, outside):
    """Files that are no plugins: a text, a truncated copy, one of another architecture, an empty file, a folder, a link to nowhere."""
    whole = outside.read_bytes()
    (tmp_path / "text.so").write_text("not a library\n")
    (tmp_path / "half.so").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "foreign.so").write_bytes(whole[:18] + (8).to_bytes(2, "little") + whole[20:])  # MIPS
    (tmp_path / "empty.so").write_bytes(b"")
    (tmp_path / "folder.so").mkdir()
    (tmp_path / "dangling.so").symlink_to(tmp_path / "nowhere")
    shutil.copy(outside, tmp_path / "outside.so")
    return tmp_path


def test_81_files_that_are_no_libraries_are_refused(damaged):
    lines = backplane("plugins", "--path", damaged).expect(0).out.splitlines()
    for name in ["text", "half", "foreign", "empty", "folder", "dangling"]:
        assert any(line.startswith("refused") and f"/{name}.so " in line for line in lines), name
    assert any(line.split()[:2] == ["outside", "backend"] for line in lines)


def test_one_plugins_options(outside):
    said = backplane("plugins", "outside", "--path", outside.parent).expect(0).out
    assert "step" in said and "int 1..1000" in said and "(default 100)" in said and str(outside) in said


def test_a_configurations_directories_are_searched(outside, write, model):
    config = write(f"plugin_path: [{outside.parent}]\nbackends: {{ o: {{ plugin: outside }} }}\n"
                   f"models: {{ m: {{ file: {model} }} }}\n")
    assert "outside" in backplane("plugins", "--config", config, "outside").expect(0).out


def test_the_reference_page_is_up_to_date():
    page = (ROOT / "docs" / "configuration.md").read_text()
    command = re.search("`backplane (plugins --markdown [^`]*)`", page)
    said = backplane(*command[1].split()).expect(0).out
    assert said == page, f"print it again: {command[0]} > docs/configuration.md"
