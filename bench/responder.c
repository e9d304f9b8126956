/* responder.c: one level-triggered epoll loop; a request is a head and as many body bytes as its length says. */
#include "bench/responder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 64
#define HEAD_SIZE      4096u
#define RECEIVE_SIZE   ((size_t)64 * 1024)
#define BACKLOG        1024

/* An id, for the calls before a run; no counts, for nothing was counted. */
static const char reply_text[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n"
    "{\"id\":\"null\"}";

struct client {
    int file;
    size_t head_size;   /* of a head that came in pieces */
    uint64_t body_left; /* of the request being read */
    char head[HEAD_SIZE];
    struct client *next; /* all clients, for the end */
};

struct responder {
    int listener;
    int epoll;
    int wake;
    uint16_t port;
    pthread_t thread;
    bool has_thread;
    atomic_uint stall_ms;
    atomic_bool is_ending;
    struct client *clients; /* the thread's */
    char received[RECEIVE_SIZE];
};

static bool client_answer(const struct client *client)
{
    const ssize_t size = (ssize_t)sizeof(reply_text) - 1;
    return send(client->file, reply_text, (size_t)size, MSG_NOSIGNAL) == size;
}

static uint64_t head_body_size(const char *head)
{
    static const char name[] = "\r\ncontent-length:";
    const char *value = strcasestr(head, name);
    return value != NULL ? strtoull(value + sizeof(name) - 1, NULL, 10) : 0;
}

/* Takes bytes of a head; true and the size of the body once it is whole. */
static bool head_feed(struct client *client, const char *data, size_t size, size_t *out_taken)
{
    const size_t before = client->head_size;
    const size_t room = sizeof(client->head) - 1 - before;
    const size_t kept = size_min(size, room);
    memcpy(client->head + before, data, kept);
    client->head[before + kept] = '\0';
    const char *end = strstr(client->head + (before > 3 ? before - 3 : 0), "\r\n\r\n");
    if (end == NULL) {
        client->head_size += kept;
        *out_taken = kept;
        return false;
    }
    const size_t head_size = (size_t)(end - client->head) + 4;
    client->head[head_size] = '\0';
    client->body_left = head_body_size(client->head);
    client->head_size = 0;
    *out_taken = head_size - before;
    return true;
}

/* False when the client is to be dropped. */
static bool client_feed(struct client *client, const char *data, size_t size)
{
    size_t at = 0;
    while (at < size) {
        bool is_head_whole = client->body_left > 0;
        size_t taken = 0;
        if (!is_head_whole) {
            is_head_whole = head_feed(client, data + at, size - at, &taken);
            if (taken == 0) {
                return false; /* a head beyond its limit */
            }
            at += taken;
        }
        if (!is_head_whole) {
            return true;
        }
        taken = size_min(size - at, client->body_left);
        client->body_left -= taken;
        at += taken;
        if (client->body_left == 0 && !client_answer(client)) {
            return false;
        }
    }
    return true;
}

static void client_accept(struct responder *responder)
{
    const int file = accept4(responder->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct client *client = file >= 0 ? calloc(1, sizeof(*client)) : NULL;
    if (client == NULL) {
        if (file >= 0) {
            (void)close(file);
        }
        return;
    }
    const int one = 1;
    (void)setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    client->file = file;
    client->next = responder->clients;
    responder->clients = client;
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = client}};
    (void)epoll_ctl(responder->epoll, EPOLL_CTL_ADD, file, &event);
}

static void client_read(struct responder *responder, struct client *client)
{
    const ssize_t done = recv(client->file, responder->received, sizeof(responder->received), 0);
    if (done <= 0 || !client_feed(client, responder->received, (size_t)done)) {
        (void)close(client->file); /* its memory stays on the list until the end */
        client->file = -1;
    }
}

