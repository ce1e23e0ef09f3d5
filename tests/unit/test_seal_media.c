/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_seal_media.c - what exactly the callbacks of a seal are asked, as docs/format.md says, and
 * what becomes of a slot, a record or a superblock if one of them fails.
 */
#include "seal_common.h"
#include "super_common.h"

#include "../os.h"
#include "count_ops.h"
#include "media/seal.h"

/* ---- What the callbacks are asked ------------------------------------------------------------ */

static struct {
    unsigned macs, encrypts, decrypts;
    uint64_t head[CM_SEAL_HEAD / 8], tweak[2];
    uint8_t bytes[CM_BLOCK_SIZE];
    size_t len;
    int code;             /* what the callbacks return */
    unsigned good;        /* so many macs return 0 before that */
    const cm_cache *into; /* they call it */
} asked;

/* The tag is the same whether it is said to be right or not. */
static const uint64_t answer = UINT64_C(0x1122334455667788);

static void call_back(void)
{
    cm_info i = CM_INFO_INIT;
    if (asked.into)
        CHECK_EQ(cm_get_info((cm_cache *)(uintptr_t)asked.into, &i), CM_ECALLBACK);
}
static int ask_mac(void *ctx, const uint8_t head[CM_SEAL_HEAD], const void *bytes, size_t len,
                   uint8_t tag[CM_SEAL_TAG])
{
    CHECK(ctx == &asked);
    call_back();
    asked.macs++;
    memcpy(asked.head, head, CM_SEAL_HEAD);
    memset(asked.bytes, 0, sizeof(asked.bytes));
    if (len > 0)
        memcpy(asked.bytes, bytes, len);
    asked.len = len;
    memcpy(tag, &answer, CM_SEAL_TAG);
    return asked.macs > asked.good ? asked.code : 0;
}
static int ask_encrypt(void *ctx, const uint8_t tweak[16], void *block)
{
    CHECK(ctx == &asked);
    call_back();
    asked.encrypts++;
    memcpy(asked.tweak, tweak, 16);
    *(uint8_t *)block += 1;
    return asked.code;
}
static int ask_decrypt(void *ctx, const uint8_t tweak[16], void *block)
{
    CHECK(ctx == &asked);
    call_back();
    asked.decrypts++;
    memcpy(asked.tweak, tweak, 16);
    *(uint8_t *)block -= 1;
    return asked.code;
}

#define KEY UINT64_C(0xaaaabbbbccccdddd)

static void ask_begin(struct cm_media *m, struct cm_sealing *s, bool encrypts)
{
    memset(&asked, 0, sizeof(asked));
    memset(m, 0, sizeof(*m));
    memset(s, 0, sizeof(*s));
    s->hooks.ctx = &asked;
    s->hooks.mac = ask_mac;
    s->hooks.encrypt = encrypts ? ask_encrypt : NULL;
    s->hooks.decrypt = encrypts ? ask_decrypt : NULL;
    for (unsigned i = 0; i < sizeof(s->uuid); i++)
        s->uuid[i] = (uint8_t)(0xa0 + i);
    m->seal = s;
    m->check_key = KEY;
}

/* The head is: kind, uuid, key, place, a, b, zero. */
static void expect_asked(uint64_t kind, uint64_t key, uint64_t place, uint64_t a, uint64_t b,
                         const void *bytes, size_t len)
{
    const uint64_t uuid[2] = { UINT64_C(0xa7a6a5a4a3a2a1a0), UINT64_C(0xafaeadacabaaa9a8) };
    const uint64_t want[] = { kind, uuid[0], uuid[1], key, place, a, b, 0 };
    static_assert(sizeof(want) == CM_SEAL_HEAD, "all of the head");
    CHECK(memcmp(asked.head, want, sizeof(want)) == 0);
    CHECK_EQ(asked.len, len);
    CHECK(len == 0 || memcmp(asked.bytes, bytes, len) == 0);
}
#define expect_asked(...) CALL(expect_asked(__VA_ARGS__)) /* its checks say who called */

