/* runtime.h on the CUDA runtime. The runtime is linked statically and looks for the driver when it is first asked, so
 * the plugin loads where there is neither. */
#include "../runtime.h"

#include <cuda_runtime_api.h>
#include <stdlib.h>

const char gpu_backend_name[] = "cuda";
const char gpu_backend_summary[] = "Runs models on NVIDIA GPUs; on quantised models with the same bits as the CPU.";

const bp_option gpu_options[] = {
    {.name = "device",
     .fallback = "0",
     .help = "The GPU's number, as nvidia-smi and CUDA_VISIBLE_DEVICES count.",
     .type = BP_OPTION_INT,
     .offset = offsetof(gpu_config, device),
     .min = 0,
     .max = 63},
    {0},
};

struct gpu {
    int device;
    cudaStream_t stream;
    cudaStream_t aside; /* of stages */
    struct {
        cudaEvent_t loaded, unused; /* on `aside`, on `stream` */
    } stages[GPU_STAGES];
    bool recording;
    cudaError_t trouble; /* the first; the device is lost from then on */
};

static void note(gpu *g, cudaError_t result)
{
    if (result != cudaSuccess && g->trouble == cudaSuccess)
        g->trouble = result;
}

static bp_status refuse(cudaError_t result, const char *what, bp_error *error)
{
    return fail(error, BP_EDEVICE, "cuda: %s: %s", what, cudaGetErrorString(result));
}

static cudaError_t create_streams(gpu *g)
{
    cudaError_t result = cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking);
    if (result == cudaSuccess)
        result = cudaStreamCreateWithFlags(&g->aside, cudaStreamNonBlocking);
    for (int i = 0; i < GPU_STAGES && result == cudaSuccess; i++) {
        result = cudaEventCreateWithFlags(&g->stages[i].loaded, cudaEventDisableTiming);
        if (result == cudaSuccess)
            result = cudaEventCreateWithFlags(&g->stages[i].unused, cudaEventDisableTiming);
    }
    return result;
}

bp_status gpu_open(const bp_host *host, const gpu_config *config, gpu **out, bp_error *error)
{
    (void)host;
    int count = 0;
    cudaError_t result = cudaGetDeviceCount(&count);
    if (result != cudaSuccess || count == 0) {
        return fail(error, BP_EDEVICE,
                    "cuda: no CUDA device%s%s%s; use a machine with an NVIDIA GPU and its driver, or backend: cpu",
                    result == cudaSuccess ? "" : " (", result == cudaSuccess ? "" : cudaGetErrorString(result),
                    result == cudaSuccess ? "" : ")");
    }
    if (config->device >= count)
        return fail(error, BP_EINVAL, "cuda: device %d does not exist; there are %d", (int)config->device, count);
    gpu *g = calloc(1, sizeof *g);
    if (!g)
        return fail(error, BP_ENOMEM, "cuda: no memory for the device");
    g->device = (int)config->device;
    result = cudaSetDevice(g->device);
    if (result == cudaSuccess)
        result = create_streams(g);
    if (result != cudaSuccess) {
        gpu_close(g);
        return refuse(result, "the device cannot be opened", error);
    }
    *out = g;
    return BP_OK;
}

void gpu_close(gpu *g)
{
    if (!g)
        return;
    cudaSetDevice(g->device);
    for (int i = 0; i < GPU_STAGES; i++) {
        if (g->stages[i].loaded)
            cudaEventDestroy(g->stages[i].loaded);
        if (g->stages[i].unused)
            cudaEventDestroy(g->stages[i].unused);
    }
    if (g->aside)
        cudaStreamDestroy(g->aside);
    if (g->stream)
        cudaStreamDestroy(g->stream);
    if (g->trouble != cudaSuccess)
        cudaDeviceReset(); /* what a lost device is opened again with */
    free(g);
}

bp_status gpu_describe(gpu *g, gpu_facts *out, bp_error *error)
{
    struct cudaDeviceProp properties;
    size_t available = 0, total = 0;
    cudaError_t result = cudaSetDevice(g->device);
    if (result == cudaSuccess)
        result = cudaGetDeviceProperties(&properties, g->device);
    if (result == cudaSuccess)
        result = cudaMemGetInfo(&available, &total);
    if (result != cudaSuccess)
        return refuse(result, "the device does not say what it is", error);
    *out = (gpu_facts){.memory_total = total,
                       .memory_free = available,
                       .processors = (uint32_t)properties.multiProcessorCount,
                       .shared_bytes = properties.sharedMemPerBlock};
    snprintf(out->name, sizeof out->name, "%.60s, sm_%d%d", properties.name, properties.major, properties.minor);
    return BP_OK;
}

gpu_stream *gpu_bind(gpu *g)
{
    note(g, cudaSetDevice(g->device));
    return (gpu_stream *)g->stream;
}

