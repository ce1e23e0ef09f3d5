/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_protocol.c - the messages between a front end and the service: their bytes, which are the
 * same on each system, and what is refused.
 */
#include "harness.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../examples/service/cachemax_protocol.h"

#define MAX_TEST 512u

struct built {
    uint8_t bytes[MAX_TEST];
    size_t n;
};

static struct built build(uint16_t command, uint32_t file, const void *body, size_t n)
{
    struct built b = { .n = sizeof(struct cmp_head) + n };
    const struct cmp_head h = { .bytes = (uint32_t)b.n,
                                .version = CMP_VERSION,
                                .command = command,
                                .tag = UINT64_C(0x1122334455667788),
                                .file = file };
    memcpy(b.bytes, &h, sizeof(h));
    if (n > 0)
        memcpy(b.bytes + sizeof(h), body, n);
    return b;
}
#define BUILD(command, file, body) build(command, file, &(body), sizeof(body))

static struct cmp_validator some_validator(void)
{
    struct cmp_validator v = {
        .taken_at = 0x0102030405060708, .size = 0x1000, .changed_ns = -2, .racy = 2, .given = 1
    };
    for (unsigned i = 0; i < sizeof(v.proof); i++)
        v.proof[i] = (uint8_t)(0xa0 + i);
    return v;
}

/* Of the commands that only a service that says so in its hello knows. */
static struct built later_request(unsigned command)
{
    switch (command) {
    case CMP_LOOK_UP: {
        const struct cmp_look_up m = { .id_hi = 1, .id_lo = 2 };
        return BUILD(CMP_LOOK_UP, 0, m);
    }
    case CMP_COUNT: {
        const struct cmp_count m = { .offset = 4096, .len = 0x2000 };
        return BUILD(CMP_COUNT, 7, m);
    }
    case CMP_KEEP: {
        const struct cmp_keep m = { .keep = 1 };
        return BUILD(CMP_KEEP, 7, m);
    }
    default: /* CMP_POOL, CMP_FORGET_ALL, CMP_FILES */
        return build((uint16_t)command, 0, NULL, 0);
    }
}

/* One request of each command, all of them sound. */
static struct built request(unsigned command)
{
    switch (command) {
    case CMP_HELLO: {
        const struct cmp_hello m = { .magic = CMP_MAGIC, .oldest = 1, .flags = CMP_WANT_RING };
        return BUILD(CMP_HELLO, 0, m);
    }
    case CMP_OPEN: {
        const struct cmp_open m = {
            .id_hi = 1, .id_lo = 2, .outside = 3, .flags = 1, .validator = some_validator()
        };
        return BUILD(CMP_OPEN, 0, m);
    }
    case CMP_READ: {
        const struct cmp_read m = { .offset = 0x12345, .len = 4096, .flags = CMP_READ_WHOLE };
        return BUILD(CMP_READ, 7, m);
    }
    case CMP_FILL:
    case CMP_WARM: {
        struct cmp_fill m = { .ticket = 0x99, .flags = CMP_FILL_EOF };
        struct built b = BUILD((uint16_t)command, 7, m);
        memcpy(b.bytes + b.n, "data", 4);
        b.n += 4;
        b.bytes[0] = (uint8_t)b.n;
        return b;
    }
    case CMP_WRITE_BEGIN:
    case CMP_INVALIDATE: {
        const struct cmp_range m = { .offset = 4096, .len = UINT64_MAX };
        return BUILD((uint16_t)command, 7, m);
    }
    case CMP_TRUNCATE_BEGIN: {
        const struct cmp_truncate m = { .size = 77 };
        return BUILD(CMP_TRUNCATE_BEGIN, 7, m);
    }
    case CMP_WRITE_END:
    case CMP_SYNC_END: {
        const struct cmp_end m = { .token = 0x42, .ok = 1, .validator = some_validator() };
        return BUILD((uint16_t)command, 7, m);
    }
    case CMP_REVALIDATE: {
        const struct cmp_revalidate m = { .validator = some_validator() };
        return BUILD(CMP_REVALIDATE, 7, m);
    }
    case CMP_FORGET: {
        const struct cmp_forget m = { .id_hi = 1, .id_lo = 2, .gone = 1 };
        return BUILD(CMP_FORGET, 0, m);
    }
    case CMP_STATS:
        return build(CMP_STATS, 0, NULL, 0);
    case CMP_CLOSE:
    case CMP_SYNC_BEGIN:
        return build((uint16_t)command, 7, NULL, 0);
    default:
        return later_request(command);
    }
}

