/* tools: how a model writes that it calls tools, as its chat template shows it. */
#ifndef BACKPLANE_TEXT_TOOLS_H
#define BACKPLANE_TEXT_TOOLS_H

#include <backplane/engine.h>
#include <stdbool.h>

/* The format of a template, known by what the template writes; NULL where it has none that is known. Static. */
const bp_tool_format *tools_format(const char *source);
/* Whether a template looks at tools at all. */
bool tools_known(const char *source);

#endif