/* --- memory ----------------------------------------------------------------------------------------------------------- */

static bp_status allocated(gpu *g, cudaError_t result, size_t bytes, const char *where, bp_error *error)
{
    if (result == cudaSuccess)
        return BP_OK;
    if (result == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* it is not sticky, and must not look so */
        return fail(error, BP_ENOMEM, "cuda: no memory for %zu bytes on %s", bytes, where);
    }
    note(g, result);
    return refuse(result, "the device is lost", error);
}

bp_status gpu_allocate(gpu *g, size_t bytes, void **out, bp_error *error)
{
    *out = NULL;
    if (bytes == 0)
        return BP_OK;
    cudaError_t result = cudaSetDevice(g->device);
    return allocated(g, result == cudaSuccess ? cudaMalloc(out, bytes) : result, bytes, "the device", error);
}

void gpu_free(gpu *g, void *memory)
{
    if (memory) {
        cudaSetDevice(g->device);
        note(g, cudaFree(memory));
    }
}

bp_status gpu_allocate_host(gpu *g, size_t bytes, void **out, bp_error *error)
{
    *out = NULL;
    if (bytes == 0)
        return BP_OK;
    cudaError_t result = cudaSetDevice(g->device);
    return allocated(g, result == cudaSuccess ? cudaMallocHost(out, bytes) : result, bytes, "the host", error);
}

void gpu_free_host(gpu *g, void *memory)
{
    if (memory)
        note(g, cudaFreeHost(memory));
}

static void copy(gpu *g, void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    if (bytes > 0)
        note(g, cudaMemcpyAsync(to, from, bytes, kind, g->stream));
}

void gpu_upload(gpu *g, void *to, const void *from, size_t bytes)
{
    copy(g, to, from, bytes, cudaMemcpyHostToDevice);
}

void gpu_download(gpu *g, void *to, const void *from, size_t bytes)
{
    copy(g, to, from, bytes, cudaMemcpyDeviceToHost);
}

void gpu_copy(gpu *g, void *to, const void *from, size_t bytes)
{
    copy(g, to, from, bytes, cudaMemcpyDeviceToDevice);
}

void gpu_fill_zero(gpu *g, void *to, size_t bytes)
{
    if (bytes > 0)
        note(g, cudaMemsetAsync(to, 0, bytes, g->stream));
}

/* --- stages ----------------------------------------------------------------------------------------------------------- */

/* An event that has not been recorded is over. */
void gpu_stage_wait(gpu *g, unsigned stage)
{
    note(g, cudaEventSynchronize(g->stages[stage].loaded));
}

void gpu_stage_upload(gpu *g, unsigned stage, void *to, const void *from, size_t bytes)
{
    note(g, cudaStreamWaitEvent(g->aside, g->stages[stage].unused, 0));
    note(g, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, g->aside));
    note(g, cudaEventRecord(g->stages[stage].loaded, g->aside));
    note(g, cudaStreamWaitEvent(g->stream, g->stages[stage].loaded, 0));
}

void gpu_stage_free(gpu *g, unsigned stage)
{
    note(g, cudaEventRecord(g->stages[stage].unused, g->stream));
}

/* --- graphs ----------------------------------------------------------------------------------------------------------- */

void gpu_record(gpu *g)
{
    note(g, cudaPeekAtLastError()); /* of launches before; what comes now is not the device's */
    if (g->trouble == cudaSuccess)
        g->recording = cudaStreamBeginCapture(g->stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
}

/* Where capture could not begin, the launches have been run; they are run once more and compute the same. */
gpu_graph *gpu_recorded(gpu *g)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t ready = NULL;
    if (g->recording && cudaStreamEndCapture(g->stream, &graph) == cudaSuccess && graph)
        cudaGraphInstantiate(&ready, graph, 0);
    g->recording = false;
    if (graph)
        cudaGraphDestroy(graph);
    if (!ready)
        cudaGetLastError(); /* it is not sticky, and must not look so */
    return (gpu_graph *)ready;
}

void gpu_replay(gpu *g, gpu_graph *graph)
{
    note(g, cudaGraphLaunch((cudaGraphExec_t)graph, g->stream));
}

void gpu_graph_free(gpu *g, gpu_graph *graph)
{
    if (graph) {
        cudaSetDevice(g->device);
        note(g, cudaGraphExecDestroy((cudaGraphExec_t)graph));
    }
}

bp_status gpu_wait(gpu *g, bp_error *error)
{
    note(g, cudaPeekAtLastError()); /* of launches */
    note(g, cudaStreamSynchronize(g->stream));
    return g->trouble == cudaSuccess ? BP_OK : refuse(g->trouble, "the device is lost", error);
}
