"""backplane new-plugin: what it writes, and what it refuses without leaving anything behind. tests/plugins builds what it writes."""

import os
import resource
import signal
import subprocess

import pytest

from conftest import PROGRAM, backplane

KINDS = {(): ("backend", "c"), ("--cpp",): ("backend", "cpp"), ("--frontend",): ("frontend", "c"), ("-f", "--cpp"): ("frontend", "cpp")}


@pytest.mark.parametrize("options", KINDS)
def test_a_folder_of_four_files(options, tmp_path):
    kind, suffix = KINDS[options]
    said = backplane("new-plugin", "my-own_1", *options, directory=tmp_path).expect(0).out
    assert f"a {kind} that works: my-own_1.{suffix}\n" in said
    folder = tmp_path / "my-own_1"
    assert os.listdir(tmp_path) == ["my-own_1"]
    assert sorted(os.listdir(folder)) == ["CMakeLists.txt", "README.md", f"my-own_1.{suffix}", "my-own_1.yaml"]
    for file in folder.iterdir():
        assert "my-own_1" in file.read_text() and "@" not in file.read_text(), file
    assert f"BP_PLUGIN_{kind.upper()}" in (folder / f"my-own_1.{suffix}").read_text()


@pytest.mark.parametrize("name", ["Parrot", "a b", "a.b", "a/b", "../a", "/tmp/a", "", "ä", "a" * 33])
def test_names_that_the_loader_would_refuse_are_refused(name, tmp_path):
    said = backplane("new-plugin", name, directory=tmp_path).expect(2).err
    assert "is not a plugin's name: 1 to 32 of a-z, 0-9, _ and -" in said and said.count("\n") == 1
    assert not os.listdir(tmp_path)


def test_the_longest_name_is_taken(tmp_path):
    backplane("new-plugin", "a" * 32, directory=tmp_path).expect(0)


@pytest.mark.parametrize("make", ["folder", "file", "link"])
def test_what_is_there_stays_as_it_is(make, tmp_path):
    there = tmp_path / "parrot"
    {"folder": there.mkdir, "file": there.touch, "link": lambda: there.symlink_to("nowhere")}[make]()
    said = backplane("new-plugin", "parrot", directory=tmp_path).expect(1).err
    assert said == "backplane: parrot is there already; choose another name, or remove it\n"
    assert os.listdir(tmp_path) == ["parrot"] and not (there.is_dir() and os.listdir(there))


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    tmp_path.joinpath("gone").mkdir()
    done = subprocess.run(["sh", "-c", 'rmdir ../gone && exec "$0" new-plugin parrot', PROGRAM], cwd=tmp_path / "gone",
                          capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "backplane: the folder parrot cannot be made: No such file or directory\n"


@pytest.mark.parametrize("bytes", [0, 1000, 4000])
def test_a_full_disk_leaves_nothing(bytes, tmp_path):
    """The first, the second or a later file is the one that does not fit."""
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, bytes))
    done = subprocess.run([PROGRAM, "new-plugin", "parrot"], cwd=tmp_path, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 1 and done.stderr.startswith("backplane: parrot/") and "cannot be written: File too large" in done.stderr
    assert not os.listdir(tmp_path)
