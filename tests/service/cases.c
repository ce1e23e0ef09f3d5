/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cases.c - cases of a test of the service: while a bad client does what it does, a good one hits.
 *
 * Owns: the good client, which is called the witness, and the counts of the cases. The witness uses
 * the client library, as programs do. Its blocks are cached before the first case, so a miss of it
 * is a fault: nobody else uses its file, and the pool has room.
 *
 * Who: the programs of this directory.
 */
#include "cases.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cachemax_client.h"
#include "place.h"

#define BLOCKS 64u
#define READS_BEFORE 8u /* of each block: it leaves the buffer for new ones then */
#define HITS 10u        /* that a case waits for */

int service_pid;
static unsigned passed, failed, skipped;
static struct {
    char name[120], why[400]; /* why: empty as long as nothing is wrong */
    long log;
} now;

/* ---- The witness ----------------------------------------------------------------------------- */

static struct {
    cmc_client *client[2]; /* by ring, by socket */
    cmc_file *file[2];
    pthread_t thread;
    _Atomic bool ends;
    _Atomic uint64_t hits, faults;
    char why[200]; /* of the first fault: written before `faults` */
} witness;
static uint64_t expected[BLOCKS][RAW_BLOCK / 8];
static const cm_file_id witness_id = { .hi = UINT64_C(0x7769746e65737321),
                                       .lo = UINT64_C(0x5a4bb1d5397fc0de) };

static int witness_version(void *arg, cm_validator *v)
{
    (void)arg;
    cm_validator_set_proof(v, "witness", 7);
    v->taken_at = cm_now();
    v->size = sizeof(expected);
    v->changed_ns = CM_CHANGED_LONG_AGO;
    return 0;
}

static cmc_client *new_client(uint32_t flags, cmc_file **file)
{
    const struct cmc_options o = { .where = place_socket,
                                   .flags = flags,
                                   .timeout_ms = (uint32_t)(PLACE_PATIENCE_NS / 1000000) };
    const uint64_t until = place_now_ns() + PLACE_PATIENCE_NS;
    cmc_client *k;
    char why[256];

    if (cmc_connect(&o, &k, why) != 0)
        place_die(why);
    while (!cmc_is_connected(k)) {
        if (place_now_ns() > until)
            place_die("the service does not take a client");
        usleep(1000);
    }
    if (cmc_file_open(k, &witness_id, 0, witness_version, NULL, file) != 0)
        place_die("cmc_file_open");
    return k;
}

static bool hits(cmc_file *f, unsigned block, char why[200])
{
    uint8_t buf[RAW_BLOCK];
    cmc_miss miss;
    const int64_t n = cmc_read(f, (uint64_t)block * RAW_BLOCK, buf, RAW_BLOCK, &miss);

    if (n == RAW_BLOCK && memcmp(buf, expected[block], RAW_BLOCK) == 0)
        return true;
    snprintf(why, 200, "block %u: %s", block, n == RAW_BLOCK ? "wrong bytes" : "it misses");
    return false;
}

static void *witness_main(void *arg)
{
    char why[200];

    (void)arg;
    for (unsigned i = 0; !atomic_load(&witness.ends); i++) {
        if (hits(witness.file[i % 2], i * 37 % BLOCKS, why)) {
            atomic_fetch_add(&witness.hits, 1);
        } else {
            if (atomic_load(&witness.faults) == 0)
                snprintf(witness.why, sizeof(witness.why), "%s", why);
            atomic_fetch_add(&witness.faults, 1);
        }
        if (i % 8 == 0)
            usleep(1000); /* others want the processor, too */
    }
    return NULL;
}

static void warm(cmc_file *f)
{
    uint8_t buf[RAW_BLOCK];
    cmc_miss miss;

    for (unsigned i = 0; i < BLOCKS * READS_BEFORE; i++) {
        const unsigned b = i % BLOCKS;
        if (cmc_read(f, (uint64_t)b * RAW_BLOCK, buf, RAW_BLOCK, &miss) != RAW_BLOCK)
            (void)cmc_fill(f, &miss, expected[b], RAW_BLOCK, 0);
    }
}

static void witness_up(void)
{
    for (unsigned b = 0; b < BLOCKS; b++)
        for (unsigned i = 0; i < RAW_BLOCK / 8; i++)
            expected[b][i] = (b + 1) * UINT64_C(0x9e3779b97f4a7c15) + i;
    witness.client[0] = new_client(0, &witness.file[0]);
    witness.client[1] = new_client(CMC_NO_RING, &witness.file[1]);
    warm(witness.file[0]);
    atomic_store(&witness.ends, false);
    if (pthread_create(&witness.thread, NULL, witness_main, NULL) != 0)
        place_die("pthread_create");
}

void witness_down(void)
{
    if (service_pid == (int)getpid())
        service_pid = 0; /* no case after this looks at it */
    atomic_store(&witness.ends, true);
    pthread_join(witness.thread, NULL);
    for (unsigned i = 0; i < 2; i++) {
        cmc_file_close(witness.file[i]);
        cmc_disconnect(witness.client[i]);
    }
}