#define HEAD(n, command, file) REPLY_HEAD(n, command, "00000000", file)
#define REPLY_HEAD(n, command, result, file)                                                       \
    n "000000"                                                                                     \
      "0100" command "00"                                                                          \
      "8877665544332211" result file
#define VALIDATOR                                                                                  \
    "0807060504030201"                                                                             \
    "0010000000000000"                                                                             \
    "feffffffffffffff"                                                                             \
    "02000000"                                                                                     \
    "01000000"                                                                                     \
    "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf"

/* The bytes of version 1. They never change. */
static const char *const golden[CMP_COMMANDS] = {
    [CMP_HELLO] = HEAD("28", "01", "00000000") "636d7376"
                                               "01000000"
                                               "01000000"
                                               "00000000",
    [CMP_OPEN] = HEAD("78", "02", "00000000") "0100000000000000"
                                              "0200000000000000"
                                              "0300000000000000"
                                              "01000000"
                                              "00000000" VALIDATOR,
    [CMP_CLOSE] = HEAD("18", "03", "07000000"),
    [CMP_READ] = HEAD("28", "04", "07000000") "4523010000000000"
                                              "00100000"
                                              "01000000",
    [CMP_FILL] = HEAD("2c", "05", "07000000") "9900000000000000"
                                              "01000000"
                                              "00000000"
                                              "64617461",
    [CMP_WRITE_BEGIN] = HEAD("28", "06", "07000000") "0010000000000000"
                                                     "ffffffffffffffff",
    [CMP_TRUNCATE_BEGIN] = HEAD("20", "07", "07000000") "4d00000000000000",
    [CMP_WRITE_END] = HEAD("68", "08", "07000000") "4200000000000000"
                                                   "01000000"
                                                   "00000000" VALIDATOR,
    [CMP_SYNC_BEGIN] = HEAD("18", "09", "07000000"),
    [CMP_SYNC_END] = HEAD("68", "0a", "07000000") "4200000000000000"
                                                  "01000000"
                                                  "00000000" VALIDATOR,
    [CMP_INVALIDATE] = HEAD("28", "0b", "07000000") "0010000000000000"
                                                    "ffffffffffffffff",
    [CMP_REVALIDATE] = HEAD("58", "0c", "07000000") VALIDATOR,
    [CMP_FORGET] = HEAD("30", "0d", "00000000") "0100000000000000"
                                                "0200000000000000"
                                                "01000000"
                                                "00000000",
    [CMP_STATS] = HEAD("18", "0e", "00000000"),
    [CMP_WARM] = HEAD("2c", "0f", "07000000") "9900000000000000"
                                              "01000000"
                                              "00000000"
                                              "64617461",
    [CMP_LOOK_UP] = HEAD("28", "10", "00000000") "0100000000000000"
                                                 "0200000000000000",
    [CMP_COUNT] = HEAD("28", "11", "07000000") "0010000000000000"
                                               "0020000000000000",
    [CMP_KEEP] = HEAD("20", "12", "07000000") "01000000"
                                              "00000000",
    [CMP_POOL] = HEAD("18", "13", "00000000"),
    [CMP_FORGET_ALL] = HEAD("18", "14", "00000000"),
    [CMP_FILES] = HEAD("18", "15", "00000000"),
};

