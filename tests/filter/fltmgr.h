/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fltmgr.h - an emulation of the Filter Manager and of the kernel calls around it, in user mode.
 *
 * The driver's shell runs on it unchanged: its source is compiled with nt.h, and what nt.h declares
 * is here. A test is the rest of the system: it makes the files, does operations on them as
 * programs would, and is the service's end of the port.
 *
 * WHAT IT CHECKS. A *fault* is noted (fm_faults) when the driver does what the reference
 * documentation forbids, or what this driver must not do:
 *   - a call at a raised IRQL that needs a lower one. A fast mutex raises it
 *   - FltSendMessage() with a lock held, for paging I/O, inside another operation of the file
 *     system, with APCs off, by the service's process, or while the service waits to be connected
 *     An IRP that is not synchronized ends inside the file system
 *   - a question to the file system with a lock held, for paging I/O, inside another operation of
 *     the file system, or with APCs off
 *   - the pages of a buffer of fast I/O
 *   - a read with a handle that was closed before the callback or the work item began
 *   - a question for the mappings of a directory, which has no sections
 *   - a callback that returns with a lock held, with another IRQL, with a status that its operation
 *     does not allow, or with a completion context that nobody would get
 *   - an end that is put off for ever, or that cannot be: of fast I/O, of what is synchronized or
 *     drained. (FltDoCompletionProcessingWhenSafe() is not here at all. It is forbidden for what a
 *     driver of the disk may end, as reads and writes.)
 *   - references of contexts, memory, work items, names, file objects: too many given back, or some
 *     that are left when the filter is unregistered
 *   - memory that is used after it was given back (it is overwritten), or has another tag
 *   - a port's end that stays open after its service has gone
 *
 * WHAT IT CANNOT CHECK: whether its author has understood the documentation; the layout of the
 * system's structures; other filters; the system's cache and its memory manager; what a file system
 * does inside of an operation (a test does it: zeros by paging I/O); real interrupts.
 */
#ifndef CACHEMAX_TEST_FLTMGR_H
#define CACHEMAX_TEST_FLTMGR_H

#include <stdbool.h>
#include <stdint.h>

#include "nt.h"

#define STATUS_SOME_NOT_MAPPED ((NTSTATUS)0x00000107) /* a success code */
#define STATUS_NOT_FOUND ((NTSTATUS)0xC0000225)
#define STATUS_FILE_CLOSED ((NTSTATUS)0xC0000128)
#define STATUS_PORT_DISCONNECTED ((NTSTATUS)0xC0000037)
#define STATUS_CONNECTION_COUNT_LIMIT ((NTSTATUS)0xC0000246)
#define STATUS_FLT_DELETING_OBJECT ((NTSTATUS)0xC01C000B)

/* ---- Life ------------------------------------------------------------------------------------ */

/* Before all else. Nothing of an earlier filter may be left. */
void fm_begin(void);
/* Loads the driver: its DriverEntry(). `mounted`: its volume is mounted after that; else it was in
 * use before. */
NTSTATUS fm_load(bool mounted);
/* Unloads it, and looks what it has left behind. */
void fm_unload(void);
/* Takes the instance off its volume, as an administrator may. Operations on their way are drained.
 */
void fm_detach(void);
/* The same, and synchronized operations are drained, too: it is not documented that they are not.
 */
void fm_detach_all(void);
/* The volume is dismounted, or its disk is gone. */
void fm_dismount(void);
/* Puts it there again. */
void fm_attach(bool mounted);
/* Its disk is of this kind, from the next fm_attach() on: FILE_PORTABLE_DEVICE. */
void fm_disk_is(ULONG characteristics);
/* The disk is pulled out, or removed: IRP_MN_SURPRISE_REMOVAL, IRP_MN_REMOVE_DEVICE. The instance
 * stays as long as the old mount has a user: until fm_old_goes(). */
void fm_pnp(UCHAR minor);
/* The disk is mounted again, as this device, and the instance of the old mount stays. What was open
 * is the old one's. `detached`: it is gone already when the filter comes. */
void fm_mount_again(const WCHAR *device, bool detached);
/* The old mount has no user any more. */
void fm_old_goes(void);
/* Waits until no work item is queued or runs. */
void fm_settle(void);
/* The threads for work items begin none until it is over. */
void fm_hold(bool held);
/* No work item can be queued until it is over, as while the driver is unloaded. */
void fm_refuse(bool refused);
/* What setup() returns for a volume of this kind; no instance stays. `characteristics`: of its
 * disk.
 */
