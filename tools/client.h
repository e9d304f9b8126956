/* client.h: requests to a running server, over one kept-alive connection.
 *
 * Who and where  --url, else ASSAY_URL, else http://127.0.0.1:8080. --token, else the admin-token file of --data DIR, else
 *                ASSAY_TOKEN. An https server's certificate is verified, by the system's authorities or those of ASSAY_CA_FILE.
 * Overload       429 and 503 are waited out, as Retry-After says and for up to CLIENT_PATIENCE_SECONDS, where the request
 *                may be repeated.
 * Errors         The error's text is the server's own explanation (problem+json) and what to do about it.
 * Memory         A reply's body is the client's, until its next request.
 */
#ifndef ASSAY_TOOLS_CLIENT_H
#define ASSAY_TOOLS_CLIENT_H

#include "engine/arena.h"
#include "engine/base.h"
#include "tools/options.h"

#define CLIENT_PATIENCE_SECONDS 60

struct client;

struct client_options {
    const char *url;
    const char *token;
    const char *data;
};

/* The rows that every command of a running server has. */
#define CLIENT_OPTION_COUNT 3u
void client_option_rows(struct client_options *options,
                        struct option_row out_rows[CLIENT_OPTION_COUNT]);

struct client_request {
    const char *method;
    const char *path;         /* with the query, percent-encoded */
    const char *content_type; /* of the body; NULL where there is none */
    struct bytes body;
    bool is_repeatable; /* sent twice it does the same as once */
};

struct client_reply {
    long status;       /* 0: there was none */
    struct bytes body; /* followed by JSON_PADDING readable bytes and a NUL */
};

MUST_USE enum status client_open(const struct client_options *options, struct error *error,
                                 struct client **out_client);
void client_close(struct client *client); /* NULL is fine */
const char *client_url(const struct client *client);
const char *client_token(const struct client *client);

/* STATUS_OK for 2xx. Else the error says what is wrong, and out_reply has what the server said:
 * STATUS_NOT_FOUND 404, STATUS_CONFLICT 409 and 412, STATUS_INVALID 400 and 422, STATUS_TOO_LARGE 413, STATUS_BUSY 429 and
 * 503, STATUS_UNAVAILABLE everything else. */
MUST_USE enum status client_send(struct client *client, const struct client_request *request,
                                 struct error *error, struct client_reply *out_reply);
/* client_send(), and the answer's JSON as a document (answer.h) in the arena. */
MUST_USE enum status client_call(struct client *client, const struct client_request *request,
                                 struct arena *arena, struct error *error,
                                 struct bytes *out_document);

/* One piece of a path, percent-encoded, in the arena. NULL when memory is out. */
const char *client_escape(struct client *client, struct arena *arena, struct bytes text);

#endif
