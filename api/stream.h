/* stream.h: answers without an end, for server-sent events.
 *
 * A handler takes a struct stream from the call's arena, fills in the first part and calls call_reply_stream(). From then on the
 * server asks next() for text about once a second, on the call's loop.
 *
 * Slow readers   next() is not asked while the text before is still on its way, so there is one buffer a stream and no queue:
 *                next() says what is new since it was last asked, and a slow reader misses steps, never the newest state.
 * Its end        The client goes away (found by a failing write, at the latest by a heartbeat), the token is revoked, expires or
 *                loses its scope, or the server stops. LIMIT_STREAMS bounds how many are open; beyond it 503.
 */
#ifndef ASSAY_API_STREAM_H
#define ASSAY_API_STREAM_H

#include "api/http.h"

#define STREAM_TEXT_SIZE 4096u

struct stream {
    unsigned scope; /* that the token must keep */
    /* Writes what is new into out_text (STREAM_TEXT_SIZE bytes) and returns its size; 0 where nothing is. Must be quick. */
    size_t (*next)(struct call *call, struct stream *stream, char *out_text);
    /* The server's own. */
    struct call *call;
    struct stream *next_open;
    uint64_t sent_at_ms;
    bool is_sending;
    bool has_ended;
    char text[STREAM_TEXT_SIZE];
};

/* The call's one reply: 200 and text/event-stream, or a problem with 503 where too many are open. */
void call_reply_stream(struct call *call, struct stream *stream);

#endif
