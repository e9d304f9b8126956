/* server.c: libh2o's event loops around the calls of http.h, and the only file that knows libh2o.
 *
 * A loop is a thread with a listener, a libh2o context and an engine port of its own; nothing on a request's way is
 * shared between loops but the engine and atomic counters.
 *
 *   accept -> libh2o reads head and body -> on_request -> call_run -> handler
 *                                                           |- replies at once
 *                                                           '- call_submit ... engine ... port -> on_port -> continuation
 *
 * A call's end     It is free for reuse when it has replied and libh2o has disposed of its request, in whatever order,
 *                  and none of its code is on the stack (call_settle). A client that goes away while the engine works
 *                  disposes of the request first; the call then lives on until its reply, which goes nowhere.
 *
 * What libh2o 2.2.5 leaves open, and the answer here:
 *   HTTP/2 is open to resets        it is off, on the wire and by upgrade
 *   two framing headers             the raw head is read again (head_fault): 400, connection closed
 *   folded lines, empty names       likewise
 *   no limit on connections         a count over all loops; beyond it 503 and close. It stays below the file limit
 *   one timer for head and body     REQUEST_TIMEOUT_MS; it also ends idle connections
 *   no timer on a response          TCP_USER_TIMEOUT ends a connection whose client takes nothing
 *   bodies are buffered whole       max_request_entity_size; beyond a budget for all, unfinished bodies are cut off
 *   big buffers move to a file      never (the threshold is SIZE_MAX)
 *   errors of its own are text      a filter makes problems of them
 *   a response keeps req            nothing here holds req but struct server_call, which its disposal clears
 */
#include "api/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <h2o.h>
#include <h2o/http1.h>

#include "api/dispatch.h"
#include "api/http.h"
#include "api/listen.h"
#include "api/routes.h"
#include "api/server_input.h"
#include "api/stream.h"
#include "api/trace.h"
#include "engine/limits.h"

#define LOOPS_MAX          64u
#define LOOPS_DEFAULT      2u
#define ACCEPT_BATCH       16 /* connections taken before other sockets have their turn */
#define FILES_RESERVED     256u /* for the log, the store and the tools; the rest may be connections */
#define REQUEST_TIMEOUT_MS 15000u
#define RETIRED_MAX        32
#define RETIRED_US         60000000 /* more than libh2o's timer on a handshake */
#define WELCOME_US         300000 /* that a connection has for its first request, while the socket changes hands */
#define ENTITY_MAX                                                                                 \
    (2 * LIMIT_BODY) /* libh2o's own limit: above ours, so that ours can answer cleanly */
#define INPUT_BUFFER_SIZE                                                                          \
    (64u * 1024) /* most bodies in one read, without libh2o's growing by copies */
#define INPUT_BUDGET     (1024ull * 1024 * 1024) /* bytes of all input buffers */
#define SWEEP_MS         1000
#define ARENA_CHUNK_SIZE (16u * 1024)
#define ARENA_KEEP_SIZE  (256u * 1024)
#define STREAM_MS        1000 /* between two texts of a stream */
#define STREAM_PATIENCE_US 200000 /* when the server stops: for a reader to take what it was sent */
#define STREAM_QUIET_MS  10000 /* then an empty line says that it lives */
#define CALLS_KEPT       256u /* a loop's free list */

struct server_loop;

struct server_call {
    struct call call;
    struct server_loop *loop;
    h2o_req_t *request; /* NULL once libh2o disposed of it */
    h2o_generator_t generator;
    struct stream *stream; /* an answer without an end; NULL for all others */
    struct server_call *next_free;
    int64_t started_us; /* monotonic */
    bool is_head;
    bool is_running; /* a handler or continuation is on the stack */
};

/* One writer each (the loop); any thread reads. */
struct loop_counters {
    atomic_uint_least64_t requests;
    atomic_uint_least64_t connections;
    atomic_uint_least64_t responses[6];
    struct traffic traffic;
};

struct server_loop {
    h2o_context_t context; /* first: libh2o hands it to us */
    struct server *server;
    struct api api;
    h2o_accept_ctx_t accept;
    h2o_socket_t *listener;
    h2o_socket_t *port_socket;
    h2o_socket_t *wake_socket;
    int wake_file;   /* server_stop() and server_adopt() write to it */
    int listen_file; /* these three become their sockets' */
    int port_copy;
    int wake_copy;
    pthread_t thread;
    bool is_started;
    bool is_dismantled;
    const struct catalog *catalog; /* the newest this loop has seen */
    struct policy *policy;         /* likewise */
    struct server_call *free_calls;
    uint32_t free_count;
    uint32_t open_calls;
    uint64_t swept_at;
    struct stream *streams; /* the open ones */
    uint64_t streamed_at;
    struct loop_counters counters;
};

