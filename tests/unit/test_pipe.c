/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_pipe.c - what the service and its clients are connected by on Windows: pipes whose calls do
 * not wait for ever, whom they believe, and the memory and events of a ring.
 */
#include "harness.h"

#include <stdlib.h>

#include "../../examples/service/client_stream.h"
#include "../../examples/service/os.h"
#include "../../examples/service/owner_win32.h"
#include "../../examples/service/pipe_io.h"

#include <sddl.h>

#define SECOND UINT64_C(1000000000)

static char where[64];

/* The service's end of a new pipe. `list`: its access list; NULL: that of the service. */
static HANDLE make_pipe(const char *list)
{
    static unsigned last;
    SECURITY_ATTRIBUTES a = { .nLength = sizeof(a) };
    HANDLE h;

    snprintf(where, sizeof(where), "\\\\.\\pipe\\cachemax-test-%lu-%u",
             (unsigned long)GetCurrentProcessId(), ++last);
    if (list ? !ConvertStringSecurityDescriptorToSecurityDescriptorA(list, SDDL_REVISION_1,
                                                                     &a.lpSecurityDescriptor, NULL)
             : !owner_only(&a))
        return INVALID_HANDLE_VALUE;
    h = CreateNamedPipeA(where, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED, PIPE_TYPE_BYTE, 1, 65536,
                         65536, 0, &a);
    owner_only_end(&a);
    return h;
}

struct both {
    struct pipe_end service;
    struct client_stream client;
};

static bool connect_both(struct both *b, uint64_t timeout_ns)
{
    return pipe_end_begin(&b->service, make_pipe(NULL)) &&
           b->service.pipe != INVALID_HANDLE_VALUE &&
           client_stream_open(&b->client, where, timeout_ns);
}

static void disconnect_both(struct both *b)
{
    client_stream_close(&b->client);
    pipe_end_free(&b->service);
}

static int64_t receive(struct client_stream *s, void *to, size_t n, bool wait)
{
    const struct piece p[2] = { { to, n }, { NULL, 0 } };

    return client_stream_receive(s, p, wait, NULL);
}

static bool send_text(struct client_stream *s, const char *first, const char *second)
{
    const struct piece p[2] = { { (void *)(uintptr_t)first, strlen(first) },
                                { (void *)(uintptr_t)second, strlen(second) } };

    return client_stream_send(s, p);
}

static void test_messages(void)
{
    struct both b;
    char buf[16] = { 0 };

    REQUIRE(connect_both(&b, SECOND));
    CHECK_EQ(receive(&b.client, buf, sizeof(buf), false), 0);
    CHECK_EQ(pipe_write(&b.service, "reply", 5, 1000), 5);
    CHECK_EQ(receive(&b.client, buf, 2, true), 2);
    CHECK_EQ(receive(&b.client, buf + 2, sizeof(buf) - 2, false), 3);
    CHECK(strcmp(buf, "reply") == 0);
    CHECK(send_text(&b.client, "head", "data"));
    CHECK(!client_stream_is_cut(&b.client));
    memset(buf, 0, sizeof(buf));
    for (int64_t n = 0, got = 1; n < 8 && got > 0; n += got) {
        got = pipe_read(&b.service, buf + n, sizeof(buf) - 1 - (size_t)n, 1000);
        CHECK(got > 0);
    }
    CHECK(strcmp(buf, "headdata") == 0);
    disconnect_both(&b);
}

/* A call that is late is over: what comes later is for the next one. */
static void test_late(void)
{
    const size_t much = 4u << 20;
    uint8_t *const data = calloc(1, much);
    struct both b;
    char buf[16];

    REQUIRE(data && connect_both(&b, SECOND / 20));
    CHECK_EQ(pipe_read(&b.service, buf, sizeof(buf), 50), PIPE_LATE);
    CHECK(send_text(&b.client, "late", ""));
    CHECK_EQ(pipe_read(&b.service, buf, sizeof(buf), 1000), 4);
    CHECK_EQ(receive(&b.client, buf, sizeof(buf), true), -1);
    CHECK_EQ(pipe_write(&b.service, data, much, 50), PIPE_LATE);
    disconnect_both(&b);
    free(data);
}