static bool is_golden(const struct built *b, const char *want)
{
    char text[2 * MAX_TEST + 1] = "";
    for (size_t i = 0; i < b->n; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", b->bytes[i]);
    return strcmp(text, want) == 0;
}

static void test_golden(void)
{
    for (unsigned command = 1; command < CMP_COMMANDS; command++) {
        CASE("command %u", command);
        const struct built b = request(command);
        CHECK(is_golden(&b, golden[command]));
        CHECK_EQ(cmp_check(b.bytes, b.n, 0), CMP_SOUND);
    }
}

/* A reply: its result, its handle, its body, its data. */
static struct built reply_of(unsigned command, int32_t result, uint32_t file, const void *body,
                             size_t n, const void *data, size_t data_len)
{
    struct built b = build((uint16_t)command, file, body, n);
    if (data_len > 0)
        memcpy(b.bytes + b.n, data, data_len);
    b.n += data_len;
    b.bytes[0] = (uint8_t)b.n;
    memcpy(b.bytes + offsetof(struct cmp_head, result), &result, sizeof(result));
    return b;
}

static struct built later_reply(unsigned command)
{
    const struct cmp_files_reply files = { .open = 0x1234, .max = 0x10000 };
    const struct cmp_count_reply count = { .cached = 0x1234, .kept = 1 };
    struct cmp_pool_reply pool = { .size = 0x100000,
                                   .slots = 0xf0,
                                   .used = 0x20,
                                   .kept_files = 3,
                                   .kept_bytes = 0x4000,
                                   .kept_max = 0x78000,
                                   .mode = 2 };
    switch (command) {
    case CMP_WARM: /* CM_NOT_STORED_STALE */
        return reply_of(command, 3, 7, NULL, 0, NULL, 0);
    case CMP_COUNT:
        return reply_of(command, 0, 7, &count, sizeof(count), NULL, 0);
    case CMP_KEEP: /* CM_EKEEP */
        return reply_of(command, -35, 7, NULL, 0, NULL, 0);
    case CMP_POOL:
        for (unsigned i = 0; i < sizeof(pool.uuid); i++)
            pool.uuid[i] = (uint8_t)(0xb0 + i);
        return reply_of(command, 0, 0, &pool, sizeof(pool), NULL, 0);
    case CMP_FORGET_ALL: /* that many files */
        return reply_of(command, 5, 0, NULL, 0, NULL, 0);
    case CMP_FILES:
        return reply_of(command, 0, 0, &files, sizeof(files), NULL, 0);
    default: /* CMP_LOOK_UP */
        return reply_of(command, 0, 0, NULL, 0, NULL, 0);
    }
}

/* One reply to each command, as the service answers request(). */
static struct built reply(unsigned command)
{
    static const uint64_t counters[] = { 1, 0x8000, UINT64_MAX };
    struct cmp_hello_reply hello = { .life = 0x0102030405060708,
                                     .block = 4096,
                                     .data_max = 1 << 20,
                                     .open_max = 65536,
                                     .flags = CMP_HAS_RING,
                                     .ring = 0x201040,
                                     .ring_name = 0x1817161514131211,
                                     .bell_name = 0x2827262524232221,
                                     .client = 1234 };
    const struct cmp_open_reply open = { .size = 0x1000, .version = 0x77 };
    const struct cmp_read_reply read = { .ticket = 0x99,
                                         .miss_offset = 0x13000,
                                         .miss_len = 0x2000,
                                         .flags = CMP_AT_END,
                                         .version = 0x55 };
    const struct cmp_token_reply token = { .token = 0x42 };
    switch (command) {
    case CMP_HELLO:
        for (unsigned i = 0; i < sizeof(hello.pool); i++)
            hello.pool[i] = (uint8_t)(0xb0 + i);
        return reply_of(command, 0, 0, &hello, sizeof(hello), NULL, 0);
    case CMP_OPEN: /* CM_IGNORED */
        return reply_of(command, 1, 7, &open, sizeof(open), NULL, 0);
    case CMP_READ:
        return reply_of(command, 4, 7, &read, sizeof(read), "data", 4);
    case CMP_WRITE_BEGIN:
    case CMP_TRUNCATE_BEGIN:
    case CMP_SYNC_BEGIN:
        return reply_of(command, 0, 7, &token, sizeof(token), NULL, 0);
    case CMP_WRITE_END: /* CM_WANT_VALIDATOR */
        return reply_of(command, 2, 7, NULL, 0, NULL, 0);
    case CMP_REVALIDATE: /* CM_EINVAL */
        return reply_of(command, -1, 7, NULL, 0, NULL, 0);
    case CMP_STATS:
        return reply_of(command, 3, 0, NULL, 0, counters, sizeof(counters));
    case CMP_FORGET:
        return reply_of(command, 0, 0, NULL, 0, NULL, 0);
    case CMP_CLOSE:
    case CMP_SYNC_END:
    case CMP_INVALIDATE:
        return reply_of(command, 0, 7, NULL, 0, NULL, 0);
    default:
        return later_reply(command);
    }
}

#define TOKEN(command) HEAD("20", command, "07000000") "4200000000000000"

/* As `golden`. A fill has no reply. */
static const char *const golden_reply[CMP_COMMANDS] = {
    [CMP_HELLO] = HEAD("60", "01", "00000000") "0807060504030201"
                                               "00100000"
                                               "00001000"
                                               "00000100"
                                               "01000000"
                                               "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
                                               "4010200000000000"
                                               "1112131415161718"
                                               "2122232425262728"
                                               "d2040000"
                                               "00000000",
    [CMP_OPEN] = REPLY_HEAD("28", "02", "01000000", "07000000") "0010000000000000"
                                                                "7700000000000000",
    [CMP_CLOSE] = HEAD("18", "03", "07000000"),
    [CMP_READ] = REPLY_HEAD("3c", "04", "04000000", "07000000") "9900000000000000"
                                                                "0030010000000000"
                                                                "00200000"
                                                                "01000000"
                                                                "5500000000000000"
                                                                "64617461",
    [CMP_WRITE_BEGIN] = TOKEN("06"),
    [CMP_TRUNCATE_BEGIN] = TOKEN("07"),
    [CMP_WRITE_END] = REPLY_HEAD("18", "08", "02000000", "07000000"),
    [CMP_SYNC_BEGIN] = TOKEN("09"),
    [CMP_SYNC_END] = HEAD("18", "0a", "07000000"),
    [CMP_INVALIDATE] = HEAD("18", "0b", "07000000"),
    [CMP_REVALIDATE] = REPLY_HEAD("18", "0c", "ffffffff", "07000000"),
    [CMP_FORGET] = HEAD("18", "0d", "00000000"),
    [CMP_STATS] = REPLY_HEAD("30", "0e", "03000000", "00000000") "0100000000000000"
                                                                 "0080000000000000"
                                                                 "ffffffffffffffff",
    [CMP_WARM] = REPLY_HEAD("18", "0f", "03000000", "07000000"),
    [CMP_LOOK_UP] = HEAD("18", "10", "00000000"),
    [CMP_COUNT] = HEAD("28", "11", "07000000") "3412000000000000"
                                               "01000000"
                                               "00000000",
    [CMP_KEEP] = REPLY_HEAD("18", "12", "ddffffff", "07000000"),
    [CMP_POOL] = HEAD("60", "13", "00000000") "0000100000000000"
                                              "f000000000000000"
                                              "2000000000000000"
                                              "0300000000000000"
                                              "0040000000000000"
                                              "0080070000000000"
                                              "02000000"
                                              "00000000"
                                              "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf",
    [CMP_FORGET_ALL] = REPLY_HEAD("18", "14", "05000000", "00000000"),
    [CMP_FILES] = HEAD("20", "15", "00000000") "34120000"
                                               "00000100",
};

static void test_golden_replies(void)
{
    for (unsigned command = 1; command < CMP_COMMANDS; command++) {
        CASE("command %u", command);
        if (command == CMP_FILL)
            continue;
        struct built b = reply(command);
        CHECK(is_golden(&b, golden_reply[command]));
        CHECK_EQ(cmp_check(b.bytes, b.n, 1), CMP_SOUND);
        for (size_t n = 0; n < b.n; n++)
            CHECK(cmp_check(b.bytes, n, 1) != CMP_SOUND);
    }
}

/* A message that is cut off or too long, and one that says so. */
static void test_lengths(void)
{
    size_t all;
    for (unsigned command = 1; command < CMP_COMMANDS; command++) {
        CASE("command %u", command);
        struct built b = request(command);
        for (size_t n = 0; n < b.n; n++)
            CHECK(cmp_check(b.bytes, n, 0) != CMP_SOUND);
        if (command == CMP_FILL || command == CMP_WARM)
            continue; /* any amount of data may follow */
        b.bytes[0]++;
        CHECK_EQ(cmp_check(b.bytes, b.n, 0), CMP_LENGTH);
        CHECK_EQ(cmp_check(b.bytes, b.n + 1, 0), CMP_LENGTH);
        b.bytes[0] -= 2;
        CHECK(cmp_check(b.bytes, b.n - 1, 0) != CMP_SOUND);
    }
    struct built b = request(CMP_READ);
    static const uint32_t lengths[] = { 0, 1, 23, CMP_MESSAGE_MAX + 1, UINT32_MAX };
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        CASE("i %zu", i);
        memcpy(b.bytes, &lengths[i], 4);
        CHECK_EQ(cmp_check_head(b.bytes, b.n, &all), CMP_LENGTH);
    }
    CHECK_EQ(cmp_check_head(b.bytes, 23, &all), CMP_SHORT);
}

