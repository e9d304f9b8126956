/* assets_none.c: the table of files of a server that is built without its dashboard. */
#include "api/asset.h"

const struct asset assets[] = {
    {"", "", "", false, {NULL, 0}},
};

const size_t asset_count = 0;
