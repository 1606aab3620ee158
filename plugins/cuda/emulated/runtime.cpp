/* runtime.h on the host: memory is the host's, copies happen at once, a launch runs its blocks on a few threads before
 * it returns.
 *
 * For tests. The kernels are those of plugins/cuda, compiled by the host's compiler with language.h, so that everything
 * but speed can be seen without a device. */
#include "../runtime.h"

#include "block.h"

#include <atomic>
#include <cfenv>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

const char gpu_backend_name[] = "cuda-emulated";
const char gpu_backend_summary[] = "Runs the CUDA backend's kernels on the processor, for tests: slow, and the same bits.";

const bp_option gpu_options[] = {{"threads", "1", "Threads of the host that run blocks.", nullptr, BP_OPTION_INT, 0,
                                  offsetof(gpu_config, threads), 0, 1, 64},
                                 {"order", "1",
                                  "Seed of the order in which the threads of a block take turns; 0 is ascending.", nullptr,
                                  BP_OPTION_INT, 0, offsetof(gpu_config, order), 0, 0, 1e9},
    {"fail_at", "0", "The launch, counted from 1, at which the device is lost; 0 is none.", nullptr, BP_OPTION_INT, 0,
     offsetof(gpu_config, fail_at), 0, 0, 1e9},
                                 {}};

/* A launch that is under way. */
struct job {
    block_work work;
    uint64_t blocks;
    std::atomic<uint64_t> next{0};
};

struct gpu_stream {
    gpu *owner;
};

/* A launch that was recorded. */
struct kept_launch {
    emulated_call *call;
    emulated_kernel *kernel;
    std::vector<unsigned char> args;
    dim3 grid;
    unsigned threads;
    size_t shared;
};

struct gpu_graph {
    std::vector<kept_launch> launches;
};

struct gpu {
    gpu_stream stream;
    uint64_t order, fail_at;
    std::vector<block_runner *> runners; /* of the caller, then of each worker */
    std::vector<std::thread> workers;
    std::mutex lock;
    std::condition_variable changed;
    job *current = nullptr;
    uint64_t jobs = 0; /* launches so far */
    size_t busy = 0;   /* workers in the current one */
    bool closing = false;
    gpu_graph *recording = nullptr;
    bool forgot = false; /* a launch that was to be recorded */
    std::atomic<const char *> trouble{nullptr}; /* the first; the device is lost from then on */
};

static void run_blocks(gpu *g, job *j, block_runner *runner)
{
    fenv_t before;
    fegetenv(&before);
    fesetenv(FE_DFL_ENV);
    for (uint64_t i; (i = j->next++) < j->blocks && !g->trouble;) {
        dim3 index(static_cast<unsigned>(i % j->work.grid.x), static_cast<unsigned>(i / j->work.grid.x));
        const char *wrong = block_run(runner, &j->work, index), *none = nullptr;
        if (wrong)
            g->trouble.compare_exchange_strong(none, wrong);
    }
    fesetenv(&before);
}

static void work(gpu *g, block_runner *runner)
{
    uint64_t seen = 0;
    std::unique_lock<std::mutex> hold(g->lock);
    for (;;) {
        g->changed.wait(hold, [&] { return g->closing || (g->current && g->jobs != seen); });
        if (g->closing)
            return;
        job *mine = g->current;
        seen = g->jobs;
        g->busy++;
        hold.unlock();
        run_blocks(g, mine, runner);
        hold.lock();
        g->busy--;
        g->changed.notify_all();
    }
}

static void run_launch(gpu *g, emulated_call *call, emulated_kernel *kernel, const void *args, dim3 grid, unsigned threads,
                       size_t shared)
{
    job j;
    uint64_t order = g->order ? g->order * 0x9e3779b97f4a7c15u + g->jobs + 1 : 0;
    j.work = block_work{call, &kernel, args, grid, threads, shared, order};
    j.blocks = static_cast<uint64_t>(grid.x) * grid.y;
    if (g->trouble)
        return;
    {
        std::lock_guard<std::mutex> hold(g->lock);
        if (++g->jobs == g->fail_at)
            g->trouble = "this launch was to fail";
        g->current = j.blocks > 1 ? &j : nullptr;
    }
    if (j.blocks > 1)
        g->changed.notify_all();
    run_blocks(g, &j, g->runners[0]);
    std::unique_lock<std::mutex> hold(g->lock);
    g->current = nullptr;
    g->changed.wait(hold, [&] { return g->busy == 0; });
}

void emulated_launch(gpu_stream *stream, emulated_call *call, emulated_kernel *kernel, const void *args, size_t args_bytes,
                     dim3 grid, unsigned threads, size_t shared)
{
    gpu *g = stream->owner;
    if (!g->recording)
        return run_launch(g, call, kernel, args, grid, threads, shared);
    const unsigned char *bytes = static_cast<const unsigned char *>(args);
    try {
        g->recording->launches.push_back({call, kernel, {bytes, bytes + args_bytes}, grid, threads, shared});
    } catch (...) {
        g->forgot = true;
    }
}

