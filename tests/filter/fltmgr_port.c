/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fltmgr_port.c - the communication port, emulated (fltmgr.h).
 *
 * A message goes to the service in the thread that sends it. Owns: the port and its connections.
 *
 * Who: the driver's shell as FltSendMessage() and its like; the tests as fltlib.dll.
 */
#include "fltmgr_inside.h"

#include <stdlib.h>
#include <string.h>

/* The driver's end: of the server, or of a connection. fm.lock: all of it. */
struct _FLT_PORT {
    /* Of the server: */
    PFLT_CONNECT_NOTIFY connect;
    PFLT_DISCONNECT_NOTIFY disconnect;
    PVOID cookie;
    LONG room; /* connections that may still come */
    /* Of a connection: */
    struct fm_service service;
    PVOID connection;
    unsigned open;  /* 0: it was closed by the driver */
    unsigned users; /* threads that send, or close it */
};
struct fm_connection {
    struct _FLT_PORT port; /* first */
    PFLT_DISCONNECT_NOTIFY disconnect;
};

/* ---- The driver's side ----------------------------------------------------------------------- */

NTSTATUS FLTAPI FltBuildDefaultSecurityDescriptor(PSECURITY_DESCRIPTOR *sd, ACCESS_MASK access)
{
    if (access != FLT_PORT_ALL_ACCESS)
        fm_fault("wrong parameters", "FltBuildDefaultSecurityDescriptor");
    *sd = nt_allocate(16, 1);
    return *sd ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

VOID FLTAPI FltFreeSecurityDescriptor(PSECURITY_DESCRIPTOR sd)
{
    ExFreePoolWithTag(sd, 1);
}

NTSTATUS FLTAPI FltCreateCommunicationPort(PFLT_FILTER f, PFLT_PORT *port, POBJECT_ATTRIBUTES oa,
                                           PVOID cookie, PFLT_CONNECT_NOTIFY connect,
                                           PFLT_DISCONNECT_NOTIFY disconnect, PVOID message,
                                           LONG connections)
{
    PFLT_PORT p;

    (void)f, (void)message;
    if (!(oa->Attributes & OBJ_KERNEL_HANDLE) || !oa->SecurityDescriptor)
        fm_fault("programs could have the handle, or all could connect",
                 "FltCreateCommunicationPort");
    p = fm_has_memory() ? calloc(1, sizeof(*p)) : NULL;
    if (!p)
        return STATUS_INSUFFICIENT_RESOURCES;
    p->connect = connect;
    p->disconnect = disconnect;
    p->cookie = cookie;
    p->room = connections;
    *port = fm.port = p;
    return STATUS_SUCCESS;
}

VOID FLTAPI FltCloseCommunicationPort(PFLT_PORT port)
{
    fm_lock_it();
    fm.port = NULL;
    fm_wait_zero(&fm.calls, "callbacks of the port");
    fm_unlock_it();
    free(port);
}

VOID FLTAPI FltCloseClientPort(PFLT_FILTER f, PFLT_PORT *client)
{
    PFLT_PORT p;

    (void)f;
    fm_at_most(PASSIVE_LEVEL, "FltCloseClientPort");
    fm_lock_it();
    p = *client;
    *client = NULL;
    if (p) {
        p->open = 0;
        p->users++; /* so that the service's end does not free it yet */
    }
    fm_unlock_it();
    if (!p) {
        fm_fault("there is none", "FltCloseClientPort");
        return;
    }
    if (p->service.cut)
        p->service.cut(p->service.ctx);
    fm_lock_it();
    p->users--;
    fm_unlock_it();
}

static NTSTATUS status_of(int n)
{
    return n == FM_LATE ? STATUS_TIMEOUT : n == FM_CUT ? STATUS_PORT_DISCONNECTED : STATUS_SUCCESS;
}

NTSTATUS FLTAPI FltSendMessage(PFLT_FILTER f, PFLT_PORT *port, PVOID message, ULONG bytes,
                               PVOID reply, PULONG room, PLARGE_INTEGER timeout)
{
    uint64_t ns = FM_FOREVER;
    PFLT_PORT p;
    int n;

    (void)f;
    fm_may_wait("FltSendMessage");
    if (fm_me()->terminating)
        return STATUS_THREAD_IS_TERMINATING;
    if (timeout && timeout->QuadPart > 0)
        fm_fault("a time of the clock", "FltSendMessage");
    fm_lock_it();
    p = *port;
    if (timeout)
        ns = (uint64_t)-timeout->QuadPart * fm.percent; /* 100 ns each, in percent */
    if (p && p->open)
        p->users++;
    else
        p = NULL;
    fm_unlock_it();
    if (!p)
        return STATUS_PORT_DISCONNECTED;
    n = p->service.take(p->service.ctx, message, bytes, reply, reply ? *room : 0, ns);
    fm_lock_it();
    if (reply && n > (int)*room)
        n = FM_CUT;
    if (reply && n >= 0)
        *room = (ULONG)n;
    p->users--;
    fm_unlock_it();
    fm_me()->terminating = fm_me()->dying; /* the service has it all the same */
    return fm_me()->terminating ? STATUS_THREAD_IS_TERMINATING : status_of(n);
}

/* ---- The service's side ---------------------------------------------------------------------- */

void fm_hurry(unsigned percent)
{
    fm_lock_it();
    fm.percent = percent;
    fm_unlock_it();
}

NTSTATUS fm_connect(const struct fm_service *s, const void *context, USHORT bytes,
                    struct fm_connection **c)
{
    struct fm_thread *const t = fm_me(), before = *t;
    struct fm_connection *const x = calloc(1, sizeof(*x));
    NTSTATUS status = STATUS_NOT_FOUND;
    PFLT_PORT server;

    if (!x)
        abort();
    x->port.service = *s;
    x->port.open = 1;
    fm_lock_it();
    server = fm.port;
    if (server && server->room <= 0)
        status = STATUS_CONNECTION_COUNT_LIMIT;
    if (server && server->room > 0) {
        server->room--;
        fm.calls++;
        x->disconnect = server->disconnect;
        status = STATUS_SUCCESS;
    }
    fm_unlock_it();
    if (NT_SUCCESS(status)) {
        *t = (struct fm_thread){ .process = FM_SERVICE, .connecting = TRUE };
        status = server->connect(&x->port, server->cookie, (PVOID)(uintptr_t)context, bytes,
                                 &x->port.connection);
        if (t->irql != PASSIVE_LEVEL || t->locks > 0)
            fm_fault("it has left a lock or an IRQL", "ConnectNotifyCallback");
        *t = before;
        fm_lock_it();
        if (!NT_SUCCESS(status))
            server->room++;
        fm.calls--;
        fm_unlock_it();
    }
    if (!NT_SUCCESS(status)) {
        free(x);
        return status;
    }
    *c = x;
    return STATUS_SUCCESS;
}

void fm_disconnect(struct fm_connection *c)
{
    struct fm_thread *const t = fm_me(), before = *t;
    bool is_there;

    fm_lock_it();
    is_there = fm.port != NULL; /* else the driver was unloaded, or is just about to */
    fm.calls += is_there;
    fm_unlock_it();
    *t = (struct fm_thread){ .process = FM_SERVICE };
    if (is_there)
        c->disconnect(c->port.connection);
    if (t->irql != PASSIVE_LEVEL || t->locks > 0)
        fm_fault("it has left a lock or an IRQL", "DisconnectNotifyCallback");
    *t = before;
    fm_lock_it();
    /* A thread that hung up just before may still be on its way to FltCloseClientPort. */
    fm_wait_zero(&c->port.open, "the driver's end of a connection");
    fm.calls -= is_there;
    fm_wait_zero(&c->port.users, "messages of a connection");
    if (fm.port)
        fm.port->room++;
    fm_unlock_it();
    free(c);
}

bool fm_is_cut(struct fm_connection *c)
{
    bool cut;

    fm_lock_it();
    cut = !c->port.open;
    fm_unlock_it();
    return cut;
}
