/* plot.h: intervals and time series drawn in characters, for a terminal: block drawing where the locale is UTF-8, else ASCII.
 */
#ifndef ASSAY_TOOLS_PLOT_H
#define ASSAY_TOOLS_PLOT_H

#include "engine/base.h"

#define PLOT_WIDTH     40u
#define PLOT_TEXT_SIZE (PLOT_WIDTH * 4 + 1) /* UTF-8 */

/* Both ends of a scale, low < high. */
struct plot_scale {
    double low;
    double high;
};

/* "   |  |----o---|  " in PLOT_WIDTH columns: the zero line, the interval, the value within it. What is beyond the scale is cut. */
const char *plot_interval(struct plot_scale scale, double low, double value, double high, char out_text[PLOT_TEXT_SIZE]);
/* The scale's ends and its zero below such a plot, as percent. */
const char *plot_axis(struct plot_scale scale, char out_text[PLOT_TEXT_SIZE]);
/* One column a value, at most PLOT_WIDTH of them (the last of each group where there are more); NaN is a gap. Empty where all are. */
const char *plot_series(const double *values, uint32_t count, char out_text[PLOT_TEXT_SIZE]);

/* Columns of stdout where it is a terminal, else UINT32_MAX. */
uint32_t terminal_columns(void);
/* May stdout have colors? It is a terminal, and NO_COLOR is not set. */
bool terminal_has_colors(void);

#endif
