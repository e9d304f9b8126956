/* client.h: as much of an HTTP/1.1 client as a load generator needs.
 *
 * client_reply reads one reply from bytes in whatever pieces they come: a length, chunks, or until the server closes.
 * It keeps the first bytes of the body in the caller's buffer and only counts the rest.
 * client_call is one blocking request on a connection of its own, for the work before a run.
 */
#ifndef ASSAY_BENCH_CLIENT_H
#define ASSAY_BENCH_CLIENT_H

#include "engine/base.h"

#include <netinet/in.h>

struct client_target {
    char host[128]; /* as in the Host header, port included */
    uint16_t port;
    struct sockaddr_in address;
};

/* Understands http://host[:port] with an IPv4 host; a path is refused. */
MUST_USE enum status client_target_parse(const char *url, struct error *error,
                                         struct client_target *out_target);

enum client_state {
    REPLY_STATUS_LINE,
    REPLY_HEADER_LINE,
    REPLY_BODY,        /* `remaining` bytes to come */
    REPLY_BODY_TO_END, /* the body ends with the connection */
    REPLY_CHUNK_SIZE,
    REPLY_CHUNK_END, /* the line end behind a chunk */
    REPLY_TRAILER,
    REPLY_DONE,
    REPLY_BAD,
};

struct client_reply {
    enum client_state state;
    unsigned status;
    bool chunked;
    bool has_length;
    bool closes;        /* the server ends the connection after this reply */
    uint64_t remaining; /* of the body or chunk */
    uint64_t size;      /* bytes fed, headers included */
    char *body;         /* the caller's; the first body_capacity bytes are kept */
    size_t body_size;
    size_t body_capacity;
    size_t line_size;
    char line[1024]; /* a line that came in pieces; what does not fit is dropped */
};

void client_reply_begin(struct client_reply *reply, char *body, size_t body_capacity);
/* Takes bytes up to the end of the reply, and says how many; the state tells whether it is done. */
size_t client_reply_feed(struct client_reply *reply, const char *data, size_t size);

struct client_call {
    const char *method;
    const char *path;
    const char *token; /* NULL for none */
    struct bytes body;
    char *reply_body; /* the caller's: filled, cut at its end, and closed by a NUL */
    size_t reply_capacity;
    unsigned reply_status; /* out */
};

/* Sends one request and reads its reply, whatever its status. */
MUST_USE enum status client_call(const struct client_target *target, struct client_call *call,
                                 struct error *error);

/* The value of a string member of the outermost object: copied without decoding escapes. False when there is none. */
bool client_json_text(const char *json, const char *name, char *out_value, size_t capacity);
/* The first whole number that follows `"name":` (no space before the colon); 0 when there is none. */
uint64_t client_json_count(struct bytes json, const char *name);

#endif
