"""How the build makes the CPU plugin: the commands of its units, and linking other objects as it does."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CPU = ROOT / "plugins" / "cpu"


def plugin_units(build):
    """Of every source of the plugin, by its path from plugins/cpu: the compiler's command, and the object it makes."""
    units = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = Path(entry["file"])
        if "cpu_objects.dir" in entry["command"] or "backend_common.dir" in entry["command"]:
            words = shlex.split(entry["command"])
            units[os.path.relpath(path, CPU)] = (words, Path(entry["directory"]) / words[words.index("-o") + 1])
    if not units:
        sys.exit("the build has no commands for plugins/cpu")
    return units


def link_plugin(compiler, objects, plugin):
    command = [compiler, "-shared", "-o", str(plugin), *map(str, objects),
               f"-Wl,--version-script={ROOT}/cmake/plugin.map", "-lhwloc", "-lpthread", "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"linking {plugin.name}: {done.stderr}")
