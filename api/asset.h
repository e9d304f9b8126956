/* asset.h: the files of the dashboard, as they lie in the binary. The table is made by dashboard/embed.mjs when assay is built;
 * without a dashboard it is dashboard/assets_none.c's, which is empty.
 */
#ifndef ASSAY_API_ASSET_H
#define ASSAY_API_ASSET_H

#include "engine/base.h"

struct asset {
    const char *name; /* under /assets/; "" is the page itself */
    const char *content_type;
    const char *etag; /* with its quotes */
    bool is_gzip;     /* packed: all but the page */
    struct bytes data;
};

extern const struct asset assets[];
extern const size_t asset_count;

#endif