static void read_for_long(void *arg)
{
    struct both *b = arg;
    char buf[16];

    CHECK_EQ(pipe_read(&b->service, buf, sizeof(buf), 60000), 0);
}

/* shut() from another thread ends the service's call at once. */
static void test_service_shuts(void)
{
    const uint64_t start = os_now_ns();
    struct os_thread t;
    struct both b;
    char buf[16];

    REQUIRE(connect_both(&b, SECOND));
    REQUIRE(os_thread_begin(&t, read_for_long, &b));
    os_sleep_ms(50);
    SetEvent(b.service.shut);
    os_thread_join(&t);
    CHECK(os_now_ns() - start < 30 * SECOND);
    CHECK(send_text(&b.client, "too late", ""));
    CHECK_EQ(pipe_read(&b.service, buf, sizeof(buf), 1000), 0);
    CHECK_EQ(pipe_write(&b.service, buf, 1, 1000), 0);
    disconnect_both(&b);
}

static void receive_for_long(void *arg)
{
    struct both *b = arg;
    char buf[16];

    CHECK_EQ(receive(&b->client, buf, sizeof(buf), true), -1);
}

/* A client that is shut is of no use any more, and the service sees that before it is closed. */
static void test_client_shuts(void)
{
    const uint64_t start = os_now_ns();
    struct os_thread t;
    struct both b;
    char buf[16];

    REQUIRE(connect_both(&b, 60 * SECOND));
    REQUIRE(os_thread_begin(&t, receive_for_long, &b));
    os_sleep_ms(50);
    client_stream_shut(&b.client);
    os_thread_join(&t);
    CHECK_EQ(pipe_read(&b.service, buf, sizeof(buf), 60000), 0);
    CHECK(os_now_ns() - start < 30 * SECOND);
    CHECK(client_stream_is_cut(&b.client));
    CHECK(!send_text(&b.client, "x", ""));
    CHECK_EQ(receive(&b.client, buf, sizeof(buf), false), -1);
    client_stream_shut(&b.client);
    disconnect_both(&b);
}

/* What the service has sent before it ended comes, and then the end. */
static void test_service_ends(void)
{
    struct both b;
    char buf[16];

    REQUIRE(connect_both(&b, SECOND));
    CHECK_EQ(pipe_write(&b.service, "end", 3, 1000), 3);
    pipe_end_free(&b.service);
    CHECK_EQ(receive(&b.client, buf, sizeof(buf), true), 3);
    CHECK_EQ(receive(&b.client, buf, sizeof(buf), true), -1);
    CHECK(client_stream_is_cut(&b.client));
    client_stream_close(&b.client);
}

/* ---- Who is believed ------------------------------------------------------------------------- */

static void test_no_service(void)
{
    static const char *const names[] = { "\\\\.\\pipe\\cachemax-test-of-nobody", "\\\\.\\pipe\\",
                                         "C:\\file", "/run/socket", "" };
    const uint64_t start = os_now_ns();
    struct client_stream s;
    struct both b;

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        CASE("%s", names[i]);
        CHECK(!client_stream_open(&s, names[i], SECOND));
        CHECK_EQ(s.handle, CLIENT_STREAM_NONE);
    }
    REQUIRE(connect_both(&b, SECOND));
    CASE("%s", "the only end is taken");
    CHECK(!client_stream_open(&s, where, 60 * SECOND));
    CHECK(os_now_ns() - start < 30 * SECOND);
    disconnect_both(&b);
}