NTSTATUS fm_would_attach(DEVICE_TYPE device, FLT_FILESYSTEM_TYPE system, ULONG characteristics);

/* After all files were closed: looks whether file objects are left. */
void fm_end(void);
/* Faults so far, each printed as "fltmgr: ...". */
unsigned fm_faults(void);
/* For tests of the emulation: forgets them. `quiet`: they are not printed. */
void fm_forgive(bool quiet);
/* The next `skip` allocations succeed, then `fail` fail. Of pool memory, contexts, work items, and
 * the file system's own when it is asked or read from. */
void fm_starve(unsigned skip, unsigned fail);

/* ---- Threads --------------------------------------------------------------------------------- */

#define FM_SYSTEM ((HANDLE)4)
#define FM_PROGRAM ((HANDLE)1000)
#define FM_SERVICE ((HANDLE)4711)

/* What the kernel knows of a thread. A test sets it for its own before an operation. */
struct fm_thread {
    KIRQL irql;
    BOOLEAN apcs_disabled;
    PIRP top; /* it is inside another operation of the file system */
    HANDLE process;
    BOOLEAN terminating; /* it is being ended: no wait for a program any more */
    BOOLEAN dying;       /* the same, from its next such wait on */
    /* The emulation's: */
    unsigned locks;             /* fast mutexes and push locks held */
    BOOLEAN pushed;             /* a push lock */
    uint64_t since;             /* when its callback or its work item began; 0: it is in none */
    BOOLEAN paging, connecting; /* in a callback for paging I/O; in the connect callback */
};
struct fm_thread *fm_me(void);
/* How often fast mutexes, and push locks, were acquired so far. */
void fm_locks(unsigned *mutexes, unsigned *push_locks);

/* ---- Files ----------------------------------------------------------------------------------- */

/* What the file system says of a file. Times are FILETIMEs. */
struct fm_facts {
    uint64_t volume, id[2], size;
    int64_t created, written, changed;
    uint64_t usn;       /* 0: the volume has no journal */
    USHORT usn_version; /* of the journal's records: 2, 3 */
    BOOLEAN deleted;    /* the last name is gone */
};
/* A stream of a file. The test embeds it, and has the content. */
struct fm_file {
    const WCHAR *name; /* "\Device\HarddiskVolume3\data\file", ended by 0 */
    USHORT device;     /* letters of the volume's part */
    ULONG attributes;
    BOOLEAN no_contexts, paging, mapped_before, linked; /* linked: it has two names */
    /* Bytes that the file system has there; fewer: the file ends. */
    ULONG (*read)(struct fm_file *f, uint64_t off, ULONG n, void *to);
    /* The same past the system's cache. NULL: they are the same bytes. */
    ULONG (*read_disk)(struct fm_file *f, uint64_t off, ULONG n, void *to);
    void (*facts)(struct fm_file *f, struct fm_facts *to);
    /* What the file system waits for before it reads for a program; or NULL. */
    void (*wait)(struct fm_file *f, PFILE_OBJECT o);
    /* What the file system does in an open, between the driver's callbacks; or NULL. */
    void (*opens)(struct fm_file *f, PFILE_OBJECT o);
    /* What the file system does when a handle is closed; or NULL. */
    void (*cleanup)(struct fm_file *f, PFILE_OBJECT o);
    /* NULL, or called when the driver looks for the context of a handle. */
    void (*looks)(struct fm_file *f, PFILE_OBJECT o);
    /* The emulation's: */
    PFLT_CONTEXT context;
    PFLT_INSTANCE instance; /* of the context */
    unsigned objects;       /* file objects */
    SECTION_OBJECT_POINTERS sections;
    struct fm_file *next;
};

/* How an operation comes and ends. */
struct fm_how {
    ULONG irp_flags; /* IRP_PAGING_IO and so on */
    UCHAR minor;
    BOOLEAN fast;      /* fast I/O: no IRP. If the driver does not want it, an IRP comes */
    BOOLEAN dispatch;  /* it ends at DISPATCH_LEVEL, in some thread */
    BOOLEAN mdl;       /* the buffer is a list of pages already */
    ULONG options;     /* of an open: FILE_OPEN_REPARSE_POINT; FILE_OVERWRITE_IF and the like in the
                        * upper 8 bits, if its outcome does not tell that */
    BOOLEAN reparse;   /* of an open: its name is a link, and nothing is open */
    BOOLEAN breaks;    /* of an open: an oplock is being broken, and it does not wait for that */
    BOOLEAN cancelled; /* of an open: a filter below takes it back (FltCancelFileOpen) */
    BOOLEAN asks_only; /* of an open: the handle may not read */
    BOOLEAN advance;   /* of a size: the lazy writer's valid data length */
    PVOID transaction;
};
extern const struct fm_how fm_plain;
#define FM_PLAIN (&fm_plain)

