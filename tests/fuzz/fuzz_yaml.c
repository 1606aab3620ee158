/* fuzz_yaml: any bytes as a configuration. Whatever they are, they are read or refused with a place in the file. */
#include "host/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *lookup(void *user, const char *name)
{
    (void)user;
    return name[0] == 'A' ? "value" : NULL;
}

static void require(bool condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    config *c = NULL;
    bp_error error = {0};
    bp_status status = config_from_text("f", "/etc", (const char *)data, size, lookup, NULL, &c, &error);
    if (status == BP_OK) {
        require(c->model_count > 0 && c->backend_count > 0 && error.message[0] == '\0');
        for (size_t i = 0; i < c->model_count; i++)
            require(c->models[i].file[0] == '/' && c->models[i].backend_entry && config_find_model(c, c->models[i].name));
    } else {
        require(!c && status == error.code && (status == BP_ELIMIT || strncmp(error.message, "f:", 2) == 0));
    }
    config_free(c);
    return 0;
}
