/* head.c: see head.h. */
#include "api/head.h"

/* The length of the head's next line with its end, 0 where there is no whole line. */
static size_t line_size(const char *text, size_t size)
{
    const char *newline = memchr(text, '\n', size);
    return newline != NULL ? (size_t)(newline - text) + 1 : 0;
}

static bool line_names(const char *line, size_t size, const char *name)
{
    const size_t name_size = strlen(name);
    return size > name_size && line[name_size] == ':' && memcmp(line, name, name_size) == 0;
}

const char *head_fault(const char *text, size_t size, size_t *out_head_size)
{
    unsigned lengths = 0;
    unsigned encodings = 0;
    size_t at = line_size(text, size); /* the request line */
    for (size_t step = at; step != 0; at += step) {
        const char *line = text + at;
        step = line_size(line, size - at);
        if (step == 0 || line[0] == '\n' || (line[0] == '\r' && step == 2)) {
            *out_head_size = at + step;
            return lengths + encodings > 1
                       ? "there must be one Content-Length or one Transfer-Encoding"
                       : NULL;
        }
        if (line[0] == ' ' || line[0] == '\t' || line[0] == ':') {
            *out_head_size = at;
            return "a header must have a name and stand on one line";
        }
        lengths += line_names(line, step, "content-length");
        encodings += line_names(line, step, "transfer-encoding");
    }
    *out_head_size = at;
    return NULL;
}
