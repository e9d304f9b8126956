/* listen.c: see listen.h. */
#include "api/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WRITE_TIMEOUT_MS 30000u
#define BACKLOG          4096

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

/* Accepted sockets inherit these. */
static void options_set(int file)
{
    const int on = 1;
    const unsigned write_timeout = WRITE_TIMEOUT_MS;
    (void)setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(file, IPPROTO_TCP, TCP_USER_TIMEOUT, &write_timeout, sizeof(write_timeout));
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
    const int file = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (file < 0) {
        return error_set(error, STATUS_IO, "no socket: %s", strerrordesc_np(errno));
    }
    (void)setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    options_set(file);
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

static void files_close(const int *files, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        (void)close(files[i]);
    }
}

/* With SO_REUSEPORT alone two servers could share a port and its requests by accident, so the port is first bound without. */
enum status listen_bind_all(const struct listen_address *wanted, uint32_t count, struct error *error, int *out_files, uint16_t *out_port)
{
    struct listen_address address = *wanted;
    int probe = -1;
    if (address.port != 0) {
        const enum status status = listen_bind(&address, false, error, &probe);
        if (status != STATUS_OK) {
            return status;
        }
        (void)close(probe);
    }
    for (uint32_t i = 0; i < count; i++) {
        enum status status = listen_bind(&address, true, error, &out_files[i]);
        if (status == STATUS_OK && listen(out_files[i], BACKLOG) != 0) {
            status = error_set(error, STATUS_IO, "cannot listen on %s port %u: %s", address.host, address.port, strerrordesc_np(errno));
            (void)close(out_files[i]);
        }
        if (status != STATUS_OK) {
            files_close(out_files, i);
            return status;
        }
        address.port = listen_port(out_files[i]);
    }
    *out_port = address.port;
    return STATUS_OK;
}

enum status listen_share(int file, uint32_t count, struct error *error, int *out_files, uint16_t *out_port)
{
    int is_listening = 0;
    socklen_t size = sizeof(is_listening);
    if (getsockopt(file, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) != 0 || is_listening == 0) {
        return error_set(error, STATUS_INVALID, "the file handed over (number %d) is no socket that listens", file);
    }
    options_set(file);
    (void)fcntl(file, F_SETFL, fcntl(file, F_GETFL) | O_NONBLOCK);
    for (uint32_t i = 0; i < count; i++) {
        out_files[i] = fcntl(file, F_DUPFD_CLOEXEC, 0);
        if (out_files[i] < 0) {
            files_close(out_files, i);
            return error_set(error, STATUS_IO, "cannot copy a socket: %s", strerrordesc_np(errno));
        }
    }
    *out_port = listen_port(file);
    return STATUS_OK;
}

bool listen_host(int file, char out_host[LISTEN_HOST_SIZE])
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    if (getsockname(file, (struct sockaddr *)&address, &size) != 0) {
        return false;
    }
    const void *number = address.ss_family == AF_INET ? (const void *)&((const struct sockaddr_in *)(const void *)&address)->sin_addr
                                                      : (const void *)&((const struct sockaddr_in6 *)(const void *)&address)->sin6_addr;
    return (address.ss_family == AF_INET || address.ss_family == AF_INET6) &&
           inet_ntop(address.ss_family, number, out_host, LISTEN_HOST_SIZE) != NULL;
}

bool listen_is_local(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}