/* Has the witness had hits only, and has it some more now? */
static void check_witness(void)
{
    const uint64_t until = place_now_ns() + PLACE_PATIENCE_NS;
    const uint64_t first = atomic_load(&witness.hits);

    while (atomic_load(&witness.hits) < first + HITS && atomic_load(&witness.faults) == 0) {
        if (place_now_ns() > until) {
            case_fail("the good client waits for its hits");
            break;
        }
        usleep(200);
    }
    if (atomic_load(&witness.faults) > 0)
        case_fail("the good client has %u faults; %s", (unsigned)atomic_load(&witness.faults),
                  witness.why);
    atomic_store(&witness.faults, 0);
}

static void check_new_client(void)
{
    cmc_file *f;
    cmc_client *k = new_client(0, &f);
    char why[200];

    if (!hits(f, BLOCKS / 2, why))
        case_fail("a new client: %s", why);
    cmc_file_close(f);
    cmc_disconnect(k);
}

/* ---- The service ----------------------------------------------------------------------------- */

static unsigned at_first[2]; /* threads, descriptors */

static unsigned entries(const char *directory)
{
    char path[64];
    unsigned n = 0;
    DIR *d;

    snprintf(path, sizeof(path), "/proc/%d/%s", service_pid, directory);
    d = opendir(path);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

void case_settled(void)
{
    const uint64_t until = place_now_ns() + PLACE_PATIENCE_NS;

    while (entries("task") != at_first[0] || entries("fd") != at_first[1]) {
        if (place_now_ns() > until) {
            case_fail("the service has %u threads and %u descriptors, and had %u and %u",
                      entries("task"), entries("fd"), at_first[0], at_first[1]);
            return;
        }
        usleep(500);
    }
}

uint64_t service_status(const char *name)
{
    char path[64], line[256];
    unsigned long long value = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/status", service_pid);
    f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            value = strtoull(line + strlen(name) + 1, NULL, 10);
    if (f)
        fclose(f);
    return value;
}

/* A ring's descriptor may be open for a moment after the ring has come: the smallest numbers count.
 */
static void begin_cases(void)
{
    witness_up();
    at_first[0] = entries("task");
    at_first[1] = entries("fd");
    for (unsigned i = 0; i < 20; i++) {
        usleep(5000);
        const unsigned fds = entries("fd");
        at_first[1] = fds < at_first[1] ? fds : at_first[1];
    }
}

void service_up(const char *program, const char *more)
{
    place_configure(more);
    service_pid = place_start(program);
    begin_cases();
}

void service_is_here(void)
{
    service_pid = (int)getpid();
    begin_cases();
}

/* Returns the service's wait status after SIGTERM. */
static int end_service(void)
{
    const uint64_t until = place_now_ns() + PLACE_PATIENCE_NS;
    int status = 0;

    kill(service_pid, SIGTERM);
    while (waitpid(service_pid, &status, WNOHANG) == 0) {
        if (place_now_ns() > until) {
            case_fail("it does not end");
            kill(service_pid, SIGKILL);
            (void)waitpid(service_pid, &status, 0);
            break;
        }
        usleep(1000);
    }
    return status;
}

void service_down(const char *name)
{
    char path[700];
    cm_info info = CM_INFO_INIT;
    int status;

    case_begin("%s", name);
    check_witness();
    witness_down();
    status = end_service();
    if (status != 0)
        case_fail("it ended with status %x", (unsigned)status);
    if (place_log_lines(0, "runtime error", "") > 0) /* of a sanitizer that lets it go on */
        case_fail("the log has runtime errors");
    snprintf(path, sizeof(path), "%s/pool", place_dir);
    if (cm_pool_info(path, &info) != 0 || !info.clean)
        case_fail("the pool is not clean");
    service_pid = 0;
    case_end();
}

/* ---- Cases ----------------------------------------------------------------------------------- */

void case_begin(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(now.name, sizeof(now.name), format, args);
    va_end(args);
    now.why[0] = 0;
    now.log = place_log_end();
}

void case_fail(const char *format, ...)
{
    va_list args;

    if (now.why[0])
        return;
    va_start(args, format);
    vsnprintf(now.why, sizeof(now.why), format, args);
    va_end(args);
}

void case_end(void)
{
    if (service_pid) {
        check_witness();
        check_new_client();
    }
    if (now.why[0]) {
        printf("not ok %s: %s\n", now.name, now.why);
        failed++;
    } else {
        printf("ok %s\n", now.name);
        passed++;
    }
    fflush(stdout);
}

void case_skip(const char *name, const char *why)
{
    printf("skip %s: %s\n", name, why);
    skipped++;
}

long case_log(void)
{
    return now.log;
}

const char *case_own_process(void)
{
    static char text[40];

    snprintf(text, sizeof(text), "process %d ", (int)getpid());
    return text;
}

bool case_has_logged(const char *process, const char *why)
{
    return place_log_has(now.log, process, why);
}

void case_logged(const char *process, const char *why)
{
    if (!case_has_logged(process, why))
        case_fail("the log has no line with \"%s\" and \"%s\"", process, why);
}

void case_ended(struct raw *r, const char *why)
{
    if (!raw_is_ended(r))
        case_fail("the connection goes on");
    case_logged(case_own_process(), why);
    raw_close(r);
}

int cases_report(void)
{
    printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
    return failed != 0;
}
