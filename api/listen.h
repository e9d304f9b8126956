/* listen.h: sockets to listen on. Accepted sockets inherit what is set on them. */
#ifndef ASSAY_API_LISTEN_H
#define ASSAY_API_LISTEN_H

#include "engine/base.h"

struct listen_address {
    const char *host; /* numeric, IPv4 or IPv6 */
    uint16_t port;    /* 0: any free one */
};

/* A socket bound to the address, the caller's to close. `shared`: others bind to it too; else it must be free. */
MUST_USE enum status listen_bind(const struct listen_address *wanted, bool shared, struct error *error, int *out_file);
uint16_t listen_port(int file);
/* Listens `count` times at one address (SO_REUSEPORT): the files are the caller's to close, all or none. */
MUST_USE enum status listen_bind_all(const struct listen_address *wanted, uint32_t count, struct error *error, int *out_files,
                                     uint16_t *out_port);
/* Copies of a socket that listens already. */
MUST_USE enum status listen_share(int file, uint32_t count, struct error *error, int *out_files, uint16_t *out_port);
/* Where a socket listens, as text without the port, and whether only this machine can reach it. */
#define LISTEN_HOST_SIZE 64
bool listen_host(int file, char out_host[LISTEN_HOST_SIZE]);
bool listen_is_local(const char *host);

#endif