static void test_asked(void)
{
    struct cm_media m;
    struct cm_sealing s;
    uint8_t block[CM_BLOCK_SIZE];
    uint64_t tag = 0;
    CALL(ask_begin(&m, &s, true));
    content(5, 0, block);
    const uint64_t tail = UINT64_C(77) << CM_VALID_BITS | 100;
    CHECK_EQ(cm_seal_slot(&m, 17, 0x200000, tail, block, &tag), 0);
    CHECK(tag == answer);
    expect_asked(3, KEY, 17, 0x200000, tail, block, 100);
    CHECK_EQ(cm_seal_slot(&m, 18, 1, CM_BLOCK_SIZE, block, &tag), 0);
    expect_asked(3, KEY, 18, 1, CM_BLOCK_SIZE, block, CM_BLOCK_SIZE);
    struct cm_record r = { .id = id_of(3), .incarnation = 8, .size = 12345, .xxh3 = 99 };
    memset(r.proof, 7, sizeof(r.proof));
    CHECK_EQ(cm_seal_record(&m, 4, 13, &r, &tag), 0);
    expect_asked(4, 4, 13, 0, 0, &r, 80);
    CHECK_EQ(cm_seal_size(&m, 5, 14, &r, &tag), 0);
    expect_asked(5, 5, 14, 12345, 99, NULL, 0);
    const uint8_t first = block[0];
    CHECK_EQ(cm_seal_encrypt(&m, 19, 0x5566, block), 0);
    CHECK(asked.encrypts == 1 && asked.decrypts == 0);
    CHECK(asked.tweak[0] == 0x5566 && asked.tweak[1] == 19);
    CHECK_EQ(block[0], (uint8_t)(first + 1));
    CHECK_EQ(cm_seal_decrypt(&m, 20, 0x5567, block), 0);
    CHECK(asked.encrypts == 1 && asked.decrypts == 1);
    CHECK(asked.tweak[0] == 0x5567 && asked.tweak[1] == 20);
    CHECK(is_content(5, 0, block, BLK));
    s.hooks.encrypt = s.hooks.decrypt = NULL;
    CHECK_EQ(cm_seal_encrypt(&m, 19, 0x5566, block), 0);
    CHECK_EQ(cm_seal_decrypt(&m, 19, 0x5566, block), 0);
    CHECK(is_content(5, 0, block, BLK));
}

/* A superblock: its key check first, then its tag, which covers that. */
static void test_asked_super(void)
{
    struct cm_media m;
    struct cm_sealing s;
    struct cm_super sb = { .epoch = 5, .tag = 1234 }, bare;
    const uint64_t sealed = CM_INCOMPAT_SEALED, encrypted = CM_INCOMPAT_ENCRYPTED;
    CALL(ask_begin(&m, &s, false));
    memcpy(sb.uuid, s.uuid, sizeof(sb.uuid));
    sb.incompat = sealed;
    asked.code = -1;
    CHECK_EQ(cm_seal_super(&s, &sb), CM_ESEAL); /* the first of two tags */
    expect_asked(1, 0, 0, 0, 0, NULL, 0);
    asked.good = 2;
    CHECK_EQ(cm_seal_super(&s, &sb), CM_ESEAL);
    CHECK_EQ(asked.macs, 3);
    asked.code = 0;
    CHECK_EQ(cm_seal_super(&s, &sb), 0);
    CHECK(sb.key_check == answer && sb.tag == answer);
    bare = sb;
    bare.tag = 0;
    expect_asked(2, 0, 0, 0, 0, &bare, offsetof(struct cm_super, xxh3));
    CHECK_EQ(cm_seal_judge(&s, &sb), 0);
    expect_asked(2, 0, 0, 0, 0, &bare, offsetof(struct cm_super, xxh3));
    for (unsigned good = 0; good < 2; good++) {
        CASE("good %u", good);
        asked.macs = 0;
        asked.good = good;
        asked.code = 1;
        CHECK_EQ(cm_seal_judge(&s, &sb), CM_ESEAL);
        CHECK_EQ(asked.macs, good + 1);
        asked.code = 0;
    }
    sb.tag++;
    CHECK_EQ(cm_seal_judge(&s, &sb), CM_EDAMAGED);
    sb.key_check++;
    CHECK_EQ(cm_seal_judge(&s, &sb), CM_EKEY);
    sb.incompat = sealed | encrypted;
    CHECK_EQ(cm_seal_judge(&s, &sb), CM_EKEY);
    sb.incompat = 0;
    CHECK_EQ(cm_seal_judge(&s, &sb), CM_EKEY);
    CHECK_EQ(cm_seal_judge(&cm_seal_unknown, &sb), 0);
    sb.incompat = sealed;
    CHECK_EQ(cm_seal_judge(&cm_seal_unknown, &sb), CM_EKEY);
    CHECK_EQ(cm_seal_incompat(NULL), 0);
    CHECK_EQ(cm_seal_incompat(&cm_seal_unknown.hooks), 0);
    CHECK_EQ(cm_seal_incompat(&s.hooks), sealed);
    s.hooks.encrypt = ask_encrypt;
    CHECK_EQ(cm_seal_incompat(&s.hooks), sealed | encrypted);
}

