#include "openai/refusal.h"

#include "common/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool refuse(refusal *why, const char *param, const char *code, const char *format, ...)
{
    *why = (refusal){.type = "invalid_request_error", .code = code};
    snprintf(why->param, sizeof why->param, "%s", param);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why->message, sizeof why->message, format, arguments);
    va_end(arguments);
    return false;
}

bool refuse_memory(refusal *why)
{
    refuse(why, "", "internal_error", "out of memory");
    why->type = "server_error";
    return false;
}

void refuse_status(refusal *why, const bp_error *error)
{
    const char *code = NULL;
    bool ours = false;
    switch (error->code) {
    case BP_EINVAL: code = "invalid_value"; break;
    case BP_EUNSUPPORTED: code = "unsupported"; break;
    case BP_ENOTFOUND: code = "model_not_found"; break;
    case BP_ECONTEXT: code = "context_length_exceeded"; break;
    case BP_ELIMIT: code = "limit_exceeded"; break;
    case BP_ETIMEOUT: code = "timeout"; ours = true; break;
    case BP_EGRAMMAR: code = "invalid_value"; break;
    case BP_EBUSY: code = "overloaded"; ours = true; break;
    case BP_EDEVICE: code = "model_unavailable"; ours = true; break;
    case BP_ECANCELLED: code = "shutting_down"; ours = true; break;
    default: code = "internal_error"; ours = true;
    }
    refuse(why, error->code == BP_ENOTFOUND ? "model" : "", code, "%s", error->message);
    if (ours)
        why->type = "server_error";
}

void refuse_blame(refusal *why, const json_t *body)
{
    size_t length = strspn(why->message, "abcdefghijklmnopqrstuvwxyz_");
    char field[sizeof why->param];
    if (*why->param || length == 0 || length >= sizeof field)
        return;
    memcpy(field, why->message, length);
    field[length] = '\0';
    if (json_object_get(body, field))
        memcpy(why->param, field, length + 1);
}

void refuse_failure(refusal *why, const bp_error *error)
{
    refuse_status(why, error);
    if (error->code == BP_EDEVICE)
        why->code = "backend_error";
}

json_t *refusal_json(const refusal *why)
{
    text message = {0}, param = {0};
    json_t *object = NULL;
    if (text_append_clean(&message, why->message, strlen(why->message)) &&
        text_append_clean(&param, why->param, strlen(why->param)))
        object = json_pack("{ss ss ss? ss?}", "message", text_string(&message), "type", why->type, "param",
                           param.size ? param.data : NULL, "code", why->code);
    text_free(&message);
    text_free(&param);
    return object;
}
