/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cachemax_protocol.h - the messages between a front end and the service that owns the pool.
 *
 * For the service, for clients, for a driver, and for tests: it needs only fixed-size integers and
 * memcpy(), and no call of the system. docs/service.md says what the messages mean and what a lost
 * connection means.
 *
 * Bytes. A message is a cmp_head, then the body of its command, then the bytes of the data, if the
 * command has some. All numbers are little-endian. Every field is at a multiple of its size, and
 * there is no padding, so the structs below are the bytes themselves. A message has at most
 * CMP_MESSAGE_MAX bytes. Fields called `zero` are 0; a message with another value there is refused,
 * so that a later version may use them.
 *
 * Who speaks. The client sends requests, and gets one reply to each, except to CMP_FILL, which has
 * none. Replies may come in another order than the requests: `tag` says which request it is. The
 * first request is CMP_HELLO.
 *
 * Later commands are known to a service that says so (CMP_STEERS, CMP_FORGETS_ALL,
 * CMP_TELLS_FILES). A client does not send them to another one, which would end the connection.
 */
#ifndef CACHEMAX_PROTOCOL_H
#define CACHEMAX_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CMP_VERSION 1u
#define CMP_MAGIC UINT32_C(0x76736d63) /* "cmsv" */
/* The most bytes of data in a message: an answered read, a fill. The service may allow fewer. */
#define CMP_DATA_MAX (1u << 20)
#define CMP_MESSAGE_MAX (CMP_DATA_MAX + 256u)

enum cmp_command {
    CMP_HELLO = 1,
    CMP_OPEN = 2, /* a file is used: its id and its validator; the reply has a handle */
    CMP_CLOSE = 3,
    CMP_READ = 4,        /* the reply has the cached bytes, and a ticket for the rest */
    CMP_FILL = 5,        /* what the origin has where a read missed; no reply */
    CMP_WRITE_BEGIN = 6, /* the caller is about to change the origin */
    CMP_TRUNCATE_BEGIN = 7,
    CMP_WRITE_END = 8,
    CMP_SYNC_BEGIN = 9, /* the caller is about to sync the origin */
    CMP_SYNC_END = 10,
    CMP_INVALIDATE = 11, /* somebody else has changed a range */
    CMP_REVALIDATE = 12, /* a new validator */
    CMP_FORGET = 13,     /* a file is gone, open or not; the result is 1 if CMP_KEEP was on it */
    CMP_STATS = 14,      /* the counters of the service */
    /* From here on only if the reply to the hello has CMP_STEERS. */
    CMP_WARM = 15,    /* as CMP_FILL, but the pool takes it at once, and there is a reply */
    CMP_LOOK_UP = 16, /* does the pool know a file? It is not opened by that */
    CMP_COUNT = 17,   /* how much of a range is cached */
    CMP_KEEP = 18,    /* the file's blocks are not evicted, or as others again */
    CMP_POOL = 19,    /* what the pool is */
    /* Only if the reply to the hello has CMP_FORGETS_ALL. */
    CMP_FORGET_ALL = 20, /* any file may have changed; this may take long */
    /* Only if the reply to the hello has CMP_TELLS_FILES. */
    CMP_FILES = 21, /* how many files all clients have open */
    CMP_COMMANDS = 22
};
/* The result of CMP_OPEN if all clients have too many files open. With any error the client passes.
 */
#define CMP_FULL (-901)
/* The result of CMP_HELLO if there are too many clients. The reply may come before the hello, with
 * the tag 0, and then the connection ends. */
#define CMP_CROWDED (-902)

struct cmp_head {
    uint32_t bytes;   /*  0 of the whole message */
    uint16_t version; /*  4 CMP_VERSION; of CMP_HELLO: the newest that the sender speaks */
    uint16_t command; /*  6 enum cmp_command; the same in the reply */
    uint64_t tag;     /*  8 of the client's choice; the same in the reply */
    int32_t result;   /* 16 of a reply: 0, a count, or a CM_E* code; of a request: 0 */
    uint32_t file;    /* 20 the handle that CMP_OPEN gave; 0 where no file is meant */
};

/* A validator, as cm_validator (cachemax.h). */
struct cmp_validator {
    uint64_t taken_at;  /*  0 the system's monotonic clock before the origin was asked */
    uint64_t size;      /*  8 of the file, or UINT64_MAX: not known */
    int64_t changed_ns; /* 16 */
    uint32_t racy;      /* 24 CM_RACY_* */
    uint32_t given;     /* 28 1, or 0: there is none, and all other fields are 0 */
    uint8_t proof[32];  /* 32 */
};

