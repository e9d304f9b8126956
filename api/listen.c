/* listen.c: see listen.h. */
#include "api/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WRITE_TIMEOUT_MS   30000u

static enum status address_parse(const struct listen_address *wanted, struct error *error,
                                 struct sockaddr_storage *out_address, socklen_t *out_size)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in *four = (struct sockaddr_in *)(void *)&address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)&address;
    if (inet_pton(AF_INET, wanted->host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(wanted->port);
        *out_size = sizeof(*four);
    } else if (inet_pton(AF_INET6, wanted->host, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(wanted->port);
        *out_size = sizeof(*six);
    } else {
        return error_set(error, STATUS_INVALID, "'%s' is not a numeric address", wanted->host);
    }
    *out_address = address;
    return STATUS_OK;
}

enum status listen_bind(const struct listen_address *wanted, bool shared,
                               struct error *error, int *out_file)
{
    struct sockaddr_storage address;
    socklen_t size = 0;
    const enum status status = address_parse(wanted, error, &address, &size);
    if (status != STATUS_OK) {
        return status;
    }
    const int on = 1;
    const unsigned write_timeout = WRITE_TIMEOUT_MS;
    const int file = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (file < 0) {
        return error_set(error, STATUS_IO, "no socket: %s", strerrordesc_np(errno));
    }
    /* Accepted sockets inherit the last two. */
    (void)setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    (void)setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(file, IPPROTO_TCP, TCP_USER_TIMEOUT, &write_timeout, sizeof(write_timeout));
    const bool is_bound =
        (!shared || setsockopt(file, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0) &&
        bind(file, (const struct sockaddr *)&address, size) == 0;
    if (!is_bound) {
        const int cause = errno;
        (void)close(file);
        return error_set(
            error, STATUS_IO, "cannot listen on %s port %u: %s", wanted->host, wanted->port,
            cause == EADDRINUSE ? "something else is listening there" : strerrordesc_np(cause));
    }
    *out_file = file;
    return STATUS_OK;
}

uint16_t listen_port(int file)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    (void)getsockname(file, (struct sockaddr *)&address, &size);
    /* The port is at the same place in both families. */
    return ntohs(((const struct sockaddr_in *)(const void *)&address)->sin_port);
}