static void test_owner(void)
{
    static const char *const open[] = { "D:(A;;GA;;;WD)", "D:P(A;;GA;;;SY)(A;;GR;;;BU)" };
    struct client_stream s;
    HANDLE h;

    h = make_pipe(NULL);
    REQUIRE(h != INVALID_HANDLE_VALUE);
    CHECK(owner_fault(h, OWNER_ALONE) == NULL);
    CloseHandle(h);
    for (unsigned i = 0; i < 2; i++) {
        char list[100];

        CASE("%s", open[i]);
        snprintf(list, sizeof(list), "O:BA%s", open[i]);
        h = make_pipe(list);
        if (h == INVALID_HANDLE_VALUE)
            SKIP("this user may not give a pipe to the administrators");
        CHECK(owner_fault(h, 0) == NULL);
        CHECK(owner_fault(h, OWNER_ALONE) != NULL);
        CloseHandle(h);
    }
    h = make_pipe("O:S-1-5-21-1-2-3-1001D:(A;;GA;;;WD)");
    if (h == INVALID_HANDLE_VALUE)
        SKIP("this user may not give a pipe to another one");
    CASE("%s", "another user's");
    CHECK(owner_fault(h, 0) != NULL);
    CHECK(!client_stream_open(&s, where, SECOND));
    CloseHandle(h);
}

/* Somebody whom the system of this test need not know. */
static void make_owner(struct owner *o, const char *sid, bool administrator)
{
    PSID of;

    memset(o, 0, sizeof(*o));
    REQUIRE(ConvertStringSidToSidA(sid, &of));
    OWNER_SID(o) = &o->user.room[sizeof(TOKEN_USER)];
    REQUIRE(CopySid(SECURITY_MAX_SID_SIZE, OWNER_SID(o), of));
    LocalFree(of);
    o->administrator = administrator;
}

/* Whom an owner finds in an access list. */
static const char *fault_in(const struct owner *o, PSECURITY_DESCRIPTOR list, unsigned asked)
{
    BOOL is_there, is_default;
    PSID of = NULL;
    ACL *acl = NULL;

    CHECK(GetSecurityDescriptorOwner(list, &of, &is_default));
    CHECK(GetSecurityDescriptorDacl(list, &is_there, &acl, &is_default));
    return owner_fault_for(o, of, is_there ? acl : NULL, asked);
}

/* What one administrator has made is also the system's and the other administrators', and nothing
 * of another user's is anybody's. */
static void test_owners(void)
{
    static const struct {
        const char *sid;
        bool administrator;
    } who[] = { { "S-1-5-18", true },
                { "S-1-5-21-1-2-3-500", true },
                { "S-1-5-21-1-2-3-1001", true },
                { "S-1-5-21-1-2-3-1001", false }, /* without his rights */
                { "S-1-5-21-1-2-3-1002", false } };
    static const unsigned asked[] = { 0, OWNER_ALONE, OWNER_FILE, OWNER_FILE | OWNER_ALONE };
    const unsigned n = sizeof(who) / sizeof(who[0]);
    SECURITY_ATTRIBUTES a;
    struct owner maker, reader;

    for (unsigned i = 0; i < n * n * 4; i++) {
        const unsigned m = i / 4 / n, r = i / 4 % n;
        const bool same = m == r || (who[m].administrator && who[r].administrator);
        /* A file may be called its user's, so he cannot be told from himself. */
        const bool himself = (asked[i % 4] & OWNER_FILE) && m == 3 && r == 2;

        CASE("%u's for %u, asked %u", m, r, asked[i % 4]);
        make_owner(&maker, who[m].sid, who[m].administrator);
        make_owner(&reader, who[r].sid, who[r].administrator);
        REQUIRE(owner_only_for(&maker, &a));
        CHECK_EQ(fault_in(&reader, a.lpSecurityDescriptor, asked[i % 4]) == NULL, same || himself);
        owner_only_end(&a);
    }
}