struct cmp_hello {
    uint32_t magic;  /*  0 CMP_MAGIC */
    uint32_t oldest; /*  4 the oldest version that the client speaks */
    uint32_t flags;  /*  8 CMP_WANT_RING */
    uint32_t zero;   /* 12 */
};
#define CMP_WANT_RING 1u /* memory that both sides share, for short reads */

struct cmp_hello_reply {
    uint64_t life;  /*  0 another one after each start of the service: all handles are void then */
    uint32_t block; /*  8 bytes of a block of the cache */
    uint32_t data_max;  /* 12 the most bytes of data in one message, either way */
    uint32_t open_max;  /* 16 files that a connection may have open */
    uint32_t flags;     /* 20 CMP_HAS_RING and others, below */
    uint8_t pool[16];   /* 24 uuid of the pool */
    uint64_t ring;      /* 40 bytes of the shared memory */
    uint64_t ring_name; /* 48 where the memory has a name (Windows); else it came along, and 0 */
    uint64_t bell_name; /* 56 of what wakes the service; or 0 */
    uint32_t client;    /* 64 the client's name in its claims (outside.h): its process */
    uint32_t outside;   /* 68 name of the memory for outside writes (outside.h) */
};
/* A receiver of replies has room for so many bytes: the longest reply without data. */
#define CMP_REPLY_MIN (24u + 72u)
#define CMP_HAS_RING 1u
#define CMP_RING_WRITES 2u  /* the ring takes brackets, too: none of them waits for a sync */
#define CMP_STEERS 4u       /* the commands CMP_WARM to CMP_POOL are known */
#define CMP_FORGETS_ALL 8u  /* CMP_FORGET_ALL is known */
#define CMP_TELLS_FILES 16u /* CMP_FILES is known */

struct cmp_open {
    uint64_t id_hi, id_lo; /*  0 as cm_file_id; not both 0 */
    uint64_t outside;      /* 16 outside writes that had ended before the validator was taken */
    uint32_t flags;        /* 24 CM_SOLE_WRITER, CM_ORIGIN_VOLATILE; with others: CM_EINVAL */
    uint32_t zero;         /* 28 */
    struct cmp_validator validator; /* 32 */
};
struct cmp_open_reply {
    uint64_t size;    /*  0 or UINT64_MAX */
    uint64_t version; /*  8 the incarnation */
};

struct cmp_read {
    uint64_t offset; /*  0 */
    uint32_t len;    /*  8 1 to data_max; 0 with CMP_READ_VERSION alone: nothing but the version */
    uint32_t flags;  /* 12 CMP_READ_* */
};
#define CMP_READ_WHOLE 1u   /* all of it, else CM_EABSENT; no ticket, and no miss is counted */
#define CMP_READ_VERSION 2u /* the reply says the version: it is one of several for one result */

/* result: the bytes that follow, from `offset` on. If there are fewer than asked for, and ticket is
 * not 0, the client may read the origin at [miss_offset, miss_offset + miss_len) AFTER it got this
 * reply, and send what it read with CMP_FILL. */
struct cmp_read_reply {
    uint64_t ticket;      /*  0 */
    uint64_t miss_offset; /*  8 a multiple of `block` */
    uint32_t miss_len;    /* 16 */
    uint32_t flags;       /* 20 CMP_AT_END */
    uint64_t version; /* 24 of the file that the bytes are of, if it was asked for; 0: unknown */
};
#define CMP_AT_END 1u /* the file ends after the bytes that follow */

struct cmp_fill {    /* CMP_FILL, CMP_WARM */
    uint64_t ticket; /*  0 */
    uint32_t flags;  /*  8 CMP_FILL_EOF */
    uint32_t zero;   /* 12 */
};
#define CMP_FILL_EOF 1u /* the file ends after these bytes */

