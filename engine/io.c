/* io.c: choosing a disk, and the two calls for code that does one thing at a time. */
#include "engine/io.h"

enum status io_open(enum io_backend backend, const char *root, struct error *error,
                    struct io **out_io)
{
    switch (backend) {
    case IO_BACKEND_URING:
        return io_uring_open(root, error, out_io);
    case IO_BACKEND_SYNC:
        return io_sync_open(root, error, out_io);
    case IO_BACKEND_AUTO:
        break;
    }
    /* Only a kernel without rings, or one that forbids them, sends us to the other backend: a missing directory is the
     * same trouble for both, and its first message is the one to keep. */
    enum status status = io_uring_open(root, error, out_io);
    return status == STATUS_UNSUPPORTED ? io_sync_open(root, error, out_io) : status;
}

void io_close(struct io *io)
{
    if (io != NULL) {
        io->operations->close(io);
    }
}

static enum status io_do_one(struct io *io, struct io_request *request)
{
    enum status status = io->operations->submit(io, request);
    if (status != STATUS_OK) {
        return status;
    }
    struct io_request *completed = NULL;
    while (completed == NULL) {
        status = io->operations->wait(io, -1, &completed);
        /* A ring that cannot be waited on may still write into the request, which is on our caller's stack: there is no
         * safe way on. */
        assert(status == STATUS_OK);
    }
    assert(completed == request && completed->next == NULL);
    if (request->status != STATUS_OK) {
        io->last_errno = request->error_number;
    }
    return request->status;
}

enum status io_read(struct io *io, int file, void *buffer, size_t size, uint64_t offset,
                    size_t *out_done)
{
    struct io_request request = {
        .kind = IO_READ, .file = file, .buffer = buffer, .size = size, .offset = offset};
    enum status status = io_do_one(io, &request);
    if (status == STATUS_OK) {
        *out_done = request.done;
    }
    return status;
}

enum status io_write_durable(struct io *io, int file, const void *buffer, size_t size,
                             uint64_t offset)
{
    struct io_request request = {.kind = IO_WRITE_DURABLE, .file = file, .size = size};
    request.offset = offset;
    /* The request is one type for both directions; a write never stores through its buffer. */
    memcpy(&request.buffer, &buffer, sizeof(request.buffer));
    return io_do_one(io, &request);
}