/* Whatever a callback returns but 0 is a failure, and a tag that it left does not count. Without a
 * key no tag is right. */
static void test_callbacks_fail(void)
{
    struct cm_media m;
    struct cm_sealing s;
    uint8_t block[CM_BLOCK_SIZE] = { 0 };
    uint64_t tag;
    struct cm_record r = { .id = id_of(3), .xxh3 = answer, .size = 5, .size_sum = answer };
    CALL(ask_begin(&m, &s, true));
    CHECK_EQ(cm_record_size(&m, 13, &r), 5);
    for (int code = -1; code < 3; code += 2) {
        CASE("code %d", code);
        asked.code = code;
        CHECK_EQ(cm_seal_slot(&m, 17, 1, CM_BLOCK_SIZE, block, &tag), CM_ESEAL);
        CHECK_EQ(cm_seal_record(&m, 4, 13, &r, &tag), CM_ESEAL);
        CHECK_EQ(cm_record_sum(&m, 4, 13, &r, &tag), CM_ESEAL);
        CHECK_EQ(cm_seal_size(&m, 5, 14, &r, &tag), CM_ESEAL);
        CHECK_EQ(cm_seal_encrypt(&m, 19, 1, block), CM_ESEAL);
        CHECK_EQ(cm_seal_decrypt(&m, 19, 1, block), CM_ESEAL);
        CHECK(cm_record_size(&m, 13, &r) == CM_SIZE_UNKNOWN);
    }
    asked.code = 0;
    s.hooks.mac = NULL;
    CHECK_EQ(cm_seal_slot(&m, 17, 1, CM_BLOCK_SIZE, block, &tag), CM_ESEAL);
    CHECK_EQ(cm_seal_record(&m, 4, 13, &r, &tag), CM_ESEAL);
}

/* A callback must not call into its cache. After it the thread may, and can be cancelled as before.
 */
static void test_inside(void)
{
    struct pool p;
    struct cm_media m;
    struct cm_sealing s;
    uint8_t block[CM_BLOCK_SIZE] = { 0 };
    uint64_t tag;
    REQUIRE(pool_new(&p, MIB) == 0);
    CALL(ask_begin(&m, &s, true));
    s.cache = asked.into = p.c;
    const int was = cm_plat_cancel_off();
    cm_plat_cancel_back(was);
    for (unsigned i = 0; i < 3; i++) {
        CASE("callback %u", i);
        CHECK_EQ(i == 0   ? cm_seal_slot(&m, 17, 1, CM_BLOCK_SIZE, block, &tag)
                 : i == 1 ? cm_seal_encrypt(&m, 17, 1, block)
                          : cm_seal_decrypt(&m, 17, 1, block),
                 0);
        CHECK(cm_plat_thread()->callback == NULL);
        CHECK_EQ(pool_info(p.c).version, pool_info(p.c).version);
        const int now = cm_plat_cancel_off();
        cm_plat_cancel_back(now);
        CHECK_EQ(now, was);
    }
    CHECK(asked.macs == 1 && asked.encrypts == 1 && asked.decrypts == 1);
    pool_end(&p);
}

/* ---- Slots ----------------------------------------------------------------------------------- */

/* What is served of `block` from where it is; `to` holds 0xee before. */
static enum cm_slot_verdict read_part(cm_file *f, uint64_t block, uint64_t slot, uint8_t boot,
                                      const struct cm_part *part, uint32_t *got)
{
    const cm_cache *c = cm_object_of(f)->cache;
    const struct cm_key k = key_of(f, block);
    uint64_t w0 = 0;
    memset(part->dst, 0xee, part->len);
    *got = 9999;
    const enum cm_slot_verdict v = cm_slot_read(&c->media, slot, &k, boot, part, true, got, &w0);
    if (v == CM_SLOT_HIT)
        CHECK(w0 == header_of((cm_cache *)(uintptr_t)c, slot)->w0);
    return v;
}