struct cmp_range {   /* CMP_WRITE_BEGIN, CMP_INVALIDATE */
    uint64_t offset; /*  0 or UINT64_MAX: at the end of the file (CMP_WRITE_BEGIN only) */
    uint64_t len;    /*  8 or UINT64_MAX: to the end */
};
struct cmp_truncate {
    uint64_t size; /*  0 the new one */
};
struct cmp_token_reply { /* CMP_WRITE_BEGIN, CMP_TRUNCATE_BEGIN, CMP_SYNC_BEGIN */
    uint64_t token;      /*  0 for the end */
};
struct cmp_end {                    /* CMP_WRITE_END, CMP_SYNC_END */
    uint64_t token;                 /*  0 */
    uint32_t ok;                    /*  8 of CMP_SYNC_END: 1, or 0: the sync failed; else 1 */
    uint32_t zero;                  /* 12 */
    struct cmp_validator validator; /* 16 */
};
struct cmp_revalidate {
    struct cmp_validator validator; /*  0 */
};
struct cmp_forget {
    uint64_t id_hi, id_lo; /*  0 */
    uint32_t gone;         /* 16 1: no file will ever have this id again */
    uint32_t zero;         /* 20 */
};
struct cmp_look_up {
    uint64_t id_hi, id_lo; /*  0 */
};
struct cmp_count {
    uint64_t offset; /*  0 */
    uint64_t len;    /*  8 at most CMP_COUNT_MAX */
};
#define CMP_COUNT_MAX (UINT64_C(1) << 26) /* so that nobody waits long for it */
struct cmp_count_reply {
    uint64_t cached; /*  0 bytes */
    uint32_t kept;   /*  8 1: CMP_KEEP, or 0 */
    uint32_t zero;   /* 12 */
};
struct cmp_keep {
    uint32_t keep; /*  0 1 or 0 */
    uint32_t zero; /*  4 */
};
struct cmp_pool_reply {                        /* as cm_info */
    uint64_t size;                             /*  0 */
    uint64_t slots;                            /*  8 */
    uint64_t used;                             /* 16 slots */
    uint64_t kept_files, kept_bytes, kept_max; /* 24 */
    uint32_t mode;                             /* 48 enum cm_mode */
    uint32_t zero;                             /* 52 */
    uint8_t uuid[16];                          /* 56 of the pool */
};
/* A client that keeps files open which it does not use closes some of them when `open` comes near
 * `max`: else others cannot open theirs. */
struct cmp_files_reply {
    uint32_t open; /*  0 by all clients; a file that two have open counts twice */
    uint32_t max;  /*  4 that may be open */
};
/* The reply to CMP_STATS has no body. Its data are the counters of cm_stats(), 8 bytes each, in
 * their order. */

/* ---- What a message must be ------------------------------------------------------------------ */

#define CMP_SIZE(type, n) _Static_assert(sizeof(struct type) == (n), #type)
CMP_SIZE(cmp_head, 24);
CMP_SIZE(cmp_validator, 64);
CMP_SIZE(cmp_hello, 16);
CMP_SIZE(cmp_hello_reply, CMP_REPLY_MIN - sizeof(struct cmp_head));
CMP_SIZE(cmp_open, 96);
CMP_SIZE(cmp_open_reply, 16);
CMP_SIZE(cmp_read, 16);
CMP_SIZE(cmp_read_reply, 32);
CMP_SIZE(cmp_fill, 16);
CMP_SIZE(cmp_range, 16);
CMP_SIZE(cmp_truncate, 8);
CMP_SIZE(cmp_token_reply, 8);
CMP_SIZE(cmp_end, 80);
CMP_SIZE(cmp_revalidate, 64);
CMP_SIZE(cmp_forget, 24);
CMP_SIZE(cmp_look_up, 16);
CMP_SIZE(cmp_count, 16);
CMP_SIZE(cmp_count_reply, 16);
CMP_SIZE(cmp_keep, 8);
CMP_SIZE(cmp_pool_reply, CMP_REPLY_MIN - sizeof(struct cmp_head));
CMP_SIZE(cmp_files_reply, 8);
#undef CMP_SIZE

/* Why a message is refused. */
enum cmp_fault {
    CMP_SOUND = 0,
    CMP_SHORT,   /* fewer bytes than a head */
    CMP_LENGTH,  /* its length is not that of its command, or not what arrived */
    CMP_OTHER,   /* another version */
    CMP_UNKNOWN, /* no such command */
    CMP_FIELD,   /* a field has a value that it may not have */
    CMP_FAULTS
};
static inline const char *cmp_fault_text(enum cmp_fault f)
{
    static const char *const text[] = { "sound",           "shorter than a head",
                                        "a wrong length",  "another version",
                                        "no such command", "a field that makes no sense" };
    return (unsigned)f < CMP_FAULTS ? text[f] : "no such fault";
}

/* Bytes of the body of a request or of a reply; UINT32_MAX: there is no such command, or it has no
 * reply. *data: whether data may follow. */
