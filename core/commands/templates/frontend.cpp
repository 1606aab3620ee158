/* @NAME@: a frontend for Backplane in C++, built against its installed headers and nothing else.
 *
 * Standard input has a text a line; standard output gets a line for each, on which the model has continued the text. A request
 * that fails costs its own line and nothing else: the log has the reason.
 *
 * The boundary is C: no exception may cross it. Whatever can throw runs inside guarded(), which makes a status and a sentence
 * of it. The tables are constants, for nothing may run before bp_plugin_entry is called. */
#include <backplane/engine.h>

#include <atomic>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include <poll.h>
#include <unistd.h>

namespace {

constexpr size_t longest_line = 1 << 16;
constexpr int tick_ms = 100;
constexpr const char *newline = "\n";

struct config {
    const char *model;
    int64_t max_tokens;
};

/* C++17 names no fields in braces, so tables are filled by functions that the compiler runs. */
constexpr bp_option model_option()
{
    bp_option o{};
    o.name = "model", o.type = BP_OPTION_STRING, o.offset = offsetof(config, model);
    o.help = "The model that continues the lines; needed where there are several.";
    return o;
}
constexpr bp_option max_tokens_option()
{
    bp_option o{};
    o.name = "max_tokens", o.type = BP_OPTION_INT, o.fallback = "16", o.min = 1, o.max = 1 << 20;
    o.offset = offsetof(config, max_tokens), o.help = "Tokens that a line is continued by at most.";
    return o;
}
constexpr bp_option options[] = {model_option(), max_tokens_option(), {}};

/* An error is a status and one sentence in the caller's memory: what, where, what to do. */
bp_status fail(bp_error *error, bp_status code, const char *sentence)
{
    error->code = code;
    std::snprintf(error->message, sizeof error->message, "%s", sentence);
    return code;
}

template <typename Work> bp_status guarded(bp_error *error, Work work) noexcept
{
    try {
        return work();
    } catch (const std::bad_alloc &) {
        return fail(error, BP_ENOMEM, "out of memory");
    } catch (const std::exception &e) {
        return fail(error, BP_EINTERNAL, e.what());
    } catch (...) {
        return fail(error, BP_EINTERNAL, "something unknown was thrown");
    }
}

} // namespace

struct bp_frontend {
    const bp_host *host;
    const bp_engine_api *api;
    bp_engine *engine;
    const config *options;             /* the host's, filled from YAML by the table above */
    std::atomic<bool> stopping{false}; /* set from another thread */
    std::string input{};               /* what was read and not answered yet */

    bp_status run(bp_error *error);
    void answer_lines();
    void answer(std::string_view text);
    bp_status print_events(bp_stream *stream, bp_error *error);
};

/* Never waits longer than a tick without looking whether stop() was called. */
bp_status bp_frontend::run(bp_error *error)
{
    ssize_t got = 1;
    while (got && !stopping) {
        pollfd ready{STDIN_FILENO, POLLIN, 0};
        if (poll(&ready, 1, tick_ms) <= 0)
            continue;
        char bytes[4096];
        got = read(STDIN_FILENO, bytes, sizeof bytes);
        if (got < 0)
            return fail(error, BP_EIO, "standard input cannot be read");
        input.append(bytes, static_cast<size_t>(got));
        answer_lines();
        if (stopping)
            break;
        if (input.size() > longest_line)
            return fail(error, BP_ELIMIT, "a line of standard input is longer than 64 KiB; cut it into shorter ones");
        if (got == 0 && !input.empty())
            answer(input); /* a last line that has no end */
        if (std::ferror(stdout))
            return fail(error, BP_EIO, "standard output cannot be written");
    }
    return BP_OK;
}

/* Answers each whole line that has been read, and keeps what is behind the last. */
void bp_frontend::answer_lines()
{
    size_t begin = 0, end;
    while (!stopping && (end = input.find('\n', begin)) != std::string::npos) {
        answer(std::string_view(input).substr(begin, end - begin));
        begin = end + 1;
    }
    input.erase(0, begin);
}

void bp_frontend::answer(std::string_view text)
{
    bp_request request{};
    request.size = sizeof request;
    api->defaults(engine, options->model, &request);
    request.model = options->model;
    request.input = BP_INPUT_TEXT, request.text = text.data(), request.text_bytes = text.size();
    request.max_tokens = static_cast<uint32_t>(options->max_tokens);
    request.stop = &newline, request.stop_count = 1;
    bp_error error{};
    bp_stream *stream = nullptr;
    bp_status status = api->submit(engine, &request, &stream, &error);
    std::unique_ptr<bp_stream, void (*)(bp_stream *)> owner(stream, api->release); /* cancels what still runs */
    if (status == BP_OK) {
        std::fwrite(text.data(), 1, text.size(), stdout);
        status = print_events(stream, &error);
    }
    std::putchar('\n'), std::fflush(stdout);
    if (status != BP_OK)
        host->log(host->context, BP_LOG_ERROR, "@NAME@: %s", error.message);
}

/* Prints the answer as it comes. */
bp_status bp_frontend::print_events(bp_stream *stream, bp_error *error)
{
    while (!stopping) {
        bp_event event{};
        event.size = sizeof event;
        bp_status status = api->next(stream, tick_ms * UINT64_C(1000000), &event, error);
        if (status == BP_ETIMEOUT)
            continue;
        if (status == BP_OK && event.kind == BP_EVENT_ERROR)
            *error = event.error, status = event.error.code;
        if (status != BP_OK)
            return status;
        if (event.text_bytes) /* of TOKEN and DONE */
            std::fwrite(event.text, 1, event.text_bytes, stdout);
        std::fflush(stdout);
        if (event.kind == BP_EVENT_DONE)
            return BP_OK;
    }
    return BP_OK;
}

namespace {

bp_status open_frontend(const bp_host *host, const bp_engine_api *api, bp_engine *engine, const void *filled, bp_frontend **out,
                        bp_error *error) noexcept
{
    return guarded(error, [&] {
        *out = new bp_frontend{host, api, engine, static_cast<const config *>(filled)};
        return BP_OK;
    });
}

constexpr bp_frontend_ops make_ops()
{
    bp_frontend_ops o{};
    o.size = sizeof o, o.open = open_frontend;
    o.run = [](bp_frontend *f, bp_error *error) { return guarded(error, [&] { return f->run(error); }); };
    o.stop = [](bp_frontend *f) { f->stopping = true; };
    o.close = [](bp_frontend *f) { delete f; };
    return o;
}
constexpr bp_frontend_ops ops = make_ops();

constexpr bp_plugin make_descriptor()
{
    bp_plugin p{};
    p.size = sizeof p, p.abi_major = BP_ABI_MAJOR, p.abi_minor = BP_ABI_MINOR, p.kind = BP_PLUGIN_FRONTEND;
    p.name = "@NAME@", p.version = "0.1", p.summary = "Continues each line of standard input.";
    p.config_size = sizeof(config), p.options = options, p.ops = &ops;
    return p;
}
constexpr bp_plugin descriptor = make_descriptor();

} // namespace

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
