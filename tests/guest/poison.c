/* SPDX-License-Identifier: BSD-2-Clause
 *
 * poison.c - a real machine check in the memory of an open pool, in each of its parts.
 *
 * usage: poison [TOOL [PART]]
 * Run by guest.sh --mce in a directory on DAX; TOOL: the cachemax command. Each part has a pool of
 * its own: its blocks are stored and hit, one page is poisoned, and then every read must still give
 * the right bytes, from the origin where it must be, writes must forget or refuse, and the process
 * must live.
 *
 * The slot's page is poisoned in the middle of a copy out of it ("action required": the load itself
 * takes the machine check). The others as a scrubber would find them ("action optional", with
 * PR_MCE_KILL_EARLY, so that the kernel takes the page out of the mapping): the next access faults.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "../later.h"
#include "state/file.h"
#include "platform/platform.h"

#define BLOCKS 300u
#define BLOCK ((uint64_t)CM_BLOCK_SIZE)
#define VICTIM 5u /* the block that is looked at closely */
#define PAGE 4096u

static struct {
    cm_cache *cache;
    cm_file *file;
    uint64_t version[BLOCKS];
    uint64_t origin_reads;
    unsigned failed;
    const char *part, *tool;
    sigjmp_buf own_fault; /* where a fault of our own code goes on */
    volatile sig_atomic_t may_fault;
} t;

static void check(bool ok, const char *what, long long number)
{
    t.failed += !ok;
    printf("%s %s: %s (%lld)\n", ok ? "ok" : "FAIL", t.part, what, number);
}

/* ---- Origin ---------------------------------------------------------------------------------- */

static void content(uint64_t block, uint8_t *to)
{
    uint64_t word = (t.version[block] * BLOCKS + block + 1) * UINT64_C(0x9e3779b97f4a7c15);
    for (uint64_t i = 0; i < BLOCK; i += 8) {
        memcpy(to + i, &word, 8);
        word = word * UINT64_C(6364136223846793005) + 1;
    }
}

static int64_t read_origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    uint64_t n = 0;
    (void)ctx;
    t.origin_reads++;
    for (; n < len && offset + n < BLOCKS * BLOCK; n += BLOCK)
        content((offset + n) / BLOCK, (uint8_t *)buf + n);
    return (int64_t)n;
}

static bool is_right(uint64_t block, const uint8_t *p)
{
    uint8_t want[CM_BLOCK_SIZE];
    content(block, want);
    return memcmp(p, want, BLOCK) == 0;
}

/* Reads every block through the cache; how many were wrong. */
static unsigned wrong_reads(void)
{
    static uint8_t buf[CM_BLOCK_SIZE] __attribute__((aligned(CM_BLOCK_SIZE)));
    unsigned wrong = 0;
    for (uint64_t b = 0; b < BLOCKS; b++)
        wrong +=
            cm_read_through(t.file, b * BLOCK, buf, BLOCK, read_origin, NULL) != (int64_t)BLOCK ||
            !is_right(b, buf);
    return wrong;
}

/* How many blocks hit; a wrong hit is a failure. */
static unsigned hits(void)
{
    uint8_t buf[CM_BLOCK_SIZE];
    unsigned n = 0;
    for (uint64_t b = 0; b < BLOCKS; b++)
        if (cm_read(t.file, b * BLOCK, buf, BLOCK, NULL) == (int64_t)BLOCK) {
            n++;
            if (!is_right(b, buf))
                check(false, "a hit is wrong, block", (long long)b);
        }
    return n;
}

/* How many blocks can be pinned; a wrong one is a failure. */
static unsigned pinned(void)
{
    cm_iovec iov;
    cm_pins pins;
    unsigned n = 0;
    int count;
    for (uint64_t b = 0; b < BLOCKS; b++)
        if (cm_pin_range(t.file, b * BLOCK, BLOCK, &iov, 1, &count, &pins, NULL) ==
            (int64_t)BLOCK) {
            n++;
            if (!is_right(b, iov.base))
                check(false, "a pinned block is wrong, block", (long long)b);
            (void)cm_unpin(&pins);
        }
    return n;
}

