/* inbox.c: a Treiber stack that is taken whole and turned round. */
#include "engine/inbox.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum status inbox_init(struct inbox *inbox, bool with_event_fd)
{
    atomic_init(&inbox->head, NULL);
    atomic_init(&inbox->sleeping, with_event_fd ? 1 : 0);
    inbox->event_fd = -1;
    if (with_event_fd) {
        inbox->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        return inbox->event_fd >= 0 ? STATUS_OK : STATUS_IO;
    }
    return STATUS_OK;
}

void inbox_deinit(struct inbox *inbox)
{
    if (inbox->event_fd >= 0) {
        close(inbox->event_fd);
        inbox->event_fd = -1;
    }
}

void inbox_wake(struct inbox *inbox)
{
    if (atomic_exchange(&inbox->sleeping, 0) == 0) {
        return;
    }
    if (inbox->event_fd >= 0) {
        const uint64_t one = 1;
        /* Fails only when the counter is full, and then the receiver is awake anyway. */
        (void)!write(inbox->event_fd, &one, sizeof(one));
    } else {
        syscall(SYS_futex, &inbox->sleeping, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

static void inbox_push_chain(struct inbox *inbox, struct inbox_node *newest, struct inbox_node *oldest)
{
    struct inbox_node *head = atomic_load_explicit(&inbox->head, memory_order_relaxed);
    do {
        oldest->next = head;
    } while (!atomic_compare_exchange_weak(&inbox->head, &head, newest));
    inbox_wake(inbox);
}

void inbox_send(struct inbox *inbox, struct inbox_node *node)
{
    inbox_push_chain(inbox, node, node);
}

static struct inbox_node *list_reverse(struct inbox_node *node)
{
    struct inbox_node *reversed = NULL;
    while (node != NULL) {
        struct inbox_node *next = node->next;
        node->next = reversed;
        reversed = node;
        node = next;
    }
    return reversed;
}

void inbox_send_list(struct inbox *inbox, struct inbox_node *first)
{
    if (first != NULL) {
        struct inbox_node *newest = list_reverse(first);
        inbox_push_chain(inbox, newest, first);
    }
}

struct inbox_node *inbox_take(struct inbox *inbox)
{
    if (inbox->event_fd >= 0) {
        uint64_t count;
        (void)!read(inbox->event_fd, &count, sizeof(count));
        /* From here on a sender signals again; whatever was sent before is taken below. */
        atomic_store(&inbox->sleeping, 1);
    }
    return list_reverse(atomic_exchange(&inbox->head, NULL));
}

bool inbox_is_empty(const struct inbox *inbox)
{
    return atomic_load(&inbox->head) == NULL;
}

void inbox_wait(struct inbox *inbox, int64_t timeout_us)
{
    assert(inbox->event_fd < 0);
    atomic_store(&inbox->sleeping, 1);
    if (atomic_load(&inbox->head) == NULL) {
        const struct timespec limit = {timeout_us / 1000000, timeout_us % 1000000 * 1000};
        syscall(SYS_futex, &inbox->sleeping, FUTEX_WAIT_PRIVATE, 1, timeout_us < 0 ? NULL : &limit, NULL, 0);
    }
    atomic_store(&inbox->sleeping, 0);
}
