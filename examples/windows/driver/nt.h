/* SPDX-License-Identifier: BSD-2-Clause
 *
 * nt.h - the part of Microsoft's kernel headers that the driver uses, declared by ourselves.
 *
 * It stands in for <fltKernel.h> where there is no WDK: a cross compiler can check the driver's
 * types with it, and the tests run the driver on an emulated Filter Manager. Names, types and
 * values are those of the public reference documentation. Structures have the members that the
 * driver uses, and not the layout of the system's: an object that was compiled with this file
 * cannot be loaded. With the WDK define HAVE_WDK, and this file has only nt_allocate().
 */
#ifndef CACHEFILTER_NT_H
#define CACHEFILTER_NT_H

#ifdef HAVE_WDK
#include <fltKernel.h>
#else

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef _WIN32
#define NTAPI __stdcall
#else
#define NTAPI
#endif
#define FLTAPI NTAPI
#define VOID void
#define IN
#define OUT
#define UNREFERENCED_PARAMETER(p) ((void)(p))

typedef uint8_t UCHAR, BOOLEAN;
typedef int8_t CCHAR;
typedef char CHAR;
typedef uint16_t USHORT, WCHAR;
typedef int16_t SHORT, CSHORT;
typedef uint32_t ULONG, ACCESS_MASK, *PULONG;
typedef int32_t LONG, NTSTATUS;
typedef uint64_t ULONGLONG;
typedef int64_t LONGLONG;
typedef void *PVOID, *HANDLE, *PSECURITY_DESCRIPTOR;
typedef uintptr_t ULONG_PTR;
typedef size_t SIZE_T;
typedef UCHAR KIRQL;
typedef CCHAR KPROCESSOR_MODE;
typedef ULONG DEVICE_TYPE;
typedef union {
    struct {
        ULONG LowPart;
        LONG HighPart;
    } u;
    LONGLONG QuadPart;
} LARGE_INTEGER, *PLARGE_INTEGER;
typedef struct {
    USHORT Length, MaximumLength; /* bytes */
    WCHAR *Buffer;
} UNICODE_STRING, *PUNICODE_STRING;
typedef const UNICODE_STRING *PCUNICODE_STRING;
typedef struct {
    NTSTATUS Status;
    ULONG_PTR Information;
} IO_STATUS_BLOCK, *PIO_STATUS_BLOCK;
typedef struct {
    ULONG Length;
    HANDLE RootDirectory;
    PUNICODE_STRING ObjectName;
    ULONG Attributes;
    PVOID SecurityDescriptor, SecurityQualityOfService;
} OBJECT_ATTRIBUTES, *POBJECT_ATTRIBUTES;
typedef struct _DRIVER_OBJECT *PDRIVER_OBJECT;
typedef struct _EPROCESS *PEPROCESS;
typedef struct _ETHREAD *PETHREAD;
typedef struct _IRP *PIRP;
typedef struct _MDL *PMDL;
typedef struct {
    PVOID DataSectionObject, SharedCacheMap, ImageSectionObject;
} SECTION_OBJECT_POINTERS, *PSECTION_OBJECT_POINTERS;
typedef struct _FILE_OBJECT {
    PSECTION_OBJECT_POINTERS SectionObjectPointer;
    BOOLEAN DeletePending, ReadAccess, WriteAccess, DeleteAccess;
    ULONG Flags;
    LARGE_INTEGER CurrentByteOffset;
    PVOID FsContext;
} FILE_OBJECT, *PFILE_OBJECT;

