/* @NAME@: a backend for Backplane in C++, built against its installed headers and nothing else.
 *
 * Its model is a parrot: after a token comes what came after that token the first time in the same text, and after a token that is
 * new the one `step` further in the vocabulary. Like a real model it remembers a text by the pages that the core gives it.
 *
 * The boundary is C: no exception may cross it. Whatever can throw runs inside guarded(), which makes a status and a sentence
 * of it. The tables are constants, for nothing may run before bp_plugin_entry is called. */
#include <backplane/backend.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

struct bp_device {
    int64_t step;
};

/* A step waits between submit and wait as the favourite of each row. */
struct bp_model {
    int64_t step;
    bp_limits limits;
    uint32_t width;                  /* floats of a row, one for each token of the vocabulary */
    std::vector<int32_t> cache;      /* [page_count][page_tokens]: the token at each slot, where a network has keys and values */
    std::vector<int32_t> favourites; /* of the step between submit and wait; has room for max_rows */

    /* Where the token at a position of a sequence is remembered; `pages` are the sequence's own. */
    int32_t &slot(const int32_t *pages, int32_t position)
    {
        uint32_t p = static_cast<uint32_t>(position);
        return cache[static_cast<size_t>(pages[p / limits.page_tokens]) * limits.page_tokens + p % limits.page_tokens];
    }

    int32_t favourite(const int32_t *pages, int32_t position)
    {
        int32_t token = slot(pages, position);
        for (int32_t p = 0; p < position; p++)
            if (slot(pages, p) == token)
                return slot(pages, p + 1);
        return static_cast<int32_t>((token + step) % width);
    }
};

namespace {

struct config {
    int64_t step;
};

/* C++17 names no fields in braces, so tables are filled by functions that the compiler runs. */
constexpr bp_option step_option()
{
    bp_option o{};
    o.name = "step", o.type = BP_OPTION_INT, o.fallback = "1", o.min = 1, o.max = 1000, o.offset = offsetof(config, step);
    o.help = "How far from a token that is new the next one is.";
    return o;
}
constexpr bp_option options[] = {step_option(), {}};

/* An error is a status and one sentence in the caller's memory: what, where, what to do. */
bp_status fail(bp_error *error, bp_status code, const char *sentence)
{
    error->code = code;
    std::snprintf(error->message, sizeof error->message, "@NAME@: %s", sentence);
    return code;
}

template <typename Work> bp_status guarded(bp_error *error, Work work) noexcept
{
    try {
        return work();
    } catch (const std::bad_alloc &) {
        return fail(error, BP_ENOMEM, "out of memory; choose a smaller context");
    } catch (const std::length_error &) {
        return fail(error, BP_ENOMEM, "more memory is asked for than there can be; choose a smaller context");
    } catch (const std::exception &e) {
        return fail(error, BP_EINTERNAL, e.what());
    } catch (...) {
        return fail(error, BP_EINTERNAL, "something unknown was thrown");
    }
}

bp_status open_device(const bp_host *, const void *filled, bp_device **out, bp_error *error) noexcept
{
    return guarded(error, [&] {
        *out = new bp_device{static_cast<const config *>(filled)->step};
        return BP_OK;
    });
}

bp_status info(bp_device *, bp_device_info *out, bp_error *) noexcept
{
    bp_device_info filled{};
    filled.size = out->size;
    std::snprintf(filled.name, sizeof filled.name, "@NAME@ (a parrot)");
    std::memcpy(out, &filled, std::min<size_t>(out->size, sizeof filled)); /* an older host's struct is shorter */
    return BP_OK;
}

bp_status supports(bp_device *, const bp_program *program, bp_error *error) noexcept
{
    if (!program->op_count || program->ops[program->op_count - 1].kind != BP_OP_LOGITS)
        return fail(error, BP_EUNSUPPORTED, "it runs models that write text, whose last op is LOGITS, and this is none");
    return BP_OK;
}

bp_status compile(bp_device *device, const bp_program *program, const bp_limits *limits, bp_model **out, bp_error *error) noexcept
{
    return guarded(error, [&] {
        std::unique_ptr<bp_model> m(new bp_model{device->step, *limits, program->output_width, {}, {}});
        m->cache.resize(static_cast<size_t>(limits->page_count) * limits->page_tokens);
        m->favourites.reserve(limits->max_rows);
        *out = m.release();
        return BP_OK;
    });
}

/* The core has checked every index of the batch, which is gone once submit has returned. */
bp_status submit(bp_model *m, const bp_batch *b, bp_error *error) noexcept
{
    if (b->token_count > m->limits.max_tokens || b->row_count > m->limits.max_rows)
        return fail(error, BP_EINVAL, "a step is over the limits that it was promised");
    return guarded(error, [&] {
        m->favourites.clear();
        for (uint32_t s = 0, row = 0; s < b->seq_count; s++) {
            const int32_t *pages = b->pages + static_cast<size_t>(s) * b->page_stride;
            for (int32_t t = b->first[s]; t < b->first[s + 1]; t++)
                m->slot(pages, b->positions[t]) = b->tokens[t];
            for (; row < b->row_count && b->rows[row] < b->first[s + 1]; row++)
                m->favourites.push_back(m->favourite(pages, b->positions[b->rows[row]]));
        }
        return BP_OK;
    });
}

bp_status wait(bp_model *m, float *out, uint64_t count, bp_error *error) noexcept
{
    if (count != m->favourites.size() * m->width)
        return fail(error, BP_EINVAL, "wait is asked for other rows than those of the step");
    std::fill_n(out, count, 0.0f); /* [rows][width] */
    for (size_t row = 0; row < m->favourites.size(); row++)
        out[row * m->width + static_cast<size_t>(m->favourites[row])] = 100.0f;
    return BP_OK;
}

/* What is left out, the host answers with "unsupported". */
constexpr bp_backend_ops make_ops()
{
    bp_backend_ops o{};
    o.size = sizeof o, o.open = open_device, o.info = info, o.supports = supports, o.compile = compile;
    o.submit = submit, o.wait = wait;
    o.close = [](bp_device *device) { delete device; };
    o.release = [](bp_model *model) { delete model; };
    return o;
}
constexpr bp_backend_ops ops = make_ops();

constexpr bp_plugin make_descriptor()
{
    bp_plugin p{};
    p.size = sizeof p, p.abi_major = BP_ABI_MAJOR, p.abi_minor = BP_ABI_MINOR, p.kind = BP_PLUGIN_BACKEND;
    p.name = "@NAME@", p.version = "0.1", p.summary = "Says again what was said before.";
    p.config_size = sizeof(config), p.options = options, p.ops = &ops;
    return p;
}
constexpr bp_plugin descriptor = make_descriptor();

} // namespace

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
