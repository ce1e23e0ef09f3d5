/* SPDX-License-Identifier: BSD-2-Clause
 *
 * hostile.c - clients that send what they may not send, against a real service.
 *
 *   hostile SERVICE: loud_service, whose log has a line for each client that was ended
 *
 * Each case checks three things: the connection ends; the log says which process it was, and why; a
 * good client hits all the while, with the right bytes, and a new one can connect (cases.h). Most
 * cases run twice: by socket, and by the ring. This file has the single messages that may not be,
 * and clients that are killed; hostile_noise.c changes bytes at random, and hostile_many.c takes
 * too much of everything.
 *
 * The last line is "N passed, N failed, N skipped". Exits 0 if no case failed.
 */
#include "hostile.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cachemax_client.h"
#include "place.h"

#define POOL_BYTES (16u << 20)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *const ways[] = { "by socket", "by ring" };

/* ---- One number of a sound message ----------------------------------------------------------- */

static const char no_sense[] = "a field that makes no sense", length[] = "a wrong length",
                  unknown[] = "no such command", other[] = "another version",
                  not_open[] = "a message names a file that is not open",
                  no_ticket[] = "a fill has a ticket that it never got",
                  no_begin[] = "an end has no begin",
                  bad_fill[] = "a fill is longer than its miss, or ends inside a block";