/* Parts of a tail of 100 bytes: what is behind its end is not there, and zero. */
static void parts_of_tail(int encrypts)
{
    static const struct {
        uint32_t from, len, got;
    } parts[] = { { 0, 10, 10 }, { 0, 100, 100 }, { 90, 10, 10 },  { 90, 11, 10 },  { 99, 5, 1 },
                  { 100, 5, 0 }, { 4000, 96, 0 }, { 0, 101, 100 }, { 0, 4096, 100 } };
    struct sealed s;
    uint8_t to[CM_BLOCK_SIZE], want[CM_BLOCK_SIZE];
    uint32_t got;
    sealed_make(&s, 2 * MIB, encrypts);
    CHECK_EQ(pool_up(&s.p), 0);
    cm_file *f = attach(&s.p, 1, CM_SIZE_UNKNOWN, 1, CM_SOLE_WRITER);
    CHECK_EQ(put_tail(f, 2, 100, 5), 0);
    content(5, 2, want);
    memset(want + 100, 0, BLK - 100);
    const uint64_t slot = slot_of(f, 2);
    const uint8_t boot = s.p.c->media.boot;
    for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        CASE("part %u", i);
        const struct cm_part part = { parts[i].from, parts[i].len, to };
        CHECK_EQ(read_part(f, 2, slot, boot, &part, &got), CM_SLOT_HIT);
        CHECK_EQ(got, parts[i].got);
        CHECK(memcmp(to, want + parts[i].from, parts[i].len) == 0);
    }
    if (!encrypts) /* no byte of the thread's memory is in the pool */
        CHECK(memcmp(payload_of(s.p.c, slot), want, BLK) == 0);
    detach(f);
    sealed_end(&s);
}

static void test_parts_of_tail(void)
{
    CALL(parts_of_tail(0));
    CALL(parts_of_tail(1));
}

static int right_but_failed(void *ctx, const uint8_t head[CM_SEAL_HEAD], const void *bytes,
                            size_t len, uint8_t tag[CM_SEAL_TAG])
{
    (void)toy_mac(ctx, head, bytes, len, tag);
    return -1;
}

static int plain_but_failed(void *ctx, const uint8_t tweak[16], void *block)
{
    (void)toy_encrypt(ctx, tweak, block);
    return -1;
}

/* A slot that is damaged, unreadable, of another boot, or whose callback fails: nothing of it is
 * served, neither whole nor in part. */