static_assert(offsetof(struct server_loop, context) == 0, "on_request() finds the loop by its context");

struct server {
    struct server_options options;
    h2o_globalconf_t config;
    bool has_config;
    uint16_t port;
    int64_t started_at_us;
    uint32_t loop_count;
    struct server_loop *loops;
    uint64_t connection_limit;
    atomic_uint_least64_t connections;
    atomic_uint_least64_t streams;
    atomic_bool is_stopping;
    pthread_mutex_t policy_mutex;
    struct policy *policy; /* under the mutex */
    /* Ones before it. Until a connection's first byte libh2o holds a bare pointer to the TLS context that it came to. */
    struct retired {
        struct policy *policy;
        int64_t at_us;
    } retired[RETIRED_MAX];
    int64_t stop_timeout_us; /* set before is_stopping */
};

static void counter_add(atomic_uint_least64_t *counter, uint64_t amount)
{
    /* One writer, so no locked instruction is needed. */
    const uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + amount, memory_order_relaxed);
}

static int64_t monotonic_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Calls. */

static struct server_call *call_open(struct server_loop *loop)
{
    struct server_call *self = loop->free_calls;
    if (self != NULL) {
        loop->free_calls = self->next_free;
        loop->free_count--;
    } else {
        self = malloc(sizeof(*self));
        if (self == NULL) {
            return NULL;
        }
        arena_init(&self->call.arena, ARENA_CHUNK_SIZE);
    }
    const struct arena arena = self->call.arena;
    *self = (struct server_call){.loop = loop, .call = {.arena = arena}};
    struct call *call = &self->call;
    if (engine_catalog_generation(loop->api.engine) != loop->catalog->generation) {
        catalog_unref(loop->catalog);
        loop->catalog = engine_catalog(loop->api.engine);
    }
    call->catalog = catalog_ref(loop->catalog);
    call->api = &loop->api;
    call->engine = loop->api.engine;
    call->received_at_us = engine_now_us(call->engine);
    call->server = self;
    self->started_us = monotonic_us();
    loop->open_calls++;
    return self;
}

static void call_close(struct server_call *self)
{
    struct server_loop *loop = self->loop;
    catalog_unref(self->call.catalog);
    loop->open_calls--;
    if (loop->free_count < CALLS_KEPT) {
        arena_reset(&self->call.arena, ARENA_KEEP_SIZE);
        self->next_free = loop->free_calls;
        loop->free_calls = self;
        loop->free_count++;
    } else {
        arena_deinit(&self->call.arena);
        free(self);
    }
}

/* The one place that decides whether a call is over. */
static void call_settle(struct server_call *self)
{
    const bool has_replied = self->call.status != 0;
    if (has_replied && self->request == NULL && !self->is_running) {
        call_close(self);
    }
}

static void stream_forget(struct server_call *self)
{
    struct stream **link = &self->loop->streams;
    while (*link != self->stream) {
        link = &(*link)->next_open;
    }
    *link = self->stream->next_open;
    self->stream = NULL;
    atomic_fetch_sub_explicit(&self->loop->server->streams, 1, memory_order_relaxed);
}

/* libh2o is done with the request: the answer went out, or the client went away. */
static void on_request_dispose(void *data)
{
    struct server_call *self = *(struct server_call **)data;
    self->request = NULL;
    if (self->stream != NULL) {
        stream_forget(self);
    }
    call_settle(self);
}

/* api->peer. */
static size_t call_peer(struct call *call, uint8_t out_address[16])
{
    const struct server_call *self = call->server;
    struct sockaddr_storage address = {0};
    if (self->request == NULL ||
        self->request->conn->callbacks->get_peername(self->request->conn, (struct sockaddr *)&address) == 0) {
        return 0;
    }
    if (address.ss_family == AF_INET) {
        memcpy(out_address, &((const struct sockaddr_in *)(const void *)&address)->sin_addr, 4);
        return 4;
    }
    memcpy(out_address, &((const struct sockaddr_in6 *)(const void *)&address)->sin6_addr, 16);
    return 16;
}

/* The client's address as text. */
static const char *address_text(h2o_req_t *request, char *text, size_t capacity)
{
    struct sockaddr_storage address = {0};
    if (request == NULL || request->conn->callbacks->get_peername(request->conn, (struct sockaddr *)&address) == 0) {
        return NULL; /* the client went away */
    }
    const void *number = address.ss_family == AF_INET6
                             ? (const void *)&((const struct sockaddr_in6 *)(const void *)&address)->sin6_addr
                             : (const void *)&((const struct sockaddr_in *)(const void *)&address)->sin_addr;
    return inet_ntop(address.ss_family, number, text, (socklen_t)capacity);
}