/* `n` bytes at `at` of a request get `value`; of 16 bytes both halves. */
static const struct odd {
    const char *name;
    unsigned command, at, n;
    uint64_t value;
    const char *why;
} odd[] = {
    { "version 2", CMP_READ, 4, 2, 2, other },
    { "version 0", CMP_OPEN, 4, 2, 0, other },
    { "version 65535", CMP_STATS, 4, 2, 65535, other },
    { "command 0", CMP_READ, 6, 2, 0, unknown },
    { "command 22", CMP_READ, 6, 2, CMP_COMMANDS, unknown },
    { "command 65535", CMP_STATS, 6, 2, 65535, unknown },
    { "a result in a request", CMP_READ, 16, 4, 1, no_sense },
    { "a read without a file", CMP_READ, 20, 4, 0, no_sense },
    { "stats of a file", CMP_STATS, 20, 4, 1, no_sense },
    { "an open of a handle", CMP_OPEN, 20, 4, 1, no_sense },
    { "an open of no id", CMP_OPEN, 24, 16, 0, no_sense },
    { "zero of open", CMP_OPEN, 52, 4, 1, no_sense },
    { "a validator that is given twice", CMP_OPEN, 56 + 28, 4, 2, no_sense },
    { "a validator that is not given", CMP_OPEN, 56 + 28, 4, 0, no_sense },
    { "read at 2^64 - 1", CMP_READ, 24, 8, UINT64_MAX, no_sense },
    { "read at 2^63", CMP_READ, 24, 8, UINT64_C(1) << 63, no_sense },
    { "read beyond 2^63 - 1", CMP_READ, 24, 8, (uint64_t)INT64_MAX - 4095, no_sense },
    { "read of 0 bytes", CMP_READ, 32, 4, 0, no_sense },
    { "read of too many bytes", CMP_READ, 32, 4, CMP_DATA_MAX + 1, no_sense },
    { "read of 2^32 - 1 bytes", CMP_READ, 32, 4, UINT32_MAX, no_sense },
    { "flags of read", CMP_READ, 36, 4, 4, no_sense },
    { "flags of fill", CMP_FILL, 32, 4, 2, no_sense },
    { "zero of fill", CMP_FILL, 36, 4, 1, no_sense },
    { "write at 2^63", CMP_WRITE_BEGIN, 24, 8, UINT64_C(1) << 63, no_sense },
    { "write at 2^64 - 2", CMP_WRITE_BEGIN, 24, 8, UINT64_MAX - 1, no_sense },
    { "write beyond 2^63 - 1", CMP_WRITE_BEGIN, 32, 8, INT64_MAX, no_sense },
    { "write of 2^63 bytes", CMP_WRITE_BEGIN, 32, 8, UINT64_C(1) << 63, no_sense },
    { "write of 2^64 - 2 bytes", CMP_WRITE_BEGIN, 32, 8, UINT64_MAX - 1, no_sense },
    { "append without a length", CMP_WRITE_BEGIN, 24, 16, UINT64_MAX, no_sense },
    { "invalidate at 2^64 - 1", CMP_INVALIDATE, 24, 8, UINT64_MAX, no_sense },
    { "invalidate at 2^63", CMP_INVALIDATE, 24, 8, UINT64_C(1) << 63, no_sense },
    { "invalidate beyond 2^63 - 1", CMP_INVALIDATE, 32, 8, INT64_MAX, no_sense },
    { "invalidate 2^64 - 2 bytes", CMP_INVALIDATE, 32, 8, UINT64_MAX - 1, no_sense },
    { "truncate to 2^63", CMP_TRUNCATE_BEGIN, 24, 8, UINT64_C(1) << 63, no_sense },
    { "truncate to 2^64 - 1", CMP_TRUNCATE_BEGIN, 24, 8, UINT64_MAX, no_sense },
    { "a write that fails", CMP_WRITE_END, 32, 4, 0, no_sense },
    { "ok of a write", CMP_WRITE_END, 32, 4, 2, no_sense },
    { "zero of the end of a write", CMP_WRITE_END, 36, 4, 1, no_sense },
    { "validator of a write", CMP_WRITE_END, 40 + 28, 4, UINT32_MAX, no_sense },
    { "ok of a sync", CMP_SYNC_END, 32, 4, 2, no_sense },
    { "zero of the end of a sync", CMP_SYNC_END, 36, 4, UINT32_MAX, no_sense },
    { "revalidate with 3", CMP_REVALIDATE, 24 + 28, 4, 3, no_sense },
    { "forget no id", CMP_FORGET, 24, 16, 0, no_sense },
    { "gone of forget", CMP_FORGET, 40, 4, 2, no_sense },
    { "zero of forget", CMP_FORGET, 44, 4, 1, no_sense },
    { "keep of 2", CMP_KEEP, 24, 4, 2, no_sense },
    { "a count of all", CMP_COUNT, 32, 8, UINT64_MAX, no_sense },
    { "a look-up of no id", CMP_LOOK_UP, 24, 16, 0, no_sense },
    { "pool of a file", CMP_POOL, 20, 4, 1, no_sense },
    { "a ticket of later, warm", CMP_WARM, 24, 8, 1000, no_ticket },
    { "a handle that was not given", CMP_READ, 20, 4, 3, not_open },
    { "the last handle", CMP_READ, 20, 4, 65536, not_open },
    { "a handle beyond the last one", CMP_READ, 20, 4, 65537, not_open },
    { "handle 2^31 + 1", CMP_WRITE_BEGIN, 20, 4, UINT32_C(0x80000001), not_open },
    { "handle 2^32 - 1", CMP_CLOSE, 20, 4, UINT32_MAX, not_open },
    { "ticket 0", CMP_FILL, 24, 8, 0, no_ticket },
    { "a ticket of later", CMP_FILL, 24, 8, 1000, no_ticket },
    { "ticket 2^64 - 1", CMP_FILL, 24, 8, UINT64_MAX, no_ticket },
    { "ticket of the other file", CMP_FILL, 20, 4, 2, "a fill has the ticket of another file" },
    { "token 0", CMP_WRITE_END, 24, 8, 0, no_begin },
    { "a token of later", CMP_WRITE_END, 24, 8, 1000, no_begin },
    { "token 2^64 - 1", CMP_SYNC_END, 24, 8, UINT64_MAX, no_begin },
    { "token of the other file", CMP_WRITE_END, 20, 4, 2, no_begin },
    { "sync of the other file", CMP_SYNC_END, 20, 4, 2, no_begin },
    { "a write's token ends a sync", CMP_WRITE_END, 6, 2, CMP_SYNC_END, no_begin },
    { "a sync's token ends a write", CMP_SYNC_END, 6, 2, CMP_WRITE_END, no_begin },
};

