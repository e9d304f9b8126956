/* scanner.h: one thread that reads the log for those who want records back, so that nobody who writes or asks waits for it.
 *
 * Threads      scanner_send() is for any thread. The work runs on the scanner's thread, one piece after the other.
 */
#ifndef ASSAY_ENGINE_SCANNER_H
#define ASSAY_ENGINE_SCANNER_H

#include "engine/base.h"
#include "engine/inbox.h"
#include "engine/io.h"

struct scanner;

struct scanner_options {
    const char *root; /* of the io; must live as long as the scanner */
    enum io_backend backend;
    /* Does what was sent; the node is its again. io is NULL where it could not be opened. */
    void (*run)(void *context, struct inbox_node *node, struct io *io);
    void *context;
};

MUST_USE enum status scanner_open(const struct scanner_options *options, struct scanner **out_scanner);
/* Does what was sent before, then ends. NULL is fine. */
void scanner_close(struct scanner *scanner);
void scanner_send(struct scanner *scanner, struct inbox_node *node);

#endif