static void call_count(struct server_call *self)
{
    struct call *call = &self->call;
    const uint64_t duration_us = (uint64_t)(monotonic_us() - self->started_us);
    counter_add(&self->loop->counters.responses[call->status / 100], 1);
    traffic_count(&self->loop->counters.traffic, call->route, call->status, duration_us);
    if (trace_wants(call->status, duration_us)) {
        char text[INET6_ADDRSTRLEN];
        trace_request(call, address_text(self->request, text, sizeof(text)), duration_us);
    }
}

static void add_header(h2o_req_t *request, const char *name, const char *value)
{
    h2o_add_header_by_str(&request->pool, &request->res.headers, name, strlen(name), 1, NULL, value, strlen(value));
}

/* Status and headers of the answer. */
static void response_head(struct call *call, h2o_req_t *request, const char *content_type)
{
    request->res.status = call->status;
    request->res.reason = http_reason(call->status);
    if (content_type != NULL) {
        h2o_add_header(&request->pool, &request->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, content_type, strlen(content_type));
    }
    const char *cache_control = call->cache_control != NULL ? call->cache_control : "no-store";
    h2o_add_header(&request->pool, &request->res.headers, H2O_TOKEN_CACHE_CONTROL, NULL, cache_control,
                   strlen(cache_control));
    for (uint32_t i = 0; i < call->header_count; i++) {
        add_header(request, call->headers[i].name, call->headers[i].value);
    }
    add_header(request, "x-request-id", call->request_id);
    if (call->trace_parent[0] != '\0') {
        add_header(request, "traceparent", call->trace_parent);
    }
}

/* api->send. */
static void call_send(struct call *call, const char *content_type, struct bytes text)
{
    struct server_call *self = call->server;
    h2o_req_t *request = self->request;
    call_count(self);
    if (request == NULL) {
        return; /* the client went away */
    }
    response_head(call, request, content_type);
    const bool has_body = call->status != 204 && call->status != 304;
    if (has_body) {
        request->res.content_length = text.size; /* without it libh2o would send chunks */
    }
    h2o_iovec_t body = {.base = (char *)(uintptr_t)text.data,
                        .len = text.size}; /* libh2o only reads it */
    const size_t body_count = has_body && !self->is_head && text.size > 0 ? 1 : 0;
    h2o_start_response(request, &self->generator);
    h2o_send(request, &body, body_count, H2O_SEND_STATE_FINAL);
}

/* Streams: see stream.h. All of this runs on the loop's thread, and between two sends of a stream lies a proceed of libh2o's. */

static void stream_end(struct server_call *self)
{
    self->stream->has_ended = true;
    h2o_send(self->request, NULL, 0, H2O_SEND_STATE_FINAL);
}

static void stream_send(struct server_call *self)
{
    struct stream *stream = self->stream;
    const uint64_t now = h2o_now(self->loop->context.loop);
    size_t size = stream->next(&self->call, stream, stream->text);
    if (size == 0 && now - stream->sent_at_ms >= STREAM_QUIET_MS) {
        memcpy(stream->text, ":\n\n", 3);
        size = 3;
    }
    if (size == 0) {
        return;
    }
    h2o_iovec_t body = {.base = stream->text, .len = size};
    stream->sent_at_ms = now;
    stream->is_sending = true;
    h2o_send(self->request, &body, 1, H2O_SEND_STATE_IN_PROGRESS);
}

static void on_stream_proceed(h2o_generator_t *generator, h2o_req_t *request)
{
    (void)request;
    struct server_call *self =
        (struct server_call *)(void *)((uint8_t *)generator - offsetof(struct server_call, generator));
    self->stream->is_sending = false;
}

/* api->open_stream. */
static bool stream_open(struct call *call, struct stream *stream)
{
    struct server_call *self = call->server;
    struct server *server = self->loop->server;
    h2o_req_t *request = self->request;
    assert(request != NULL); /* a handler begins its stream before it waits for anything */
    const bool has_room = atomic_fetch_add_explicit(&server->streams, 1, memory_order_relaxed) < LIMIT_STREAMS;
    if (!has_room || atomic_load_explicit(&server->is_stopping, memory_order_acquire)) {
        atomic_fetch_sub_explicit(&server->streams, 1, memory_order_relaxed);
        return false;
    }
    call->status = 200;
    counter_add(&self->loop->counters.responses[2], 1);
    response_head(call, request, "text/event-stream");
    self->stream = stream;
    self->generator.proceed = on_stream_proceed;
    stream->next_open = self->loop->streams;
    self->loop->streams = stream;
    h2o_start_response(request, &self->generator);
    if (self->is_head) {
        stream_end(self);
    } else {
        stream_send(self);
    }
    return true;
}