/* A request that is in order; its file is handle 1, and handle 2 is open, too. */
static struct message sound(struct raw *r, unsigned command)
{
    const struct cmp_open open = { .id_hi = 5, .id_lo = 6, .validator = raw_validator() };
    const struct cmp_read read = { .offset = RAW_BLOCK, .len = RAW_BLOCK };
    const struct cmp_range range = { .offset = RAW_BLOCK, .len = RAW_BLOCK };
    const struct cmp_revalidate revalidate = { .validator = raw_validator() };
    const struct cmp_forget forget = { .id_hi = 5, .id_lo = 6, .gone = 1 };
    const struct cmp_look_up look_up = { .id_hi = 5, .id_lo = 6 };
    const struct cmp_count count = { .offset = 0, .len = RAW_BLOCK };
    const struct cmp_keep keep = { .keep = 0 };

    switch (command) {
    case CMP_OPEN:
        return raw_message(r, CMP_OPEN, 0, &open);
    case CMP_READ:
        return raw_message(r, CMP_READ, 1, &read);
    case CMP_FILL:
        return raw_fill(r, 1, raw_miss(r, 1, 1), RAW_BLOCK);
    case CMP_WRITE_BEGIN:
    case CMP_TRUNCATE_BEGIN:
    case CMP_INVALIDATE:
        return raw_message(r, command, 1, &range);
    case CMP_WRITE_END:
        return raw_end(r, command, 1, raw_begin(r, CMP_WRITE_BEGIN, 1, 1));
    case CMP_SYNC_END:
        return raw_end(r, command, 1, raw_begin(r, CMP_SYNC_BEGIN, 1, 1));
    case CMP_REVALIDATE:
        return raw_message(r, command, 1, &revalidate);
    case CMP_FORGET:
        return raw_message(r, command, 0, &forget);
    case CMP_WARM: {
        struct message m = raw_fill(r, 1, raw_miss(r, 1, 1), RAW_BLOCK);
        const uint16_t warm = CMP_WARM;

        memcpy(m.bytes + offsetof(struct cmp_head, command), &warm, sizeof(warm));
        return m;
    }
    case CMP_LOOK_UP:
        return raw_message(r, command, 0, &look_up);
    case CMP_COUNT:
        return raw_message(r, command, 1, &count);
    case CMP_KEEP:
        return raw_message(r, command, 1, &keep);
    default: /* CMP_CLOSE, CMP_SYNC_BEGIN, CMP_STATS, CMP_POOL, CMP_FORGET_ALL, CMP_FILES */
        return raw_message(r, command, cmp_has_file(command) ? 1 : 0, NULL);
    }
}

/* Two files are open, with handles 1 and 2. Nothing of them is cached. */
static void begin_client(struct raw *r, bool ring)
{
    static uint64_t id;

    raw_greet(r, ring);
    if (raw_open(r, ++id) != 1 || raw_open(r, ++id) != 2)
        case_fail("the first handles are not 1 and 2");
}

/* Why the service refuses a message, if by socket it would be for `why`. */
static const char *why_not(const struct raw *r, const struct message *m, bool ring, const char *why)
{
    struct cmp_head h;

    memcpy(&h, m->bytes, sizeof(h));
    return !ring || cmp_ring_takes(h.command, r->flags)
               ? why
               : "a message in the ring has a command that a ring does not take";
}

/* A connection that is lost in a bracket stays for a second, and a small pool stores nothing while
 * a bracket is open. So cases that lose brackets come last. */
static bool loses_bracket(unsigned command)
{
    return command == CMP_WRITE_END;
}

