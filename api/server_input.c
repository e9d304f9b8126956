/* server_input.c: see server_input.h. */
#include "api/server_input.h"

#include "api/head.h"

static struct bytes bytes_of_vector(h2o_iovec_t vector)
{
    return bytes_of(vector.base, vector.len);
}

struct wanted_header {
    const char *name; /* of a token of libh2o, or not */
    size_t offset;    /* of its struct bytes in struct call_input */
};

static const struct wanted_header wanted_headers[] = {
    {"authorization",                 offsetof(struct call_input, authorization)   },
    {"content-type",                  offsetof(struct call_input, content_type)    },
    {"content-encoding",              offsetof(struct call_input, content_encoding)},
    {"accept",                        offsetof(struct call_input, accept)          },
    {"if-match",                      offsetof(struct call_input, if_match)        },
    {"if-none-match",                 offsetof(struct call_input, if_none_match)   },
    {"idempotency-key",               offsetof(struct call_input, idempotency_key) },
    {"last-event-id",                 offsetof(struct call_input, last_event_id)   },
    {"x-api-key",                     offsetof(struct call_input, api_key)         },
    {"origin",                        offsetof(struct call_input, origin)          },
    {"access-control-request-method", offsetof(struct call_input, preflight_method)},
    {"x-request-id",                  offsetof(struct call_input, request_id)      },
    {"traceparent",                   offsetof(struct call_input, trace_parent)    },
};

static void input_take_header(struct call_input *input, const h2o_header_t *header)
{
    const struct bytes name = bytes_of_vector(*header->name);
    for (size_t i = 0; i < COUNT_OF(wanted_headers); i++) {
        if (bytes_equal_text(name, wanted_headers[i].name)) {
            const struct bytes value = bytes_of_vector(header->value);
            memcpy((uint8_t *)input + wanted_headers[i].offset, &value, sizeof(value));
            input->authorization_count += i == 0;
            return;
        }
    }
}

struct call_input server_input_of(const h2o_req_t *request)
{
    struct call_input input = {
        .method = bytes_of_vector(request->input.method),
        .target = bytes_of_vector(request->input.path),
        .body = bytes_of_vector(request->entity),
        .header_count = (uint32_t)request->headers.size,
    };
    for (size_t i = 0; i < request->headers.size; i++) {
        input_take_header(&input, &request->headers.entries[i]);
    }
    const h2o_buffer_t *buffer = request->conn->callbacks->get_socket(request->conn)->input;
    input.framing_fault = head_fault(buffer->bytes, buffer->size, &input.head_size);
    const char *buffer_end = buffer->_buf + buffer->capacity;
    input.body_is_padded =
        request->entity.base != NULL && request->entity.base >= buffer->_buf &&
        request->entity.base <= buffer_end &&
        (size_t)(buffer_end - request->entity.base) >= request->entity.len + JSON_PADDING;
    return input;
}
