"""The public headers against the record of the plugin ABI; and changes of them, made on purpose, against the same."""

import shutil

import pytest

import abi

RECORDED = abi.read_constants(abi.record_paths(abi.HERE, 1)[1])
MINOR = int(RECORDED["BP_ABI_MINOR"])


def minor_is(minor):
    return ("plugin.h", f"#define BP_ABI_MINOR {MINOR} ", f"#define BP_ABI_MINOR {minor} ")


RAISE = minor_is(MINOR + 1)

# Edits of headers that break plugins, the struct or constant that must be named, and a part of what must be said of it.
BREAKS = {
    "members reordered": ([("backend.h", "uint64_t memory_total, memory_free;", "uint64_t memory_free, memory_total;")],
                          "bp_device_info", "'uint64_t memory_free' offset changed from 128 to 64"),
    "member removed": ([("engine.h", "    uint64_t seed;\n", "")], "bp_sampling", "1 data member deletion"),
    "member removed at the end": ([("backend.h", "    double bf16_ops; ", "    //")], "bp_roofs",
                                  "1 data member deletion"),
    "member inserted in the middle": ([("backend.h", "    uint32_t max_context; ", "    uint32_t fresh, max_context; ")],
                                      "bp_limits", "'uint32_t kv_dtype' offset changed from 224 to 256"),
    "type widened": ([("program.h", "int32_t cache, layer;", "int64_t cache, layer;")], "bp_op", "typedef name changed from int32_t"),
    "type with another sign": ([("engine.h", "uint32_t top_k; ", "int32_t top_k; ")], "bp_sampling",
                               "type name changed from 'unsigned int' to 'int'"),
    "array grown at the end": ([("backend.h", "char name[128];", "char name[256];")], "bp_device_info",
                               "array type size changed from 1024 to 2048"),
    "member renamed": ([("backend.h", "double int8_ops; ", "double int4_ops; ")], "bp_roofs",
                       "name of 'bp_roofs::int8_ops' changed to 'bp_roofs::int4_ops'"),
    "size removed": ([("backend.h", "typedef struct bp_limits {\n    uint32_t size;\n", "typedef struct bp_limits {\n")],
                     "bp_limits", "'uint32_t size', at offset 0"),
    "slots reordered": ([("engine.h", "void (*cancel)(bp_stream *stream);", "void (*release)(bp_stream *stream);"),
                         ("engine.h", "void (*release)(bp_stream *stream); /*", "void (*cancel)(bp_stream *stream); /*")],
                        "bp_engine_api", "'void (bp_stream*)* cancel' offset changed"),
    "slot inserted in the middle": ([("engine.h", "    bp_status (*run)(", "    void (*pause)(bp_frontend *frontend);\n    bp_status (*run)(")],
                                    "bp_frontend_ops", "'void (bp_frontend*)* stop' offset changed"),
    "slot with a parameter more": ([("plugin.h", "uint64_t (*now)(void *context);", "uint64_t (*now)(void *context, int clock);")],
                                   "bp_host", "to: 'typedef uint64_t (void*, int)*'"),
    "slot with a parameter of another type": ([("backend.h", "uint32_t k, int32_t *ids", "uint64_t k, int32_t *ids")],
                                              "bp_backend_ops", "to: 'typedef bp_status (bp_model*, typedef uint64_t, "),
    "slot with another result": ([("backend.h", "void (*release)(bp_model", "bp_status (*release)(bp_model")], "bp_backend_ops",
                                 "to: 'typedef bp_status (bp_model*)*'"),
    "slot no more a function": ([("engine.h", "    void (*stop)(bp_frontend *frontend);", "    uint64_t stop;")], "bp_frontend_ops",
                                "'void (bp_frontend*)*' to 'typedef uint64_t'"),
    "callback's parameter": ([("engine.h", "void *user, double fraction", "void *user, float fraction")], "bp_engine_api",
                             "of 'bp_engine_api::load' changed"),
    "status of another width": ([("plugin.h", "typedef int32_t bp_status;", "typedef int64_t bp_status;")], "bp_error",
                                "type size changed from 4096 to 4160"),
    "an element of an array grown": ([("engine.h", "} bp_message;", "    uint64_t fresh; } bp_message;")], "bp_message",
                                     "type size changed from 512 to 576"),
    "a struct inside another grown": ([("engine.h", "} bp_usage;", "    uint64_t fresh; } bp_usage;")], "bp_event",
                                      "'bp_error error' offset changed"),
    "appended, but reordered too": ([("backend.h", "uint64_t memory_total, memory_free;", "uint64_t memory_free, memory_total;"),
                                     ("backend.h", "} bp_device_info;", "    uint64_t fresh; } bp_device_info;")],
                                    "bp_device_info", "'uint64_t memory_total' offset changed"),
    "spare member put to a use that does not fit": ([("engine.h", "uint64_t reserved[1]; /*", "uint64_t fresh[2]; /*")], "bp_request",
                                                    "offset changed"),
    "enumerator of a type": ([("program.h", "BP_OP_ADD = 8", "BP_OP_ADD = 18")], "bp_op_kind",
                             "'bp_op_kind::BP_OP_ADD' from value '8' to '18'"),
    "enumerator removed": ([("program.h", "BP_MASK_CAUSAL = 0, ", "")], "bp_mask", "1 enumerator deletion"),
    "status code": ([("plugin.h", "BP_EBUSY = -11, ", "BP_EBUSY = -14, ")], "BP_EBUSY", "was -11 and is -14"),
    "flag": ([("engine.h", "BP_REQUEST_NO_BOS = 1 << 1, ", "BP_REQUEST_NO_BOS = 1 << 9, ")], "BP_REQUEST_NO_BOS", "was 2 and is 512"),
    "event kind removed": ([("engine.h", ", BP_EVENT_PROMPT = 6", "")], "BP_EVENT_PROMPT", "was 6 and is gone"),
    "entry's name": ([("plugin.h", '"bp_plugin_entry"', '"bp_plugin_main"')], "BP_PLUGIN_ENTRY_SYMBOL", 'is "bp_plugin_main"'),
    "quantisation block": ([("program.h", "X(Q4_K, 12, 256, 144)", "X(Q4_K, 12, 256, 148)")], "BP_DTYPES.Q4_K", "was 256/144"),
    "struct removed": ([("engine.h", "typedef struct bp_logit_bias { int32_t token; float bias; } bp_logit_bias;", ""),
                        ("engine.h", "const bp_logit_bias *logit_bias;", "const void *logit_bias;")],
                       "bp_sampling", "of 'bp_sampling::logit_bias' changed"),
}

