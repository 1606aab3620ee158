/* /metrics: the frontend's own measures, and each model's state and counts. */
#include "http/http.h"

#include <stdio.h>
#include <string.h>

typedef struct metric {
    const char *name, *type, *help;
    uint64_t (*value)(const bp_model_info *info, const bp_model_stats *stats);
} metric;

#define VALUE(name, expression)                                                                     \
    static uint64_t name(const bp_model_info *info, const bp_model_stats *stats)                    \
    {                                                                                               \
        (void)info, (void)stats;                                                                    \
        return expression;                                                                          \
    }
VALUE(is_ready, info->state == BP_MODEL_READY)
VALUE(bytes, info->weight_bytes + info->kv_bytes + info->workspace_bytes)
VALUE(running, stats->running)
VALUE(waiting, stats->waiting)
VALUE(pages_used, stats->pages_used)
VALUE(pages_cached, stats->pages_cached)
VALUE(pages_total, stats->pages_total)
VALUE(requests, stats->requests)
VALUE(failed, stats->failed)
VALUE(prompt_tokens, stats->prompt_tokens)
VALUE(completion_tokens, stats->completion_tokens)
VALUE(prefix_hit_tokens, stats->prefix_hit_tokens)
VALUE(steps, stats->steps)
VALUE(preemptions, stats->preemptions)
VALUE(loads, stats->loads)
VALUE(drafted_tokens, stats->drafted_tokens)
VALUE(accepted_tokens, stats->accepted_tokens)

static const metric metrics[] = {
    {"model_ready", "gauge", "1 while the model is loaded.", is_ready},
    {"model_bytes", "gauge", "Weights, cache and workspace of the loaded model; the cache's is address space.", bytes},
    {"requests_running", "gauge", "Requests that have a place in the model's steps.", running},
    {"requests_waiting", "gauge", "Requests in the model's queue.", waiting},
    {"kv_pages_used", "gauge", "Pages of the cache that requests hold.", pages_used},
    {"kv_pages_cached", "gauge", "Pages of the cache that are kept for prompts that begin alike.", pages_cached},
    {"kv_pages", "gauge", "Pages of the cache.", pages_total},
    {"requests_total", "counter", "Requests that ended.", requests},
    {"requests_failed_total", "counter", "Requests that ended with an error.", failed},
    {"prompt_tokens_total", "counter", "Tokens of prompts.", prompt_tokens},
    {"completion_tokens_total", "counter", "Tokens that were generated.", completion_tokens},
    {"prefix_hit_tokens_total", "counter", "Tokens found in the prefix cache.", prefix_hit_tokens},
    {"steps_total", "counter", "Steps of the model.", steps},
    {"model_loads_total", "counter", "How often the model came into memory.", loads},
    {"drafted_tokens_total", "counter", "Tokens that were guessed ahead.", drafted_tokens},
    {"accepted_tokens_total", "counter", "Of these, the ones that were right.", accepted_tokens},
    {"preemptions_total", "counter", "Requests that had to make room and began again.", preemptions},
};

/* The names of models may hold what Prometheus's labels may not. */
static bool append_label(text *out, const char *name)
{
    bool good = true;
    for (; good && *name; name++) {
        if (*name == '"' || *name == '\\')
            good = text_append(out, "\\", 1);
        good = good && text_append(out, name, 1);
    }
    return good;
}

static bool append_value(text *out, const metric *m, const bp_model_info *info, const bp_model_stats *stats)
{
    char value[32];
    int length = snprintf(value, sizeof value, "\"} %llu\n", (unsigned long long)m->value(info, stats));
    return text_append(out, "backplane_", 10) && text_append(out, m->name, strlen(m->name)) && text_append(out, "{model=\"", 8) &&
           append_label(out, info->name) && text_append(out, value, (size_t)length);
}

static bool append_metric(text *out, const http *server, const metric *m)
{
    char head[256];
    int length = snprintf(head, sizeof head, "# HELP backplane_%s %s\n# TYPE backplane_%s %s\n", m->name, m->help, m->name, m->type);
    bool good = text_append(out, head, (size_t)length);
    for (uint32_t i = 0; good && i < server->api->model_count(server->engine); i++) {
        bp_model_info info = {.size = sizeof info};
        bp_model_stats stats = {.size = sizeof stats};
        if (server->api->model_info(server->engine, i, &info, NULL) != BP_OK)
            continue;
        if (server->api->stats(server->engine, info.name, &stats, NULL) != BP_OK) /* it was never loaded */
            stats = (bp_model_stats){.size = sizeof stats};
        good = append_value(out, m, &info, &stats);
    }
    return good;
}

void route_metrics(exchange *e)
{
    text out = {0};
    bool good = measures_print(&e->server->measures, &out);
    for (size_t i = 0; good && i < sizeof metrics / sizeof *metrics; i++)
        good = append_metric(&out, e->server, &metrics[i]);
    if (good)
        reply_bytes(e, 200, "text/plain; version=0.0.4; charset=utf-8", "", text_string(&out), out.size);
    else
        reply_json(e, 500, NULL);
    text_free(&out);
}