static void odd_cases(bool ring, bool brackets)
{
    struct raw r;

    for (unsigned i = 0; i < COUNT(odd); i++) {
        if (loses_bracket(odd[i].command) != brackets)
            continue;
        case_begin("%s %s", odd[i].name, ways[ring]);
        begin_client(&r, ring);
        struct message m = sound(&r, odd[i].command);
        for (unsigned k = 0; k < odd[i].n; k += 8)
            memcpy(m.bytes + odd[i].at + k, &odd[i].value, odd[i].n - k < 8 ? odd[i].n - k : 8);
        raw_put(&r, &m);
        case_ended(&r, why_not(&r, &m, ring, odd[i].why));
        case_end();
    }
}

/* ---- Lengths --------------------------------------------------------------------------------- */

/* A body that is too short or too long, and a head that says so. */
static void length_cases(bool ring, bool brackets)
{
    static const int by[] = { -1, 1, RAW_BLOCK };
    struct raw r;

    for (unsigned command = CMP_OPEN; command < CMP_COMMANDS; command++)
        for (unsigned i = 0; i < COUNT(by); i++) {
            int data;
            const bool is_short = by[i] < 0 && cmp_body(command, 0, &data) == 0;
            if (loses_bracket(command) != brackets)
                continue;
            if (is_short && !ring)
                continue; /* fewer bytes than a head: the service waits for the rest */
            case_begin("command %u of %+d bytes %s", command, by[i], ways[ring]);
            begin_client(&r, ring);
            struct message m = sound(&r, command);
            m.n = (size_t)((int)m.n + by[i]);
            memcpy(m.bytes, &(uint32_t){ (uint32_t)m.n }, 4);
            raw_put(&r, &m);
            case_ended(&r, is_short ? "a message in the ring has a wrong length"
                                    : why_not(&r, &m, ring,
                                              command == CMP_FILL || command == CMP_WARM ? bad_fill
                                                                                         : length));
            case_end();
        }
}

/* What a head says of its length, and nothing behind it. */
static void head_cases(bool ring)
{
    static const uint32_t bytes[] = { 0, 1, 23, CMP_MESSAGE_MAX + 1, UINT32_MAX, RING_ROOM + 1 };
    struct raw r;

    for (unsigned i = 0; i < COUNT(bytes); i++) {
        if (!ring && bytes[i] == RING_ROOM + 1)
            continue; /* by socket it may be so long */
        case_begin("a head of %u bytes %s", bytes[i], ways[ring]);
        begin_client(&r, ring);
        struct message m = sound(&r, CMP_STATS);
        memcpy(m.bytes, &bytes[i], 4);
        raw_put(&r, &m);
        case_ended(&r, ring ? "a message in the ring has a wrong length" : length);
        case_end();
    }
}

/* The stream ends inside a message. */
static void cut_cases(void)
{
    static const size_t lengths[] = { 1, 23, 24, 39 };
    struct raw r;

    for (unsigned i = 0; i < COUNT(lengths); i++) {
        case_begin("%zu bytes of 40, and the end", lengths[i]);
        begin_client(&r, false);
        const struct message m = sound(&r, CMP_READ);
        (void)raw_send(&r, m.bytes, lengths[i]);
        (void)shutdown(r.fd, SHUT_WR);
        case_ended(&r, "it ended in the middle of a message");
        case_end();
    }
}

/* ---- Hello ----------------------------------------------------------------------------------- */

static void hello_case(const char *name, unsigned at, unsigned n, uint64_t value, const char *why)
{
    struct raw r;

    for (unsigned ring = 0; ring < 2; ring++) {
        case_begin("%s%s", name, ring ? ", which wants a ring" : "");
        raw_connect(&r);
        struct message m = raw_hello(&r, ring ? CMP_WANT_RING : 0);
        memcpy(m.bytes + at, &value, n);
        raw_put(&r, &m);
        case_ended(&r, why);
        case_end();
    }
}

