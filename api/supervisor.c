/* supervisor.c: see supervisor.h. */
#include "api/supervisor.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FIRST_FILE 3 /* SD_LISTEN_FDS_START */

/* A whole number of a variable; 0 where it is missing or none. */
static long long number_of(const char *variable)
{
    const char *text = getenv(variable);
    char *end = NULL;
    const long long number = text != NULL ? strtoll(text, &end, 10) : 0;
    return text != NULL && *text != '\0' && *end == '\0' ? number : 0;
}

enum status supervisor_socket(struct error *error, int *out_file)
{
    const long long count = number_of("LISTEN_PID") == getpid() ? number_of("LISTEN_FDS") : 0;
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    *out_file = -1;
    if (count > 1) {
        return error_set(error, STATUS_INVALID, "%lld sockets were handed over (LISTEN_FDS): one is what can be listened on", count);
    }
    if (count == 1) {
        (void)fcntl(FIRST_FILE, F_SETFD, FD_CLOEXEC);
        *out_file = FIRST_FILE;
    }
    return STATUS_OK;
}

void supervisor_tell(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t size = path != NULL ? strlen(path) : 0;
    if (size < 2 || size >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@')) {
        return;
    }
    memcpy(address.sun_path, path, size);
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; /* the abstract namespace */
    }
    const int file = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (file >= 0) {
        (void)!sendto(file, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&address,
                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size));
        (void)close(file);
    }
}

void supervisor_tell_reloading(void)
{
    struct timespec now;
    char text[96];
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    (void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld", now.tv_sec * 1000000ll + now.tv_nsec / 1000);
    supervisor_tell(text);
}

int64_t supervisor_watchdog_us(void)
{
    const long long pid = number_of("WATCHDOG_PID");
    const long long microseconds = number_of("WATCHDOG_USEC");
    return microseconds > 0 && (pid == 0 || pid == getpid()) ? microseconds / 2 : 0;
}
