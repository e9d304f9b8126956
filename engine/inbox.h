/* inbox.h: a queue from many threads to one, and the waking of that one.
 *
 * Nodes are the sender's memory; sending never allocates and never blocks. inbox_take() hands over everything sent so
 * far, oldest first. The receiver sleeps on a futex (inbox_wait) or, where it has an event loop, on an eventfd.
 */
#ifndef ASSAY_ENGINE_INBOX_H
#define ASSAY_ENGINE_INBOX_H

#include <stdatomic.h>

#include "engine/base.h"

struct inbox_node {
    struct inbox_node *next;
};

struct inbox {
    struct inbox_node *_Atomic head; /* newest first */
    _Atomic uint32_t sleeping;       /* 1 while the receiver waits on the futex, or has not seen the eventfd's signal */
    int event_fd;                    /* -1: futex */
};

/* A futex inbox cannot fail; an eventfd one can (STATUS_IO). */
MUST_USE enum status inbox_init(struct inbox *inbox, bool with_event_fd);
void inbox_deinit(struct inbox *inbox);
void inbox_send(struct inbox *inbox, struct inbox_node *node);
/* The same for a list, linked oldest first: at most one wake. NULL is fine. */
void inbox_send_list(struct inbox *inbox, struct inbox_node *first);
/* Wakes the receiver without sending anything. */
void inbox_wake(struct inbox *inbox);
struct inbox_node *inbox_take(struct inbox *inbox);
bool inbox_is_empty(const struct inbox *inbox);
/* Futex inboxes: sleeps until something is there, somebody wakes, or the time (us; negative: for ever) is over. */
void inbox_wait(struct inbox *inbox, int64_t timeout_us);

#endif
