/* SPDX-License-Identifier: BSD-2-Clause
 *
 * CacheFilter.c - the driver: its entry, its registration, and the volumes that it filters.
 *
 * A minifilter that reads files through the service's pool (docs/windows.md). What it decides is in
 * filter_core.c; this shell gives it files, buffers and messages. Owns: struct driver.
 *
 * VOLUMES. It attaches to fixed NTFS and ReFS volumes of disks. The claim that it sees all writes
 * holds there: no other machine writes them. Other machines may write a medium that can be taken
 * out. (A whole disk that can be unplugged counts as fixed, as elsewhere in Windows.) Files of the
 * pool's own volume always pass.
 *
 * A volume that is dismounted may lose what the system has not written yet, and may be mounted
 * again before the old mount has ended (rule C8).
 *
 * LATE. A volume that was mounted before the driver came had writes that it did not see: all files
 * are forgotten. So the driver starts with the system, and only a driver that is loaded by hand
 * begins with nothing. So it is if the driver leaves a volume that stays mounted (fltmc detach), or
 * cannot come to it for want of memory. Nobody tells when that volume is mounted again, or under
 * which name. So from then on all files are forgotten with each volume that comes. They are also
 * forgotten when it leaves, or is unloaded: the system may be started again before a volume comes.
 */
#include "filter_shell.h"

struct driver driver;

/* What the system says of a volume, and the names that belong to it. */
union volume {
    FLT_VOLUME_PROPERTIES p;
    UCHAR room[sizeof(FLT_VOLUME_PROPERTIES) + 512];
};

/* FALSE: it cannot be told. Names that do not fit are not there; no device has such. */
static BOOLEAN look_at(PFLT_VOLUME volume, union volume *v)
{
    NTSTATUS s;
    ULONG n;

    memset(v, 0, sizeof(*v));
    s = FltGetVolumeProperties(volume, &v->p, sizeof(*v), &n);
    if (s == STATUS_BUFFER_OVERFLOW)
        v->p.RealDeviceName.Length = 0;
    return NT_SUCCESS(s) || s == STATUS_BUFFER_OVERFLOW;
}

static BOOLEAN is_fixed(const union volume *v)
{
    return !(v->p.DeviceCharacteristics & (FILE_REMOVABLE_MEDIA | FILE_REMOTE_DEVICE));
}

/* A volume may be written from now on, and nobody looks. Ordered as a whole: before what is
 * written, and before the setup of another instance. */
static VOID is_unseen(void)
{
    (void)InterlockedExchange(&driver.unseen, TRUE);
}

static NTSTATUS FLTAPI setup(PCFLT_RELATED_OBJECTS o, FLT_INSTANCE_SETUP_FLAGS flags,
                             DEVICE_TYPE device, FLT_FILESYSTEM_TYPE system)
{
    union volume v;
    BOOLEAN known;

    if (device != FILE_DEVICE_DISK_FILE_SYSTEM) /* a network: others write, too */
        return STATUS_FLT_DO_NOT_ATTACH;
    if (system != FLT_FSTYPE_NTFS && system != FLT_FSTYPE_REFS)
        return STATUS_FLT_DO_NOT_ATTACH;
    known = look_at(o->Volume, &v);
    if (known && !is_fixed(&v))
        return STATUS_FLT_DO_NOT_ATTACH;
    /* Portable: a disk on a bus such as USB, which most systems take for fixed. */
    if (!known || !volume_mount(o, &v.p.RealDeviceName,
                                (v.p.DeviceCharacteristics & FILE_PORTABLE_DEVICE) != 0, flags)) {
        is_unseen();
        return STATUS_FLT_DO_NOT_ATTACH;
    }
    /* It was in use, and nobody looked; or it may have been. Acquire: as it is set. */
    if (!(flags & FLTFL_INSTANCE_SETUP_NEWLY_MOUNTED_VOLUME) || ReadAcquire(&driver.unseen))
        fc_written_anything(&driver.core);
    return STATUS_SUCCESS;
}

static NTSTATUS FLTAPI teardown(PCFLT_RELATED_OBJECTS o, FLT_INSTANCE_QUERY_TEARDOWN_FLAGS flags)
{
    UNREFERENCED_PARAMETER(o);
    UNREFERENCED_PARAMETER(flags);
    return STATUS_SUCCESS;
}

static VOID FLTAPI leaves(PCFLT_RELATED_OBJECTS o, FLT_INSTANCE_TEARDOWN_FLAGS flags)
{
    if (flags & FLTFL_INSTANCE_TEARDOWN_VOLUME_DISMOUNT)
        volume_dismount(o);
    else
        is_unseen();
}

static VOID FLTAPI torn_down(PCFLT_RELATED_OBJECTS o, FLT_INSTANCE_TEARDOWN_FLAGS flags)
{
    UNREFERENCED_PARAMETER(o);
    ops_end_left();
    /* No operation of the volume is on its way any more, and so no fill. */
    if (!(flags & FLTFL_INSTANCE_TEARDOWN_VOLUME_DISMOUNT))
        fc_written_anything(&driver.core);
}

static VOID release(void)
{
    if (driver.written)
        ExFreePoolWithTag(driver.written, TAG);
    if (driver.tender)
        FltFreeGenericWorkItem(driver.tender);
    driver.written = NULL;
    driver.tender = NULL;
}

/* The volumes stay in use. So the service is told before the port closes; nothing is filled from
 * then on. The port closes before the rest: then no message is on its way. */
static NTSTATUS FLTAPI unload(FLT_FILTER_UNLOAD_FLAGS flags)
{
    UNREFERENCED_PARAMETER(flags);
    port_leave();
    fc_leave(&driver.core);
    port_close();
    FltUnregisterFilter(driver.filter);
    release();
    return STATUS_SUCCESS;
}

static const FLT_REGISTRATION registration = { .Size = sizeof(FLT_REGISTRATION),
                                               .Version = FLT_REGISTRATION_VERSION,
                                               .Flags = 0, /* no DAX volumes */
                                               .ContextRegistration = stream_contexts,
                                               .OperationRegistration = operations,
                                               .FilterUnloadCallback = unload,
                                               .InstanceSetupCallback = setup,
                                               .InstanceQueryTeardownCallback = teardown,
                                               .InstanceTeardownStartCallback = leaves,
                                               .InstanceTeardownCompleteCallback = torn_down };

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT object, PUNICODE_STRING path);
NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT object, PUNICODE_STRING path)
{
    NTSTATUS s;

    UNREFERENCED_PARAMETER(path);
    driver.unseen = FALSE;
    driver.written = nt_allocate(FC_SET_BYTES(WRITTEN_SLOTS), TAG);
    driver.tender = FltAllocateGenericWorkItem();
    if (!driver.written || !driver.tender) {
        release();
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    ExInitializeFastMutex(&driver.lock);
    ExInitializeFastMutex(&driver.mounts_lock);
    fc_init(&driver.core, &port_env, driver.written, WRITTEN_SLOTS);
    s = FltRegisterFilter(object, &registration, &driver.filter);
    if (NT_SUCCESS(s)) {
        s = port_open();
        if (NT_SUCCESS(s)) {
            s = FltStartFiltering(driver.filter);
            if (!NT_SUCCESS(s))
                port_close();
        }
        if (!NT_SUCCESS(s))
            FltUnregisterFilter(driver.filter);
    }
    if (!NT_SUCCESS(s))
        release();
    return s;
}
