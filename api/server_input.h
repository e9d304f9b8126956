/* server_input.h: a request as libh2o has read it, as the rest of the server takes it. For server.c alone. */
#ifndef ASSAY_API_SERVER_INPUT_H
#define ASSAY_API_SERVER_INPUT_H

#include <h2o.h>

#include "api/dispatch.h"

/* Borrowed from the request. */
struct call_input server_input_of(const h2o_req_t *request);

#endif
