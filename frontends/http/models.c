/* /v1/models: what the configuration names, loaded or not; /models/load and /models/unload. */
#include "http/http.h"

#include "openai/answer.h"

static const char *state_name(uint32_t state)
{
    static const char *const names[] = {"unloaded", "loading", "ready", "failed"};
    return state < sizeof names / sizeof *names ? names[state] : "unknown";
}

static const char *task_name(uint32_t task)
{
    static const char *const names[] = {"generate", "embed", "rank"};
    return task < sizeof names / sizeof *names ? names[task] : "unknown";
}

static json_t *describe(const bp_model_info *info)
{
    const char *task = info->state == BP_MODEL_READY ? task_name(info->task) : NULL; /* its file has not been read */
    return json_pack("{ss ss si ss ss ss si sI sI ss?}", "id", info->name, "object", "model", "created", 0, "owned_by", "backplane",
                     "state", state_name(info->state), "backend", info->backend, "context", (int)info->context, "weight_bytes",
                     (json_int_t)info->weight_bytes, "kv_bytes", (json_int_t)info->kv_bytes, "task",
                     task);
}

void route_models(exchange *e)
{
    http *server = e->server;
    json_t *list = json_array();
    for (uint32_t i = 0; i < server->api->model_count(server->engine); i++) {
        bp_model_info info = {.size = sizeof info};
        if (server->api->model_info(server->engine, i, &info, NULL) == BP_OK)
            list = openai_push(list, describe(&info));
    }
    reply_json(e, 200, json_pack("{ss so}", "object", "list", "data", list));
}

void route_model(exchange *e)
{
    http *server = e->server;
    uint32_t index;
    bp_model_info info = {.size = sizeof info};
    bp_error error = {0};
    refusal why;
    if (server->api->find_model(server->engine, e->tail, &index, &error) != BP_OK ||
        server->api->model_info(server->engine, index, &info, &error) != BP_OK) {
        refuse_status(&why, &error);
        reply_refused(e, &why);
        return;
    }
    reply_json(e, 200, describe(&info));
}

/* Acts on the model that the body names, and tells its state. */
static void act(exchange *e, bp_status (*change)(http *server, const char *model, bp_error *error))
{
    http *server = e->server;
    uint32_t index;
    bp_model_info info = {.size = sizeof info};
    bp_error error = {0};
    refusal why;
    json_t *body = body_json(e, &why);
    const json_t *named = openai_given(body, "model");
    const char *model = openai_string(named);
    if (body && json_is_string(named) && !model)
        refuse(&why, "model", "model_not_found", "there is no model of that name");
    else if (body && !model)
        refuse(&why, "model", "invalid_value", "model is missing or no name");
    if (!model) {
        reply_refused(e, &why);
    } else if (server->api->find_model(server->engine, model, &index, &error) != BP_OK ||
               change(server, model, &error) != BP_OK ||
               server->api->model_info(server->engine, index, &info, &error) != BP_OK) {
        refuse_status(&why, &error);
        reply_refused(e, &why);
    } else {
        reply_json(e, 200, describe(&info));
    }
    json_decref(body);
}

static bp_status load(http *server, const char *model, bp_error *error)
{
    bp_status status = server->api->load(server->engine, model, NULL, NULL, error);
    uint32_t index;
    /* It is the file that is wrong, or not there, not the request. */
    if (status == BP_EINVAL || status == BP_EUNSUPPORTED || status == BP_EIO || status == BP_ELIMIT ||
        (status == BP_ENOTFOUND && server->api->find_model(server->engine, model, &index, NULL) == BP_OK))
        error->code = BP_EDEVICE;
    return status;
}

static bp_status unload(http *server, const char *model, bp_error *error)
{
    return server->api->unload(server->engine, model, error);
}

void route_load(exchange *e)
{
    act(e, load);
}

void route_unload(exchange *e)
{
    act(e, unload);
}
