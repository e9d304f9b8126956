/* sim_pages.c: copy-on-write pages with a count of their holders. */
#include "tests/support/sim_pages.h"

#include <stdatomic.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct sim_page {
    atomic_size_t holders;
    uint8_t bytes[SIM_PAGE_SIZE];
};

static void page_release(struct sim_page *page)
{
    if (page != NULL && atomic_fetch_sub(&page->holders, 1) == 1) {
        free(page);
    }
}

static struct sim_page *page_hold(struct sim_page *page)
{
    if (page != NULL) {
        atomic_fetch_add(&page->holders, 1);
    }
    return page;
}

static void content_reach(struct sim_content *content, size_t page_count)
{
    if (page_count <= content->page_count) {
        return;
    }
    struct sim_page **pages = realloc(content->pages, page_count * sizeof(struct sim_page *));
    assert(pages != NULL);
    for (size_t i = content->page_count; i < page_count; i++) {
        pages[i] = NULL;
    }
    content->pages = pages;
    content->page_count = page_count;
}

/* The page at `index`, to be written to: nobody else holds it. */
static struct sim_page *page_own(struct sim_content *content, size_t index)
{
    struct sim_page *page = content->pages[index];
    if (page != NULL && atomic_load(&page->holders) == 1) {
        return page;
    }
    struct sim_page *own = malloc(sizeof(*own));
    assert(own != NULL);
    atomic_init(&own->holders, 1);
    if (page != NULL) {
        memcpy(own->bytes, page->bytes, SIM_PAGE_SIZE);
    } else {
        memset(own->bytes, 0, SIM_PAGE_SIZE);
    }
    page_release(page);
    content->pages[index] = own;
    return own;
}

static void page_write(struct sim_content *content, size_t index, size_t start,
                       const uint8_t *bytes, size_t size)
{
    if (bytes != NULL) {
        memcpy(page_own(content, index)->bytes + start, bytes, size);
    } else if (size == SIM_PAGE_SIZE) {
        page_release(content->pages[index]);
        content->pages[index] = NULL;
    } else if (content->pages[index] != NULL) {
        memset(page_own(content, index)->bytes + start, 0, size);
    }
}

void sim_content_write(struct sim_content *content, uint64_t offset, const uint8_t *bytes,
                       uint64_t size)
{
    content_reach(content, (size_t)(round_up(offset + size, SIM_PAGE_SIZE) / SIM_PAGE_SIZE));
    uint64_t at = offset;
    while (at < offset + size) {
        size_t start = (size_t)(at % SIM_PAGE_SIZE);
        size_t piece = size_min(SIM_PAGE_SIZE - start, (size_t)(offset + size - at));
        const uint8_t *from = bytes != NULL ? bytes + (at - offset) : NULL;
        page_write(content, (size_t)(at / SIM_PAGE_SIZE), start, from, piece);
        at += piece;
    }
}

size_t sim_content_read(const struct sim_content *content, uint64_t offset, void *buffer,
                        size_t size)
{
    if (offset >= content->size) {
        return 0;
    }
    if (size > content->size - offset) {
        size = (size_t)(content->size - offset);
    }
    uint8_t *to = buffer;
    size_t done = 0;
    while (done < size) {
        size_t index = (size_t)((offset + done) / SIM_PAGE_SIZE);
        size_t start = (size_t)((offset + done) % SIM_PAGE_SIZE);
        size_t piece = size_min(SIM_PAGE_SIZE - start, size - done);
        const struct sim_page *page = index < content->page_count ? content->pages[index] : NULL;
        if (page != NULL) {
            memcpy(to + done, page->bytes + start, piece);
        } else {
            memset(to + done, 0, piece);
        }
        done += piece;
    }
    return size;
}

void sim_content_set_size(struct sim_content *content, uint64_t size)
{
    size_t whole = (size_t)(size / SIM_PAGE_SIZE);
    size_t rest = (size_t)(size % SIM_PAGE_SIZE);
    size_t kept = whole + (rest > 0 ? 1 : 0);
    for (size_t i = kept; i < content->page_count; i++) {
        page_release(content->pages[i]);
        content->pages[i] = NULL;
    }
    content->page_count = size_min(content->page_count, kept);
    if (rest > 0 && whole < content->page_count) {
        page_write(content, whole, rest, NULL, SIM_PAGE_SIZE - rest);
    }
    content->size = size;
}

void sim_content_share(struct sim_content *to, const struct sim_content *from, uint64_t offset,
                       uint64_t size)
{
    content_reach(to, (size_t)(round_up(offset + size, SIM_PAGE_SIZE) / SIM_PAGE_SIZE));
    uint64_t at = offset;
    while (at < offset + size) {
        size_t index = (size_t)(at / SIM_PAGE_SIZE);
        size_t start = (size_t)(at % SIM_PAGE_SIZE);
        size_t piece = size_min(SIM_PAGE_SIZE - start, (size_t)(offset + size - at));
        struct sim_page *page = index < from->page_count ? from->pages[index] : NULL;
        if (piece == SIM_PAGE_SIZE) {
            page_hold(page);
            page_release(to->pages[index]);
            to->pages[index] = page;
        } else {
            page_write(to, index, start, page != NULL ? page->bytes + start : NULL, piece);
        }
        at += piece;
    }
}

void sim_content_copy(struct sim_content *to, const struct sim_content *from)
{
    struct sim_content copy = {.size = from->size};
    content_reach(&copy, from->page_count);
    for (size_t i = 0; i < from->page_count; i++) {
        copy.pages[i] = page_hold(from->pages[i]);
    }
    sim_content_deinit(to);
    *to = copy;
}

void sim_content_deinit(struct sim_content *content)
{
    for (size_t i = 0; i < content->page_count; i++) {
        page_release(content->pages[i]);
    }
    free(content->pages);
    *content = (struct sim_content){0};
}

uint64_t sim_content_hash(const struct sim_content *content)
{
    /* A page of zeros must count the same whether it is there or not. */
    static const uint8_t zeros[SIM_PAGE_SIZE];
    uint64_t hash = content->size;
    for (size_t i = 0; i < content->page_count; i++) {
        const struct sim_page *page = content->pages[i];
        if (page != NULL && memcmp(page->bytes, zeros, SIM_PAGE_SIZE) != 0) {
            hash += XXH3_64bits_withSeed(page->bytes, SIM_PAGE_SIZE, i + 1);
        }
    }
    return hash;
}
