"""Rules that hold for the tree as a whole: which folder may include which, how long files are, that links lead somewhere."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]

# What each folder of the core may include besides itself and the SDK; plugins and frontends may include the SDK alone.
# docs/architecture.md has the same table for people.
ALLOWED = {
    "core/include": set(),
    "core/base": set(),
    "core/model": {"base"},
    "core/text": {"base"},
    "core/sample": {"base"},
    "core/engine": {"base", "model", "text", "sample"},
    "core/host": {"base"},
    "core/commands": {"base", "model", "text", "sample", "engine", "host"},
}
MODULES = {name.split("/")[1] for name in ALLOWED}
LONGEST_FILE = 1200


def tracked(*patterns):
    output = subprocess.run(["git", "ls-files", "--", *patterns], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / line for line in output.splitlines() if (ROOT / line).is_file()]


def includes(path):
    """(line number, name, is a system header) of every #include."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+([<"])([^>"]+)', line)
        if match:
            yield number, match[2], match[1] == "<"


def folder_of(path):
    relative = path.relative_to(ROOT).as_posix()
    return next((folder for folder in ALLOWED if relative.startswith(folder + "/")), None)


def resolve(path, name):
    """The module that a quoted include of a core file belongs to; its own folder where it is beside the file."""
    if (path.parent / name).is_file():
        return (path.parent / name).resolve().relative_to(ROOT / "core").parts[0]
    return name.split("/")[0]


def test_the_core_includes_one_way():
    wrong, seen = [], 0
    for path in tracked("core/*.c", "core/*.h"):
        folder = folder_of(path)
        if folder is None:
            continue
        own = folder.split("/")[1]
        for number, name, system in includes(path):
            seen += 1
            if system:
                if own == "include" and "/" in name and not name.startswith("backplane/"):
                    wrong.append(f"{path}:{number}: the SDK includes <{name}>")
                continue
            module = resolve(path, name)
            if module != own and module not in ALLOWED[folder]:
                wrong.append(f"{path}:{number}: {folder} must not include {name}")
    assert seen > 100
    assert not wrong, "\n".join(wrong)


def test_plugins_see_the_sdk_alone():
    wrong, seen = [], 0
    for path in tracked("plugins/*.c", "plugins/*.h", "plugins/*.cu", "plugins/*.cpp", "frontends/*.c", "frontends/*.h", "docs/example/*.c"):
        parts = path.relative_to(ROOT).parts
        # Plugins share these, which are linked into each that needs them.
        # The contract's arithmetic is one header, for C and for CUDA.
        shared = ["plugins/common"] if parts[0] == "plugins" else ["frontends/common", "frontends/openai"]
        contract = [ROOT / "plugins/cpu/kernels" / header for header in ("half.h", "math.h")]
        own = [ROOT / parts[0] / parts[1], *(ROOT / folder for folder in shared)]
        for number, name, system in includes(path):
            seen += 1
            candidates = [(base / name).resolve() for base in (path.parent, own[0], own[0].parent, own[1])]
            file = next((candidate for candidate in candidates if candidate.is_file()), None)
            if not system and not (file and (file in contract or any(file.is_relative_to(folder) for folder in own))):
                wrong.append(f"{path}:{number}: includes {name}, which is not the plugin's own")
    assert seen > 50
    assert not wrong, "\n".join(wrong)


def test_the_conformance_tool_sees_what_a_plugin_promises():
    """The host's loader, and of the CPU backend, its reference, no more than how it is opened and what 16-bit floats are."""
    wrong, seen = [], 0
    for path in tracked("conformance/*.c", "conformance/*.h"):
        for number, name, system in includes(path):
            seen += 1
            own = "/" not in name and (path.parent / name).is_file()
            reference = name in ("device.h", "kernels/half.h", "../plugins/cpu/kernels/half.h")
            if not system and not own and not reference and name.split("/")[0] not in ("base", "host"):
                wrong.append(f"{path}:{number}: includes {name}")
    assert seen > 20
    assert not wrong, "\n".join(wrong)


def test_files_stay_readable():
    files = tracked("*.c", "*.h", "*.cu", "*.cpp", "*.py", "*.cmake")
    assert len(files) > 100
    long = [f"{path}: {count} lines" for path in files
            if (count := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE]
    assert not long, "\n".join(long)


def test_links_of_the_documentation_lead_somewhere():
    broken, seen = [], 0
    for path in tracked("*.md"):
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            seen += 1
            if not (path.parent / target).exists():
                broken.append(f"{path}: {target}")
    assert seen > 10
    assert not broken, "\n".join(broken)


def test_no_file_names_this_machine():
    wrong = []
    for path in tracked("*"):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for word in ("/" + "work/main", "/" + "root/.", "pypi" + ".org", "deb" + ".debian.org"):
            if word in text:
                wrong.append(f"{path}: {word}")
    assert not wrong, "\n".join(wrong)


def test_every_case_of_the_acceptance_list_has_its_test():
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", (ROOT / "tests" / "acceptance.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 84))
    missing = []
    for number, shown in rows:
        names = re.findall(r"`([\w/]+\.(?:c|py))::(\w+)`", shown)
        if not names:
            missing.append(f"{number}: no test")
        for file, name in names:
            path = ROOT / "tests" / file
            definition = rf"^def {name}\(" if file.endswith(".py") else rf"^static void {name}\(|^\s*{{\"{name}\""
            if not path.is_file() or not re.search(definition, path.read_text(encoding="utf-8"), re.MULTILINE):
                missing.append(f"{number}: {file} has no test {name}")
            if number.zfill(2) not in name.split("_"):
                missing.append(f"{number}: {file}::{name} has another number")
    assert not missing, "\n".join(missing)


def test_every_tool_says_how_it_is_used_and_does_nothing_else():
    tools = [path for path in tracked("tools/*") if path.parent == ROOT / "tools" and path.read_bytes()[:2] == b"#!"]
    assert len(tools) > 10
    for tool in tools:
        done = subprocess.run([tool, "--help"], capture_output=True, text=True, timeout=10)
        said = done.stdout + done.stderr
        assert done.returncode in (0, 2) and tool.name in said and "Traceback" not in said, (tool, said)