static void bad_slot(uint32_t len)
{
    static const uint8_t zero[CM_BLOCK_SIZE];
    struct sealed s;
    uint8_t to[CM_BLOCK_SIZE];
    const struct cm_part part = { 0, len, to };
    uint32_t got;
    sealed_make(&s, 2 * MIB, 1);
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put(f, 2, 5), 0);
    const uint64_t slot = slot_of(f, 2);
    const uint8_t boot = s.p.c->media.boot;
    struct cm_header h = *header_of(s.p.c, slot);
    CHECK_EQ(read_part(f, 2, slot, boot, &part, &got), CM_SLOT_HIT);
    CHECK_EQ(got, len);
    CHECK_EQ(cm_slot_verify(&s.p.c->media, slot, &h), CM_SLOT_HIT);
    CHECK_EQ(read_part(f, 3, slot, boot, &part, &got), CM_SLOT_OTHER);
    CHECK_EQ(read_part(f, 2, slot, (uint8_t)(boot + 1), &part, &got), CM_SLOT_OTHER);
    CHECK(got == 0 && memcmp(to, zero, len) == 0);
    s.key.fails = UINT32_MAX;
    CHECK_EQ(read_part(f, 2, slot, boot, &part, &got), CM_SLOT_CHANGED);
    CHECK(got == 0 && memcmp(to, zero, len) == 0);
    CHECK_EQ(cm_slot_verify(&s.p.c->media, slot, &h), CM_SLOT_CHANGED);
    s.key.fails = 0;
    const struct cm_sealing *const real = s.p.c->media.seal;
    for (unsigned i = 0; i < 2; i++) { /* one of the two, and its answer is right */
        CASE("callback %u", i);
        struct cm_sealing sealing = *real;
        if (i)
            sealing.hooks.mac = right_but_failed;
        else
            sealing.hooks.decrypt = plain_but_failed;
        s.p.c->media.seal = &sealing;
        CHECK_EQ(read_part(f, 2, slot, boot, &part, &got), CM_SLOT_CHANGED);
        CHECK(got == 0 && memcmp(to, zero, len) == 0);
    }
    s.p.c->media.seal = real;
    payload_of(s.p.c, slot)[0] ^= 1;
    CHECK_EQ(read_part(f, 2, slot, boot, &part, &got), CM_SLOT_BAD_SUM);
    CHECK(got == 0 && memcmp(to, zero, len) == 0);
    CHECK_EQ(cm_slot_verify(&s.p.c->media, slot, &h), CM_SLOT_BAD_SUM);
    payload_of(s.p.c, slot)[0] ^= 1;
    if (cm_guard_available()) {
        uint8_t *const at = payload_of(s.p.c, slot);
        os_protect(at, BLK, OS_NOTHING);
        CHECK_EQ(read_part(f, 2, slot, boot, &part, &got), CM_SLOT_UNREADABLE);
        CHECK(got == 0 && memcmp(to, zero, len) == 0);
        CHECK_EQ(cm_slot_verify(&s.p.c->media, slot, &h), CM_SLOT_UNREADABLE);
        os_protect(at, BLK, OS_WRITE);
        uint8_t *const page = s.p.base + s.p.c->media.geo.header_offset;
        os_protect(page, BLK, OS_NOTHING);
        const struct cm_key k = key_of(f, 2);
        uint64_t w0;
        CHECK_EQ(cm_slot_read(&s.p.c->media, slot, &k, boot, &part, true, &got, &w0),
                 CM_SLOT_UNREADABLE);
        CHECK_EQ(got, 0);
        os_protect(page, BLK, OS_WRITE);
    }
    sealed_down(&s, f);
    sealed_end(&s);
}

static void test_bad_slot(void)
{
    CALL(bad_slot(CM_BLOCK_SIZE));
    CALL(bad_slot(100));
}

/* A block that cannot be sealed is not stored, nor anything of it. Nothing beside it changes. */
static void test_fill(void)
{
    struct sealed s;
    uint8_t block[CM_BLOCK_SIZE];
    struct cm_header h;
    sealed_make(&s, 2 * MIB, 1);
    CHECK_EQ(pool_up(&s.p), 0);
    out_of_order(s.p.c);
    struct cm_media *const m = &s.p.c->media;
    const struct cm_key k = cm_key_of(m, 77, 9);
    struct cm_header *const at = header_of(s.p.c, 5), beside[2] = { at[-1], at[1] };
    const struct cm_sealing *const real = m->seal;
    content(5, 9, block);
    for (unsigned i = 0; i < 2; i++) { /* one of the two callbacks fails */
        CASE("callback %u", i);
        struct cm_sealing sealing = *real;
        if (i)
            sealing.hooks.mac = right_but_failed;
        else
            sealing.hooks.encrypt = plain_but_failed;
        m->seal = &sealing;
        count_begin(m, 0);
        CHECK_EQ(cm_slot_fill(m, 5, &k, block, 100, &h), CM_ESEAL);
        CHECK_EQ(count_end(m), 0);
    }
    m->seal = real;
    CHECK_EQ(cm_slot_fill(m, 5, &k, block, 100, &h), 0);
    CHECK(memcmp(&at->incarnation, &h.incarnation, 24) == 0);
    CHECK(memcmp(beside, at - 1, 32) == 0 && memcmp(beside + 1, at + 1, 32) == 0);
    sealed_end(&s);
}

/* ---- Records and superblocks ----------------------------------------------------------------- */

/* What cannot be sealed is not written at all. Of a record whose tag cannot be computed nobody
 * knows whether it is whole. */
