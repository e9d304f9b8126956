/* server.h: HTTP in front of an engine: N event loops, each a thread with a listener of its own (SO_REUSEPORT).
 *
 * server.c is the only file that knows libh2o. Its duties towards hostile clients (limits, deadlines, what libh2o 2.2.5
 * leaves open) are listed at its top.
 */
#ifndef ASSAY_API_SERVER_H
#define ASSAY_API_SERVER_H

#include "api/policy.h"
#include "api/traffic.h"
#include "engine/base.h"
#include "engine/engine.h"

struct server;

struct server_options {
    const char *host; /* numeric address */
    uint16_t port;    /* 0: any free one */
    int listen_file;  /* a socket that listens already, in the place of the two; -1: none. The caller's to close */
    uint32_t loops;   /* threads; 0: 2, or fewer processors */
    struct policy *policy; /* the server takes a reference */
    struct engine *engine;
    /* For GET /status; may be NULL. */
    const struct engine_info *info;
    const char *directory;
};

/* Counters over all loops, each read atomically. */
struct server_counters {
    uint64_t requests;
    uint64_t connections;     /* open now */
    uint64_t responses[6];    /* by first digit of the status: [2] is 2xx */
    uint64_t overload_refused; /* 503 before the body was looked at */
    uint64_t events_received;  /* in accepted and refused requests alike, as far as they were parsed */
    uint64_t events_rejected;
    struct traffic_view traffic;
};

MUST_USE enum status server_start(const struct server_options *options, struct error *error, struct server **out_server);
uint16_t server_port(const struct server *server);
void server_counters(const struct server *server, struct server_counters *out_counters);
/* From its next turn on each loop goes by this policy. Takes a reference. One thread at a time. */
void server_adopt(struct server *server, struct policy *policy);
/* Stops accepting, finishes what is in flight, ends the threads. Clients have timeout_us to take their answers; work
 * that the engine took is always waited for. NULL is fine. */
void server_stop(struct server *server, int64_t timeout_us);

#endif