/* What is new, to every stream that has taken what there was before. */
static void loop_stream(struct server_loop *loop)
{
    const uint64_t now = h2o_now(loop->context.loop);
    if (loop->streams == NULL || now - loop->streamed_at < STREAM_MS) {
        return;
    }
    loop->streamed_at = now;
    for (struct stream *stream = loop->streams, *next = NULL; stream != NULL; stream = next) {
        struct server_call *self = stream->call->server;
        next = stream->next_open;
        if (stream->has_ended || stream->is_sending) {
            continue;
        }
        if (auth_still_holds(&self->call, stream->scope)) {
            stream_send(self);
        } else {
            stream_end(self);
        }
    }
}

/* Requests. */

static int on_request(h2o_handler_t *handler, h2o_req_t *request)
{
    (void)handler;
    struct server_loop *loop = (struct server_loop *)(void *)request->conn->ctx;
    counter_add(&loop->counters.requests, 1);
    struct server_call *self = call_open(loop);
    if (self == NULL) {
        h2o_send_error_503(request, "Service Unavailable", "memory is out", H2O_SEND_ERROR_HTTP1_CLOSE_CONNECTION);
        return 0;
    }
    struct server_call **handle =
        h2o_mem_alloc_shared(&request->pool, sizeof(struct server_call *), on_request_dispose);
    *handle = self;
    self->request = request;
    const struct call_input input = server_input_of(request);
    self->is_head = bytes_equal_text(input.method, "HEAD");
    if (input.framing_fault != NULL) {
        request->http1_is_persistent =
            0; /* whatever follows on this connection cannot be trusted */
    }
    self->is_running = true;
    call_run(&self->call, &input);
    self->is_running = false;
    call_settle(self);
    return 0;
}

/* The engine is done with requests of this loop. */
static void on_port(h2o_socket_t *socket, const char *error)
{
    struct server_loop *loop = socket->data;
    assert(error == NULL);
    struct engine_request *request = engine_port_take(loop->api.port);
    while (request != NULL) {
        struct engine_request *next = request->next;
        struct call *call =
            (struct call *)(void *)((uint8_t *)request - offsetof(struct call, request));
        struct server_call *self = call->server;
        assert(loop->api.in_flight > 0);
        loop->api.in_flight--;
        self->is_running = true;
        call->continuation(call);
        self->is_running = false;
        call_settle(self);
        request = next;
    }
}

/* libh2o's own errors (a broken head, a body beyond ENTITY_MAX), made problems. */

struct problem_stream {
    h2o_ostream_t super;
    h2o_iovec_t text;
};

static void problem_send(h2o_ostream_t *stream, h2o_req_t *request, h2o_iovec_t *vectors,
                         size_t count, h2o_send_state_t state)
{
    struct problem_stream *self = (struct problem_stream *)(void *)stream;
    (void)vectors;
    (void)count;
    h2o_ostream_send_next(stream, request, &self->text, 1, state);
}

static void on_problem_setup(h2o_filter_t *filter, h2o_req_t *request, h2o_ostream_t **slot)
{
    (void)filter;
    struct loop_counters *counters = &((struct server_loop *)(void *)request->conn->ctx)->counters;
    const int status = request->res.status;
    counter_add(&counters->responses[status / 100], 1);
    traffic_count(&counters->traffic, NULL, status, 0);
    const char *reason = http_reason(status);
    const size_t capacity = 512;
    struct problem_stream *self = (struct problem_stream *)(void *)h2o_add_ostream(
        request, sizeof(struct problem_stream), slot);
    self->super.do_send = problem_send;
    self->text.base = h2o_mem_alloc_pool(&request->pool, capacity);
    const int size =
        snprintf(self->text.base, capacity,
                 "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\","
                 "\"code\":\"%s\","
                 "\"message\":\"%s\"}",
                 reason, status, reason, status == 413 ? "body_too_large" : "bad_request", reason);
    assert(size > 0 && (size_t)size < capacity);
    self->text.len = (size_t)size;
    request->res.content_length = self->text.len;
    h2o_set_header(&request->pool, &request->res.headers, H2O_TOKEN_CONTENT_TYPE,
                   H2O_STRLIT("application/problem+json"), 1);
    h2o_setup_next_ostream(request, &self->super.next);
}

