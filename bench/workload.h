/* workload.h: what is sent: the table of workloads, and requests that cost next to nothing to make.
 *
 * A request is built once for each connection, head and body, with every changing part at a fixed place and of a fixed
 * width (event ids, user ids, times, amounts). Making the next one overwrites those places and nothing else, so the
 * generator is not what a run measures. Event ids are never repeated, but for the share asked for as duplicates.
 *
 * Life cycle   plan_open -> plan_prepare (talks to the server) -> for each repetition: plan_renew, then a source a
 *              thread, then a request a connection.
 * Threads      A plan is read-only while threads run. A source and its requests belong to one thread.
 */
#ifndef ASSAY_BENCH_WORKLOAD_H
#define ASSAY_BENCH_WORKLOAD_H

#include "bench/client.h"
#include "bench/options.h"

struct workload; /* a row of the table */
struct workload_plan;
struct workload_source;

struct workload_request {
    char *data; /* the whole request, head and body */
    size_t size;
    struct request_slot *slots; /* the changing places, one for each event */
};

/* The row by its name, or NULL. */
const struct workload *workload_find(const char *name);
/* The row by its place, or NULL behind the last. */
const struct workload *workload_at(size_t index);
const char *workload_name(const struct workload *workload);
const char *workload_summary(const struct workload *workload);

MUST_USE enum status workload_plan_open(const struct workload *workload,
                                        const struct options *options,
                                        const struct client_target *target, struct error *error,
                                        struct workload_plan **out_plan);
/* Creates the experiment where it is absent and assigns the users, as far as the workload needs them. */
MUST_USE enum status workload_plan_prepare(struct workload_plan *plan, struct error *error);
/* Chooses a new prefix for ids, so that repetitions never send one another's. */
void workload_plan_renew(struct workload_plan *plan);
uint64_t
workload_plan_events(const struct workload_plan *plan); /* in one request; 0 where there are none */
size_t workload_plan_request_size(const struct workload_plan *plan);
void workload_plan_close(struct workload_plan *plan); /* NULL is fine */

MUST_USE enum status workload_source_open(const struct workload_plan *plan, unsigned thread,
                                          struct workload_source **out_source);
void workload_source_close(struct workload_source *source); /* NULL is fine */
MUST_USE enum status workload_request_init(const struct workload_source *source,
                                           struct workload_request *request);
void workload_request_deinit(struct workload_request *request);
/* Turns the request into the next one: new ids, users, times. Not while it is being sent. */
void workload_request_next(struct workload_source *source, struct workload_request *request);
/* A number in [0, 1) of the source's own sequence. */
double workload_source_random(struct workload_source *source);

#endif
