/* What TLS needs before CivetWeb looks for it: the libraries of tls/, which lie in a folder beside this plugin. */
#include "http/http.h"

#include "common/fail.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Loaded for as long as the process lives, as OpenSSL itself. */
static bool load_beside(const char *name, bp_error *error)
{
    static const char here = 0;
    char path[4096];
    Dl_info self;
    const char *slash = dladdr(&here, &self) && self.dli_fname ? strrchr(self.dli_fname, '/') : NULL;
    int length = slash ? snprintf(path, sizeof path, "%.*s/http/%s", (int)(slash - self.dli_fname), self.dli_fname, name) : 0;
    if (length > 0 && (size_t)length < sizeof path && dlopen(path, RTLD_NOW | RTLD_LOCAL))
        return true;
    fail(error, BP_EUNSUPPORTED, "certificate needs http/%s beside the plugin, which cannot be loaded; let a proxy speak TLS instead",
         name);
    return false;
}

bool secure_prepare(const http *server, bp_error *error)
{
    const char *certificate = server->config->certificate;
    if (!certificate)
        return true;
    if (access(certificate, R_OK) == 0)
        return load_beside("libcrypto.so", error) && load_beside("libssl.so", error);
    fail(error, BP_EIO, "certificate \"%.200s\" cannot be read: %s", certificate, strerror(errno));
    return false;
}