/* Connections. */

static void on_connection_close(void *data)
{
    struct server_loop *loop = data;
    atomic_fetch_sub_explicit(&loop->server->connections, 1, memory_order_relaxed);
    counter_add(&loop->counters.connections, (uint64_t)-1);
}

static void connection_refuse(h2o_socket_t *socket, bool is_plain)
{
    static const char text[] =
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
        "Content-Type: application/problem+json\r\n\r\n"
        "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
        "\"detail\":\"too many connections\",\"code\":\"overloaded\","
        "\"message\":\"too many connections\"}";
    if (is_plain) {
        (void)!send(h2o_socket_get_fd(socket), text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    h2o_socket_close(socket);
}

static void on_accept(h2o_socket_t *listener, const char *error)
{
    struct server_loop *loop = listener->data;
    struct server *server = loop->server;
    for (int i = 0; i < ACCEPT_BATCH && error == NULL; i++) {
        h2o_socket_t *socket = h2o_evloop_socket_accept(listener);
        if (socket == NULL) {
            return;
        }
        if (atomic_fetch_add_explicit(&server->connections, 1, memory_order_relaxed) >=
            server->connection_limit) {
            atomic_fetch_sub_explicit(&server->connections, 1, memory_order_relaxed);
            connection_refuse(socket, loop->accept.ssl_ctx == NULL);
            continue;
        }
        counter_add(&loop->counters.connections, 1);
        socket->on_close.cb = on_connection_close;
        socket->on_close.data = loop;
        h2o_accept(&loop->accept, socket);
    }
}

static h2o_socket_t *socket_of(h2o_req_t *request)
{
    return request->conn->callbacks->get_socket(request->conn);
}

struct sweep {
    uint64_t capacity; /* of all input buffers */
    bool has_input;    /* a request is being received */
};

static int sweep_measure(h2o_req_t *request, void *data)
{
    struct sweep *sweep = data;
    const h2o_buffer_t *input = socket_of(request)->input;
    if (input->bytes != NULL) {
        sweep->capacity += input->capacity;
        sweep->has_input = sweep->has_input || input->size > 0;
    }
    return 0;
}

/* A shut down socket reads as closed in the next turn, which is when libh2o takes the connection apart. */
static int sweep_shut_unfinished(h2o_req_t *request, void *data)
{
    (void)data;
    h2o_socket_t *socket = socket_of(request);
    if (h2o_socket_is_reading(socket) && socket->input->bytes != NULL &&
        socket->input->size > INPUT_BUFFER_SIZE) {
        (void)shutdown(h2o_socket_get_fd(socket), SHUT_RDWR);
    }
    return 0;
}

static int sweep_shut(h2o_req_t *request, void *data)
{
    (void)data;
    (void)shutdown(h2o_socket_get_fd(socket_of(request)), SHUT_RDWR);
    return 0;
}

static struct sweep loop_measure(struct server_loop *loop)
{
    struct sweep sweep = {0};
    (void)H2O_HTTP1_CALLBACKS.foreach_request(&loop->context, sweep_measure, &sweep);
    return sweep;
}

static void loop_sweep(struct server_loop *loop)
{
    const uint64_t now = h2o_now(loop->context.loop);
    if (now - loop->swept_at < SWEEP_MS) {
        return;
    }
    loop->swept_at = now;
    if (loop_measure(loop).capacity > INPUT_BUDGET / loop->server->loop_count) {
        (void)H2O_HTTP1_CALLBACKS.foreach_request(&loop->context, sweep_shut_unfinished, NULL);
    }
}

/* Loops. */

static void loop_adopt(struct server_loop *loop)
{
    struct server *server = loop->server;
    pthread_mutex_lock(&server->policy_mutex);
    struct policy *next = policy_ref(server->policy);
    pthread_mutex_unlock(&server->policy_mutex);
    policy_unref(loop->policy);
    loop->policy = next;
    loop->api.policy = next;
    loop->accept.ssl_ctx = next->tls; /* connections that are open keep the one they began with */
}

static void on_wake(h2o_socket_t *socket, const char *error)
{
    (void)error;
    uint64_t count = 0;
    (void)!read(h2o_socket_get_fd(socket), &count, sizeof(count));
    loop_adopt(socket->data);
}

static h2o_socket_t *loop_watch(struct server_loop *loop, int file, h2o_socket_cb callback)
{
    h2o_socket_t *socket =
        h2o_evloop_socket_create(loop->context.loop, file, H2O_SOCKET_FLAG_DONT_READ);
    socket->data = loop;
    h2o_socket_read_start(socket, callback);
    return socket;
}

/* Streams never end by themselves. One whose text is still on its way is ended in a later turn, or in the end cut off. */
static void loop_end_streams(struct server_loop *loop, bool is_patient)
{
    for (struct stream *stream = loop->streams, *next = NULL; stream != NULL; stream = next) {
        struct server_call *self = stream->call->server;
        next = stream->next_open;
        if (!stream->is_sending && !stream->has_ended) {
            stream_end(self);
        } else if (!is_patient) {
            (void)shutdown(h2o_socket_get_fd(socket_of(self->request)), SHUT_RDWR);
        }
    }
}

/* Connections that have not become ones of HTTP: as if their time for a handshake were up. */
static void loop_end_handshakes(struct server_loop *loop)
{
    h2o_linklist_t *entries = &loop->context.handshake_timeout._entries;
    while (!h2o_linklist_is_empty(entries)) {
        h2o_timeout_entry_t *entry = H2O_STRUCT_FROM_MEMBER(h2o_timeout_entry_t, _link, entries->next);
        h2o_timeout_unlink(entry);
        entry->cb(entry);
    }
}

/* Finishes what is in flight, then ends every connection. */
static void loop_drain(struct server_loop *loop)
{
    const int64_t deadline_us = monotonic_us() + loop->server->stop_timeout_us;
    const int64_t patient_until_us = monotonic_us() + STREAM_PATIENCE_US;
    h2o_socket_close(loop->listener);
    loop->listener = NULL;
    /* Not h2o_context_request_shutdown(): it would also start a timer of HTTP/2's that only HTTP/2 ends. */
    loop->context.shutdown_requested = 1;
    /* The socket goes to the next process: whoever connected to this one is still served here. */
    const int64_t welcome_until_us = loop->server->options.listen_file >= 0 ? monotonic_us() + WELCOME_US : 0;
    while (loop->api.in_flight > 0 || monotonic_us() < welcome_until_us || (monotonic_us() < deadline_us && (loop->open_calls > 0 || loop_measure(loop).has_input))) {
        loop_end_streams(loop, monotonic_us() < patient_until_us);
        (void)h2o_evloop_run(loop->context.loop, 10);
    }
    (void)H2O_HTTP1_CALLBACKS.foreach_request(&loop->context, sweep_shut, NULL);
    loop_end_handshakes(loop);
    for (int turn = 0; turn < 100 && !h2o_linklist_is_empty(&loop->context.http1._conns); turn++) {
        (void)h2o_evloop_run(loop->context.loop, 10);
    }
}

#ifdef __SANITIZE_ADDRESS__
/* libh2o keeps these two for each thread to the end of the process; a thread that ends loses them. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:h2o_mem_alloc_recycle\nleak:h2o_multithread_create_queue\n";
}
#endif

/* Gives back what this thread took from libh2o. A connection that would not end keeps it all: the process ends soon. */
static void loop_dismantle(struct server_loop *loop)
{
    if (!h2o_linklist_is_empty(&loop->context.http1._conns)) {
        return;
    }
    h2o_evloop_t *event_loop = loop->context.loop;
    h2o_socket_close(loop->port_socket);
    h2o_socket_close(loop->wake_socket);
    h2o_context_dispose(&loop->context);
    (void)h2o_evloop_run(event_loop, 0); /* frees the closed sockets */
    h2o_evloop_destroy(event_loop);
    loop->is_dismantled = true;
}

static void *loop_main(void *data)
{
    struct server_loop *loop = data;
    /* The prototype is the thread's own; sockets made before this would have another size. */
    h2o_socket_buffer_prototype._initial_buf.capacity = INPUT_BUFFER_SIZE;
    loop->listener = loop_watch(loop, loop->listen_file, on_accept);
    loop->port_socket = loop_watch(loop, loop->port_copy, on_port);
    loop->wake_socket = loop_watch(loop, loop->wake_copy, on_wake);
    while (!atomic_load_explicit(&loop->server->is_stopping, memory_order_acquire)) {
        (void)h2o_evloop_run(loop->context.loop, loop->streams != NULL ? STREAM_MS / 4 : SWEEP_MS);
        loop_sweep(loop);
        loop_stream(loop);
    }
    loop_drain(loop);
    loop_dismantle(loop);
    return NULL;
}

/* Sockets. */

static enum status server_bind(struct server *server, struct error *error)
{
    int files[LOOPS_MAX];
    const struct listen_address address = {server->options.host, server->options.port};
    const enum status status =
        server->options.listen_file >= 0
            ? listen_share(server->options.listen_file, server->loop_count, error, files, &server->port)
            : listen_bind_all(&address, server->loop_count, error, files, &server->port);
    for (uint32_t i = 0; i < server->loop_count && status == STATUS_OK; i++) {
        server->loops[i].listen_file = files[i];
    }
    return status;
}

/* Start and stop. */

static void server_configure(struct server *server)
{
    h2o_globalconf_t *config = &server->config;
    h2o_config_init(config);
    server->has_config = true;
    config->server_name = h2o_iovec_init(H2O_STRLIT(""));
    config->max_request_entity_size = ENTITY_MAX;
    config->http1.req_timeout = REQUEST_TIMEOUT_MS;
    config->http1.upgrade_to_http2 = 0;
    h2o_socket_buffer_mmap_settings.threshold = SIZE_MAX;
    h2o_hostconf_t *host =
        h2o_config_register_host(config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    h2o_handler_t *handler = h2o_create_handler(path, sizeof(*handler));
    handler->on_req = on_request;
    h2o_filter_t *filter = h2o_create_filter(&host->fallback_path, sizeof(*filter));
    filter->on_setup_ostream = on_problem_setup;
}

/* As many connections as the process may have files for. */
static uint64_t connection_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) {
        return LIMIT_CONNECTIONS;
    }
    if (files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
        (void)getrlimit(RLIMIT_NOFILE, &files);
    }
    const uint64_t most =
        files.rlim_cur > 2 * FILES_RESERVED ? files.rlim_cur - FILES_RESERVED : files.rlim_cur / 2;
    return most < LIMIT_CONNECTIONS ? most : LIMIT_CONNECTIONS;
}

static uint32_t loop_count_of(const struct server_options *options)
{
    if (options->loops != 0) {
        return options->loops < LOOPS_MAX ? options->loops : LOOPS_MAX;
    }
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    return processors > 0 && processors < (long)LOOPS_DEFAULT ? (uint32_t)processors
                                                              : LOOPS_DEFAULT;
}

static enum status loop_start(struct server_loop *loop, struct error *error)
{
    struct server *server = loop->server;
    const struct server_options *options = &server->options;
    loop->api = (struct api){
        .engine = options->engine,
        .send = call_send,
        .peer = call_peer,
        .open_stream = stream_open,
        .server = server,
        .info = options->info,
        .directory = options->directory,
        .started_at_us = server->started_at_us,
    };
    loop_adopt(loop);
    const enum status status = engine_port_open(options->engine, &loop->api.port);
    if (status != STATUS_OK) {
        return error_set(error, status, "no engine port: %s", status_name(status));
    }
    loop->wake_file = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    /* Copies: libh2o closes these, at a time of its own. */
    loop->wake_copy = fcntl(loop->wake_file, F_DUPFD_CLOEXEC, 0);
    loop->port_copy = fcntl(engine_port_fd(loop->api.port), F_DUPFD_CLOEXEC, 0);
    if (loop->wake_copy < 0 || loop->port_copy < 0) {
        return error_set(error, STATUS_IO, "no eventfd: %s", strerrordesc_np(errno));
    }
    loop->catalog = engine_catalog(options->engine);
    h2o_context_init(&loop->context, h2o_evloop_create(), &server->config);
    loop->accept = (h2o_accept_ctx_t){.ctx = &loop->context, .hosts = server->config.hosts, .ssl_ctx = loop->policy->tls};
    const int failure = pthread_create(&loop->thread, NULL, loop_main, loop);
    if (failure != 0) {
        return error_set(error, STATUS_IO, "no thread: %s", strerrordesc_np(failure));
    }
    loop->is_started = true;
    return STATUS_OK;
}

enum status server_start(const struct server_options *options, struct error *error, struct server **out_server)
{
    struct server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "memory is out");
    }
    server->options = *options;
    server->started_at_us = engine_now_us(options->engine);
    server->policy = policy_ref(options->policy);
    pthread_mutex_init(&server->policy_mutex, NULL);
    server->connection_limit = connection_limit();
    const uint32_t loop_count = loop_count_of(options);
    server->loops = calloc(loop_count, sizeof(*server->loops));
    enum status status = STATUS_NO_MEMORY;
    if (server->loops == NULL) {
        (void)error_set(error, status, "memory is out");
        goto cleanup;
    }
    server->loop_count = loop_count;
    for (uint32_t i = 0; i < loop_count; i++) {
        server->loops[i].server = server;
        server->loops[i].listen_file = -1;
        server->loops[i].port_copy = -1;
        server->loops[i].wake_copy = -1;
        server->loops[i].wake_file = -1;
    }
    status = server_bind(server, error);
    if (status != STATUS_OK) {
        goto cleanup;
    }
    server_configure(server);
    for (uint32_t i = 0; i < loop_count && status == STATUS_OK; i++) {
        status = loop_start(&server->loops[i], error);
    }
    if (status != STATUS_OK) {
        goto cleanup;
    }
    *out_server = server;
    server = NULL; /* moved to the caller */