# Edits that an older plugin does not notice.
ADDITIONS = {
    "slot appended": [("engine.h", "} bp_engine_api;", "    bp_status (*fresh)(bp_engine *engine, uint32_t how); } bp_engine_api;")],
    "slot of a backend appended": [("backend.h", "} bp_backend_ops;", "    void (*fresh)(bp_device *device); } bp_backend_ops;")],
    "field appended": [("backend.h", "} bp_device_info;", "    uint64_t fresh; } bp_device_info;")],
    "fields appended to what lies last in another": [("engine.h", "} bp_sampling;", "    float fresh, more; } bp_sampling;")],
    "spare member put to use": [("engine.h", "uint64_t reserved[1]; /*", "const char *fresh; /*")],
    "part of a spare member put to use": [("engine.h", "accepted_tokens;  /* guessed ahead, and of these the ones that were right */\n"
                                                       "    uint64_t reserved[3];", "accepted_tokens;\n    uint64_t fresh, reserved[2];")],
    "enumerator appended": [("program.h", "BP_OP_ALL_REDUCE = 13", "BP_OP_ALL_REDUCE = 13, BP_OP_FRESH = 14")],
    "status code appended": [("plugin.h", "BP_ECONTEXT = -13 ", "BP_ECONTEXT = -13, BP_EFRESH = -14 ")],
    "struct added": [("backend.h", "typedef struct bp_device bp_device;", "typedef struct bp_fresh { uint32_t size, a; } bp_fresh;\n"
                                   "typedef struct bp_device bp_device;")],
    "only the minor": [],
}


