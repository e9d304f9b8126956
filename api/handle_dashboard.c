/* handle_dashboard.c: GET / and GET /assets/{file}: the dashboard, out of the binary.
 *
 * The page names its script and style by their content, so these may be kept for ever and the page itself is asked for anew each
 * time. What the page may do is narrowed to talking with this server.
 */
#include "api/asset.h"
#include "api/routes.h"

static void add_safety_headers(struct call *call)
{
    call_header(call, "content-security-policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
                "base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    call_header(call, "x-content-type-options", "nosniff");
    call_header(call, "referrer-policy", "no-referrer");
}

static void reply_asset(struct call *call, const struct asset *asset)
{
    add_safety_headers(call);
    call_header(call, "etag", asset->etag);
    call->cache_control = asset->is_gzip ? "public, max-age=31536000, immutable" : "no-cache";
    if (bytes_equal_text(call->if_none_match, asset->etag)) {
        call_reply_empty(call, 304);
        return;
    }
    if (asset->is_gzip) {
        call_header(call, "content-encoding", "gzip");
    }
    call_reply_text(call, 200, asset->content_type, asset->data);
}

static const struct asset *asset_find(struct bytes name)
{
    for (size_t i = 0; i < asset_count; i++) {
        if (bytes_equal_text(name, assets[i].name)) {
            return &assets[i];
        }
    }
    return NULL;
}

void handle_dashboard(struct call *call)
{
    static const char absent[] =
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>assay</title></head><body><h1>assay</h1>"
        "<p>This server was built without its dashboard. With nodejs and npm installed (tools/deps does that), build it by "
        "<code>cmake --preset release -DASSAY_DASHBOARD=ON &amp;&amp; cmake --build --preset release</code>.</p>"
        "<p>The API is described at <a href=\"/docs\">/docs</a>.</p></body></html>";
    const struct asset *page = asset_find(bytes_of("", 0));
    if (page != NULL) {
        reply_asset(call, page);
        return;
    }
    add_safety_headers(call);
    call_reply_text(call, 200, "text/html; charset=utf-8", bytes_of(absent, sizeof(absent) - 1));
}

void handle_dashboard_asset(struct call *call)
{
    const struct asset *asset = asset_find(call->parameters[0]);
    if (asset == NULL) {
        call_reply_problem(call, 404, "no_such_path", "the dashboard has no such file");
        return;
    }
    reply_asset(call, asset);
}
