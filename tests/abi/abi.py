"""The plugin ABI on record: what the public headers make of structs, callbacks and constants, beside what was committed.

backplane-MAJOR.abi is what abidw (of libabigail) reads from the debugging information of a small shared object that uses every
public type; backplane-MAJOR.constants holds what debugging information lacks: enumerators of enums without a name, macros,
sizes of quantisation blocks. `judge` compares headers with a record. The object is always made by gcc, whatever compiler
builds the rest, so that a record is the same everywhere.

What abidiff reports is accepted line by line: a line that is not known to be harmless is a break."""

import dataclasses
import pathlib
import re
import subprocess
import tempfile
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
INCLUDE = HERE.parents[1] / "core" / "include"
COMPILER = "gcc"
FLAGS = ["-std=c11", "-Wall", "-Werror", "-g"]
SPARE = ("reserved", "unused")  # members that a later minor may put to use
VERSION = ("BP_ABI_MAJOR", "BP_ABI_MINOR")

HOW = ("Plugins that exist were built against that record. Leave what is there as it is and append: a field at the end of a struct that\n"
       "begins with its size, a slot at the end of a table, a new constant, or put a reserved field to use; and raise BP_ABI_MINOR.\n"
       "Where that cannot be, raise BP_ABI_MAJOR: every plugin must then be built again. docs/plugins.md says more.")


class Trouble(Exception):
    """A sentence for people."""


def run(*command, **more):
    try:
        return subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)
    except FileNotFoundError as missing:
        raise Trouble(f"there is no {missing.filename}: tools/setup --test installs it") from None


