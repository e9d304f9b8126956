/* scanner.c: see scanner.h. */
#include "engine/scanner.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct scanner {
    struct scanner_options options;
    struct inbox inbox;
    pthread_t thread;
    _Atomic bool stopping;
};

static void *scanner_main(void *context)
{
    struct scanner *scanner = context;
    struct error error;
    struct io *io = NULL;
    if (io_open(scanner->options.backend, scanner->options.root, &error, &io) != STATUS_OK) {
        io = NULL;
    }
    while (!atomic_load(&scanner->stopping) || !inbox_is_empty(&scanner->inbox)) {
        struct inbox_node *node = inbox_take(&scanner->inbox);
        if (node == NULL) {
            inbox_wait(&scanner->inbox, -1);
        }
        while (node != NULL) {
            struct inbox_node *next = node->next;
            scanner->options.run(scanner->options.context, node, io);
            node = next;
        }
    }
    io_close(io);
    return NULL;
}

enum status scanner_open(const struct scanner_options *options, struct scanner **out_scanner)
{
    struct scanner *scanner = calloc(1, sizeof(*scanner));
    if (scanner == NULL) {
        return STATUS_NO_MEMORY;
    }
    scanner->options = *options;
    const enum status status = inbox_init(&scanner->inbox, false);
    assert(status == STATUS_OK); /* a futex inbox cannot fail */
    if (pthread_create(&scanner->thread, NULL, scanner_main, scanner) != 0) {
        inbox_deinit(&scanner->inbox);
        free(scanner);
        return STATUS_NO_MEMORY;
    }
    *out_scanner = scanner;
    return STATUS_OK;
}

void scanner_close(struct scanner *scanner)
{
    if (scanner == NULL) {
        return;
    }
    atomic_store(&scanner->stopping, true);
    inbox_wake(&scanner->inbox);
    pthread_join(scanner->thread, NULL);
    inbox_deinit(&scanner->inbox);
    free(scanner);
}

void scanner_send(struct scanner *scanner, struct inbox_node *node)
{
    inbox_send(&scanner->inbox, node);
}