static void test_unsealed(void)
{
    struct sealed s;
    bool whole;
    struct cm_record r, again;
    struct cm_super was[CM_SUPER_COPIES];
    const struct cm_record_regions regions = { .known = true };
    const struct cm_record_attr none = { 0 };
    sealed_make(&s, 2 * MIB, 0);
    cm_file *f = sealed_up(&s, 1);
    const uint64_t place = cm_object_of(f)->place;
    struct cm_media *const m = &s.p.c->media;
    CHECK_EQ(cm_record_at(m, place, &r, &whole), 0);
    CHECK(whole);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++)
        was[i] = *super_at(&s.p, i);
    s.key.right = 1;                               /* and its answer would be right */
    for (unsigned after = 0; after < 2; after++) { /* the first or the second tag */
        CASE("after %u", after);
        s.key.fails = UINT32_MAX;
        for (unsigned with = 0; with < 2; with++) {
            s.key.after = after;
            again = r;
            count_begin(m, 0);
            CHECK_EQ(cm_record_write(m, place, &again, none, with ? &regions : NULL), CM_ESEAL);
            CHECK_EQ(count_end(m), 0);
        }
        s.key.after = 2 * after; /* a superblock has two */
        count_begin(m, 0);
        CHECK_EQ(cm_super_compat(&s.p.c->super, CM_COMPAT_KEEP, true), CM_ESEAL);
        CHECK_EQ(count_end(m), 0);
        CHECK(memcmp(was, super_at(&s.p, 0), sizeof(was[0])) == 0);
        CHECK(memcmp(was + 1, super_at(&s.p, 1), sizeof(was[1])) == 0);
        s.key.after = 0;
    }
    again = r;
    CHECK(again.size != CM_SIZE_UNKNOWN);
    CHECK_EQ(cm_record_write_size(m, place, &again), 0); /* it is not known from here on */
    CHECK(again.size == CM_SIZE_UNKNOWN && again.size_sum == 0);
    CHECK(record_of(s.p.c, place)->size == CM_SIZE_UNKNOWN);
    CHECK_EQ(record_of(s.p.c, place)->size_sum, 0);
    CHECK_EQ(cm_record_at(m, place, &again, &whole), CM_ESEAL);
    CHECK(!whole && memcmp(&again, &r, CM_RECORD_BODY_BYTES) == 0); /* its bytes are there */
    s.key.fails = 0;
    CHECK_EQ(cm_super_compat(&s.p.c->super, CM_COMPAT_KEEP, true), 0);
    CHECK_EQ(cm_record_at(m, place, &r, &whole), 0);
    CHECK(whole);
    sealed_down(&s, f);
    sealed_end(&s);
}

/* An open whose superblock cannot be sealed: the pool is as it was found, and readers are served if
 * they were. */
static void test_open_unsealed(void)
{
    struct cm_media unused;
    struct cm_sealing s;
    struct pair p, was;
    bool emptied = true;
    const struct cm_super_owner o = { .durability = CM_DURABILITY_PAGECACHE, .pid = 1 };
    CALL(ask_begin(&unused, &s, false));
    for (unsigned good = 0; good < 4; good++) { /* each superblock has two tags */
        CASE("good %u", good);
        CALL(pair_make(&p));
        was = p;
        const struct cm_super copies[2] = { *copy_of(&p, 0), *copy_of(&p, 1) };
        p.media.seal = &s;
        p.media.check_key = KEY;
        p.s.sync = true;
        *cm_super_session_at(&p.media) += good % 2;
        asked.macs = 0;
        asked.good = good;
        asked.code = 1;
        CHECK_EQ(cm_super_open(&p.s, &o, &emptied), CM_ESEAL);
        CHECK_EQ(asked.macs, good + 1);
        CHECK(!emptied);
        CHECK(same_super(copy_of(&p, 0), copies) && same_super(copy_of(&p, 1), copies + 1));
        CHECK_EQ(*cm_super_session_at(&p.media) % 2, good % 2);
        CHECK(p.media.check_key == KEY);
        p.s.now = was.s.now;
        asked.code = 0;
        CHECK_EQ(cm_super_open(&p.s, &o, &emptied), 0);
        CHECK_EQ(*cm_super_session_at(&p.media) % 2, 0);
        pair_end(&p);
    }
}

const struct harness_test seal_media_tests[] = {
    TEST(asked),         TEST(asked_super), TEST(callbacks_fail), TEST(inside),
    TEST(parts_of_tail), TEST(bad_slot),    TEST(fill),           TEST(unsealed),
    TEST(open_unsealed), TEST_END,
};
