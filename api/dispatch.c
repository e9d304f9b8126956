/* dispatch.c: from a request as it came to its handler: every check on the way, in order.
 *
 *   origin       204        a browser's preflight is answered here, where its page may call (cors.h)
 *   framing      400, 431   a head that two parsers could read in two ways is refused whole
 *   target       400, 414   call_set_target()
 *   route        404, 405   route_find()
 *   token        400, 401, 403   auth_check()
 *   engine       503        writes are refused before their body is looked at, while the engine takes none
 *   media type   415
 *   body         400, 413   size, then gzip with a bound on what it unpacks to
 */
#define ZLIB_CONST /* its input is const */
#include <zlib.h>

#include "api/cors.h"
#include "api/dispatch.h"
#include "api/routes.h"
#include "api/trace.h"
#include "engine/limits.h"

#define HEAD_SIZE_MAX    (16u * 1024)
#define HEADER_COUNT_MAX 64u

static bool head_check(struct call *call, const struct call_input *input)
{
    if (input->head_size > HEAD_SIZE_MAX || input->header_count > HEADER_COUNT_MAX) {
        call_reply_problem(call, 431, "headers_too_large", "the most is %u bytes in %u headers",
                           HEAD_SIZE_MAX, HEADER_COUNT_MAX);
        return false;
    }
    if (input->framing_fault != NULL) {
        call_reply_problem(call, 400, "bad_request", "%s", input->framing_fault);
        return false;
    }
    if (input->authorization_count > 1) {
        call_reply_problem(call, 400, "bad_request",
                           "there must be one Authorization header, not %u",
                           input->authorization_count);
        return false;
    }
    return true;
}

static bool engine_check(struct call *call, const struct route *route)
{
    if (!route->is_write || engine_admit_write(call->engine)) {
        return true;
    }
    atomic_fetch_add_explicit(&call->api->overload_refused, 1, memory_order_relaxed);
    if (engine_healthy(call->engine) && engine_disk_full(call->engine)) {
        call_reply_engine_status(call, STATUS_NO_SPACE);
        return false;
    }
    call_header(call, "retry-after", "1");
    if (engine_healthy(call->engine)) {
        call_reply_problem(call, 503, "overloaded",
                           "the server cannot take writes now; nothing was stored");
    } else {
        call_reply_problem(call, 503, "storage_failed",
                           "the storage failed; nothing of this request was stored");
    }
    return false;
}

/* Media types, by what stands before any ';'. */
struct media_type {
    const char *name; /* lower case */
    enum content_type type;
};

static const struct media_type media_types[] = {
    {"application/json",        CONTENT_JSON   },
    {"application/x-ndjson",    CONTENT_NDJSON },
    {"application/ndjson",      CONTENT_NDJSON },
    {"application/msgpack",     CONTENT_MSGPACK},
    {"application/x-msgpack",   CONTENT_MSGPACK},
    {"application/vnd.msgpack", CONTENT_MSGPACK},
};

static bool equals_ignoring_case(struct bytes text, const char *lower)
{
    if (text.size != strlen(lower)) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        const uint8_t character = text.data[i];
        if ((character >= 'A' && character <= 'Z' ? character | 0x20 : character) !=
            (uint8_t)lower[i]) {
            return false;
        }
    }
    return true;
}

static enum content_type content_type_parse(struct bytes header)
{
    if (header.size == 0) {
        return CONTENT_NONE;
    }
    size_t size = 0;
    while (size < header.size && header.data[size] != ';' && header.data[size] != ' ') {
        size++;
    }
    for (size_t i = 0; i < COUNT_OF(media_types); i++) {
        if (equals_ignoring_case(bytes_of(header.data, size), media_types[i].name)) {
            return media_types[i].type;
        }
    }
    return CONTENT_OTHER;
}

/* A DELETE may have one: it says what of a thing goes. */
static bool has_body(const struct call *call, const struct call_input *input)
{
    if (call->method == HTTP_DELETE) {
        return input->body.size != 0;
    }
    return call->method == HTTP_POST || call->method == HTTP_PUT || call->method == HTTP_PATCH;
}

static bool media_type_check(struct call *call, const struct call_input *input)
{
    call->content_type = content_type_parse(input->content_type);
    if (call->content_type == CONTENT_OTHER && call->dialect != NULL && call->dialect->takes_any_type) {
        call->content_type = CONTENT_JSON;
    }
    if (!has_body(call, input) || call->content_type != CONTENT_OTHER) {
        return true;
    }
    call_reply_problem(call, 415, "unsupported_media_type",
                       "send the body with 'Content-Type: application/json'");
    return false;
}

static void reply_too_large(struct call *call, const char *what, unsigned most)
{
    call_reply_problem(call, 413, "body_too_large", "%s is larger than %u bytes", what, most);
}

enum unpack_result {
    UNPACK_DONE,
    UNPACK_FULL,
    UNPACK_BROKEN,
};