#define FALSE 0
#define TRUE 1
#define NT_SUCCESS(s) ((NTSTATUS)(s) >= 0)
#define STATUS_SUCCESS ((NTSTATUS)0)
#define STATUS_TIMEOUT ((NTSTATUS)0x00000102) /* a success code */
#define STATUS_REPARSE ((NTSTATUS)0x00000104) /* a success code, and nothing is open */
#define STATUS_OPLOCK_BREAK_IN_PROGRESS ((NTSTATUS)0x00000108) /* a success code */
#define STATUS_BUFFER_OVERFLOW ((NTSTATUS)0x80000005)          /* a part is there */
#define STATUS_VERIFY_REQUIRED ((NTSTATUS)0x80000016)
#define STATUS_UNSUCCESSFUL ((NTSTATUS)0xC0000001)
#define STATUS_INVALID_PARAMETER ((NTSTATUS)0xC000000D)
#define STATUS_END_OF_FILE ((NTSTATUS)0xC0000011)
#define STATUS_FILE_LOCK_CONFLICT ((NTSTATUS)0xC0000054)
#define STATUS_THREAD_IS_TERMINATING ((NTSTATUS)0xC000004B)
#define STATUS_INSUFFICIENT_RESOURCES ((NTSTATUS)0xC000009A)
#define STATUS_NOT_SUPPORTED ((NTSTATUS)0xC00000BB)
#define STATUS_FILE_DELETED ((NTSTATUS)0xC0000123)
#define STATUS_FLT_CONTEXT_ALREADY_DEFINED ((NTSTATUS)0xC01C0002)
#define STATUS_FLT_DO_NOT_ATTACH ((NTSTATUS)0xC01C000F)
#define STATUS_CONNECTION_REFUSED ((NTSTATUS)0xC0000236)
#define STATUS_ENCOUNTERED_WRITE_IN_PROGRESS ((NTSTATUS)0xC0000433)
#define PASSIVE_LEVEL 0
#define APC_LEVEL 1
#define DISPATCH_LEVEL 2

#define OBJ_CASE_INSENSITIVE 0x00000040u
#define OBJ_KERNEL_HANDLE 0x00000200u
#define InitializeObjectAttributes(p, n, a, r, s)                                                  \
    (*(p) = (OBJECT_ATTRIBUTES){ sizeof(OBJECT_ATTRIBUTES), (r), (n), (a), (s), NULL })

/* ---- Kernel ---------------------------------------------------------------------------------- */

typedef struct {
    uint64_t opaque[8];
} FAST_MUTEX, *PFAST_MUTEX, EX_RUNDOWN_REF, *PEX_RUNDOWN_REF;

typedef struct {
    uint64_t opaque[2];
} EX_PUSH_LOCK, *PEX_PUSH_LOCK;