cleanup:
    server_stop(server, 0);
    return status;
}

uint16_t server_port(const struct server *server)
{
    return server->port;
}

void server_counters(const struct server *server, struct server_counters *out_counters)
{
    struct server_counters sum = {0};
    for (uint32_t i = 0; i < server->loop_count; i++) {
        struct server_loop *loop = &server->loops[i];
        const struct loop_counters *counters = &loop->counters;
        sum.requests += atomic_load_explicit(&counters->requests, memory_order_relaxed);
        sum.connections += atomic_load_explicit(&counters->connections, memory_order_relaxed);
        for (size_t j = 0; j < COUNT_OF(sum.responses); j++) {
            sum.responses[j] += atomic_load_explicit(&counters->responses[j], memory_order_relaxed);
        }
        traffic_read(&counters->traffic, &sum.traffic);
        sum.overload_refused += atomic_load_explicit(&loop->api.overload_refused, memory_order_relaxed);
        sum.events_received += atomic_load_explicit(&loop->api.events_received, memory_order_relaxed);
        sum.events_rejected += atomic_load_explicit(&loop->api.events_rejected, memory_order_relaxed);
    }
    *out_counters = sum;
}

static void file_close(int file)
{
    if (file >= 0) {
        (void)close(file);
    }
}

static void loop_deinit(struct server_loop *loop)
{
    while (loop->free_calls != NULL) {
        struct server_call *self = loop->free_calls;
        loop->free_calls = self->next_free;
        arena_deinit(&self->call.arena);
        free(self);
    }
    catalog_unref(loop->catalog);
    policy_unref(loop->policy);
    if (!loop->is_started) {
        file_close(loop->listen_file);
        file_close(loop->port_copy);
        file_close(loop->wake_copy);
    }
    file_close(loop->wake_file);
    engine_port_close(loop->api.port);
}

