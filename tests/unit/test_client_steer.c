/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_client_steer.c - what a client asks of the service about files and the pool; and the structs
 * of a program with another header.
 *
 * The service is made up: client_service.h.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"

#include "../../examples/service/os.h"

#include "../../examples/service/client.c"
#include "../../examples/service/client_link.c"
#include "../../examples/service/client_read.c"
#include "../../examples/service/client_steer.c"
#include "../../examples/service/client_through.c"
#undef BLOCK
#include "../../examples/service/client_warm.c"
#include "../../examples/service/failed_posix.c"
#include "../../examples/service/client_socket.c"
#include "../../examples/service/outside_file.c"

#include "client_service.h"

static cmc_client *client;
static cmc_file *file;

static int64_t from_nowhere(void *ctx, uint64_t off, void *buf, size_t len)
{
    (void)ctx;
    (void)off;
    memset(buf, 1, len);
    return (int64_t)len;
}

/* Calls that only the service can do: it does not know them, it does, and it does not answer. */
static void test_steering(void)
{
    const cm_file_id id = { .lo = 1 };
    cm_warm_report r = CM_WARM_REPORT_INIT;
    cm_info info = CM_INFO_INIT;
    uint64_t n;
    for (unsigned knows = 0; knows < 2; knows++) {
        CASE("knows %u", knows);
        const int want = knows ? 0 : CMC_AWAY;
        hello_flags = knows ? CMP_STEERS : 0;
        service_up(false);
        client = connect_here();
        file = open_here(client);
        CHECK_EQ(cmc_look_up(client, &id), want);
        CHECK_EQ(cmc_file_cached(file, 0, 4096, &n, NULL), want);
        CHECK_EQ(cmc_file_set_keep(file, 1), want);
        CHECK_EQ(cmc_pool(client, &info), want);
        CHECK(cmc_is_connected(client)); /* it was not sent what it does not know */
        CHECK_EQ(handles, 1);
        if (!knows)
            CHECK_EQ(cmc_warm(file, 0, 4096, NULL, from_nowhere, NULL, &r), CMC_AWAY);
        CHECK_EQ(cmc_file_cached(file, 0, CMC_COUNT_MAX + 1, &n, NULL), CM_EINVAL);
        (void)lose(client->link);
        client->trying = true; /* and it is not looked for */
        CHECK_EQ(cmc_warm(file, 0, 4096, NULL, from_nowhere, NULL, &r), CMC_AWAY);
        CHECK_EQ(r.read, 0);
        client->trying = false;
        cmc_file_close(file);
        cmc_disconnect(client);
        service_down();
    }
    hello_flags = 0;
}

static int unlucky(void *arg, cm_validator *v)
{
    (void)v;
    return *(int *)arg ? *(int *)arg : identify(NULL, v);
}

/* A file that the service has refused, or that could not be identified: the calls say why. */
static void test_refused_why(void)
{
    static const struct {
        int identified, refusal, want;
        bool older; /* the service has another code for "too many files" */
    } v[] = {
        { 0, CMP_FULL, CMC_FULL, false },   { 0, CM_EINVAL, CM_EINVAL, false },
        { CM_EACCES, 0, CM_EACCES, false }, { 0, CM_ENOMEM, CM_ENOMEM, false },
        { 0, CM_ENOMEM, CMC_FULL, true },   { CM_ENOMEM, 0, CM_ENOMEM, true },
    };
    cm_warm_report r = CM_WARM_REPORT_INIT;
    const cm_file_id id = { .lo = 1 };
    uint64_t n;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        CASE("i %zu", i);
        int identified = v[i].identified;
        hello_flags = CMP_STEERS | (v[i].older ? 0 : CMP_TELLS_FILES);
        service_up(false);
        refusal = v[i].refusal;
        refused = v[i].refusal ? CMP_OPEN : 0;
        client = connect_here();
        CHECK_EQ(cmc_file_open(client, &id, 0, unlucky, &identified, &file), 0);
        file->reopen_at = UINT64_MAX;
        CHECK_EQ(cmc_file_refused(file), v[i].want);
        CHECK_EQ(cmc_file_cached(file, 0, 4096, &n, NULL), v[i].want);
        CHECK_EQ(cmc_file_set_keep(file, 1), v[i].want);
        CHECK_EQ(cmc_warm(file, 0, 4096, NULL, from_nowhere, NULL, &r), v[i].want);
        CHECK_EQ(handles, 0);
        refused = identified = 0;
        CHECK_EQ(cmc_file_revalidate(file), 0); /* tries it again */
        CHECK_EQ(cmc_file_refused(file), 0);
        CHECK_EQ(cmc_file_cached(file, 0, 4096, &n, NULL), 0);
        (void)lose(client->link);
        CHECK_EQ(cmc_file_refused(file), CMC_AWAY);
        cmc_file_close(file);
        cmc_disconnect(client);
        service_down();
    }
    CHECK_EQ(cmc_file_refused(NULL), CM_EINVAL);
    refusal = CM_ENOMEM;
    hello_flags = 0;
}