void gpu_record(gpu *g)
{
    g->recording = new (std::nothrow) gpu_graph;
    g->forgot = false;
}

gpu_graph *gpu_recorded(gpu *g)
{
    gpu_graph *graph = g->recording;
    g->recording = nullptr;
    if (!g->forgot)
        return graph;
    delete graph;
    return nullptr;
}

void gpu_replay(gpu *g, gpu_graph *graph)
{
    for (const kept_launch &kept : graph->launches)
        run_launch(g, kept.call, kept.kernel, kept.args.data(), kept.grid, kept.threads, kept.shared);
}

void gpu_graph_free(gpu *, gpu_graph *graph)
{
    delete graph;
}

/* --- opening ---------------------------------------------------------------------------------------------------------- */

static bp_status fill(gpu *g, size_t threads)
{
    for (size_t i = 0; i < threads; i++) {
        block_runner *runner = block_runner_new();
        if (!runner)
            return BP_ENOMEM;
        g->runners.push_back(runner);
        if (i > 0)
            g->workers.emplace_back(work, g, runner);
    }
    return BP_OK;
}

bp_status gpu_open(const bp_host *, const gpu_config *config, gpu **out, bp_error *error)
{
    gpu *g = nullptr;
    bp_status status = BP_ENOMEM;
    try {
        g = new gpu;
        g->stream.owner = g;
        g->order = static_cast<uint64_t>(config->order);
        g->fail_at = static_cast<uint64_t>(config->fail_at);
        status = fill(g, static_cast<size_t>(config->threads));
    } catch (...) { /* of the containers and of std::thread: nothing may leave through the boundary */
        status = BP_ENOMEM;
    }
    if (status != BP_OK) {
        gpu_close(g);
        return fail(error, status, "%s: no memory or threads for the device", gpu_backend_name);
    }
    *out = g;
    return BP_OK;
}

void gpu_close(gpu *g)
{
    if (!g)
        return;
    {
        std::lock_guard<std::mutex> hold(g->lock);
        g->closing = true;
    }
    g->changed.notify_all();
    for (std::thread &worker : g->workers)
        worker.join();
    for (block_runner *runner : g->runners)
        block_runner_free(runner);
    delete g;
}

bp_status gpu_describe(gpu *g, gpu_facts *out, bp_error *)
{
    *out = gpu_facts{};
    snprintf(out->name, sizeof out->name, "emulated on %zu thread%s", g->runners.size(), g->runners.size() == 1 ? "" : "s");
    out->processors = 8; /* so that tests see both what is split for a device's sake and what is not */
    out->shared_bytes = 48 * 1024;
    return BP_OK;
}

gpu_stream *gpu_bind(gpu *g)
{
    return &g->stream;
}

/* --- memory ----------------------------------------------------------------------------------------------------------- */

bp_status gpu_allocate(gpu *g, size_t bytes, void **out, bp_error *error)
{
    *out = nullptr;
    if (bytes == 0)
        return BP_OK;
    if (g->trouble)
        return gpu_wait(g, error);
    void *memory = bytes < SIZE_MAX / 2 ? aligned_alloc(256, (bytes + 255) / 256 * 256) : nullptr;
    if (!memory)
        return fail(error, BP_ENOMEM, "%s: no memory for %zu bytes", gpu_backend_name, bytes);
    memset(memory, 0xff, bytes);
    *out = memory;
    return BP_OK;
}

void gpu_free(gpu *, void *memory)
{
    free(memory);
}

bp_status gpu_allocate_host(gpu *g, size_t bytes, void **out, bp_error *error)
{
    return gpu_allocate(g, bytes, out, error);
}

void gpu_free_host(gpu *, void *memory)
{
    free(memory);
}

void gpu_upload(gpu *, void *to, const void *from, size_t bytes)
{
    if (bytes > 0)
        memcpy(to, from, bytes);
}

/* Here everything is done when it is asked for, and so is a stage's upload. */
void gpu_stage_wait(gpu *, unsigned)
{
}

void gpu_stage_upload(gpu *g, unsigned, void *to, const void *from, size_t bytes)
{
    gpu_upload(g, to, from, bytes);
}

void gpu_stage_free(gpu *, unsigned)
{
}

void gpu_download(gpu *g, void *to, const void *from, size_t bytes)
{
    gpu_upload(g, to, from, bytes);
}

void gpu_copy(gpu *g, void *to, const void *from, size_t bytes)
{
    gpu_upload(g, to, from, bytes);
}

void gpu_fill_zero(gpu *, void *to, size_t bytes)
{
    if (bytes > 0)
        memset(to, 0, bytes);
}

bp_status gpu_wait(gpu *g, bp_error *error)
{
    const char *trouble = g->trouble;
    return trouble ? fail(error, BP_EDEVICE, "%s: the device is lost: %s", gpu_backend_name, trouble) : BP_OK;
}