static void hello_cases(void)
{
    struct raw r;

    hello_case("hello of version 0", 4, 2, 0, "it speaks other versions only");
    hello_case("hello of version 2 and later", 28, 4, 2, "it speaks other versions only");
    hello_case("hello with another magic", 24, 4, CMP_MAGIC + 1, no_sense);
    hello_case("hello of version 0 and later", 28, 4, 0, no_sense);
    hello_case("hello with other flags", 32, 4, 2, no_sense);
    hello_case("hello with zero", 36, 4, 1, no_sense);
    hello_case("hello with a file", 20, 4, 1, no_sense);
    case_begin("no hello");
    raw_connect(&r);
    const struct message m = raw_message(&r, CMP_STATS, 0, NULL);
    raw_put(&r, &m);
    case_ended(&r, "it did not say hello");
    case_end();
    for (unsigned ring = 0; ring < 2; ring++) {
        case_begin("hello twice %s", ways[ring]);
        begin_client(&r, ring);
        const struct message again = raw_hello(&r, CMP_WANT_RING);
        raw_put(&r, &again);
        case_ended(&r, why_not(&r, &again, ring, "it said hello twice"));
        case_end();
    }
    case_begin("hello of all versions");
    raw_connect(&r);
    struct message all = raw_hello(&r, 0);
    memcpy(all.bytes + 4, &(uint16_t){ 65535 }, 2);
    if (raw_ask(&r, &all, NULL, 0) != 0)
        case_fail("it is refused");
    raw_close(&r);
    case_end();
}

/* ---- Out of place ---------------------------------------------------------------------------- */

/* The handle is closed, and then used again. */
static void closed_cases(bool ring)
{
    static const unsigned commands[] = { CMP_CLOSE,          CMP_READ,       CMP_WRITE_BEGIN,
                                         CMP_TRUNCATE_BEGIN, CMP_WRITE_END,  CMP_SYNC_BEGIN,
                                         CMP_SYNC_END,       CMP_INVALIDATE, CMP_REVALIDATE };
    struct raw r;

    for (unsigned i = 0; i < COUNT(commands); i++) {
        case_begin("command %u after close %s", commands[i], ways[ring]);
        begin_client(&r, ring);
        const struct message m = sound(&r, commands[i]), close = sound(&r, CMP_CLOSE);
        if (raw_ask(&r, &close, NULL, 0) != 0)
            case_fail("close fails");
        raw_put(&r, &m);
        case_ended(&r, why_not(&r, &m, ring, not_open));
        case_end();
    }
}

/* A ticket of one connection in another one, which has given out fewer. */
static void foreign_ticket_case(bool ring)
{
    struct raw r, another;
    uint64_t ticket = 0;

    case_begin("ticket of another connection %s", ways[ring]);
    begin_client(&r, ring);
    begin_client(&another, ring);
    for (unsigned i = 0; i < 5; i++)
        ticket = raw_miss(&another, 1, 1);
    const struct message m = raw_fill(&r, 1, ticket, RAW_BLOCK);
    raw_put(&r, &m);
    case_ended(&r, no_ticket);
    raw_close(&another);
    case_end();
}

/* What is longer than the miss, by one block and by one byte. The miss ends with the file. */
static void fill_cases(bool ring)
{
    static const struct {
        const char *name;
        uint64_t block;
        size_t n;
    } of[] = { { "a fill longer than its miss", 99, 2 * RAW_BLOCK },
               { "a fill one byte longer than its miss", 99, RAW_BLOCK + 1 },
               { "a fill that ends inside a block", 1, RAW_BLOCK - 1 },
               { "a fill of one byte", 1, 1 } };
    struct raw r;

    for (unsigned i = 0; i < COUNT(of); i++) {
        case_begin("%s %s", of[i].name, ways[ring]);
        begin_client(&r, ring);
        const struct message m = raw_fill(&r, 1, raw_miss(&r, 1, of[i].block), of[i].n);
        raw_put(&r, &m);
        case_ended(&r, bad_fill);
        case_end();
    }
}