/* Has the system a section of it? What has one keeps it as long as somebody uses the file. */
bool fm_has_pages(const struct fm_file *f);
/* Opens a file. NULL: the driver has refused it. `outcome`: FILE_OPENED and so on. */
PFILE_OBJECT fm_open(struct fm_file *f, bool writes, ULONG outcome);
PFILE_OBJECT fm_open_how(struct fm_file *f, bool writes, ULONG outcome, ULONG flags,
                         const struct fm_how *how);
/* Closes the handle: cleanup, and close as soon as nobody has a reference. */
void fm_close(PFILE_OBJECT o);
/* File objects of the file that are left: handles, and references to closed ones. */
unsigned fm_objects(struct fm_file *f);
/* A handle of the volume. */
PFILE_OBJECT fm_open_volume(void);

/* What the file system does of an operation. Returns its status; *information is 0 at first. */
typedef NTSTATUS (*fm_below)(void *ctx, PFILE_OBJECT o, ULONG_PTR *information);
/* Reads: off < 0 is FILE_USE_FILE_POINTER_POSITION. Returns the status; *got bytes are in buf.
 * *by_driver: the file system was not asked. */
NTSTATUS fm_read(PFILE_OBJECT o, int64_t off, ULONG n, void *buf, ULONG *got, bool *by_driver,
                 const struct fm_how *how);
/* The memory manager writes (IRP_PAGING_IO) only what it has a section of: after a read or write in
 * the system's cache, or fm_section(). Else the write is another driver's. */
NTSTATUS fm_write(PFILE_OBJECT o, int64_t off, ULONG n, fm_below below, void *ctx,
                  const struct fm_how *how);
NTSTATUS fm_set(PFILE_OBJECT o, FILE_INFORMATION_CLASS c, uint64_t value, fm_below below, void *ctx,
                const struct fm_how *how);
/* Gives it another name: of a file, from the volume's root on ("\\data\\file"), or ":stream". */
NTSTATUS fm_rename(PFILE_OBJECT o, FILE_INFORMATION_CLASS c, const WCHAR *name, fm_below below,
                   void *ctx);
NTSTATUS fm_control(PFILE_OBJECT o, ULONG code, fm_below below, void *ctx,
                    const struct fm_how *how);
NTSTATUS fm_flush(PFILE_OBJECT o, fm_below below, void *ctx, const struct fm_how *how);
/* IRP_MJ_SET_EA, IRP_MJ_SET_SECURITY. */
NTSTATUS fm_set_rights(PFILE_OBJECT o, UCHAR major, fm_below below, void *ctx);
NTSTATUS fm_lock(PFILE_OBJECT o);
/* Makes a section. */
NTSTATUS fm_section(PFILE_OBJECT o, FS_FILTER_SECTION_SYNC_TYPE type, ULONG protection);
/* Gives pages of the system's cache away, to be written to. */
NTSTATUS fm_pages(PFILE_OBJECT o);

/* ---- The port -------------------------------------------------------------------------------- */

#define FM_LATE (-1)
#define FM_CUT (-2)
#define FM_FOREVER UINT64_MAX

/* The service's end of a connection. */
struct fm_service {
    void *ctx;
    /* Handles a message within `ns`. Returns the bytes of the reply, FM_LATE or FM_CUT. room 0: no
     * reply is expected, and 0 is returned when it has been taken. */
    int (*take)(void *ctx, const void *message, ULONG n, void *reply, ULONG room, uint64_t ns);
    /* The driver has closed its end: take() returns soon. May be NULL. */
    void (*cut)(void *ctx);
};
struct fm_connection;
/* FilterConnectCommunicationPort(), by the service's process. */
NTSTATUS fm_connect(const struct fm_service *s, const void *context, USHORT bytes,
                    struct fm_connection **c);
/* The service closes its handle, or has died. take() must return FM_CUT from now on, or soon. */
void fm_disconnect(struct fm_connection *c);
/* Has the driver closed its end? */
bool fm_is_cut(struct fm_connection *c);
/* The clock that files get their times from has stood still for so long. */
void fm_clock_stands(unsigned ms);
/* The driver's time-outs of messages count as if they were `percent` of that. */
void fm_hurry(unsigned percent);

#endif
