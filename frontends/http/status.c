/* /health, /version and /openapi.json, which is a file that is part of the plugin. */
#include "http/http.h"

extern const unsigned char ui_openapi_json[];
extern const size_t ui_openapi_json_size;

/* A server that drains says so, so that a balancer sends no more. */
void route_health(exchange *e)
{
    bool stopping = atomic_load(&e->server->stopping) || e->server->api->draining(e->server->engine);
    reply_json(e, stopping ? 503 : 200, json_pack("{ss}", "status", stopping ? "draining" : "ok"));
}

void route_version(exchange *e)
{
    reply_json(e, 200, json_pack("{ss si si}", "version", BACKPLANE_VERSION, "abi_major", BP_ABI_MAJOR, "abi_minor",
                                 BP_ABI_MINOR));
}

void route_openapi(exchange *e)
{
    reply_bytes(e, 200, "application/json", "Cache-Control: no-cache\r\n", (const char *)ui_openapi_json, ui_openapi_json_size);
}
