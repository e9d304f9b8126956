/* plot.c: see plot.h. */
#include "tools/plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The characters of a plot, each one column wide. */
struct glyphs {
    const char *zero;
    const char *left;
    const char *line;
    const char *right;
    const char *value;
    const char *levels[8];
};

static const struct glyphs *glyphs(void)
{
    static const struct glyphs wide = {"│", "├", "─", "┤", "●", {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"}};
    static const struct glyphs plain = {"|", "[", "-", "]", "o", {"_", "_", ".", ".", "-", "-", "=", "#"}};
    static const char *const variables[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < COUNT_OF(variables); i++) {
        const char *value = getenv(variables[i]);
        if (value != NULL && *value != '\0') {
            return strstr(value, "UTF-8") != NULL || strstr(value, "utf8") != NULL ? &wide : &plain;
        }
    }
    return &plain;
}

static uint32_t column_of(struct plot_scale scale, double value)
{
    const double place = (value - scale.low) / (scale.high - scale.low) * (PLOT_WIDTH - 1);
    return place <= 0.0 ? 0 : place >= PLOT_WIDTH - 1 ? PLOT_WIDTH - 1 : (uint32_t)lround(place);
}

static const char *cells_join(const char *const cells[PLOT_WIDTH], uint32_t count, char out_text[PLOT_TEXT_SIZE])
{
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        const size_t more = strlen(cells[i]);
        assert(size + more < PLOT_TEXT_SIZE);
        memcpy(out_text + size, cells[i], more);
        size += more;
    }
    out_text[size] = '\0';
    return out_text;
}

const char *plot_interval(struct plot_scale scale, double low, double value, double high, char out_text[PLOT_TEXT_SIZE])
{
    const struct glyphs *g = glyphs();
    const char *cells[PLOT_WIDTH];
    for (uint32_t i = 0; i < PLOT_WIDTH; i++) {
        cells[i] = " ";
    }
    cells[column_of(scale, 0.0)] = g->zero;
    if (!isnan(low) && !isnan(high)) {
        for (uint32_t i = column_of(scale, low); i <= column_of(scale, high); i++) {
            cells[i] = g->line;
        }
        cells[column_of(scale, low)] = g->left;
        cells[column_of(scale, high)] = g->right;
    }
    if (!isnan(value)) {
        cells[column_of(scale, value)] = g->value;
    }
    return cells_join(cells, PLOT_WIDTH, out_text);
}

const char *plot_axis(struct plot_scale scale, char out_text[PLOT_TEXT_SIZE])
{
    char low[32];
    char high[32];
    (void)snprintf(low, sizeof(low), "%+.0f %%", 100.0 * scale.low);
    (void)snprintf(high, sizeof(high), "%+.0f %%", 100.0 * scale.high);
    memset(out_text, ' ', PLOT_WIDTH);
    out_text[PLOT_WIDTH] = '\0';
    const uint32_t zero = column_of(scale, 0.0);
    const size_t low_size = scale.low < 0.0 ? strlen(low) : 0;
    const size_t high_size = scale.high > 0.0 ? strlen(high) : 0;
    if (low_size + 1 <= zero) {
        memcpy(out_text, low, low_size);
    }
    if (zero + 1 + high_size < PLOT_WIDTH) {
        memcpy(out_text + PLOT_WIDTH - high_size, high, high_size);
    }
    out_text[zero] = '0';
    return out_text;
}

const char *plot_series(const double *values, uint32_t count, char out_text[PLOT_TEXT_SIZE])
{
    const struct glyphs *g = glyphs();
    const char *cells[PLOT_WIDTH];
    const uint32_t columns = count < PLOT_WIDTH ? count : PLOT_WIDTH;
    struct plot_scale scale = {INFINITY, -INFINITY};
    for (uint32_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            scale.low = fmin(scale.low, values[i]);
            scale.high = fmax(scale.high, values[i]);
        }
    }
    if (scale.low > scale.high) {
        out_text[0] = '\0';
        return out_text;
    }
    for (uint32_t i = 0; i < columns; i++) {
        const double value = values[(uint64_t)(i + 1) * count / columns - 1];
        const double share = scale.high > scale.low ? (value - scale.low) / (scale.high - scale.low) : 0.5;
        cells[i] = isnan(value) ? " " : g->levels[(size_t)(share * 7.0 + 0.5)];
    }
    return cells_join(cells, columns, out_text);
}

uint32_t terminal_columns(void)
{
    struct winsize size;
    if (isatty(STDOUT_FILENO) == 0) {
        return UINT32_MAX;
    }
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

bool terminal_has_colors(void)
{
    const char *refused = getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) != 0 && (refused == NULL || *refused == '\0');
}