/* Who may write a program of the service. */
static void test_writers(void)
{
    static const struct {
        const char *list;
        bool others;
    } lists[] = {
        { "D:(A;;FA;;;BA)(A;;FA;;;SY)", false },
        /* A directory in "Program Files": users read, the installer writes, and who makes a file
         * owns it. */
        { "D:(A;OICI;FA;;;S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464)"
          "(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;BU)(A;OICIIO;GA;;;CO)",
          false },
        { "D:(A;OICI;FA;;;BA)(A;OICI;0x1301bf;;;AU)", true }, /* one in C:\\ */
        { "D:(A;;FA;;;BA)(A;;0x4;;;BU)", true },              /* they may make directories in it */
        { "D:(A;;FA;;;BA)(A;;WD;;;BU)", true },
        { "D:(A;;FA;;;BA)(A;;FA;;;S-1-5-80-1-2-3-4-5)", true },
        { "D:(D;;FA;;;BU)(A;;FR;;;BU)", false },
    };
    PSECURITY_DESCRIPTOR d;
    BOOL is_there, is_default;

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        ACL *acl = NULL;
        CASE("%s", lists[i].list);
        REQUIRE(ConvertStringSecurityDescriptorToSecurityDescriptorA(lists[i].list, 1, &d, NULL));
        CHECK(GetSecurityDescriptorDacl(d, &is_there, &acl, &is_default));
        CHECK_EQ(owner_others_write(acl), lists[i].others);
        LocalFree(d);
    }
    CHECK(owner_others_write(NULL)); /* no list lets everybody in */
}

/* Who owns a directory may change its list, whatever that says now. */
static void test_other_owners(void)
{
    static const struct {
        const char *sid;
        bool other;
    } owners[] = {
        { "S-1-5-32-544", false }, /* administrators */
        { "S-1-5-18", false },     /* the system */
        { "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464", false },
        { "S-1-5-32-545", true },
        { "S-1-5-21-1-2-3-1001", true },
    };
    PSID of;

    for (size_t i = 0; i < sizeof(owners) / sizeof(owners[0]); i++) {
        CASE("%s", owners[i].sid);
        REQUIRE(ConvertStringSidToSidA(owners[i].sid, &of));
        CHECK_EQ(owner_is_other(of), owners[i].other);
        LocalFree(of);
    }
    CHECK(owner_is_other(NULL));
}

/* Entries that allow something in another form: under a condition, to a kind of object. */
static void test_writers_of_other_forms(void)
{
    static const struct {
        BYTE type;
        const char *list; /* with one entry, which becomes one of the type */
        bool others;
    } forms[] = {
        { ACCESS_ALLOWED_CALLBACK_ACE_TYPE, "D:(A;;FA;;;WD)", true },
        { ACCESS_ALLOWED_CALLBACK_ACE_TYPE, "D:(A;;FR;;;WD)", false },
        { ACCESS_ALLOWED_CALLBACK_ACE_TYPE, "D:(A;IOOICI;FA;;;WD)", false },
        { ACCESS_ALLOWED_CALLBACK_ACE_TYPE, "D:(A;;FA;;;BA)", false },
        { ACCESS_ALLOWED_OBJECT_ACE_TYPE, "D:(A;;FA;;;WD)", true },
        { ACCESS_ALLOWED_OBJECT_ACE_TYPE, "D:(A;;FR;;;WD)", false },
        { ACCESS_ALLOWED_CALLBACK_OBJECT_ACE_TYPE, "D:(A;;FA;;;WD)", true },
        { ACCESS_ALLOWED_COMPOUND_ACE_TYPE, "D:(A;;FA;;;WD)", true },
        { ACCESS_DENIED_ACE_TYPE, "D:(A;;FA;;;WD)", false },
        { ACCESS_DENIED_OBJECT_ACE_TYPE, "D:(A;;FA;;;WD)", false },
        { ACCESS_DENIED_CALLBACK_ACE_TYPE, "D:(A;;FA;;;WD)", false },
        { ACCESS_DENIED_CALLBACK_OBJECT_ACE_TYPE, "D:(A;;FA;;;WD)", false },
        { 200, "D:(A;;FA;;;WD)", true }, /* one of a later Windows */
    };
    PSECURITY_DESCRIPTOR d;
    BOOL is_there, is_default;
    ACE_HEADER *entry;

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        ACL *acl = NULL;
        CASE("%u %s", forms[i].type, forms[i].list);
        REQUIRE(ConvertStringSecurityDescriptorToSecurityDescriptorA(forms[i].list, 1, &d, NULL));
        CHECK(GetSecurityDescriptorDacl(d, &is_there, &acl, &is_default));
        REQUIRE(GetAce(acl, 0, (void **)&entry));
        entry->AceType = forms[i].type;
        CHECK_EQ(owner_others_write(acl), forms[i].others);
        LocalFree(d);
    }
}

