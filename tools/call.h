/* call.h: what most commands of a running server have in common: a client, memory, one request after the other, and an answer that
 * is printed as JSON or as a table.
 */
#ifndef ASSAY_TOOLS_CALL_H
#define ASSAY_TOOLS_CALL_H

#include "engine/arena.h"
#include "tools/client.h"

struct server_call {
    struct client *client;
    struct arena arena;
    struct error error;
    enum status status; /* of the last step */
};

/* False where it could not: end it all the same, its exit code says why. */
bool server_call_begin(struct server_call *call, const struct client_options *options);
/* One request; `body` NULL: none. False after a failure. */
bool server_call_send(struct server_call *call, const char *method, const char *path, const char *body, struct bytes *out_document);
/* "/experiments/%s/history" with one argument percent-encoded. NULL after a failure. */
const char *server_call_path(struct server_call *call, const char *before, const char *name, const char *after);
/* Every item of a paged list, as visit sees fit. False after a failure. */
bool server_call_list(struct server_call *call, const char *path, const char *member,
                      void (*visit)(void *context, struct server_call *call, struct bytes item), void *context);
/* Says what went wrong, if anything did, and ends it. */
enum exit_code server_call_end(struct server_call *call);

/* As a line of JSON. */
void document_print(struct arena *arena, struct bytes document);
/* A member as text: what it says, a number, true, false, or "-". In the arena, or static. */
const char *member_text(struct arena *arena, struct bytes document, const char *path);

#endif
