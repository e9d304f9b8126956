/* terminal.c: see terminal.h. */
#include "tools/terminal.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define DRAW_TERMINAL_US 100000
#define DRAW_PLAIN_US    5000000

static int64_t now_us(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000ll + time.tv_nsec / 1000;
}

enum exit_code complain(enum exit_code code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fputs("assay: ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
    return code;
}

void note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
}

const char *number_text(uint64_t number, char out_text[NUMBER_TEXT_SIZE])
{
    char digits[NUMBER_TEXT_SIZE];
    const size_t count =
        (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && (count - i) % 3 == 0) {
            out_text[size++] = ',';
        }
        out_text[size++] = digits[i];
    }
    out_text[size] = '\0';
    return out_text;
}

void progress_begin(struct progress *progress, const char *what, const char *unit, uint64_t total)
{
    *progress = (struct progress){.what = what, .unit = unit, .total = total};
    progress->started_us = now_us();
    progress->drawn_us = progress->started_us;
    progress->is_terminal = isatty(STDERR_FILENO) == 1;
}

static void progress_draw(const struct progress *progress, uint64_t done, int64_t time_us)
{
    char done_text[NUMBER_TEXT_SIZE];
    char total_text[NUMBER_TEXT_SIZE];
    char rate_text[NUMBER_TEXT_SIZE];
    const double seconds = (double)(time_us - progress->started_us) / 1e6;
    const double rate = seconds > 0.001 ? (double)done / seconds : 0.0;
    (void)fprintf(stderr, "%s%s: %s", progress->is_terminal ? "\r\033[K" : "", progress->what,
                  number_text(done, done_text));
    if (progress->total != 0) {
        (void)fprintf(stderr, " of %s", number_text(progress->total, total_text));
    }
    (void)fprintf(stderr, " %s", progress->unit);
    if (rate >= 1.0) {
        (void)fprintf(stderr, ", %s a second", number_text((uint64_t)rate, rate_text));
    }
    if (rate >= 1.0 && progress->total > done) {
        (void)fprintf(stderr, ", %.0f s left", (double)(progress->total - done) / rate);
    } else if (progress->total <= done) {
        (void)fprintf(stderr, ", %.1f s", seconds);
    }
    if (!progress->is_terminal) {
        (void)fputc('\n', stderr);
    }
    (void)fflush(stderr);
}

void progress_show(struct progress *progress, uint64_t done)
{
    const int64_t time_us = now_us();
    if (time_us - progress->drawn_us < (progress->is_terminal ? DRAW_TERMINAL_US : DRAW_PLAIN_US)) {
        return;
    }
    progress->drawn_us = time_us;
    progress->is_drawn = progress->is_terminal;
    progress_draw(progress, done, time_us);
}

void progress_end(struct progress *progress, uint64_t done)
{
    progress_draw(progress, done, now_us());
    if (progress->is_terminal) {
        (void)fputc('\n', stderr);
    }
    progress->is_drawn = false;
}

size_t text_width(struct bytes text)
{
    size_t width = 0;
    for (size_t i = 0; i < text.size; i++) {
        width += (text.data[i] & 0xc0) != 0x80;
    }
    return width;
}

void print_padded(struct bytes text, size_t width)
{
    const size_t own = text_width(text);
    (void)printf("%.*s%*s", (int)text.size, (const char *)text.data,
                 (int)(own < width ? width - own : 0), "");
}
