/* responses: what the two files of /v1/responses share. */
#ifndef BACKPLANE_HTTP_RESPONSES_H
#define BACKPLANE_HTTP_RESPONSES_H

#include "openai/request.h"

/* The body as that of a chat completion, a new reference; NULL with the reason. */
json_t *response_convert(const json_t *body, refusal *why);

#endif