/* A ticket counts once, and one that is void is no fault. */
static void used_ticket_case(bool ring)
{
    struct cmp_read_reply miss;
    struct raw r;

    case_begin("a ticket that is used twice %s", ways[ring]);
    begin_client(&r, ring);
    const uint64_t ticket = raw_miss(&r, 1, 1);
    for (unsigned i = 0; i < 2; i++) {
        const struct message m = raw_fill(&r, 1, ticket, RAW_BLOCK);
        (void)raw_ask(&r, &m, NULL, 0);
    }
    if (!raw_has(&r, 1, 1, &miss))
        case_fail("the first fill is not stored");
    for (unsigned i = 0; i < 300; i++)
        (void)raw_miss(&r, 1, 2);
    const struct message old = raw_fill(&r, 1, ticket + 1, RAW_BLOCK);
    (void)raw_ask(&r, &old, NULL, 0);
    /* A fill has no reply, so its file may be closed before the service looks at it. */
    const struct message late = raw_fill(&r, 2, raw_miss(&r, 2, 1), RAW_BLOCK);
    const struct message close = raw_message(&r, CMP_CLOSE, 2, NULL);
    (void)raw_ask(&r, &close, NULL, 0);
    (void)raw_ask(&r, &late, NULL, 0);
    const struct message stats = sound(&r, CMP_STATS);
    if (raw_ask(&r, &stats, NULL, 0) <= 0)
        case_fail("the connection has ended");
    raw_close(&r);
    case_end();
}

/* A validator that is none ends no connection: it may be a mistake of the client's program. But the
 * write has ended, so the block can be stored again. */
static void validator_case(bool ring)
{
    static const struct {
        const char *name;
        uint64_t taken_at, size;
        uint8_t proof;
    } of[] = { { "of no time", 0, 1, 1 },
               { "of later", UINT64_MAX, 1, 1 },
               { "of too large a file", 1, UINT64_C(1) << 63, 1 },
               { "without a proof", 1, 1, 0 } };
    struct raw r;

    for (unsigned i = 0; i < COUNT(of); i++) {
        case_begin("a validator %s %s", of[i].name, ways[ring]);
        begin_client(&r, ring);
        struct cmp_end body = { .token = raw_begin(&r, CMP_WRITE_BEGIN, 1, 1),
                                .ok = 1,
                                .validator = { .taken_at = of[i].taken_at,
                                               .size = of[i].size,
                                               .given = 1,
                                               .proof = { of[i].proof } } };
        const struct message m = raw_message(&r, CMP_WRITE_END, 1, &body);
        if (raw_ask(&r, &m, NULL, 0) != CM_EINVAL)
            case_fail("another result than CM_EINVAL");
        const struct message fill = raw_fill(&r, 1, raw_miss(&r, 1, 1), RAW_BLOCK);
        (void)raw_ask(&r, &fill, NULL, 0);
        struct cmp_read_reply miss;
        if (!raw_has(&r, 1, 1, &miss))
            case_fail("the block is not stored");
        raw_close(&r);
        case_end();
    }
}

/* ---- Clients that are killed, and strangers -------------------------------------------------- */

static const char *self;

