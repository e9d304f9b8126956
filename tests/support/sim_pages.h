/* sim_pages.h: the bytes of a simulated file, in shared pages: a copy copies pointers, a write copies the page it
 * touches, and a page of zeros is no page at all.
 *
 * `size` bounds what is read. Writing does not move it: a crash may put bytes behind the end of a file, where nobody
 * sees them unless the size follows. Contents that share pages may belong to different threads.
 */
#ifndef ASSAY_TESTS_SIM_PAGES_H
#define ASSAY_TESTS_SIM_PAGES_H

#include "engine/base.h"

#define SIM_PAGE_SIZE 4096u

struct sim_page;

/* All zeros is an empty one. */
struct sim_content {
    struct sim_page **pages;
    size_t page_count;
    uint64_t size;
};

/* `bytes` may be NULL: zeros. */
void sim_content_write(struct sim_content *content, uint64_t offset, const uint8_t *bytes,
                       uint64_t size);
/* Returns how many bytes there were before the end. */
size_t sim_content_read(const struct sim_content *content, uint64_t offset, void *buffer,
                        size_t size);
/* Whatever was written at or behind the new size is gone. */
void sim_content_set_size(struct sim_content *content, uint64_t size);
/* Makes a range of `to` like `from`, behind the end too. */
void sim_content_share(struct sim_content *to, const struct sim_content *from, uint64_t offset,
                       uint64_t size);
/* `to` is empty, or is emptied. */
void sim_content_copy(struct sim_content *to, const struct sim_content *from);
void sim_content_deinit(struct sim_content *content);
uint64_t sim_content_hash(const struct sim_content *content);

#endif
