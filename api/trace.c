/* trace.c: see trace.h. */
#include "api/trace.h"

#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "api/routes.h"

#define LINE_SIZE        2048
#define SLOW_REQUEST_US  1000000
#define TRACE_ID_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/=+"

static enum trace_format trace_format = TRACE_TEXT;
static _Atomic enum trace_requests trace_requests = TRACE_FAILED_REQUESTS;
static atomic_uint_least64_t dropped;

void trace_begin(enum trace_format format, enum trace_requests requests)
{
    trace_format = format;
    atomic_store_explicit(&trace_requests, requests, memory_order_relaxed);
}

static void line_write(const char *line, size_t size)
{
    (void)!write(STDERR_FILENO, line, size); /* there is nowhere to complain to */
}

static void begin_object(struct json_writer *writer, const char *kind, int64_t now_us)
{
    json_begin_object(writer);
    json_key(writer, "time");
    json_time(writer, now_us);
    json_key(writer, "kind");
    json_text(writer, kind);
}

static bool end_object(struct json_writer *writer)
{
    json_end_object(writer);
    json_newline(writer);
    return !writer->failed;
}

static int64_t wall_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000ll + now.tv_nsec / 1000;
}

void trace_note(const char *format, ...)
{
    char line[LINE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (trace_format == TRACE_TEXT) {
        (void)fprintf(stderr, "assayd: %s\n", line);
        return;
    }
    struct arena arena;
    arena_init(&arena, LINE_SIZE);
    struct json_writer writer = json_writer_in(&arena);
    begin_object(&writer, "note", wall_us());
    json_key(&writer, "message");
    json_text_bytes(&writer, bytes_of_text(line));
    if (end_object(&writer)) {
        line_write(writer.text, writer.size);
    }
    arena_deinit(&arena);
}

bool trace_wants(int status, uint64_t duration_us)
{
    const enum trace_requests wanted = atomic_load_explicit(&trace_requests, memory_order_relaxed);
    return wanted == TRACE_ALL_REQUESTS ||
           (wanted == TRACE_FAILED_REQUESTS && (status >= 500 || duration_us > SLOW_REQUEST_US));
}

static const struct uuid *token_id(const struct call *call)
{
    return call->token != CATALOG_NONE ? &call->catalog->tokens[call->token]->current->id : NULL;
}

static void write_request(struct json_writer *writer, struct call *call, const char *address, uint64_t duration_us)
{
    begin_object(writer, "request", call->received_at_us);
    json_key(writer, "request_id");
    json_text(writer, call->request_id);
    if (call->trace_parent[0] != '\0') {
        json_key(writer, "traceparent");
        json_text(writer, call->trace_parent);
    }
    json_key(writer, "method");
    json_text(writer, http_method_name(call->method));
    json_key(writer, "route");
    json_text(writer, call->route != NULL ? call->route->pattern : NULL);
    json_key(writer, "status");
    json_int(writer, call->status);
    json_key(writer, "duration_us");
    json_uint(writer, duration_us);
    json_key(writer, "token");
    const struct uuid *token = token_id(call);
    if (token != NULL) {
        json_uuid(writer, token);
    } else {
        json_null(writer);
    }
    json_key(writer, "address");
    json_text(writer, address);
}

void trace_request(struct call *call, const char *address, uint64_t duration_us)
{
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&room, 1, 0) != 1 || (room.revents & POLLOUT) == 0) {
        atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
        return;
    }
    if (trace_format == TRACE_JSON) {
        struct json_writer writer = json_writer_in(&call->arena);
        write_request(&writer, call, address, duration_us);
        if (end_object(&writer)) {
            line_write(writer.text, writer.size);
        }
        return;
    }
    char line[LINE_SIZE];
    const char *pattern = call->route != NULL ? call->route->pattern : "(no route)";
    const int size = snprintf(line, sizeof(line), "assayd: %s %s: %d after %.3f ms, request %s from %s\n",
                              http_method_name(call->method), pattern, call->status, (double)duration_us / 1e3,
                              call->request_id, address);
    assert(size > 0 && (size_t)size < sizeof(line));
    line_write(line, (size_t)size);
}

uint64_t trace_dropped(void)
{
    return atomic_load_explicit(&dropped, memory_order_relaxed);
}

/* Ids. */

static bool is_made_of(struct bytes text, const char *letters)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '\0' || strchr(letters, text.data[i]) == NULL) {
            return false;
        }
    }
    return true;
}

/* "00-<32 hex>-<16 hex>-<2 hex>" of version 00, whose ids are not all zeros. */
static bool is_parent(struct bytes text)
{
    static const char shape[] = "00-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";
    if (text.size != sizeof(shape) - 1) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        const bool fits = shape[i] == 'h' ? strchr("0123456789abcdef", text.data[i]) != NULL && text.data[i] != '\0'
                                          : text.data[i] == (uint8_t)shape[i];
        if (!fits) {
            return false;
        }
    }
    return !is_made_of(bytes_of(text.data + 3, 32), "0") && !is_made_of(bytes_of(text.data + 36, 16), "0");
}

static void id_make(struct call *call)
{
    /* A thread's own: a random start makes it unlike those of other threads and servers, and one more is a new one. */
    static _Thread_local uint64_t next[2];
    if (next[0] == 0) {
        engine_random(call->engine, next, sizeof(next));
        next[0] |= 1;
    }
    next[1]++;
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 32; i++) {
        call->request_id[i] = digits[next[i / 16] >> (60 - i % 16 * 4) & 15];
    }
    call->request_id[32] = '\0';
}

void trace_identify(struct call *call, struct bytes request_id, struct bytes parent)
{
    if (request_id.size > 0 && request_id.size < sizeof(call->request_id) && is_made_of(request_id, TRACE_ID_LETTERS)) {
        memcpy(call->request_id, request_id.data, request_id.size);
        call->request_id[request_id.size] = '\0';
    } else {
        id_make(call);
    }
    if (is_parent(parent)) {
        assert(parent.size < sizeof(call->trace_parent));
        memcpy(call->trace_parent, parent.data, parent.size);
        call->trace_parent[parent.size] = '\0';
    }
}