static inline uint32_t cmp_body(unsigned command, int reply, int *data)
{
    /* 0: a head alone. */
    static const uint8_t request_of[CMP_COMMANDS] = {
        [CMP_HELLO] = sizeof(struct cmp_hello),
        [CMP_OPEN] = sizeof(struct cmp_open),
        [CMP_READ] = sizeof(struct cmp_read),
        [CMP_FILL] = sizeof(struct cmp_fill),
        [CMP_WRITE_BEGIN] = sizeof(struct cmp_range),
        [CMP_TRUNCATE_BEGIN] = sizeof(struct cmp_truncate),
        [CMP_WRITE_END] = sizeof(struct cmp_end),
        [CMP_SYNC_END] = sizeof(struct cmp_end),
        [CMP_INVALIDATE] = sizeof(struct cmp_range),
        [CMP_REVALIDATE] = sizeof(struct cmp_revalidate),
        [CMP_FORGET] = sizeof(struct cmp_forget),
        [CMP_WARM] = sizeof(struct cmp_fill),
        [CMP_LOOK_UP] = sizeof(struct cmp_look_up),
        [CMP_COUNT] = sizeof(struct cmp_count),
        [CMP_KEEP] = sizeof(struct cmp_keep),
    };
    static const uint8_t reply_of[CMP_COMMANDS] = {
        [CMP_HELLO] = sizeof(struct cmp_hello_reply),
        [CMP_OPEN] = sizeof(struct cmp_open_reply),
        [CMP_READ] = sizeof(struct cmp_read_reply),
        [CMP_WRITE_BEGIN] = sizeof(struct cmp_token_reply),
        [CMP_TRUNCATE_BEGIN] = sizeof(struct cmp_token_reply),
        [CMP_SYNC_BEGIN] = sizeof(struct cmp_token_reply),
        [CMP_COUNT] = sizeof(struct cmp_count_reply),
        [CMP_POOL] = sizeof(struct cmp_pool_reply),
        [CMP_FILES] = sizeof(struct cmp_files_reply),
    };

    *data = reply ? command == CMP_READ || command == CMP_STATS
                  : command == CMP_FILL || command == CMP_WARM;
    if (command == 0 || command >= CMP_COMMANDS || (reply && command == CMP_FILL))
        return UINT32_MAX;
    return reply ? reply_of[command] : request_of[command];
}

static inline int cmp_has_file(unsigned command)
{
    return command != CMP_HELLO && command != CMP_OPEN && command != CMP_FORGET &&
           command != CMP_STATS && command != CMP_LOOK_UP && command != CMP_POOL &&
           command != CMP_FORGET_ALL && command != CMP_FILES;
}

/* May a request go through the ring? `flags`: of the hello's reply. What may wait for a sync goes
 * through the stream, because a thread of the service serves the rings of several clients. */
static inline int cmp_ring_takes(unsigned command, uint32_t flags)
{
    return command == CMP_READ || command == CMP_FILL ||
           ((flags & CMP_RING_WRITES) && (command == CMP_WRITE_BEGIN || command == CMP_WRITE_END));
}

static inline enum cmp_fault cmp_check_validator(const uint8_t *at)
{
    static const struct cmp_validator none;
    struct cmp_validator v;
    memcpy(&v, at, sizeof(v));
    if (v.given > 1 || (!v.given && memcmp(&v, &none, sizeof(v)) != 0))
        return CMP_FIELD;
    return CMP_SOUND;
}

/* The head of a message of which `n` bytes have arrived. CMP_SHORT: less than a head. *bytes: of
 * all of it, if there is a head. */
static inline enum cmp_fault cmp_check_head(const void *message, size_t n, size_t *bytes)
{
    struct cmp_head h;
    if (n < sizeof(h))
        return CMP_SHORT;
    memcpy(&h, message, sizeof(h));
    *bytes = h.bytes;
    return h.bytes < sizeof(h) || h.bytes > CMP_MESSAGE_MAX ? CMP_LENGTH : CMP_SOUND;
}

/* The fields of a request to steer. */
static inline enum cmp_fault cmp_check_steering(unsigned command, const uint8_t *body)
{
    union {
        struct cmp_fill warm;
        struct cmp_look_up look_up;
        struct cmp_count count;
        struct cmp_keep keep;
    } m;
    int data;
    memset(&m, 0, sizeof(m));
    if (command >= CMP_WARM)
        memcpy(&m, body, cmp_body(command, 0, &data));
    switch (command) {
    case CMP_WARM:
        return (m.warm.flags & ~CMP_FILL_EOF) == 0 && m.warm.zero == 0 ? CMP_SOUND : CMP_FIELD;
    case CMP_LOOK_UP:
        return (m.look_up.id_hi | m.look_up.id_lo) != 0 ? CMP_SOUND : CMP_FIELD;
    case CMP_COUNT:
        return m.count.len <= CMP_COUNT_MAX && m.count.offset <= (uint64_t)INT64_MAX - m.count.len
                   ? CMP_SOUND
                   : CMP_FIELD;
    case CMP_KEEP:
        return m.keep.keep <= 1 && m.keep.zero == 0 ? CMP_SOUND : CMP_FIELD;
    default:
        return CMP_SOUND;
    }
}

