/* responder.h: the least HTTP server: reads each request whole, answers 200, keeps nothing.
 *
 * It is what the self-test stalls, and the mark that shows how much load the generator itself can make. One thread of
 * its own, loopback only.
 */
#ifndef ASSAY_BENCH_RESPONDER_H
#define ASSAY_BENCH_RESPONDER_H

#include "engine/base.h"

struct responder;

/* Listens on 127.0.0.1; port 0 takes a free one. */
MUST_USE enum status responder_open(uint16_t port, struct error *error,
                                    struct responder **out_responder);
uint16_t responder_port(const struct responder *responder);
/* Answers nothing for so long, once, from now on. Any thread may ask. */
void responder_stall(struct responder *responder, unsigned milliseconds);
void responder_close(struct responder *responder); /* NULL is fine; joins the thread */

#endif