/* ---- The ring -------------------------------------------------------------------------------- */

static void test_ring(void)
{
    struct ring_side service, client;
    struct ring_pass pass;
    struct ring_bell bell;
    uint64_t start;

    REQUIRE(ring_bell_make(&bell));
    REQUIRE(ring_make(&service, &bell, &pass));
    CHECK(pass.name != 0 && pass.bell == bell.name);
    REQUIRE(ring_take(&client, &pass));
    CHECK(client.ring != service.ring);
    atomic_store(&client.ring->asked, 5);
    CHECK_EQ(atomic_load(&service.ring->asked), 5);
    /* A bell and a wake-up are remembered. */
    start = os_now_ns();
    ring_bell_ring(client.bell);
    ring_bell_wait(&bell);
    ring_wake(&service, 31);
    ring_sleep(&client, 31, start + 60 * SECOND);
    CHECK(os_now_ns() - start < 30 * SECOND);
    /* Once. */
    start = os_now_ns();
    ring_sleep(&client, 31, start + SECOND / 20);
    CHECK(os_now_ns() - start >= SECOND / 25);
    ring_leave(&client);
    ring_leave(&service);
    ring_leave(&service);
    ring_bell_free(&bell);
}

/* Memory that cannot hold a ring is refused, and so is what has only a name. */
static void test_ring_refused(void)
{
    static const struct {
        DWORD flags, bytes;
    } memory[] = { { SEC_COMMIT, 4096 },
                   { SEC_RESERVE, sizeof(struct ring) },
                   { SEC_COMMIT, sizeof(struct ring) } };
    const uint64_t number = UINT64_C(0xcac4e) << 32 | GetCurrentProcessId();
    HANDLE wake[RING_SLOTS];
    char name[64];
    struct ring_bell bell;

    REQUIRE(ring_bell_make(&bell));
    for (unsigned i = 0; i < RING_SLOTS; i++) {
        snprintf(name, sizeof(name), "Local\\cachemax-wake-%016llx-%u", (unsigned long long)number,
                 i);
        wake[i] = CreateEventA(NULL, FALSE, FALSE, name);
    }
    snprintf(name, sizeof(name), "Local\\cachemax-ring-%016llx", (unsigned long long)number);
    for (unsigned i = 0; i < 3; i++) {
        struct ring_pass p = { { -1, -1 }, number, bell.name };
        struct ring_side s;
        HANDLE h = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE | memory[i].flags,
                                      0, memory[i].bytes, name);

        CASE("flags %lx, %lu bytes", (unsigned long)memory[i].flags,
             (unsigned long)memory[i].bytes);
        REQUIRE(h);
        CHECK_EQ(ring_take(&s, &p), i == 2);
        ring_leave(&s);
        CloseHandle(h);
        p = (struct ring_pass){ { -1, -1 }, number, bell.name };
        CHECK(!ring_take(&s, &p)); /* gone */
    }
    for (unsigned i = 0; i < RING_SLOTS; i++)
        CloseHandle(wake[i]);
    ring_bell_free(&bell);
}

static const struct harness_test tests[] = {
    TEST(messages),      TEST(late),
    TEST(service_shuts), TEST(client_shuts),
    TEST(service_ends),  TEST(no_service),
    TEST(owner),         TEST(owners),
    TEST(writers),       TEST(writers_of_other_forms),
    TEST(other_owners),  TEST(ring),
    TEST(ring_refused),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