/* Writes `n` bytes of a number at an offset of a sound request. */
static enum cmp_fault with(unsigned command, size_t at, uint64_t value, size_t n)
{
    struct built b = request(command);
    memcpy(b.bytes + at, &value, n);
    return cmp_check(b.bytes, b.n, 0);
}

/* A request with n bytes at `at` set to the value. */
static const struct {
    unsigned command, at, n;
    uint64_t value;
    enum cmp_fault fault;
} fields[] = {
    { CMP_READ, 4, 2, 2, CMP_OTHER },
    { CMP_HELLO, 4, 2, 9, CMP_SOUND }, /* its receiver answers what it speaks */
    { CMP_READ, 6, 2, 0, CMP_UNKNOWN },
    { CMP_READ, 6, 2, CMP_COMMANDS, CMP_UNKNOWN },
    { CMP_READ, 6, 2, 0xffff, CMP_UNKNOWN },
    { CMP_READ, 16, 4, 1, CMP_FIELD },  /* a result */
    { CMP_READ, 20, 4, 0, CMP_FIELD },  /* no file */
    { CMP_STATS, 20, 4, 1, CMP_FIELD }, /* a file */
    { CMP_HELLO, 24, 4, 1, CMP_FIELD },
    { CMP_HELLO, 28, 4, 0, CMP_FIELD },
    { CMP_HELLO, 32, 4, 2, CMP_FIELD },
    { CMP_HELLO, 36, 4, 1, CMP_FIELD },
    { CMP_OPEN, 52, 4, 1, CMP_FIELD },
    { CMP_OPEN, 56 + 28, 4, 2, CMP_FIELD },
    { CMP_OPEN, 56 + 28, 4, 0, CMP_FIELD }, /* none given, and yet it has fields */
    { CMP_READ, 24, 8, UINT64_MAX, CMP_FIELD },
    { CMP_READ, 24, 8, (uint64_t)INT64_MAX - 4096, CMP_SOUND },
    { CMP_READ, 24, 8, (uint64_t)INT64_MAX - 4095, CMP_FIELD },
    { CMP_READ, 32, 4, 0, CMP_FIELD },
    { CMP_READ, 32, 4, CMP_DATA_MAX, CMP_SOUND },
    { CMP_READ, 32, 4, CMP_DATA_MAX + 1, CMP_FIELD },
    { CMP_READ, 32, 8, UINT64_C(2) << 32, CMP_SOUND }, /* no bytes, but the version */
    { CMP_READ, 32, 8, UINT64_C(3) << 32, CMP_FIELD },
    { CMP_READ, 32, 8, 0, CMP_FIELD },
    { CMP_READ, 36, 4, 3, CMP_SOUND },
    { CMP_READ, 36, 4, 4, CMP_FIELD },
    { CMP_FILL, 32, 4, 2, CMP_FIELD },
    { CMP_FILL, 36, 4, 1, CMP_FIELD },
    { CMP_WRITE_BEGIN, 24, 8, (uint64_t)INT64_MAX + 1, CMP_FIELD },
    { CMP_WRITE_BEGIN, 24, 8, UINT64_MAX, CMP_FIELD }, /* at the end, without a length */
    { CMP_WRITE_BEGIN, 32, 8, INT64_MAX, CMP_FIELD },
    { CMP_WRITE_BEGIN, 32, 8, INT64_MAX - 4096, CMP_SOUND },
    { CMP_INVALIDATE, 24, 8, UINT64_MAX, CMP_FIELD },
    { CMP_TRUNCATE_BEGIN, 24, 8, INT64_MAX, CMP_SOUND },
    { CMP_TRUNCATE_BEGIN, 24, 8, (uint64_t)INT64_MAX + 1, CMP_FIELD },
    { CMP_TRUNCATE_BEGIN, 24, 8, UINT64_MAX, CMP_FIELD },
    { CMP_WRITE_END, 32, 4, 0, CMP_FIELD },
    { CMP_SYNC_END, 32, 4, 0, CMP_SOUND },
    { CMP_SYNC_END, 32, 4, 2, CMP_FIELD },
    { CMP_WRITE_END, 36, 4, 1, CMP_FIELD },
    { CMP_REVALIDATE, 24 + 28, 4, 3, CMP_FIELD },
    { CMP_FORGET, 40, 4, 2, CMP_FIELD },
    { CMP_FORGET, 44, 4, 1, CMP_FIELD },
    { CMP_WARM, 32, 4, 2, CMP_FIELD },
    { CMP_WARM, 36, 4, 1, CMP_FIELD },
    { CMP_WARM, 20, 4, 0, CMP_FIELD },    /* no file */
    { CMP_LOOK_UP, 20, 4, 1, CMP_FIELD }, /* a file */
    { CMP_COUNT, 24, 8, UINT64_MAX, CMP_FIELD },
    { CMP_COUNT, 24, 8, (uint64_t)INT64_MAX - 0x2000, CMP_SOUND },
    { CMP_COUNT, 24, 8, (uint64_t)INT64_MAX - 0x1fff, CMP_FIELD },
    { CMP_COUNT, 32, 8, CMP_COUNT_MAX, CMP_SOUND },
    { CMP_COUNT, 32, 8, CMP_COUNT_MAX + 1, CMP_FIELD },
    { CMP_COUNT, 32, 8, UINT64_MAX, CMP_FIELD },
    { CMP_KEEP, 24, 4, 2, CMP_FIELD },
    { CMP_KEEP, 28, 4, 1, CMP_FIELD },
    { CMP_POOL, 20, 4, 1, CMP_FIELD },
    { CMP_FORGET_ALL, 20, 4, 1, CMP_FIELD }, /* a file */
    { CMP_FILES, 20, 4, 1, CMP_FIELD },
};

