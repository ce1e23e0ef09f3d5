/* SPDX-License-Identifier: BSD-2-Clause
 *
 * request_common.h - shared by the tests of requests.
 */
#ifndef CM_REQUEST_COMMON_H
#define CM_REQUEST_COMMON_H

#include "flight_common.h"

#include "api/flight.h"

/* The tests of the other files. */
extern const struct harness_test request_wake_tests[];

/* Memory to read to. */
static uint8_t room[2 * 1024 * 1024] __attribute__((aligned(4096)));

static inline cm_request request(uint64_t offset, void *buf, uint64_t len)
{
    cm_request r = CM_REQUEST_INIT;
    r.offset = offset;
    r.buf = buf;
    r.len = (size_t)len;
    return r;
}

/* Reads a piece from the origin and gives it back. */
static inline void complete(cm_request *r, const cm_piece *piece, struct origin *o)
{
    int64_t n = origin_read(o, piece->offset, piece->buf, piece->len);
    CHECK_EQ(cm_request_complete(r, piece, n), 0);
}

/* Steps until the request is done. No other one may be needed for that. */
static inline void drive(cm_request *r, struct origin *o)
{
    cm_piece piece;
    int what;
    for (unsigned i = 0; (what = cm_request_step(r, &piece)) != 0; i++) {
        if (what != CM_REQUEST_READ || i > 1000) {
            printf("# step %u: %d\n", i, what);
            FAIL("a request goes on by itself");
            return;
        }
        complete(r, &piece, o);
    }
}

/* Runs a request from begin to end, and checks the bytes. */
static inline void check_run(cm_file *f, cm_request *r, struct origin *o, int64_t want)
{
    CHECK_EQ(cm_request_begin(f, r), 0);
    drive(r, o);
    CHECK_EQ(cm_request_end(r), want);
    CHECK(is_range(o, r->offset, r->buf, (uint64_t)want));
}

#endif
