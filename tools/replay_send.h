/* replay_send.h: the events of a log, sent to another server as its clients once sent them to the first.
 *
 * Pace         speed 1: with the pauses they came with (received_at); 10: a tenth of them; 0: as fast as they are taken.
 * Once         An event without an id of its own is given one made of the store's id and its lsn, so events that are
 *              sent again, by a replay that was interrupted too, count once.
 */
#ifndef ASSAY_TOOLS_REPLAY_SEND_H
#define ASSAY_TOOLS_REPLAY_SEND_H

#include "tools/client.h"

struct replay_send {
    const char *source; /* a stopped server's data directory */
    struct client_options client;
    uint64_t speed;
    uint64_t from_lsn;      /* 0: the first */
    int64_t start_us;       /* of the events' own timestamps; INT64_MIN: any */
    int64_t end_us;         /* before it; INT64_MAX: any */
    const char *event_type; /* NULL: all */
};

/* Reports on stdout; complains on stderr. 1: the log is damaged, or the server refused events. An interrupt (Ctrl-C) ends
 * it after the request under way, and says where to go on. */
enum exit_code replay_send(const struct replay_send *options);

#endif