static void stall_if_asked(struct responder *responder)
{
    const unsigned milliseconds = atomic_exchange(&responder->stall_ms, 0);
    if (milliseconds > 0) {
        const struct timespec pause = {.tv_sec = milliseconds / 1000,
                                       .tv_nsec = (long)(milliseconds % 1000) * 1000000};
        (void)nanosleep(&pause, NULL);
    }
}

static void *responder_main(void *argument)
{
    struct responder *responder = argument;
    struct epoll_event events[EVENTS_AT_ONCE];
    while (!atomic_load(&responder->is_ending)) {
        const int count = epoll_wait(responder->epoll, events, EVENTS_AT_ONCE, -1);
        stall_if_asked(responder);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &responder->listener) {
                client_accept(responder);
            } else if (events[i].data.ptr == &responder->wake) {
                uint64_t ignored = 0;
                (void)!read(responder->wake, &ignored, sizeof(ignored));
            } else {
                client_read(responder, events[i].data.ptr);
            }
        }
    }
    return NULL;
}

static enum status responder_listen(struct responder *responder, uint16_t port, struct error *error)
{
    const int one = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    responder->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    responder->epoll = epoll_create1(EPOLL_CLOEXEC);
    responder->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (responder->listener < 0 || responder->epoll < 0 || responder->wake < 0) {
        return error_set(error, STATUS_IO, "out of descriptors: %s", strerrordesc_np(errno));
    }
    (void)setsockopt(responder->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(responder->listener, (const struct sockaddr *)&address, size) != 0 ||
        listen(responder->listener, BACKLOG) != 0 ||
        getsockname(responder->listener, (struct sockaddr *)&address, &size) != 0) {
        return error_set(error, STATUS_IO, "cannot listen on 127.0.0.1:%u: %s", (unsigned)port,
                         strerrordesc_np(errno));
    }
    responder->port = ntohs(address.sin_port);
    struct epoll_event listening = {.events = EPOLLIN, .data = {.ptr = &responder->listener}};
    struct epoll_event waking = {.events = EPOLLIN, .data = {.ptr = &responder->wake}};
    if (epoll_ctl(responder->epoll, EPOLL_CTL_ADD, responder->listener, &listening) != 0 ||
        epoll_ctl(responder->epoll, EPOLL_CTL_ADD, responder->wake, &waking) != 0) {
        return error_set(error, STATUS_IO, "epoll_ctl: %s", strerrordesc_np(errno));
    }
    return STATUS_OK;
}

enum status responder_open(uint16_t port, struct error *error, struct responder **out_responder)
{
    struct responder *responder = calloc(1, sizeof(*responder));
    if (responder == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    enum status status = responder_listen(responder, port, error);
    if (status == STATUS_OK &&
        pthread_create(&responder->thread, NULL, responder_main, responder) != 0) {
        status = error_set(error, STATUS_NO_MEMORY, "cannot start a thread");
    }
    responder->has_thread = status == STATUS_OK;
    if (status != STATUS_OK) {
        responder_close(responder);
        return status;
    }
    *out_responder = responder;
    return STATUS_OK;
}

uint16_t responder_port(const struct responder *responder)
{
    return responder->port;
}

void responder_stall(struct responder *responder, unsigned milliseconds)
{
    atomic_store(&responder->stall_ms, milliseconds);
}

void responder_close(struct responder *responder)
{
    if (responder == NULL) {
        return;
    }
    if (responder->has_thread) {
        const uint64_t one = 1;
        atomic_store(&responder->is_ending, true);
        (void)!write(responder->wake, &one, sizeof(one));
        (void)pthread_join(responder->thread, NULL);
    }
    while (responder->clients != NULL) {
        struct client *client = responder->clients;
        responder->clients = client->next;
        if (client->file >= 0) {
            (void)close(client->file);
        }
        free(client);
    }
    const int files[] = {responder->listener, responder->epoll, responder->wake};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        if (files[i] > 0) {
            (void)close(files[i]);
        }
    }
    free(responder);
}
