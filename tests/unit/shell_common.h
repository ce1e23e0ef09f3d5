/* SPDX-License-Identifier: BSD-2-Clause
 *
 * shell_common.h - what the files of test_shell have in common: a service and a file that the test
 * makes up.
 *
 * The service caches what it is sent, and forgets what it is told to. It believes any validator:
 * so whatever the driver does not tell it shows as old bytes.
 */
#ifndef SHELL_COMMON_H
#define SHELL_COMMON_H

#include "harness.h"

#include "../filter/fltmgr.h"
#include "cachemax.h"
#include "cachemax_protocol.h"
#include "filter_shell.h"
#include "os.h"

#define BLOCK 4096u
#define BLOCKS 8u
#define FILES 4u
#define LOG_MAX 512u
#define DEVICE "\\Device\\HarddiskVolume3"
#define RULES "folder=" DEVICE "\\data\0exclude=*.tmp\0pool=\\Device\\HarddiskVolume5"

/* ---- The service ----------------------------------------------------------------------------- */

struct cached {
    uint64_t id_hi, id_lo;
    bool has[BLOCKS];
    uint8_t data[BLOCKS][BLOCK];
    uint64_t from;     /* tickets below are void */
    unsigned brackets; /* open, with a length: no tickets */
};
extern struct service {
    os_mutex lock; /* all that follows */
    struct cached file[FILES];
    uint16_t asked[LOG_MAX];
    uint8_t body[LOG_MAX][96]; /* begins of bodies */
    unsigned n;
    uint64_t ticket;
    bool silent;
    uint16_t refuse, slow; /* commands: is refused; takes 20 ms */
    bool cut;
    /* NULL, or called while the driver waits for the reply: before the service has done it, and
     * after that. Without the lock. Set when nothing is in flight. */
    void (*before)(uint16_t command), (*after)(uint16_t command);
} service;
NTSTATUS connect_with(const char *rules, size_t bytes);
void connect_service(void); /* and greets it */
void end_service(void);
/* It takes no more messages. */
void cut(void *ctx);
extern struct fm_connection *connection;
/* How often that command was asked since request `from`. */
unsigned times(unsigned from, uint16_t command);
/* Has the service content of any file? */
bool has_content(void);
/* The body of the last request of that kind. */
const void *body_of(uint16_t command);

/* ---- A file ---------------------------------------------------------------------------------- */

struct file {
    struct fm_file f;
    uint8_t data[BLOCKS * BLOCK];
    uint64_t id, size;
    bool deleted;
};
extern struct file file;
ULONG read_file(struct fm_file *f, uint64_t off, ULONG n, void *to);
void make_file(struct file *x, const WCHAR *name, uint64_t id);
/* The last read. */
extern uint8_t buf[BLOCKS * BLOCK];
extern ULONG got;
extern bool by_driver;
NTSTATUS read_how(PFILE_OBJECT o, int64_t off, ULONG n, const struct fm_how *how);
/* Reads block 1, and waits for the fill. Answered by the driver? */
bool hits(PFILE_OBJECT o);
/* The second time? */
bool warm(PFILE_OBJECT o);
/* A write to block 1 below the filter, and what the service was told until then. ctx: its status.
 */
NTSTATUS change(void *ctx, PFILE_OBJECT o, ULONG_PTR *information);
extern unsigned begun, ended;

/* Begin and end of a test: the driver is loaded, and then a service connects; it is unloaded. */
void begin_without_service(void);
void begin(void);
void end(void);

extern const struct fm_how paging, sync_paging, transacted, mdl_read, at_dispatch;
extern const struct harness_test shell_changes_tests[], shell_names_tests[], shell_disk_tests[];
extern const struct harness_test shell_times_tests[], shell_kinds_tests[];
extern const struct harness_test shell_mixed_tests[], shell_controls_tests[];
extern const struct harness_test shell_system_tests[], shell_beside_tests[];
extern const struct harness_test shell_opens_tests[];

#endif