/* Starts this program again as a bad client, which says a byte when it has done it. */
static pid_t start_child(const char *what, char *said)
{
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) != 0 || (pid = fork()) < 0)
        place_die("a child");
    if (pid == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        execl("/proc/self/exe", self, "--child", what, place_dir, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    if (read(ends[0], said, 1) != 1)
        *said = 0;
    close(ends[0]);
    return pid;
}

static void kill_child(pid_t pid)
{
    kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

static const cm_file_id shared_id = { .hi = 0x6f70656e, .lo = 0x736861726564 }; /* of raw_open() */

static int shared_version(void *arg, cm_validator *v)
{
    const struct cmp_validator m = raw_validator();

    (void)arg;
    v->taken_at = m.taken_at;
    v->size = m.size;
    v->changed_ns = m.changed_ns;
    memcpy(v->proof, m.proof, sizeof(v->proof));
    return 0;
}

static int child_main(const char *what, const char *dir)
{
    const struct cmc_options o = { .where = place_socket,
                                   .flags = strcmp(what, "bracket by ring") ? CMC_NO_RING : 0 };
    struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "socket" };
    struct raw r;
    cmc_client *k;
    cmc_file *f;
    cmc_bracket w;
    char said = 'y', byte;

    snprintf(place_socket, sizeof(place_socket), "%s/socket", dir);
    if (strcmp(what, "half") == 0) {
        begin_client(&r, false);
        const struct message m = sound(&r, CMP_READ);
        if (!raw_send(&r, m.bytes, m.n / 2))
            said = 'n';
    } else if (strcmp(what, "stranger") == 0) {
        const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        /* By a short name: whoever it is may not pass the directories above. */
        if (chdir(dir) != 0 || setgroups(0, NULL) != 0 || setgid(65534) != 0 ||
            setuid(65534) != 0 || connect(fd, (const struct sockaddr *)&a, sizeof(a)) != 0)
            said = 'n';
        else if (recv(fd, &byte, 1, 0) != 0)
            said = 'i'; /* it was let in */
    } else if (cmc_connect(&o, &k, NULL) != 0 ||
               cmc_file_open(k, &shared_id, 0, shared_version, NULL, &f) != 0 ||
               cmc_write_begin(f, RAW_BLOCK, RAW_BLOCK, &w) != 0 || w.outside) {
        said = 'n';
    }
    if (write(STDOUT_FILENO, &said, 1) != 1)
        return 1;
    for (;;)
        pause();
}

static void killed_in_message_case(void)
{
    char said, process[40];

    case_begin("killed in the middle of a message");
    const pid_t pid = start_child("half", &said);
    kill_child(pid);
    snprintf(process, sizeof(process), "process %d ", (int)pid);
    if (said != 'y')
        case_fail("the child did not come so far");
    case_logged(process, "it ended in the middle of a message");
    case_end();
}

/* Waits until a block of the shared file can be stored. */
static void store(struct raw *r, uint32_t file, uint64_t block)
{
    const uint64_t until = place_now_ns() + PLACE_PATIENCE_NS;
    struct cmp_read_reply miss;

    while (!raw_has(r, file, block, &miss)) {
        if (place_now_ns() > until) {
            case_fail("block %u cannot be stored", (unsigned)block);
            return;
        }
        if (miss.ticket == 0) {
            usleep(1000);
            continue;
        }
        const struct message m = raw_fill(r, file, miss.ticket, RAW_BLOCK);
        (void)raw_ask(r, &m, NULL, 0);
    }
}

/* What the file had may be overwritten by whoever was killed. */
static void killed_in_bracket_case(const char *what)
{
    const uint64_t until = place_now_ns() + PLACE_PATIENCE_NS;
    struct cmp_read_reply miss;
    struct raw r;
    char said;

    case_begin("killed in a %s", what);
    raw_greet(&r, false);
    const uint32_t file = raw_open(&r, shared_id.lo);
    store(&r, file, 1);
    store(&r, file, 2);
    const pid_t pid = start_child(what, &said);
    if (said != 'y')
        case_fail("the child has no bracket");
    if (raw_has(&r, file, 1, &miss) || miss.ticket != 0)
        case_fail("the block is served or filled inside the bracket");
    kill_child(pid);
    while (raw_has(&r, file, 2, &miss))
        if (place_now_ns() > until) {
            case_fail("the file is not forgotten");
            break;
        }
    store(&r, file, 1);
    store(&r, file, 2);
    raw_close(&r);
    case_end();
}

/* A bracket may reach to the end of the file. What cannot be is refused, and then there is none. */
static void brackets_case(void)
{
    const struct cmc_options o = { .where = place_socket };
    struct cmp_read_reply miss;
    struct raw r;
    cmc_client *k;
    cmc_file *f;
    cmc_bracket w;

    case_begin("brackets of the client library");
    raw_greet(&r, false);
    const uint32_t file = raw_open(&r, shared_id.lo);
    store(&r, file, 1);
    store(&r, file, 2);
    if (cmc_connect(&o, &k, NULL) != 0 ||
        cmc_file_open(k, &shared_id, 0, shared_version, NULL, &f) != 0)
        place_die("the client library");
    if (cmc_write_begin(f, 2 * RAW_BLOCK, CM_ALL, &w) != 0 || w.outside ||
        cmc_write_end(f, &w, NULL) < 0)
        case_fail("no bracket to the end of the file");
    if (!raw_has(&r, file, 1, &miss) || raw_has(&r, file, 2, &miss))
        case_fail("it forgot too little or too much");
    if (cmc_write_begin(f, CM_APPEND, CM_ALL, &w) != 0 || w.outside ||
        cmc_write_end(f, &w, NULL) < 0)
        case_fail("no bracket behind the end of the file");
    memset(&w, 0xee, sizeof(w));
    if (cmc_write_begin(f, RAW_BLOCK, INT64_MAX, &w) != CM_EINVAL || w.outside || w.token ||
        cmc_write_end(f, &w, NULL) != 0)
        case_fail("a bracket beyond the largest file");
    memset(&w, 0xee, sizeof(w));
    if (cmc_truncate_begin(f, UINT64_MAX, &w) != CM_EINVAL || w.outside || w.token)
        case_fail("a bracket for a size beyond the largest file");
    if (cmc_sync_begin(NULL, &w) != CM_EINVAL || cmc_sync_begin(f, NULL) != CM_EINVAL)
        case_fail("a sync of nothing");
    cmc_file_close(f);
    cmc_disconnect(k);
    raw_close(&r);
    case_end();
}

/* The modes of socket and directory let another user come as far as the service itself. */
static void stranger_case(void)
{
    char said, process[40];

    if (geteuid() != 0) {
        case_skip("another user", "only root can become another user");
        return;
    }
    case_begin("another user");
    if (chmod(place_dir, 0711) != 0 || chmod(place_socket, 0666) != 0)
        place_die(place_socket);
    const pid_t pid = start_child("stranger", &said);
    kill_child(pid);
    if (chmod(place_dir, 0700) != 0 || chmod(place_socket, 0600) != 0)
        place_die(place_socket);
    snprintf(process, sizeof(process), "process %d ", (int)pid);
    if (said != 'y')
        case_fail(said == 'i' ? "it was let in" : "it cannot even connect");
    case_logged(process, "was refused: its user 65534 is not the service's");
    case_end();
}

/* The service gets the same limit: three descriptors a client. */
static void raise_limit(void)
{
    struct rlimit n;

    if (getrlimit(RLIMIT_NOFILE, &n) != 0)
        place_die("getrlimit");
    n.rlim_cur = n.rlim_max < 4096 ? n.rlim_max : 4096;
    (void)setrlimit(RLIMIT_NOFILE, &n);
}

int main(int argc, char **argv)
{
    self = argv[0];
    if (argc == 4 && strcmp(argv[1], "--child") == 0)
        return child_main(argv[2], argv[3]);
    if (argc != 2)
        return 2;
    place_make(POOL_BYTES);
    place_log();
    raise_limit();
    service_up(argv[1], "clients = 1000\n"); /* loses_bracket() */
    cut_cases();
    hello_cases();
    for (unsigned ring = 0; ring < 2; ring++) {
        odd_cases(ring, false);
        length_cases(ring, false);
        head_cases(ring);
        closed_cases(ring);
        foreign_ticket_case(ring);
        fill_cases(ring);
        used_ticket_case(ring);
        validator_case(ring);
        odd_cases(ring, true);
        length_cases(ring, true);
        case_begin("nothing is left %s", ways[ring]);
        case_settled();
        case_end();
    }
    killed_in_message_case();
    killed_in_bracket_case("bracket by ring");
    killed_in_bracket_case("bracket by socket");
    brackets_case();
    stranger_case();
    noise_cases();
    ring_cases();
    service_down("the end while rings change");
    ring_cases_end();
    many_cases(argv[1], POOL_BYTES);
    place_clean();
    return cases_report();
}