/* The fields of a request whose lengths are right. */
static inline enum cmp_fault cmp_check_fields(const struct cmp_head *h, const uint8_t *body)
{
    union {
        struct cmp_hello hello;
        struct cmp_open open;
        struct cmp_read read;
        struct cmp_fill fill;
        struct cmp_range range;
        struct cmp_truncate truncate;
        struct cmp_end end;
        struct cmp_forget forget;
    } m;
    int data;
    memset(&m, 0, sizeof(m));
    memcpy(&m, body, cmp_body(h->command, 0, &data));
    if (h->result != 0 || (h->file == 0) != !cmp_has_file(h->command))
        return CMP_FIELD;
    switch (h->command) {
    case CMP_HELLO:
        return m.hello.magic == CMP_MAGIC && m.hello.oldest > 0 && m.hello.zero == 0 &&
                       (m.hello.flags & ~CMP_WANT_RING) == 0
                   ? CMP_SOUND
                   : CMP_FIELD;
    case CMP_OPEN:
        return (m.open.id_hi | m.open.id_lo) != 0 && m.open.zero == 0
                   ? cmp_check_validator(body + offsetof(struct cmp_open, validator))
                   : CMP_FIELD;
    case CMP_READ:
        return (m.read.len > 0 || m.read.flags == CMP_READ_VERSION) && m.read.len <= CMP_DATA_MAX &&
                       m.read.offset <= (uint64_t)INT64_MAX - m.read.len &&
                       (m.read.flags & ~(CMP_READ_WHOLE | CMP_READ_VERSION)) == 0
                   ? CMP_SOUND
                   : CMP_FIELD;
    case CMP_FILL:
        return (m.fill.flags & ~CMP_FILL_EOF) == 0 && m.fill.zero == 0 ? CMP_SOUND : CMP_FIELD;
    case CMP_WRITE_BEGIN:
    case CMP_INVALIDATE:
        if (m.range.offset == UINT64_MAX)
            return h->command == CMP_WRITE_BEGIN && m.range.len <= INT64_MAX ? CMP_SOUND
                                                                             : CMP_FIELD;
        return m.range.offset <= INT64_MAX && (m.range.len == UINT64_MAX ||
                                               m.range.len <= (uint64_t)INT64_MAX - m.range.offset)
                   ? CMP_SOUND
                   : CMP_FIELD;
    case CMP_TRUNCATE_BEGIN:
        return m.truncate.size <= INT64_MAX ? CMP_SOUND : CMP_FIELD;
    case CMP_WRITE_END:
    case CMP_SYNC_END:
        return m.end.ok <= 1 && m.end.zero == 0 && (m.end.ok == 1 || h->command == CMP_SYNC_END)
                   ? cmp_check_validator(body + offsetof(struct cmp_end, validator))
                   : CMP_FIELD;
    case CMP_REVALIDATE:
        return cmp_check_validator(body);
    case CMP_FORGET:
        return (m.forget.id_hi | m.forget.id_lo) != 0 && m.forget.gone <= 1 && m.forget.zero == 0
                   ? CMP_SOUND
                   : CMP_FIELD;
    default:
        return cmp_check_steering(h->command, body);
    }
}

/* A whole message: may it be looked at? `n`: the bytes that arrived. The version of CMP_HELLO is
 * for the receiver to judge. `reply`: which kind it should be. A reply with an error has no body.
 */
static inline enum cmp_fault cmp_check(const void *message, size_t n, int reply)
{
    const uint8_t *const bytes = message;
    struct cmp_head h;
    size_t all = 0;
    int data;
    const enum cmp_fault f = cmp_check_head(message, n, &all);
    if (f != CMP_SOUND)
        return f;
    if (all != n)
        return CMP_LENGTH;
    memcpy(&h, message, sizeof(h));
    if (h.command != CMP_HELLO && h.version != CMP_VERSION)
        return CMP_OTHER;
    uint32_t body = cmp_body(h.command, reply, &data);
    if (body == UINT32_MAX)
        return CMP_UNKNOWN;
    if (reply && h.result < 0) {
        body = 0;
        data = 0;
    }
    if (n < sizeof(h) + body || (!data && n != sizeof(h) + body) ||
        n - sizeof(h) - body > CMP_DATA_MAX)
        return CMP_LENGTH;
    return reply ? CMP_SOUND : cmp_check_fields(&h, bytes + sizeof(h));
}

#endif
