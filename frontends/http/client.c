/* Whether the client is still there, before there is anything to write; and the end of all connections.
 *
 * CivetWeb shows no socket, so it is looked for among this process's descriptors by the addresses at its two ends. A
 * client that will send no more may still be reading: when its end of stream is seen, an interim response (100 Continue,
 * which every client passes over) is written once, and only a client that is really gone answers that with a reset. Once the
 * response has begun nothing can stand in it: there the next write tells. */
#include "http/http.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long a model is waited for before the client is looked at, and in all. */
#define GLANCE_MS 250
#define PATIENCE_NS UINT64_C(120000000000)

/* The port, and the address as CivetWeb writes it. */
static bool describe(const struct sockaddr_storage *address, char out[INET6_ADDRSTRLEN], int *port)
{
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        *port = ntohs(v4->sin_port);
        return inet_ntop(AF_INET, &v4->sin_addr, out, INET6_ADDRSTRLEN) != NULL;
    }
    if (address->ss_family != AF_INET6)
        return false;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
    *port = ntohs(v6->sin6_port);
    return inet_ntop(AF_INET6, &v6->sin6_addr, out, INET6_ADDRSTRLEN) != NULL;
}

static bool is_connection(const exchange *e, int descriptor)
{
    struct sockaddr_storage far = {0}, near = {0};
    socklen_t far_bytes = sizeof far, near_bytes = sizeof near;
    char address[INET6_ADDRSTRLEN];
    int far_port, near_port;
    return getpeername(descriptor, (struct sockaddr *)&far, &far_bytes) == 0 &&
           getsockname(descriptor, (struct sockaddr *)&near, &near_bytes) == 0 && describe(&near, address, &near_port) &&
           describe(&far, address, &far_port) && far_port == e->info->remote_port && near_port == e->info->server_port &&
           strcmp(address, e->info->remote_addr) == 0;
}

static int find_socket(const exchange *e)
{
    DIR *all = opendir("/proc/self/fd");
    int found = -1;
    for (struct dirent *entry; all && found < 0 && (entry = readdir(all));) {
        int descriptor = atoi(entry->d_name);
        if (entry->d_name[0] != '.' && descriptor != dirfd(all) && is_connection(e, descriptor))
            found = descriptor;
    }
    if (all)
        closedir(all);
    return found;
}

void client_silence(const exchange *e)
{
    int descriptor = find_socket(e);
    if (descriptor >= 0)
        shutdown(descriptor, SHUT_RD);
}

bool client_sends_more(const exchange *e)
{
    int descriptor = find_socket(e), bytes = 0;
    return descriptor >= 0 && ioctl(descriptor, FIONREAD, &bytes) == 0 && bytes > 0;
}

void clients_hang_up(const http *server)
{
    struct mg_server_port ports[1];
    DIR *all = mg_get_server_ports(server->web, 1, ports) == 1 ? opendir("/proc/self/fd") : NULL;
    for (struct dirent *entry; all && (entry = readdir(all));) {
        struct sockaddr_storage near = {0};
        socklen_t bytes = sizeof near;
        char address[INET6_ADDRSTRLEN];
        int descriptor = atoi(entry->d_name), port;
        if (entry->d_name[0] != '.' && getsockname(descriptor, (struct sockaddr *)&near, &bytes) == 0 &&
            describe(&near, address, &port) && port == ports[0].port)
            shutdown(descriptor, SHUT_RD);
    }
    if (all)
        closedir(all);
}

bp_status client_submit(exchange *e, const bp_request *request, bp_stream **out, bp_error *error)
{
    const uint64_t began = e->server->host->now(e->server->host->context);
    bp_request glance = *request;
    glance.wait_ms = GLANCE_MS;
    for (;;) {
        bp_status status = e->server->api->submit(e->server->engine, &glance, out, error);
        if (status != BP_ETIMEOUT)
            return status;
        if (client_gone(e)) {
            e->left = true;
            return BP_ECANCELLED;
        }
        if (e->server->host->now(e->server->host->context) - began > PATIENCE_NS) {
            error->code = BP_EBUSY; /* the sentence says what kept it out */
            return BP_EBUSY;
        }
    }
}

void client_left(exchange *e)
{
    e->left = true;
    e->status = 499;
    mg_disable_connection_keep_alive(e->connection);
}

bool client_gone(exchange *e)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!e->looked) {
        e->looked = true;
        e->socket = find_socket(e);
    }
    struct pollfd state = {.fd = e->socket, .events = POLLRDHUP};
    if (e->socket < 0 || poll(&state, 1, 0) <= 0)
        return false;
    if (state.revents & (POLLERR | POLLHUP))
        return true;
    if ((state.revents & POLLRDHUP) && !e->probed && e->status == 0 && strcmp(e->info->http_version, "1.0") != 0) {
        e->probed = true;
        return mg_write(e->connection, interim, sizeof interim - 1) <= 0;
    }
    return false;
}