static cm_stats_data stats(void)
{
    cm_stats_data s = { .struct_size = sizeof(s) };
    (void)cm_stats(t.cache, &s);
    return s;
}

/* A bracketed write; what cm_write_begin said. Refused: nothing is written. */
static int write_block(uint64_t block)
{
    cm_bracket w;
    int e = cm_write_begin(t.file, block * BLOCK, BLOCK, &w);
    if (e == 0) {
        t.version[block]++;
        (void)cm_write_end(t.file, &w, NULL);
    }
    return e;
}

/* ---- Poison ---------------------------------------------------------------------------------- */

static uint64_t physical(const void *p)
{
    uint64_t entry = 0, word;
    (void)cm_guard_load64((const uint64_t *)((uintptr_t)p & ~(uintptr_t)7), &word); /* map it */
    int fd = open("/proc/self/pagemap", O_RDONLY);
    if (fd < 0 || pread(fd, &entry, 8, (off_t)((uintptr_t)p / PAGE * 8)) != 8)
        perror("pagemap");
    close(fd);
    return (entry & ((UINT64_C(1) << 55) - 1)) * PAGE;
}

static size_t bad_blocks(char *text, size_t size)
{
    int fd = open("/sys/block/pmem0/badblocks", O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

/* Asks for a machine check that nobody's access caused, and waits until the kernel dealt with it.
 */
static void poison_page(const void *p)
{
    char before[4096], after[4096];
    bad_blocks(before, sizeof(before));
    fflush(stdout);
    dprintf(1, "inject-mce %#llx ao\n", (unsigned long long)physical(p));
    tcdrain(1);
    for (int i = 0; i < 3000; i++) {
        bad_blocks(after, sizeof(after));
        if (strcmp(before, after) != 0)
            break;
        usleep(10000);
    }
    check(strcmp(before, after) != 0, "the kernel knows of the poison", 0);
    usleep(200000);
}

/* The instructions that hits copy with: up to where the next routine begins. */
static void copy_code(uintptr_t *from, uintptr_t *to)
{
    struct cm_plat_guard_code code;
    uintptr_t other;
    (void)cm_guard_code(&code);
    *from = (uintptr_t)cm_guard_take_choose();
    if (*from == 0)
        *from = (uintptr_t)cm_guard_copy_variant(0, NULL);
    *to = code.landing;
    for (size_t i = 0; (other = (uintptr_t)cm_guard_copy_variant(i, NULL)) != 0; i++)
        if (other > *from && other < *to)
            *to = other;
    for (size_t i = 0; (other = (uintptr_t)cm_guard_take_variant(i, NULL)) != 0; i++)
        if (other > *from && other < *to)
            *to = other;
}

/* ---- Parts ----------------------------------------------------------------------------------- */

static void begin(const char *part)
{
    cm_create_options c = CM_CREATE_OPTIONS_INIT;
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = CM_PROBATION_NONE;
    cm_file_id id = { 1, 1 };
    cm_validator v = validator_of_version(BLOCKS * BLOCK, 1000);
    c.size = 4 << 20;
    o.flags = CM_OPEN_REQUIRE_DAX | CM_OPEN_NO_TUNING; /* copy_code() has to be right */
    t.part = part;
    int e = cm_create(part, &c);
    if (e == 0)
        e = cm_open(part, &o, &t.cache);
    v.taken_at = cm_now(); /* one from before the open proves nothing */
    if (e == 0)
        e = cm_file_open(t.cache, &id, &v, CM_SOLE_WRITER, &t.file);
    if (e) {
        check(false, "pool on DAX", e);
        exit(1);
    }
    unsigned wrong = wrong_reads();
    unsigned warm = hits();
    check(wrong == 0 && warm == BLOCKS, "stored and hit before", warm);
}

/* After it: everything reads right, and what the media still takes is stored. */
static void end(int close_code)
{
    unsigned wrong = wrong_reads();
    check(wrong == 0, "every read right afterwards; wrong ones", wrong);
    (void)wrong_reads();
    cm_check_report r = { .struct_size = sizeof(r) };
    int e = cm_check(t.cache, 0, NULL, NULL, &r);
    cm_stats_data s = stats();
    printf("%s: %u of %u hit, check %d (unreadable %llu), quarantined %llu, escalations %llu\n",
           t.part, hits(), BLOCKS, e, (unsigned long long)r.unreadable,
           (unsigned long long)s.quarantined, (unsigned long long)s.escalations);
    check(e >= 0 && r.bad_payload + r.bad_headers + r.duplicates == 0, "cm_check gets through", e);
    e = cm_close(t.cache);
    check(e == close_code, "close says", e);
}

static int reopen(void)
{
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = CM_PROBATION_NONE;
    cm_file_id id = { 1, 1 };
    int e = cm_open(t.part, &o, &t.cache);
    if (e)
        return e;
    cm_validator v = validator_of_version(BLOCKS * BLOCK, 1000);
    if (t.version[VICTIM])
        v = validator_of_version(BLOCKS * BLOCK, 2000 + t.version[VICTIM]);
    v.taken_at = cm_now();
    e = cm_file_open(t.cache, &id, &v, CM_SOLE_WRITER, &t.file);
    check(e == 0, "the file is attached", e);
    return 0;
}

/* Opens the pool again; 0 warm or not, but every read is right, or the expected code. */
static void again(int code)
{
    int e = reopen();
    check(e == code, "opening it again says", e);
    if (e)
        return;
    check(wrong_reads() == 0, "every read right after that", 0);
    (void)cm_close(t.cache);
}

/* What somebody who looks from outside sees. */
static void check_tool(void)
{
    char command[256];
    if (!t.tool)
        return;
    snprintf(command, sizeof(command),
             "%s stats --json %s | tr ',{}' '\n\n\n' | grep -q '\"quarantined\": *1$'", t.tool,
             t.part);
    int e = system(command);
    check(e == 0, "cachemax stats counts one quarantined slot", e);
}

/* The address of the victim's bytes in the pool; `pins` holds it. */
static const void *pin_victim(cm_pins *pins)
{
    cm_iovec iov;
    int n = 0;
    int64_t got = cm_pin_range(t.file, VICTIM * BLOCK, BLOCK, &iov, 1, &n, pins, NULL);
    if (got != (int64_t)BLOCK) {
        check(false, "the victim can be pinned", got);
        exit(1);
    }
    return iov.base;
}

/* The emulated memory keeps its bytes. The library reads the page again after a fault, and the
 * kernel maps it again if it has not noted the bad block yet: then that read finds nothing wrong,
 * which is right, and no later one either. So once the kernel knows, the page is unmapped. */
static void unmap_once_known(const void *page, const char *before)
{
    char now[4096];
    bad_blocks(now, sizeof(now));
    if (strcmp(before, now) != 0)
        (void)madvise((void *)(uintptr_t)page, PAGE, MADV_DONTNEED);
}

/* The victim is read through until the machine check comes: that very read must be right. */
static void slot_part(void)
{
    static char known[4096];
    static uint8_t buf[CM_BLOCK_SIZE] __attribute__((aligned(CM_BLOCK_SIZE)));
    cm_pins pins;
    uintptr_t from, to;
    begin("slot");
    const void *page = pin_victim(&pins);
    (void)cm_unpin(&pins);
    copy_code(&from, &to);
    cm_stats_data before = stats();
    uint64_t loops = 0, origin_reads = t.origin_reads;
    bad_blocks(known, sizeof(known));
    fflush(stdout);
    dprintf(1, "inject-mce %#llx ar %#llx %#llx\n", (unsigned long long)physical(page),
            (unsigned long long)from, (unsigned long long)to);
    tcdrain(1);
    int64_t got;
    do {
        got = cm_read_through(t.file, VICTIM * BLOCK, buf, BLOCK, read_origin, NULL);
        if (++loops % 10000 == 0)
            unmap_once_known(page, known);
    } while (got == (int64_t)BLOCK && is_right(VICTIM, buf) && t.origin_reads == origin_reads &&
             loops < UINT64_C(100000000));
    check(t.origin_reads == origin_reads + 1,
          "a machine check in the middle of a hit: the origin is read; reads before",
          (long long)loops);
    check(got == (int64_t)BLOCK && is_right(VICTIM, buf), "that read gives the right bytes", got);
    cm_stats_data s = stats();
    check(s.quarantined - before.quarantined == 1, "slots quarantined", (long long)s.quarantined);
    check(s.miss_media - before.miss_media == 1, "media misses", (long long)s.miss_media);
    check_tool();
    check(hits() == BLOCKS, "stored in another slot, it hits again; the others still hit", hits());
    check(write_block(VICTIM) == 0, "write_begin", 0);
    end(0);
    again(0);
}

static void on_bus(int sig)
{
    if (t.may_fault)
        siglongjmp(t.own_fault, 1);
    signal(sig, SIG_DFL); /* and once more */
}

/* Is reading the page in our own code a fault that reaches the handler we had before? */
static bool faults(const volatile uint8_t *p)
{
    if (sigsetjmp(t.own_fault, 1) != 0) {
        t.may_fault = 0;
        return true;
    }
    t.may_fault = 1;
    (void)*p;
    t.may_fault = 0;
    return false;
}

/* A pinned slot is poisoned: what its user meets, and that the cache goes on beside. */
static void pin_part(void)
{
    uint8_t buf[CM_BLOCK_SIZE];
    cm_pins pins;
    int fd[2], n;
    unsigned wrong;
    begin("pin");
    const void *page = pin_victim(&pins);
    cm_stats_data before = stats();
    poison_page(page);
    check(faults(page), "reading the pinned page raises SIGBUS, in the handler of before", 0);
    ssize_t wrote = pipe(fd) == 0 ? write(fd[1], page, BLOCK) : 0;
    check(wrote == -1 && errno == EFAULT, "given to the kernel it is EFAULT", errno);
    int64_t got = cm_read(t.file, VICTIM * BLOCK, buf, BLOCK, NULL);
    check(got == 0, "cm_read beside the pin is a miss", got);
    check(stats().quarantined - before.quarantined == 1, "slots quarantined",
          (long long)stats().quarantined);
    cm_iovec iov;
    cm_pins other;
    got = cm_pin_range(t.file, VICTIM * BLOCK, BLOCK, &iov, 1, &n, &other, NULL);
    check(got == 0 && other.n == 0, "it cannot be pinned any more", got);
    check(cm_unpin(&pins) == 0, "the pin is given back", 0);
    check(pinned() == BLOCKS - 1, "the other blocks can be pinned", pinned());
    wrong = wrong_reads();
    check(wrong == 0 && pinned() == BLOCKS, "stored in another slot, it can be, too; wrong reads",
          wrong);
    end(0);
    again(0);
}

/* Poisoned before anybody looked at it in this session: the lookup itself checks the payload. */
static void first_pin_part(void)
{
    cm_iovec iov;
    cm_pins pins;
    int n;
    unsigned wrong;
    begin("first-pin");
    const uint8_t *base = t.cache->media.base;
    const uint8_t *page = pin_victim(&pins);
    uint64_t at = (uint64_t)(page - base);
    (void)cm_unpin(&pins);
    (void)cm_close(t.cache);
    reopen();
    poison_page(t.cache->media.base + at);
    int64_t got = cm_pin_range(t.file, VICTIM * BLOCK, BLOCK, &iov, 1, &n, &pins, NULL);
    check(got == 0 && pins.n == 0, "cm_pin_range of a slot not verified yet is a miss", got);
    check(stats().quarantined == 1, "slots quarantined", (long long)stats().quarantined);
    wrong = wrong_reads();
    check(wrong == 0 && pinned() == BLOCKS, "then it is stored in another slot; wrong reads",
          wrong);
    end(0);
    again(0);
}

static void header_part(void)
{
    begin("header");
    const uint8_t *headers = t.cache->media.base + t.cache->media.geo.header_offset;
    uint64_t lost = hits();
    poison_page(headers + VICTIM * sizeof(struct cm_header));
    unsigned pins = pinned(); /* the first to meet it */
    lost -= hits();
    check(pins == hits(), "cm_pin_range gets through; blocks pinned", pins);
    check(lost > 0 && lost <= PAGE / sizeof(struct cm_header), "a page of headers is missed",
          (long long)lost);
    check(wrong_reads() == 0, "every read right", 0);
    cm_stats_data before = stats();
    uint64_t block = 0; /* one whose header cannot be read: its bracket must escalate */
    for (uint64_t b = 0; b < BLOCKS && stats().escalations == before.escalations; b++) {
        block = b;
        int e = write_block(b);
        if (e)
            check(false, "write_begin", e);
    }
    check(stats().escalations > before.escalations, "a bracket escalates to the file, at block",
          (long long)block);
    end(0);
    again(0);
}

static void index_part(void)
{
    begin("index");
    /* The page with the victim's first bucket. */
    const struct cm_media *m = &t.cache->media;
    uint64_t incarnation = cm_object_of(t.file)->incarnation;
    struct cm_place p = cm_key_of(m, incarnation, VICTIM).place;
    uint64_t before = hits();
    poison_page(m->base + m->geo.index_offset + p.bucket[0] * sizeof(struct cm_bucket));
    unsigned pins = pinned(); /* the first to meet it */
    check(pins == hits(), "cm_pin_range gets through; blocks pinned", pins);
    check(hits() < before, "blocks of the page are missed", (long long)(before - hits()));
    check(wrong_reads() == 0, "every read right", 0);
    int e = write_block(VICTIM);
    check(e == 0 && stats().escalations == 1, "write_begin escalates to the file",
          (long long)stats().escalations);
    end(0);
    again(0);
}

static const uint8_t *record_page(void)
{
    const struct cm_media *m = &t.cache->media;
    return m->base + m->geo.record_offset + cm_object_of(t.file)->place * sizeof(struct cm_record);
}

static void record_part(void)
{
    begin("record");
    poison_page(record_page());
    check(hits() == BLOCKS, "hits need no record", hits());
    int e = write_block(VICTIM);
    check(e == 0 && stats().escalations == 1, "write_begin escalates to the epoch",
          (long long)stats().escalations);
    check(hits() == 0, "which empties the pool", hits());
    end(0);
    again(0);
}

static void super_part(void)
{
    begin("superblock");
    poison_page(t.cache->media.base);
    check(hits() == BLOCKS, "hits need no superblock", hits());
    check(write_block(VICTIM) == 0, "write_begin", 0);
    end(CM_EIO);
    again(CM_EIO); /* nobody may own a pool that cannot say so */
}

static void forget_part(void)
{
    begin("record-and-superblock");
    poison_page(record_page());
    poison_page(t.cache->media.base);
    check(write_block(VICTIM) == CM_EFORGET, "write_begin refuses: nothing is left to forget with",
          0);
    check(write_block(VICTIM + 1) == CM_EFORGET, "and goes on refusing", 0);
    check(hits() == 0, "nothing is served any more", hits());
    end(CM_EIO);
}

static void stats_part(void)
{
    begin("statistics");
    poison_page(t.cache->media.base + CM_STATS_OFFSET);
    poison_page(t.cache->media.base + CM_STATS_OFFSET + PAGE);
    check(hits() == BLOCKS, "hits need no counters", hits());
    check(write_block(VICTIM) == 0, "write_begin", 0);
    end(0);
    again(0);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } parts[] = { { "slot", slot_part },           { "pin", pin_part },
                  { "first-pin", first_pin_part }, { "header", header_part },
                  { "index", index_part },         { "record", record_part },
                  { "superblock", super_part },    { "forget", forget_part },
                  { "statistics", stats_part } };
    setvbuf(stdout, NULL, _IOLBF, 0); /* a hang shows where it is */
    signal(SIGBUS, on_bus);           /* the library passes on to it what is not its own */
    if (prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) != 0)
        perror("prctl");
    t.tool = argc > 1 ? argv[1] : NULL;
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        memset(t.version, 0, sizeof(t.version));
        if (argc < 3 || strcmp(argv[2], parts[i].name) == 0)
            parts[i].run();
    }
    printf("%u failed\n", t.failed);
    fflush(stdout);
    return t.failed != 0;
}