static void test_fields(void)
{
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        CASE("i %zu", i);
        CHECK_EQ(with(fields[i].command, fields[i].at, fields[i].value, fields[i].n),
                 fields[i].fault);
    }
}

/* An open must have an id, and may have no validator. */
static void test_open_without(void)
{
    struct built b = request(CMP_OPEN); /* no id */
    memset(b.bytes + 24, 0, 16);
    CHECK_EQ(cmp_check(b.bytes, b.n, 0), CMP_FIELD);
    b = request(CMP_OPEN); /* no validator is sound */
    memset(b.bytes + 56, 0, sizeof(struct cmp_validator));
    CHECK_EQ(cmp_check(b.bytes, b.n, 0), CMP_SOUND);
}

/* Replies: data only where there may be some, no body with an error. */
static void test_replies(void)
{
    struct built b;
    int data;
    for (unsigned command = 0; command <= CMP_COMMANDS; command++) {
        CASE("command %u", command);
        const uint32_t body = cmp_body(command, 1, &data);
        static const uint8_t zeros[CMP_REPLY_MIN];
        if (command == 0 || command == CMP_COMMANDS || command == CMP_FILL) {
            CHECK_EQ(body, UINT32_MAX);
            continue;
        }
        b = build((uint16_t)command, 0, zeros, body);
        CHECK_EQ(cmp_check(b.bytes, b.n, 1), CMP_SOUND);
        b = build((uint16_t)command, 0, zeros, body + 8);
        CHECK_EQ(cmp_check(b.bytes, b.n, 1), data ? CMP_SOUND : CMP_LENGTH);
        b = build((uint16_t)command, 0, NULL, 0);
        CHECK_EQ(cmp_check(b.bytes, b.n, 1), body == 0 ? CMP_SOUND : CMP_LENGTH);
        b.bytes[19] = 0xff; /* an error */
        CHECK_EQ(cmp_check(b.bytes, b.n, 1), CMP_SOUND);
    }
}

/* Whatever arrives, the check reads nothing beyond it (the sanitizers look), and says something. */
static void test_noise(void)
{
    uint64_t rng = 1;
    unsigned sound = 0;
    for (unsigned i = 0; i < 200000; i++) {
        struct built b = request(1 + i % (CMP_COMMANDS - 1));
        for (unsigned k = i % 4; k > 0; k--) {
            rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407;
            b.bytes[(rng >> 33) % b.n] = (uint8_t)(rng >> 56);
        }
        const size_t n = i % 7 == 0 ? (rng >> 40) % (b.n + 1) : b.n;
        uint8_t *const copy = malloc(n + (n == 0));
        REQUIRE(copy != NULL);
        memcpy(copy, b.bytes, n);
        const enum cmp_fault f = cmp_check(copy, n, i & 1);
        sound += f == CMP_SOUND;
        CHECK(strlen(cmp_fault_text(f)) > 0);
        free(copy);
    }
    CHECK(sound > 1000);
}

static const struct harness_test tests[] = {
    TEST(golden),       TEST(golden_replies), TEST(lengths), TEST(fields),
    TEST(open_without), TEST(replies),        TEST(noise),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
