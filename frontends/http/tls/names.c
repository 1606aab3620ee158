/* A name that CivetWeb 1.15 looks for in "libssl.so" and OpenSSL 3 has no more: without it the first TLS connection calls
 * through NULL. This library has OpenSSL's own behind it and goes by that name (its soname), so that CivetWeb, which asks the
 * loader for it, gets both. */
void *SSL_get1_peer_certificate(const void *connection);

__attribute__((visibility("default"))) void *SSL_get_peer_certificate(const void *connection);

void *SSL_get_peer_certificate(const void *connection)
{
    return SSL_get1_peer_certificate(connection);
}