def expect(*command, **more):
    done = run(*command, **more)
    if done.returncode:
        raise Trouble(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


# --- what the headers say -----------------------------------------------------------------------------------------------------


def include_lines(include):
    names = sorted(path.name for path in (include / "backplane").glob("*.h"))
    return "".join(f"#include <backplane/{name}>\n" for name in names)


def preprocess(include):
    """The headers' own text with what they include, and the macros that it defines as (name, value)."""
    text = expect(COMPILER, "-std=c11", "-E", "-P", "-dD", "-I", include, "-xc", "-", input=include_lines(include))
    directives = re.compile(r"^#.*$", re.MULTILINE)
    return directives.sub("", text), re.findall(r"^#define (BP_\w+) (\S.*)$", text, re.MULTILINE)


def type_names(text):
    """Every bp_… that preprocessed text gives a name by typedef."""
    depth = None
    while depth != text:  # bodies go, the innermost first
        depth, text = text, re.sub(r"\{[^{}]*\}", " ", text)
    names = set()
    for statement in text.split(";"):
        match = re.match(r"\s*typedef\b.*?(?:\(\s*\*\s*(bp_\w+)\s*\).*|\b(bp_\w+))\s*$", statement, re.DOTALL)
        if match:
            names.add(match[1] or match[2])
    return sorted(names)


def build_object(include, folder, compiler=COMPILER):
    text, _ = preprocess(include)
    source = include_lines(include)
    source += "".join(f"{name} *abi_{name};\n" for name in type_names(text))
    source += "__typeof__(bp_plugin_entry) *abi_bp_plugin_entry;\n"
    (folder / "types.c").write_text(source)
    expect(compiler, *FLAGS, "-fPIC", "-shared", "-I", include, "types.c", "-o", "types.so", cwd=folder)
    return folder / "types.so"


def dump(binary):
    return expect("abidw", "--no-show-locs", "--no-comp-dir-path", "--no-corpus-path", "--no-architecture", "--no-elf-needed",
                  "--no-parameter-names", "--type-id-style", "hash", binary)


def constants(include, folder):
    """Name to value, as texts, of enumerators and of macros that stand for a number or a string."""
    text, macros = preprocess(include)
    values, numbers = {}, set()
    for body in re.findall(r"\benum\b[^{};]*\{([^{}]*)\}", text):
        numbers.update(re.findall(r"(?:^|,)\s*(BP_\w+)", body))
    for name, value in macros:
        if value.startswith('"'):
            values[name] = value
        elif not value.startswith("__attribute__"):
            numbers.add(name)
    program = include_lines(include) + "#include <stdio.h>\nint main(void)\n{\n"
    program += "".join(f'    printf("%s %lld\\n", "{name}", (long long)({name}));\n' for name in sorted(numbers))
    program += "#define ROW(name, gguf, elements, bytes) printf(\"BP_DTYPES.%s %d/%d\\n\", #name, elements, bytes);\n"
    (folder / "constants.c").write_text(program + "    BP_DTYPES(ROW)\n    return 0;\n}\n")
    expect(COMPILER, *FLAGS, "-I", include, "constants.c", "-o", "constants", cwd=folder)
    values.update(line.split(" ", 1) for line in expect(folder / "constants").splitlines())
    return values


def read_constants(path):
    return dict(line.split(" ", 1) for line in path.read_text().splitlines())


# --- what abidiff says --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Struct:
    size: int  # bits, as all here
    members: dict  # name to offset

    @property
    def sized(self):
        return self.members.get("size") == 0

    def spare_at(self, offset):
        ends = sorted(self.members.values()) + [self.size]
        return any(begin <= offset < next(end for end in ends if end > begin)
                   for name, begin in self.members.items() if name in SPARE)


def read_structs(path):
    structs = {}
    for node in xml.etree.ElementTree.parse(path).iter("class-decl"):
        members = {member.find("var-decl").get("name"): int(member.get("layout-offset-in-bits"))
                   for member in node.findall("data-member")}
        if node.get("size-in-bits") and members:
            structs[node.get("name")] = Struct(int(node.get("size-in-bits")), members)
    return structs


HARMLESS = [re.compile(pattern) for pattern in (
    r"Leaf changes summary: .*", r"Changed leaf types summary: .*", r"Removed/Changed/Added (functions|variables) summary: .*",
    r"\d+ Added (function|variable)s?:", r"\[A\] '.*'.*",
    r"type size hasn't changed", r"details were reported earlier", r"underlying type 'struct \w+' changed, as reported earlier",
    r"\d+ data member insertions?:", r"there are data member changes:",
    r"\d+ enumerator insertions?:", r"'bp_\w+::\w+' value '-?\d+'",
)]


def is_harmless(line, name, struct):
    """One line of a report about the struct; what stands under a spare member was left out before."""
    if any(pattern.fullmatch(line) for pattern in HARMLESS):
        return True
    if not struct:
        return False
    if match := re.fullmatch(r"type size changed from (\d+) to (\d+) \(in bits\)", line):
        return struct.sized and int(match[2]) > int(match[1])
    if match := re.fullmatch(r"'.*', at offset (\d+) \(in bits\)", line):
        return struct.sized and int(match[1]) >= struct.size or struct.spare_at(int(match[1]))
    if match := re.fullmatch(r"(?:and )?name of '\w+::(\w+)' changed to '.*'", line):
        return match[1] in SPARE
    if match := re.fullmatch(r"'.*\b(\w+)(?:\[\d+\])*' offset changed from .*", line):
        return match[1] in SPARE
    # The struct inside is judged by the lines that follow.
    return bool(re.fullmatch(rf"type 'typedef \w+' of '{name}::\w+' changed:", line))


def breaks(report, structs):
    """(struct or None, line) of whatever in a report is not known to be harmless."""
    found, stack, spare = [], [], None
    for text in report.splitlines():
        line, indent = text.strip(), len(text) - len(text.lstrip())
        if not line:
            continue
        if spare is not None and (indent > spare or indent == spare and line.startswith("and ")):
            continue
        spare = None
        while stack and stack[-1][0] >= indent:
            stack.pop()
        name = stack[-1][1] if stack else None
        if match := re.fullmatch(r"(?:underlying type )?'(?:struct|enum) (bp_\w+)' changed:", line):
            stack.append((indent, match[1]))
        elif (match := re.fullmatch(r"type '.*' of '\w+::(\w+)' changed:", line)) and match[1] in SPARE:
            spare = indent
        elif not is_harmless(line, name, structs.get(name)):
            found.append((name, line))
    return found


# --- the verdict --------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Verdict:
    kind: str  # same, compatible, unraised (compatible, but the minor is the record's), incompatible
    broken: list  # (struct, constant or None, what abidiff or we say of it)
    text: str  # for people


def record_paths(folder, major):
    return folder / f"backplane-{major}.abi", folder / f"backplane-{major}.constants"


def version(values):
    return ".".join(values[name] for name in VERSION)


def judge(include=INCLUDE, records=HERE, compiler=COMPILER):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        now = constants(include, folder)
        dumped, listed = record_paths(records, now["BP_ABI_MAJOR"])
        if not dumped.exists():
            raise Trouble(f"plugin ABI {version(now)} has no record: tests/abi/write makes one; delete that of the major before")
        done = run("abidiff", "--leaf-changes-only", "--harmless", "--no-show-locs", "--no-corpus-path", "--no-architecture",
                   dumped, build_object(include, folder, compiler))
    if done.returncode & 3:
        raise Trouble(f"abidiff failed: {done.stdout}{done.stderr}")
    before = read_constants(listed)
    broken = breaks(done.stdout, read_structs(dumped))
    changed = [(key, before.get(key), now.get(key)) for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    broken += [(key, f"{key} was {old} and is {new or 'gone'}") for key, old, new in changed if old and key not in VERSION]
    report = done.stdout.strip() if done.returncode else ""
    report += "".join(f"\n{key}: {old or 'none'} before, {new or 'none'} now" for key, old, new in changed)
    if broken:
        lines = "".join(f"\n    {where or ''}: {line}" for where, line in broken)
        return Verdict("incompatible", broken, f"The headers break plugin ABI {version(before)}:{lines}\n\n{report}\n\n{HOW}")
    if not changed and not done.returncode:
        return Verdict("same", [], f"The headers are those of plugin ABI {version(before)}.")
    if int(now["BP_ABI_MINOR"]) > int(before["BP_ABI_MINOR"]):
        return Verdict("compatible", [], f"{report}\n\nThe headers are compatible with plugin ABI {version(before)} and say that they are "
                                         f"{version(now)}: record them with tests/abi/write.")
    return Verdict("unraised", [], f"{report}\n\nThe headers are compatible with plugin ABI {version(before)} but are not the same: "
                                   "raise BP_ABI_MINOR, then record them with tests/abi/write.")


def write(include=INCLUDE, records=HERE):
    """Records the headers, unless that would hide a break. Returns what was done, as a sentence."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        now = constants(include, folder)
        dumped, listed = record_paths(records, now["BP_ABI_MAJOR"])
        if dumped.exists():
            verdict = judge(include, records)
            if verdict.kind == "same":
                return verdict.text
            if verdict.kind != "compatible":
                raise Trouble(verdict.text)
        dumped.write_text(dump(build_object(include, folder)))
        listed.write_text("".join(f"{key} {now[key]}\n" for key in sorted(now)))
    return f"Plugin ABI {version(now)} is on record."