static void loops_wake(struct server *server)
{
    for (uint32_t i = 0; i < server->loop_count; i++) {
        const uint64_t one = 1;
        if (server->loops[i].is_started) {
            (void)!write(server->loops[i].wake_file, &one, sizeof(one));
        }
    }
}

/* Keeps the policy for as long as a connection may take for its handshake. Where more are changed in that time than there are
 * places for, it is kept for good. */
static void policy_retire(struct server *server, struct policy *policy)
{
    const int64_t now_us = monotonic_us();
    bool is_kept = false;
    for (size_t i = 0; i < RETIRED_MAX; i++) {
        struct retired *place = &server->retired[i];
        if (place->policy != NULL && now_us - place->at_us > RETIRED_US) {
            policy_unref(place->policy);
            place->policy = NULL;
        }
        if (place->policy == NULL && !is_kept) {
            *place = (struct retired){policy, now_us};
            is_kept = true;
        }
    }
}

void server_adopt(struct server *server, struct policy *policy)
{
    pthread_mutex_lock(&server->policy_mutex);
    policy_retire(server, server->policy);
    server->policy = policy_ref(policy);
    pthread_mutex_unlock(&server->policy_mutex);
    loops_wake(server);
}

void server_stop(struct server *server, int64_t timeout_us)
{
    if (server == NULL) {
        return;
    }
    server->stop_timeout_us = timeout_us;
    atomic_store_explicit(&server->is_stopping, true, memory_order_release);
    loops_wake(server);
    bool is_dismantled = server->has_config;
    for (uint32_t i = 0; i < server->loop_count; i++) {
        struct server_loop *loop = &server->loops[i];
        if (loop->is_started) {
            (void)pthread_join(loop->thread, NULL);
        }
        is_dismantled = is_dismantled && (!loop->is_started || loop->is_dismantled);
        loop_deinit(loop);
    }
    if (is_dismantled) {
        h2o_config_dispose(&server->config);
    }
    policy_unref(server->policy);
    for (size_t i = 0; i < RETIRED_MAX; i++) {
        policy_unref(server->retired[i].policy);
    }
    pthread_mutex_destroy(&server->policy_mutex);
    free(server->loops);
    free(server);
}
