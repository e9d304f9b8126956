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

#endif