/* The whole of one gzip member into `out`. */
static enum unpack_result gzip_unpack(struct bytes packed, uint8_t *out, size_t capacity,
                                      size_t *out_size)
{
    z_stream stream = {.next_in = packed.data, .avail_in = (uInt)packed.size};
    if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) { /* 16: gzip, and nothing else */
        return UNPACK_BROKEN;
    }
    stream.next_out = out;
    stream.avail_out = (uInt)capacity;
    const int result = inflate(&stream, Z_FINISH);
    const bool is_whole = result == Z_STREAM_END && stream.avail_in == 0;
    const bool is_full = result != Z_STREAM_END && stream.avail_out == 0 && result != Z_DATA_ERROR;
    *out_size = stream.total_out;
    (void)inflateEnd(&stream);
    return is_whole ? UNPACK_DONE : is_full ? UNPACK_FULL : UNPACK_BROKEN;
}

/* The size that a gzip member says it has, in its last 4 bytes: believed as a first guess only. */
static size_t gzip_guess(struct bytes packed)
{
    const size_t said = packed.size >= 4 ? load_u32(packed.data + packed.size - 4) : 0;
    return said < LIMIT_BODY_UNPACKED ? said : LIMIT_BODY_UNPACKED;
}

static bool body_unpack(struct call *call, struct bytes packed)
{
    /* One byte more than allowed, so that a full buffer means too much. */
    const size_t capacities[] = {gzip_guess(packed) + 1, LIMIT_BODY_UNPACKED + 1};
    enum unpack_result result = UNPACK_FULL;
    for (size_t i = 0; i < COUNT_OF(capacities) && result == UNPACK_FULL; i++) {
        uint8_t *out = arena_take(&call->arena, capacities[i] + JSON_PADDING);
        if (out == NULL) {
            call_reply_engine_status(call, STATUS_NO_MEMORY);
            return false;
        }
        size_t size = 0;
        result = gzip_unpack(packed, out, capacities[i], &size);
        call->body = bytes_of(out, size);
    }
    if (result == UNPACK_BROKEN) {
        call_reply_problem(call, 400, "bad_gzip", "the body is not one whole gzip member");
        return false;
    }
    if (result == UNPACK_FULL || call->body.size > LIMIT_BODY_UNPACKED) {
        reply_too_large(call, "the unpacked body", LIMIT_BODY_UNPACKED);
        return false;
    }
    return true;
}

static bool body_take(struct call *call, const struct call_input *input)
{
    static const uint8_t nothing[JSON_PADDING];
    call->body = bytes_of(nothing, 0);
    if (!has_body(call, input)) {
        return true;
    }
    if (input->body.size > LIMIT_BODY) {
        reply_too_large(call, "the body", LIMIT_BODY);
        return false;
    }
    if (equals_ignoring_case(input->content_encoding, "gzip")) {
        return body_unpack(call, input->body);
    }
    if (input->content_encoding.size != 0 &&
        !equals_ignoring_case(input->content_encoding, "identity")) {
        call_header(call, "accept-encoding", "gzip");
        call_reply_problem(call, 415, "unsupported_encoding",
                           "the one Content-Encoding understood here is gzip");
        return false;
    }
    if (input->body_is_padded || input->body.size == 0) {
        call->body = input->body.size != 0 ? input->body : call->body;
        return true;
    }
    uint8_t *copy = arena_take(&call->arena, input->body.size + JSON_PADDING);
    if (copy == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return false;
    }
    memcpy(copy, input->body.data, input->body.size);
    memset(copy + input->body.size, 0, JSON_PADDING);
    call->body = bytes_of(copy, input->body.size);
    return true;
}

/* Headers that a handler may want after it has waited for the engine, when the request may be gone. */
static bool headers_keep(struct call *call, const struct call_input *input)
{
    const struct bytes from[] = {input->accept, input->if_match, input->if_none_match,
                                 input->idempotency_key, input->last_event_id};
    struct bytes *const into[] = {&call->accept, &call->if_match, &call->if_none_match,
                                  &call->idempotency_key, &call->last_event_id};
    for (size_t i = 0; i < COUNT_OF(from); i++) {
        const char *copy = from[i].size != 0 ? arena_copy(&call->arena, from[i]) : "";
        if (copy == NULL) {
            call_reply_engine_status(call, STATUS_NO_MEMORY);
            return false;
        }
        *into[i] = bytes_of(copy, from[i].size);
    }
    return true;
}

void call_run(struct call *call, const struct call_input *input)
{
    call->method = http_method_parse(input->method);
    call->token = CATALOG_NONE;
    trace_identify(call, input->request_id, input->trace_parent);
    call->origin = input->origin;
    call->dialect = dialect_find(input->target); /* for what is refused before the path is known */
    const bool is_preflight = cors_begin(call, input);
    if (!head_check(call, input) || !call_set_target(call, input->target)) {
        return;
    }
    call->dialect = dialect_find(call->path);
    if (is_preflight) {
        call_reply_empty(call, 204);
        return;
    }
    const struct route *route = route_find(call);
    if (route == NULL) {
        return;
    }
    call->route = route;
    if (auth_check(call, route, input) && engine_check(call, route) &&
        media_type_check(call, input) && body_take(call, input) && headers_keep(call, input)) {
        route->handle(call);
    }
}
