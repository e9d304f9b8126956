/* http.h: a request and its answer as the handlers see them: no socket, no h2o.
 *
 * Life of a call   server.c makes a struct call for each request and finds its route; the route's token scope is checked
 *                  before the handler runs. The handler either answers at once (call_reply_... and return), or submits
 *                  engine work with call_submit() and answers in the continuation, on the same loop thread. Exactly one
 *                  reply a call. The client may vanish in between: the call stays valid until its reply, which is then
 *                  dropped.
 * Memory           Everything of a call comes from call->arena and goes with it. `body` is borrowed from the server and
 *                  valid only until the handler first returns.
 * Threads          A call belongs to its loop.
 */
#ifndef ASSAY_API_HTTP_H
#define ASSAY_API_HTTP_H

#include <stdatomic.h>

#include "api/json.h"
#include "engine/arena.h"
#include "engine/base.h"
#include "engine/engine.h"

enum http_method {
    HTTP_GET = 1,
    HTTP_POST = 2,
    HTTP_PATCH = 4,
    HTTP_DELETE = 8,
    HTTP_PUT = 16,
};

#define HTTP_PATH_PARAMETERS 2

enum content_type {
    CONTENT_NONE, /* no Content-Type header */
    CONTENT_JSON,
    CONTENT_NDJSON,
    CONTENT_MSGPACK,
    CONTENT_OTHER,
};

struct call;
struct dialect;
struct policy;
struct route;
struct server;
struct stream;

/* What the calls of one loop share. server.c has one a loop; a test has its own, with a send() that keeps the answer. */
struct api {
    struct engine *engine;
    struct engine_port *port; /* where call_submit() has its work handed back */
    /* Takes call->status, the headers and the text, which lives as long as the call. */
    void (*send)(struct call *call, const char *content_type, struct bytes text);
    size_t (*peer)(struct call *call, uint8_t out_address[16]); /* the client's: 4 or 16 bytes; 0: not known. May be NULL */
    bool (*open_stream)(struct call *call, struct stream *stream); /* stream.h; may be NULL. False: too many are open */
    uint32_t in_flight; /* engine requests not yet handed back; the loop's own */
    /* For GET /status and /metrics; each may be NULL. */
    struct server *server;
    const struct engine_info *info;
    const char *directory;
    int64_t started_at_us;
    const struct policy *policy; /* the newest that this loop has taken; NULL: nothing is allowed beyond the rules */
    /* Written by the loop, read by any thread. */
    atomic_uint_least64_t overload_refused;
    atomic_uint_least64_t events_received;
    atomic_uint_least64_t events_rejected;
};

struct http_header {
    const char *name; /* lower case */
    const char *value;
};

#define HTTP_RESPONSE_HEADERS 12

struct call {
    struct arena arena;
    /* The request. */
    enum http_method method;
    struct bytes path;  /* without the query, still percent-encoded */
    struct bytes query; /* after '?', still percent-encoded */
    struct bytes parameters[HTTP_PATH_PARAMETERS]; /* the route's {...}, percent-decoded */
    struct bytes body;  /* unpacked if it was gzip; followed by JSON_PADDING readable bytes */
    enum content_type content_type;
    struct bytes accept;
    struct bytes if_match;
    struct bytes if_none_match;
    struct bytes idempotency_key;
    struct bytes last_event_id;
    struct bytes origin; /* until the handler has run */
    int64_t received_at_us;
    uint32_t token; /* dense index of the caller's token; CATALOG_NONE on public routes */
    unsigned scopes; /* of that token; SCOPE_ADMIN implies all */
    const struct route *route; /* NULL until it is found */
    char request_id[65];   /* of it and of its answer; see trace.h */
    char trace_parent[56]; /* empty: none */
    /* Set up by the server. */
    struct api *api;
    const struct dialect *dialect; /* of the path, see routes.h; NULL: our own */
    struct engine *engine;
    const struct catalog *catalog; /* as of the request's start; see call_refresh_catalog() */
    /* The answer. */
    int status;
    struct http_header headers[HTTP_RESPONSE_HEADERS];
    uint32_t header_count;
    const char *cache_control; /* NULL: no-store */
    /* Engine work in flight: at most one. */
    struct engine_request request;
    void (*continuation)(struct call *call);
    void *handler_data; /* the handler's own, between submit and continuation */
    /* server.c's own. */
    void *server;
};

/* "Not Found" for 404: the reason phrase, and a problem's title. */
const char *http_reason(int status);

/* Replies: exactly one a call. The text must live as long as the call: it is static or from the call's arena. */
void call_reply_json(struct call *call, int status, const struct json_writer *writer);
void call_reply_text(struct call *call, int status, const char *content_type, struct bytes text);
void call_reply_empty(struct call *call, int status);
/* Adds a response header; name and value must live as long as the call. Before the reply. */
void call_header(struct call *call, const char *name, const char *value);

/* application/problem+json, or what the path's dialect makes of it. code is stable and machine-readable, detail says what to do. */
void call_reply_problem(struct call *call, int status, const char *code, const char *detail_format, ...)
    PRINTF_LIKE(4, 5);
/* The same with a list of field errors. */
void call_reply_field_errors(struct call *call, int status, const char *code, const struct field_errors *errors,
                             const char *detail);
/* The same for a body that is no JSON: names the byte offset. */
void call_reply_json_fault(struct call *call, const struct json_reader *reader);
/* The problem that fits a failed engine submission or commit: 503 with Retry-After, 413, ... */
void call_reply_engine_status(struct call *call, enum status status);

/* Hands call->request to the engine; `continuation` runs on this loop when it is done. Where the engine refuses, the
 * reply is made here and false returned. */
bool call_submit(struct call *call, void (*continuation)(struct call *call));
/* A frame of its own for call_submit(): a buffer of `capacity` bytes from the arena. */
struct pack_writer call_frame(struct call *call, size_t capacity);
/* Fills call->request for a write of what `writer` holds, a read of the state, of the log. */
void call_set_write(struct call *call, const struct pack_writer *writer, uint32_t record_count, uint8_t *outcomes);
void call_set_read(struct call *call, void (*read)(const struct state *state, void *context), void *context);
void call_set_scan(struct call *call, void (*scan)(const struct log_reader_options *log, void *context), void *context);
/* After a write of definitions: call->catalog becomes the newest. */
void call_refresh_catalog(struct call *call);
/* For the counters: events of one request, and how many of them were refused. */
void call_count_events(struct call *call, uint64_t received, uint64_t rejected);

/* Path and query of a target, copied to the arena: well-formed percent-encoded UTF-8 without NUL, or a reply of 400 or 414. */
bool call_set_target(struct call *call, struct bytes target);
/* One piece of path or query without its percent-encoding, in the arena ('+' is a space where plus_is_space). */
bool call_decode(struct call *call, struct bytes text, bool plus_is_space, struct bytes *out_text);
/* The value of a query parameter, percent-decoded ('+' is a space) in the arena; false where it is missing. */
bool call_query(struct call *call, const char *name, struct bytes *out_value);
/* Replies 422 and returns false where a query parameter is none of `names` (NULL-terminated). */
bool call_query_only(struct call *call, const char *const *names);
/* Walks all query parameters in order, decoded. `*position` starts at 0. */
bool call_query_next(struct call *call, size_t *position, struct bytes *out_name, struct bytes *out_value);
/* The body as one msgpack document in the arena, whether JSON or msgpack. Replies and returns false on a fault. */
bool call_document(struct call *call, struct bytes *out_document);

#endif