VOID NTAPI ExInitializeFastMutex(PFAST_MUTEX m);
VOID NTAPI ExAcquireFastMutex(PFAST_MUTEX m);
VOID NTAPI ExReleaseFastMutex(PFAST_MUTEX m);
VOID NTAPI ExInitializeRundownProtection(PEX_RUNDOWN_REF r);
VOID NTAPI ExReInitializeRundownProtection(PEX_RUNDOWN_REF r);
BOOLEAN NTAPI ExAcquireRundownProtection(PEX_RUNDOWN_REF r);
VOID NTAPI ExReleaseRundownProtection(PEX_RUNDOWN_REF r);
VOID NTAPI ExWaitForRundownProtectionRelease(PEX_RUNDOWN_REF r);
typedef enum { NonPagedPoolNx = 512 } POOL_TYPE;
#define NTDDI_WIN10_VB 0x0A000008 /* these headers are of Windows 10 2004, or later */
PVOID NTAPI ExAllocatePoolUninitialized(POOL_TYPE type, SIZE_T bytes, ULONG tag);
VOID NTAPI ExFreePoolWithTag(PVOID at, ULONG tag);
KIRQL NTAPI KeGetCurrentIrql(void);
BOOLEAN NTAPI KeAreAllApcsDisabled(void);
LARGE_INTEGER NTAPI KeQueryPerformanceCounter(PLARGE_INTEGER frequency);
VOID NTAPI KeQuerySystemTime(PLARGE_INTEGER now); /* as of the clock's last tick */
VOID NTAPI KeQuerySystemTimePrecise(PLARGE_INTEGER now);
HANDLE NTAPI PsGetCurrentProcessId(void);
/* The system's headers have these for the compiler, and no calls. */
static inline LONG InterlockedIncrement(volatile LONG *n)
{
    return __atomic_add_fetch(n, 1, __ATOMIC_SEQ_CST);
}
static inline LONG InterlockedDecrement(volatile LONG *n)
{
    return __atomic_sub_fetch(n, 1, __ATOMIC_SEQ_CST);
}
static inline LONG InterlockedExchange(volatile LONG *at, LONG to)
{
    return __atomic_exchange_n(at, to, __ATOMIC_SEQ_CST);
}
static inline LONG ReadAcquire(const volatile LONG *at)
{
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}
static inline PVOID ReadPointerAcquire(PVOID const volatile *at)
{
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}
static inline PVOID ReadPointerNoFence(const volatile PVOID *at)
{
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}
static inline PVOID InterlockedCompareExchangePointer(PVOID volatile *at, PVOID to, PVOID from)
{
    (void)__atomic_compare_exchange_n(at, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return from;
}
static inline PVOID InterlockedExchangePointer(PVOID volatile *at, PVOID to)
{
    return __atomic_exchange_n(at, to, __ATOMIC_SEQ_CST);
}
PETHREAD NTAPI PsGetCurrentThread(void);
BOOLEAN NTAPI PsIsThreadTerminating(PETHREAD t);
PIRP NTAPI IoGetTopLevelIrp(void);
VOID NTAPI ObfReferenceObject(PVOID o);
VOID NTAPI ObfDereferenceObject(PVOID o);
#define ObReferenceObject(o) ObfReferenceObject(o)
#define ObDereferenceObject(o) ObfDereferenceObject(o)
ULONG NTAPI FsRtlIsPagingFile(PFILE_OBJECT o);
BOOLEAN NTAPI MmDoesFileHaveUserWritableReferences(PSECTION_OBJECT_POINTERS p);
WCHAR NTAPI RtlUpcaseUnicodeChar(WCHAR c);
NTSTATUS NTAPI RtlUTF8ToUnicodeN(WCHAR *to, ULONG room, PULONG n, const CHAR *from, ULONG bytes);
NTSTATUS NTAPI RtlUnicodeToUTF8N(CHAR *to, ULONG room, PULONG n, const WCHAR *from, ULONG bytes);
enum { NormalPagePriority = 16, MdlMappingNoExecute = 0x40000000 };
PVOID NTAPI MmGetSystemAddressForMdlSafe(PMDL mdl, ULONG priority);

#define FILE_SUPERSEDE 0u
#define FILE_OVERWRITE 4u
#define FILE_OVERWRITE_IF 5u
#define FILE_SUPERSEDED 0u
#define FILE_OPENED 1u
#define FILE_CREATED 2u
#define FILE_OVERWRITTEN 3u
#define IRP_NOCACHE 0x00000001u
#define IRP_PAGING_IO 0x00000002u
#define IRP_SYNCHRONOUS_PAGING_IO 0x00000040u
#define IRP_MN_NORMAL 0x00
#define IRP_MN_DPC 0x01
#define IRP_MN_REMOVE_DEVICE 0x02
#define IRP_MN_SURPRISE_REMOVAL 0x17
#define FO_SYNCHRONOUS_IO 0x00000002u
#define FO_FILE_OPEN_CANCELLED 0x00200000u
#define FO_VOLUME_OPEN 0x00400000u
#define FO_NO_INTERMEDIATE_BUFFERING 0x00000008u
#define FO_CLEANUP_COMPLETE 0x00004000u
#define FILE_ATTRIBUTE_DIRECTORY 0x00000010u
#define FILE_ATTRIBUTE_REPARSE_POINT 0x00000400u
#define FILE_OPEN_REPARSE_POINT 0x00200000u
#define FILE_ATTRIBUTE_OFFLINE 0x00001000u
#define FILE_ATTRIBUTE_RECALL_ON_OPEN 0x00040000u
#define FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS 0x00400000u
#define FILE_ATTRIBUTE_ENCRYPTED 0x00004000u
#define PAGE_READWRITE 0x04u
#define PAGE_EXECUTE_READWRITE 0x40u

typedef enum {
    FileBasicInformation = 4,
    FileStandardInformation = 5,
    FileRenameInformation = 10,
    FileLinkInformation = 11,
    FileDispositionInformation = 13,
    FileAllocationInformation = 19,
    FileEndOfFileInformation = 20,
    FileValidDataLengthInformation = 39,
    FileShortNameInformation = 40,
    FileRenameInformationBypassAccessCheck = 56,
    FileLinkInformationBypassAccessCheck = 57,
    FileIdInformation = 59,
    FileDispositionInformationEx = 64,
    FileRenameInformationEx = 65,
    FileRenameInformationExBypassAccessCheck = 66,
    FileLinkInformationEx = 72,
    FileLinkInformationExBypassAccessCheck = 73
} FILE_INFORMATION_CLASS;
typedef struct {
    LARGE_INTEGER CreationTime, LastAccessTime, LastWriteTime, ChangeTime;
    ULONG FileAttributes;
} FILE_BASIC_INFORMATION;
typedef struct {
    LARGE_INTEGER AllocationSize, EndOfFile;
    ULONG NumberOfLinks;
    BOOLEAN DeletePending, Directory;
} FILE_STANDARD_INFORMATION;
typedef struct {
    LARGE_INTEGER EndOfFile;
} FILE_END_OF_FILE_INFORMATION;
typedef struct {
    ULONG Flags;
    HANDLE RootDirectory;
    ULONG FileNameLength; /* bytes */
    WCHAR FileName[1];
} FILE_RENAME_INFORMATION;
typedef struct {
    UCHAR Identifier[16];
} FILE_ID_128;
typedef struct {
    ULONGLONG VolumeSerialNumber;
    FILE_ID_128 FileId;
} FILE_ID_INFORMATION;

/* ---- Filter Manager -------------------------------------------------------------------------- */

typedef struct _FLT_FILTER *PFLT_FILTER;
typedef struct _FLT_VOLUME *PFLT_VOLUME;
typedef struct _FLT_INSTANCE *PFLT_INSTANCE;
typedef struct _FLT_PORT *PFLT_PORT;
typedef struct _FLT_GENERIC_WORKITEM *PFLT_GENERIC_WORKITEM;
typedef PVOID PFLT_CONTEXT;
typedef ULONG FLT_FILTER_UNLOAD_FLAGS, FLT_INSTANCE_SETUP_FLAGS, FLT_INSTANCE_QUERY_TEARDOWN_FLAGS,
    FLT_INSTANCE_TEARDOWN_FLAGS, FLT_POST_OPERATION_FLAGS, FLT_FILE_NAME_OPTIONS,
    FLT_IO_OPERATION_FLAGS;
typedef USHORT FLT_CONTEXT_TYPE;
typedef enum {
    FLT_FSTYPE_UNKNOWN,
    FLT_FSTYPE_RAW,
    FLT_FSTYPE_NTFS,
    FLT_FSTYPE_FAT,
    FLT_FSTYPE_REFS = 0x1c
} FLT_FILESYSTEM_TYPE;
typedef enum {
    FLT_PREOP_SUCCESS_WITH_CALLBACK,
    FLT_PREOP_SUCCESS_NO_CALLBACK,
    FLT_PREOP_PENDING,
    FLT_PREOP_DISALLOW_FASTIO,
    FLT_PREOP_COMPLETE,
    FLT_PREOP_SYNCHRONIZE
} FLT_PREOP_CALLBACK_STATUS;
typedef enum {
    FLT_POSTOP_FINISHED_PROCESSING,
    FLT_POSTOP_MORE_PROCESSING_REQUIRED
} FLT_POSTOP_CALLBACK_STATUS;

#define FLT_REGISTRATION_VERSION 0x0203
#define FLTFL_OPERATION_REGISTRATION_SKIP_PAGING_IO 0x00000001u
#define FLTFL_POST_OPERATION_DRAINING 0x00000001u
#define FLTFL_FILTER_UNLOAD_MANDATORY 0x00000001u
#define FLTFL_CALLBACK_DATA_IRP_OPERATION 0x00000001u
#define FLTFL_CALLBACK_DATA_FAST_IO_OPERATION 0x00000002u
#define FLTFL_IO_OPERATION_NON_CACHED 0x00000001u
#define FLTFL_IO_OPERATION_DO_NOT_UPDATE_BYTE_OFFSET 0x00000004u
#define FLTFL_INSTANCE_SETUP_NEWLY_MOUNTED_VOLUME 0x00000004u
#define FLTFL_INSTANCE_SETUP_DETACHED_VOLUME 0x00000008u
#define FLTFL_INSTANCE_TEARDOWN_VOLUME_DISMOUNT 0x00000008u
#define FLT_INSTANCE_CONTEXT ((FLT_CONTEXT_TYPE)0x0002)
#define FLT_STREAM_CONTEXT ((FLT_CONTEXT_TYPE)0x0008)
#define FLT_STREAMHANDLE_CONTEXT ((FLT_CONTEXT_TYPE)0x0010)
#define FLT_CONTEXT_END ((FLT_CONTEXT_TYPE)0xffff)
#define FLT_SET_CONTEXT_KEEP_IF_EXISTS 1
#define FLT_FILE_NAME_NORMALIZED 0x00000001u
#define FLT_FILE_NAME_QUERY_DEFAULT 0x00000100u
#define FLT_PORT_ALL_ACCESS 0x001F0001u

#define IRP_MJ_CREATE ((UCHAR)0x00)
#define IRP_MJ_READ ((UCHAR)0x03)
#define IRP_MJ_WRITE ((UCHAR)0x04)
#define IRP_MJ_SET_INFORMATION ((UCHAR)0x06)
#define IRP_MJ_SET_EA ((UCHAR)0x08)
#define IRP_MJ_FLUSH_BUFFERS ((UCHAR)0x09)
#define IRP_MJ_FILE_SYSTEM_CONTROL ((UCHAR)0x0d)
#define IRP_MJ_LOCK_CONTROL ((UCHAR)0x11)
#define IRP_MJ_CLEANUP ((UCHAR)0x12)
#define IRP_MJ_SET_SECURITY ((UCHAR)0x15)
#define IRP_MJ_PNP ((UCHAR)0x1b)
#define IRP_MJ_ACQUIRE_FOR_SECTION_SYNCHRONIZATION ((UCHAR)-1)
#define IRP_MJ_PREPARE_MDL_WRITE ((UCHAR)-17)
#define IRP_MJ_OPERATION_END ((UCHAR)0x80)

typedef enum { SyncTypeOther, SyncTypeCreateSection } FS_FILTER_SECTION_SYNC_TYPE;
typedef union {
    struct {
        ULONG Options; /* how to open; the upper 8 bits: FILE_OVERWRITE and the like */
    } Create;
    struct {
        ULONG Length;
        LARGE_INTEGER ByteOffset;
        PVOID ReadBuffer;
        PMDL MdlAddress;
    } Read;
    struct {
        ULONG Length;
        LARGE_INTEGER ByteOffset;
        PVOID WriteBuffer;
        PMDL MdlAddress;
    } Write;
    struct {
        ULONG Length;
        FILE_INFORMATION_CLASS FileInformationClass;
        PFILE_OBJECT ParentOfTarget;
        union {
            struct {
                BOOLEAN ReplaceIfExists, AdvanceOnly;
            };
        };
        PVOID InfoBuffer;
    } SetFileInformation;
    union {
        struct {
            ULONG OutputBufferLength, InputBufferLength, FsControlCode;
        } Common;
    } FileSystemControl;
    struct {
        FS_FILTER_SECTION_SYNC_TYPE SyncType;
        ULONG PageProtection;
    } AcquireForSectionSynchronization;
} FLT_PARAMETERS;
typedef struct {
    ULONG IrpFlags;
    UCHAR MajorFunction, MinorFunction, OperationFlags;
    PFILE_OBJECT TargetFileObject;
    PFLT_INSTANCE TargetInstance;
    FLT_PARAMETERS Parameters;
} FLT_IO_PARAMETER_BLOCK, *PFLT_IO_PARAMETER_BLOCK;
typedef struct {
    ULONG Flags;
    PETHREAD Thread;
    PFLT_IO_PARAMETER_BLOCK Iopb;
    IO_STATUS_BLOCK IoStatus;
    KPROCESSOR_MODE RequestorMode;
} FLT_CALLBACK_DATA, *PFLT_CALLBACK_DATA;
typedef struct {
    PFLT_FILTER Filter;
    PFLT_VOLUME Volume;
    PFLT_INSTANCE Instance;
    PFILE_OBJECT FileObject;
    PVOID Transaction;
} FLT_RELATED_OBJECTS;
typedef const FLT_RELATED_OBJECTS *PCFLT_RELATED_OBJECTS;
#define FLT_IS_FASTIO_OPERATION(d) (((d)->Flags & FLTFL_CALLBACK_DATA_FAST_IO_OPERATION) != 0)

typedef FLT_PREOP_CALLBACK_STATUS(FLTAPI *PFLT_PRE_OPERATION_CALLBACK)(PFLT_CALLBACK_DATA,
                                                                       PCFLT_RELATED_OBJECTS,
                                                                       PVOID *);
typedef FLT_POSTOP_CALLBACK_STATUS(FLTAPI *PFLT_POST_OPERATION_CALLBACK)(PFLT_CALLBACK_DATA,
                                                                         PCFLT_RELATED_OBJECTS,
                                                                         PVOID,
                                                                         FLT_POST_OPERATION_FLAGS);
typedef struct {
    UCHAR MajorFunction;
    ULONG Flags;
    PFLT_PRE_OPERATION_CALLBACK PreOperation;
    PFLT_POST_OPERATION_CALLBACK PostOperation;
    PVOID Reserved1;
} FLT_OPERATION_REGISTRATION;
typedef struct {
    FLT_CONTEXT_TYPE ContextType;
    USHORT Flags;
    VOID(FLTAPI *ContextCleanupCallback)(PFLT_CONTEXT, FLT_CONTEXT_TYPE);
    SIZE_T Size;
    ULONG PoolTag;
} FLT_CONTEXT_REGISTRATION;
typedef struct {
    USHORT Size, Version;
    ULONG Flags;
    const FLT_CONTEXT_REGISTRATION *ContextRegistration;
    const FLT_OPERATION_REGISTRATION *OperationRegistration;
    NTSTATUS(FLTAPI *FilterUnloadCallback)(FLT_FILTER_UNLOAD_FLAGS);
    NTSTATUS(FLTAPI *InstanceSetupCallback)
    (PCFLT_RELATED_OBJECTS, FLT_INSTANCE_SETUP_FLAGS, DEVICE_TYPE, FLT_FILESYSTEM_TYPE);
    NTSTATUS(FLTAPI *InstanceQueryTeardownCallback)
    (PCFLT_RELATED_OBJECTS, FLT_INSTANCE_QUERY_TEARDOWN_FLAGS);
    VOID(FLTAPI *InstanceTeardownStartCallback)
    (PCFLT_RELATED_OBJECTS, FLT_INSTANCE_TEARDOWN_FLAGS);
    VOID(FLTAPI *InstanceTeardownCompleteCallback)
    (PCFLT_RELATED_OBJECTS, FLT_INSTANCE_TEARDOWN_FLAGS);
} FLT_REGISTRATION;
#define FILE_DEVICE_DISK_FILE_SYSTEM 0x00000008u
#define FILE_REMOVABLE_MEDIA 0x00000001u
#define FILE_REMOTE_DEVICE 0x00000010u
#define FILE_PORTABLE_DEVICE 0x00040000u
typedef struct {
    DEVICE_TYPE DeviceType;
    ULONG DeviceCharacteristics;
    UNICODE_STRING FileSystemDriverName, FileSystemDeviceName, RealDeviceName; /* text follows */
} FLT_VOLUME_PROPERTIES, *PFLT_VOLUME_PROPERTIES;
typedef struct {
    USHORT Size, NamesParsed;
    ULONG Format;
    UNICODE_STRING Name, Volume, Share, Extension, Stream, FinalComponent, ParentDir;
} FLT_FILE_NAME_INFORMATION, *PFLT_FILE_NAME_INFORMATION;
typedef NTSTATUS(FLTAPI *PFLT_CONNECT_NOTIFY)(PFLT_PORT, PVOID, PVOID, ULONG, PVOID *);
typedef VOID(FLTAPI *PFLT_DISCONNECT_NOTIFY)(PVOID);
typedef VOID(FLTAPI *PFLT_GENERIC_WORKITEM_ROUTINE)(PFLT_GENERIC_WORKITEM, PVOID, PVOID);

NTSTATUS FLTAPI FltRegisterFilter(PDRIVER_OBJECT d, const FLT_REGISTRATION *r, PFLT_FILTER *f);
NTSTATUS FLTAPI FltStartFiltering(PFLT_FILTER f);
VOID FLTAPI FltUnregisterFilter(PFLT_FILTER f);
NTSTATUS FLTAPI FltBuildDefaultSecurityDescriptor(PSECURITY_DESCRIPTOR *sd, ACCESS_MASK access);
VOID FLTAPI FltFreeSecurityDescriptor(PSECURITY_DESCRIPTOR sd);
NTSTATUS FLTAPI FltCreateCommunicationPort(PFLT_FILTER f, PFLT_PORT *port, POBJECT_ATTRIBUTES oa,
                                           PVOID cookie, PFLT_CONNECT_NOTIFY connect,
                                           PFLT_DISCONNECT_NOTIFY disconnect, PVOID message,
                                           LONG connections);
VOID FLTAPI FltCloseCommunicationPort(PFLT_PORT port);
VOID FLTAPI FltCloseClientPort(PFLT_FILTER f, PFLT_PORT *port);
NTSTATUS FLTAPI FltSendMessage(PFLT_FILTER f, PFLT_PORT *port, PVOID message, ULONG bytes,
                               PVOID reply, PULONG room, PLARGE_INTEGER timeout);
NTSTATUS FLTAPI FltAllocateContext(PFLT_FILTER f, FLT_CONTEXT_TYPE type, SIZE_T size,
                                   POOL_TYPE pool, PFLT_CONTEXT *context);
VOID FLTAPI FltReferenceContext(PFLT_CONTEXT context);
VOID FLTAPI FltReleaseContext(PFLT_CONTEXT context);
NTSTATUS FLTAPI FltSetInstanceContext(PFLT_INSTANCE i, ULONG how, PFLT_CONTEXT context,
                                      PFLT_CONTEXT *old);
NTSTATUS FLTAPI FltGetInstanceContext(PFLT_INSTANCE i, PFLT_CONTEXT *context);
NTSTATUS FLTAPI FltSetStreamContext(PFLT_INSTANCE i, PFILE_OBJECT o, ULONG how,
                                    PFLT_CONTEXT context, PFLT_CONTEXT *old);
NTSTATUS FLTAPI FltGetStreamContext(PFLT_INSTANCE i, PFILE_OBJECT o, PFLT_CONTEXT *context);
NTSTATUS FLTAPI FltSetStreamHandleContext(PFLT_INSTANCE i, PFILE_OBJECT o, ULONG how,
                                          PFLT_CONTEXT context, PFLT_CONTEXT *old);
NTSTATUS FLTAPI FltGetStreamHandleContext(PFLT_INSTANCE i, PFILE_OBJECT o, PFLT_CONTEXT *context);
VOID FLTAPI FltCancelFileOpen(PFLT_INSTANCE i, PFILE_OBJECT o);
NTSTATUS FLTAPI FltGetFileNameInformation(PFLT_CALLBACK_DATA d, FLT_FILE_NAME_OPTIONS o,
                                          PFLT_FILE_NAME_INFORMATION *info);
NTSTATUS FLTAPI FltGetDestinationFileNameInformation(PFLT_INSTANCE i, PFILE_OBJECT o, HANDLE root,
                                                     WCHAR *name, ULONG bytes,
                                                     FLT_FILE_NAME_OPTIONS how,
                                                     PFLT_FILE_NAME_INFORMATION *info);
NTSTATUS FLTAPI FltParseFileNameInformation(PFLT_FILE_NAME_INFORMATION info);
VOID FLTAPI FltReleaseFileNameInformation(PFLT_FILE_NAME_INFORMATION info);
NTSTATUS FLTAPI FltQueryInformationFile(PFLT_INSTANCE i, PFILE_OBJECT o, PVOID to, ULONG bytes,
                                        FILE_INFORMATION_CLASS c, PULONG n);
NTSTATUS FLTAPI FltFsControlFile(PFLT_INSTANCE i, PFILE_OBJECT o, ULONG code, PVOID in, ULONG in_n,
                                 PVOID out, ULONG out_n, PULONG n);
NTSTATUS FLTAPI FltReadFile(PFLT_INSTANCE i, PFILE_OBJECT o, PLARGE_INTEGER off, ULONG bytes,
                            PVOID buf, FLT_IO_OPERATION_FLAGS flags, PULONG n, PVOID callback,
                            PVOID context);
NTSTATUS FLTAPI FltLockUserBuffer(PFLT_CALLBACK_DATA d);
BOOLEAN FLTAPI FltIsOperationSynchronous(PFLT_CALLBACK_DATA d);
PFLT_GENERIC_WORKITEM FLTAPI FltAllocateGenericWorkItem(void);
VOID FLTAPI FltFreeGenericWorkItem(PFLT_GENERIC_WORKITEM w);
typedef enum { DelayedWorkQueue = 1 } WORK_QUEUE_TYPE;
NTSTATUS FLTAPI FltQueueGenericWorkItem(PFLT_GENERIC_WORKITEM w, PVOID filter_or_instance,
                                        PFLT_GENERIC_WORKITEM_ROUTINE run, WORK_QUEUE_TYPE q,
                                        PVOID context);
VOID FLTAPI FltCompletePendedPostOperation(PFLT_CALLBACK_DATA d);
VOID FLTAPI FltInitializePushLock(PEX_PUSH_LOCK l);
VOID FLTAPI FltAcquirePushLockShared(PEX_PUSH_LOCK l);
VOID FLTAPI FltAcquirePushLockExclusive(PEX_PUSH_LOCK l);
VOID FLTAPI FltReleasePushLock(PEX_PUSH_LOCK l);
NTSTATUS FLTAPI FltGetVolumeProperties(PFLT_VOLUME v, PFLT_VOLUME_PROPERTIES p, ULONG bytes,
                                       PULONG n);
NTSTATUS FLTAPI FltObjectReference(PVOID o);
VOID FLTAPI FltObjectDereference(PVOID o);

#define CTL_CODE(type, function, method, access)                                                   \
    ((ULONG)(type) << 16 | (ULONG)(access) << 14 | (ULONG)(function) << 2 | (ULONG)(method))
#define FSCTL_READ_FILE_USN_DATA CTL_CODE(9, 58, 3, 0)

#endif

/* Memory that is not filled; NULL: there is none. At an IRQL up to DISPATCH_LEVEL.
 *
 * ExAllocatePoolWithTag() is deprecated since the WDK for Windows 10 2004: its warning (C4996) is
 * an error in a driver's project. ExAllocatePool2() is not there before that version, and the
 * driver is for 1903 and later. So this is the wrapper that the headers have for older systems;
 * headers that are older themselves have only what it wraps. */
static inline PVOID nt_allocate(SIZE_T bytes, ULONG tag)
{
#ifdef NTDDI_WIN10_VB
    return ExAllocatePoolUninitialized(NonPagedPoolNx, bytes, tag);
#else
    return ExAllocatePoolWithTag(NonPagedPoolNx, bytes, tag);
#endif
}

#endif