@pytest.fixture
def edited(tmp_path):
    """Copies the headers and edits the copies. An edit that finds its text not once fails: it would test nothing."""
    include = tmp_path / "include"
    shutil.copytree(abi.INCLUDE, include)

    def edit(changes):
        for header, old, new in changes:
            path = include / "backplane" / header
            text = path.read_text()
            assert text.count(old) == 1, f"{header} has not once but {text.count(old)} times: {old}"
            path.write_text(text.replace(old, new))
        return include
    return edit


def test_the_headers_are_those_on_record():
    verdict = abi.judge()
    assert verdict.kind == "same", verdict.text


def test_both_compilers_lay_structs_out_as_recorded():
    verdict = abi.judge(compiler="clang")
    assert verdict.kind == "same", verdict.text


def test_a_record_depends_on_no_path(tmp_path, edited):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here = abi.dump(abi.build_object(abi.INCLUDE, tmp_path / "here"))
    assert here == abi.dump(abi.build_object(edited([]), tmp_path / "there"))
    assert "/" not in "".join(line for line in here.splitlines() if "path=" in line or "comp-dir" in line)


@pytest.mark.parametrize("name", BREAKS)
def test_breaks_are_caught_though_the_minor_is_raised(name, edited):
    changes, where, said = BREAKS[name]
    verdict = abi.judge(edited(changes + [RAISE]))
    assert verdict.kind == "incompatible", verdict.text
    assert any(place == where and said in line for place, line in verdict.broken), verdict.text
    assert f"break plugin ABI 1.{MINOR}:" in verdict.text and "raise BP_ABI_MAJOR" in verdict.text


@pytest.mark.parametrize("name", ADDITIONS)
def test_additions_are_accepted_once_the_minor_is_raised(name, edited):
    if ADDITIONS[name]:
        verdict = abi.judge(edited(ADDITIONS[name]))
        assert verdict.kind == "unraised" and "raise BP_ABI_MINOR" in verdict.text, verdict.text
        assert not verdict.broken
    verdict = abi.judge(edited([RAISE]))
    assert verdict.kind == "compatible" and "record them with tests/abi/write" in verdict.text, verdict.text


def test_a_lower_minor_is_no_addition(edited):
    assert abi.judge(edited([minor_is(MINOR - 1)])).kind == "unraised"


def records_of(tmp_path):
    folder = tmp_path / "records"
    folder.mkdir()
    for path in abi.record_paths(abi.HERE, 1):
        shutil.copy(path, folder)
    return folder


def test_writing_hides_no_break(tmp_path, edited):
    records = records_of(tmp_path)
    before = {path: path.read_bytes() for path in records.iterdir()}
    include = edited(ADDITIONS["slot appended"])
    with pytest.raises(abi.Trouble, match="raise BP_ABI_MINOR"):
        abi.write(include, records)
    assert {path: path.read_bytes() for path in records.iterdir()} == before
    assert abi.write(edited([RAISE]), records) == f"Plugin ABI 1.{MINOR + 1} is on record."
    assert abi.judge(include, records).kind == "same"
    with pytest.raises(abi.Trouble, match="bp_device_info: "):
        abi.write(edited(BREAKS["members reordered"][0]), records)
    assert abi.judge(abi.INCLUDE, records).kind == "incompatible"  # the new slot is gone again


def test_another_major_has_a_record_of_its_own(tmp_path, edited):
    include = edited(BREAKS["members reordered"][0] + [("plugin.h", "#define BP_ABI_MAJOR 1 ", "#define BP_ABI_MAJOR 2 ")])
    records = records_of(tmp_path)
    with pytest.raises(abi.Trouble, match=f"plugin ABI 2.{MINOR} has no record"):
        abi.judge(include, records)
    abi.write(include, records)
    assert abi.judge(include, records).kind == "same"


def test_what_is_not_understood_is_a_break():
    structs = abi.read_structs(abi.record_paths(abi.HERE, 1)[0])
    assert abi.breaks("'struct bp_host' changed:\n  something that no abidiff says yet\n", structs)
    assert abi.breaks("3 Removed functions:\n", structs)
    # Where the struct ended in padding, an older plugin's bytes there say nothing.
    inserted = "'struct bp_host' changed:\n  1 data member insertion:\n    'uint32_t fresh', at offset {} (in bits)\n"
    assert abi.breaks(inserted.format(structs["bp_host"].size - 32), structs)
    assert not abi.breaks(inserted.format(structs["bp_host"].size), structs)