/* How many files there are: an older service is not asked. */
static void test_files(void)
{
    uint32_t open, most;
    for (unsigned knows = 0; knows < 2; knows++) {
        CASE("knows %u", knows);
        hello_flags = knows ? CMP_TELLS_FILES : CMP_STEERS;
        service_up(false);
        client = connect_here();
        CHECK_EQ(cmc_files(client, &open, &most), knows ? 0 : CM_ENOTSUP);
        CHECK(cmc_is_connected(client));
        CHECK_EQ(cmc_files(client, NULL, &most), CM_EINVAL);
        (void)lose(client->link);
        client->trying = true;
        CHECK_EQ(cmc_files(client, &open, &most), CMC_AWAY);
        client->trying = false;
        cmc_disconnect(client);
        service_down();
    }
    hello_flags = 0;
}

static int cancel(void *ctx, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    ++*(unsigned *)ctx;
    return 1;
}

/* A struct of a program with another header: `size` bytes of `whole`, and bytes behind it. */
struct other_size {
    uint32_t given, size; /* given: its struct_size */
};
static const struct other_size sizes_fit[] = {
    { 8, 8 },
    { 24, 24 },
    { 0, 0 }, /* that of the first release */
    { 512, 512 },
};
#define GUARD 0xa5

/* A call has filled the part that both know, and nothing behind the program's struct. */
static void check_given(const uint8_t *got, struct other_size s, uint32_t known)
{
    const uint32_t room = s.given ? s.size : known, both = room < known ? room : known;
    uint32_t given;
    memcpy(&given, got, sizeof(given));
    CHECK_EQ(given, both);
    for (uint32_t i = both; i < 1024; i++)
        CHECK_EQ(got[i], i < room ? 0 : GUARD);
}

/* Programs of another release have shorter or longer structs. */
static void test_struct_sizes(void)
{
    static const uint32_t wrong[] = { 4, 7, 4097, UINT32_MAX };
    _Alignas(8) uint8_t mine[1024];
    unsigned calls = 0;
    struct {
        cm_warm_options o;
        uint64_t later;
    } opts = { .o = { .progress = cancel, .progress_ctx = &calls } };
    hello_flags = CMP_STEERS;
    service_up(false);
    client = connect_here();
    file = open_here(client);
    for (size_t i = 0; i < sizeof(sizes_fit) / sizeof(sizes_fit[0]); i++) {
        CASE("size %u", sizes_fit[i].given);
        memset(mine, GUARD, sizeof(mine));
        memcpy(mine, &sizes_fit[i].given, sizeof(uint32_t));
        CHECK_EQ(cmc_pool(client, (cm_info *)mine), 0);
        check_given(mine, sizes_fit[i], sizeof(cm_info));
        memset(mine, GUARD, sizeof(mine));
        memcpy(mine, &sizes_fit[i].given, sizeof(uint32_t));
        CHECK_EQ(cmc_warm(file, 0, 0, NULL, from_nowhere, NULL, (cm_warm_report *)mine), 0);
        check_given(mine, sizes_fit[i], sizeof(cm_warm_report));
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CASE("size %u", wrong[i]);
        memset(mine, GUARD, sizeof(mine));
        memcpy(mine, &wrong[i], sizeof(uint32_t));
        CHECK_EQ(cmc_pool(client, (cm_info *)mine), CM_EINVAL);
        CHECK_EQ(cmc_warm(file, 0, 0, NULL, from_nowhere, NULL, (cm_warm_report *)mine), CM_EINVAL);
        CHECK_EQ(mine[4], GUARD);
        opts.o.struct_size = wrong[i];
        CHECK_EQ(cmc_warm(file, 0, 4096, &opts.o, from_nowhere, NULL, NULL), CM_EINVAL);
    }
    opts.o.struct_size = sizeof(opts); /* of a newer header */
    CHECK_EQ(cmc_warm(file, 0, 4096, &opts.o, from_nowhere, NULL, NULL), CM_ECANCELED);
    opts.later = 1;
    CHECK_EQ(cmc_warm(file, 0, 4096, &opts.o, from_nowhere, NULL, NULL), CM_EINVAL);
    opts.o.struct_size = 0;
    CHECK_EQ(cmc_warm(file, 0, 4096, &opts.o, from_nowhere, NULL, NULL), CM_ECANCELED);
    CHECK_EQ(calls, 2);
    opts.o.reserved[1] = 1;
    CHECK_EQ(cmc_warm(file, 0, 4096, &opts.o, from_nowhere, NULL, NULL), CM_EINVAL);
    opts.o.struct_size = offsetof(cm_warm_options, progress); /* what is behind is not its own */
    (void)lose(client->link);
    client->trying = true; /* and it is not looked for */
    CHECK_EQ(cmc_warm(file, 0, 4096, &opts.o, from_nowhere, NULL, NULL), CMC_AWAY);
    client->trying = false;
    CHECK_EQ(calls, 2);
    cmc_file_close(file);
    cmc_disconnect(client);
    service_down();
    hello_flags = 0;
}

static const struct harness_test tests[] = {
    TEST(steering),
    TEST(struct_sizes),
    TEST(refused_why),
    TEST(files),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
