#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""mutants.py - do the tests of the Windows driver find what they should? Takes one rule at a time
out of examples/windows/driver.

  mutants.py [--only NAME] [--part K/N] [--storm BUILD]

A row has the number of its rule (filter_rules.h, filter_core.h), what is taken out, and the test of
unit/filter that has to fail (rows_core.py); a row of the shell has a test of unit/shell. The text
must be there exactly once, so the rows stay in step with the code. --part K/N runs every N-th row,
from row K on; of the others the text only is looked for. With --storm the rows whose loss shows as
wrong bytes are tried with the storm instead, against the service of that build, which takes some
minutes. First of all the unchanged code has to pass. The last line is "N passed, N failed, N
skipped"; passed: noticed. The compiler is $CC, or cc.
"""
import argparse
import os
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))
sys.dont_write_bytecode = True
from mutation import Failure, edit, run  # noqa: E402
from rows_core import CORE, MAYBE, MUTANTS, READS, RULES, SET, rule  # noqa: E402

DRIVER = os.path.join(TOP, 'examples', 'windows', 'driver')
LIMIT = 60  # seconds: a mutant may go round for ever

OPS, OPENS, PORT = 'filter_ops.c', 'filter_opens.c', 'filter_port.c'
STREAMS, VOLUMES = 'filter_streams.c', 'filter_volumes.c'
SHELL = [
    rule('APCs', 'reads_that_pass', OPS, '!KeAreAllApcsDisabled() &&', ''),
    rule('operations inside others', 'reads_that_pass', OPS, 'IoGetTopLevelIrp() == NULL && ', ''),
    rule('kinds of reads', 'reads_that_pass', OPS,
         '.plain = d->Iopb->MinorFunction == IRP_MN_NORMAL', '.plain = TRUE'),
    rule('transactions', 'reads_that_pass', OPS, '.transacted = o->Transaction != NULL',
         '.transacted = FALSE'),
    rule('the service', 'service_that_writes_for', OPS, '.service = port_is_service()',
         '.service = FALSE'),
    rule('fills without the cache', 'non_cached', OPS,
         '(m->object->Flags & FO_NO_INTERMEDIATE_BUFFERING) || stream', 'stream'),
    rule('C10 fills', 'past_the_cache', OPS,
         ' || stream_is_beside(m->context->stream);', ';'),
    rule('C10 other streams', 'past_the_cache', STREAMS,
         '    if (has_section(o)) /* ordered', '    if (TRUE) /* ordered'),
    rule('C10 volumes', 'written_as_a_whole', OPS, '        volume_beside(c->mount);\n',
         '        ;\n'),
    rule('C10 writes to a volume that are denied', 'refused_as_a_whole', RULES,
         'return status == 0xC0000022u', 'return status == 1'),
    rule('C10 writes to a volume that are refused', 'refused_as_a_whole', RULES,
         ' || fc_is_refused(status);', ';'),
    rule('C10 writes to a volume that fail', 'refused_as_a_whole', RULES,
         ' || fc_is_refused(status);', ' || status >> 30 == 3;'),
    rule('C10 streams of a volume', 'written_as_a_whole', STREAMS,
         ' || volume_besides(s->mount) != s->besides;', ';'),
    rule('C10 streams that come later', 'written_before_the_first', STREAMS,
         'return has_section(o) ? 0 : n;', 'return n;'),
    rule('C10 streams that have no pages', 'written_as_a_whole', STREAMS,
         'return has_section(o) ? 0 : n;', 'return 0;'),
    rule('C10 each write to a volume', 'written_as_a_whole_again', VOLUMES,
         'InterlockedIncrement(&m->besides)', 'InterlockedExchange(&m->besides, TRUE)'),
    rule('C10 a driver that comes late', 'written_before_the_driver', VOLUMES,
         '    m->besides = !(flags & FLTFL_INSTANCE_SETUP_NEWLY_MOUNTED_VOLUME);', '   '),
    rule('C10 a driver that comes in time', 'pages_before', VOLUMES,
         '    m->besides = !(flags & FLTFL_INSTANCE_SETUP_NEWLY_MOUNTED_VOLUME);',
         '    m->besides = TRUE;'),
    rule('C10 cached writes', 'not_past', OPS,
         ' &&\n           (d->Iopb->IrpFlags & IRP_NOCACHE);', ';'),
    rule('C10 control codes', 'past_the_cache', OPS, 'UNKNOWN || c->kind == CONTROL)', 'UNKNOWN)'),
    rule('C10 codes that are not known', 'past_the_cache', OPS,
         'if (c->kind == UNKNOWN || c->kind == CONTROL)', 'if (c->kind == CONTROL)'),
    rule('C10 codes that are refused', 'not_past', OPS,
         'return !fc_is_refused((uint32_t)c->status);', 'return TRUE;'),
    rule('C10 known codes are refused', 'not_past', OPS, 'return !fc_is_refused((uint32_t)c->s',
         'return c->kind == CONTROL || !fc_is_refused((uint32_t)c->s'),
    rule('ends that nobody takes', 'ends_that_nobody', OPS,
         '    if (KeGetCurrentIrql() >= DISPATCH_LEVEL)\n        leave_it(c);\n    else\n', ''),
    rule('ends that nobody takes are late', 'ends_that_nobody', 'CacheFilter.c',
         '    ops_end_left();\n', ''),
    rule('reads that are drained', 'detaches_in_a_read', OPS,
         '    if ((flags & FLTFL_POST_OPERATION_DRAINING) ||\n'
         '        (!NT_SUCCESS(d->IoStatus.Status) && '
         'd->IoStatus.Status != STATUS_END_OF_FILE) ||\n'
         '        !NT_SUCCESS(FltObjectReference(o->Instance))) {', '    if (FALSE) {'),
    rule('files that are closed at once', 'closed_at_once', OPS,
         'if (ops_may_ask(d) && !m->from_disk) {',
         'if (FALSE) {'),
    rule('files that are closed in a read', 'closed_in_a_read', OPS,
         'if (buf && !(m->object->Flags & FO_CLEANUP_COMPLETE)) {', 'if (buf) {'),
    rule('references of file objects', 'reads', OPS, '    ObReferenceObject(m->object);\n', ''),
    rule('appends', 'appends', OPS, 'struct extent e = { FC_RANGE,',
         'struct extent e = { off < 0 ? FC_ALL : FC_RANGE,'),
    rule('ends at a raised IRQL', 'writes', OPS,
         'return c->asks && KeGetCurrentIrql() >= DISPATCH_LEVEL &&', 'return FALSE &&'),
    rule('ends inside an operation that may not wait', 'writes_that_may_not', OPS,
         'return c->asks && KeGetCurrentIrql()', 'return KeGetCurrentIrql()'),
    rule('ends that were put off', 'writes', OPS,
         '    if (held)\n        FltCompletePendedPostOperation(held);\n', ''),
    rule('flushes of parts', 'flushes_of_parts', OPS,
         'd->Iopb->MinorFunction != IRP_MN_NORMAL || ops_passes', 'ops_passes'),
    rule('links', 'links', OPENS, 'd->IoStatus.Status == STATUS_REPARSE)', 'FALSE)'),
    rule('overwrites that are cancelled below', 'overwrites_cancelled', OPENS,
         '        if (may_have_emptied(d, o))\n            fc_written_anything(&driver.core);\n',
         ''),
    rule('overwrites that end as a link', 'overwrites_cancelled', OPENS,
         'if (!NT_SUCCESS(d->IoStatus.Status) || d->IoStatus.Status == STATUS_REPARSE) {',
         'if (d->IoStatus.Status == STATUS_REPARSE)\n        return;\n'
         '    if (!NT_SUCCESS(d->IoStatus.Status)) {'),
    rule('opens that are cancelled below', 'overwrites_cancelled', OPENS,
         ' && may_empty(d);', ';'),
    rule('B11 other opens', 'opens_that_may', OPENS, ' = may_empty(d) ? volume_of(o) : NULL;',
         ' = volume_of(o);'),
    rule('B11 no opens', 'overwrites_on_their', OPENS, ' = may_empty(d) ? volume_of(o) : NULL;',
         ' = NULL;'),
    rule('B11 FILE_SUPERSEDE', 'overwrites_on_their', OPENS, 'how == FILE_SUPERSEDE || ', ''),
    rule('B11 FILE_OVERWRITE', 'overwrites_on_their', OPENS, 'how == FILE_OVERWRITE || ', ''),
    rule('B11 FILE_OVERWRITE_IF', 'overwrites_on_their', OPENS, ' || how == FILE_OVERWRITE_IF', ''),
    rule('B11 streams', 'overwrites_on_their', STREAMS,
         '    fc_file_is_on(&s->file, &s->mount->volume);\n', ''),
    rule('B11 it is noted first', 'overwrites_on_their', OPENS,
         '    if (!(flags & FLTFL_POST_OPERATION_DRAINING))\n', '    if (m)\n'
         '        fc_emptying_end(&driver.core, &m->volume);\n'
         '    if (!(flags & FLTFL_POST_OPERATION_DRAINING))\n', OPENS,
         '        fc_emptying_end(&driver.core, &m->volume);\n        Flt', '        Flt'),
    rule('B11 drained', 'opens_that_may', OPENS, '    if (m) {\n',
         '    if (m && !(flags & FLTFL_POST_OPERATION_DRAINING)) {\n'),
    rule('writes to a volume', 'volume', OPS, '    fc_anything_end(&driver.core);\n', ''),
    rule('writes to a volume last', 'volume', OPS, '    fc_anything_begin(&driver.core);\n',
         '    fc_written_anything(&driver.core);\n', OPS,
         '    fc_anything_end(&driver.core);\n', '    fc_written_anything(&driver.core);\n'),
    rule('the lazy writer', 'advances', OPS,
         'if (d->Iopb->Parameters.SetFileInformation.AdvanceOnly)', 'if (FALSE)'),
    rule('handles that empty a file', 'overwrites', OPENS, 'o->FileObject->WriteAccess || emptied)',
         'o->FileObject->WriteAccess)'),
    rule('media that can be taken out', 'loads', 'CacheFilter.c',
         '(FILE_REMOVABLE_MEDIA | FILE_REMOTE_DEVICE)', 'FILE_REMOTE_DEVICE'),
    rule('properties that are not known', 'loads', 'CacheFilter.c',
         'return NT_SUCCESS(s) || s == STATUS_BUFFER_OVERFLOW;', 'return TRUE;'),
    rule('W6 volumes that are left', 'detached_and', 'CacheFilter.c',
         '    else\n        is_unseen();\n', ''),
    rule('W6 volumes that it does not come to', 'mounted_without_memory', 'CacheFilter.c',
         '        is_unseen();\n        return', '        return'),
    rule('W6 it stays', 'detached_and', 'CacheFilter.c', 'ReadAcquire(&driver.unseen))',
         'InterlockedExchange(&driver.unseen, FALSE))'),
    rule('W6 it leaves a volume', 'left_before', 'CacheFilter.c',
         '    if (!(flags & FLTFL_INSTANCE_TEARDOWN_VOLUME_DISMOUNT))\n        fc_written', '    '
         'if (FALSE)\n        fc_written'),
    rule('W6 dismounts', 'mounted_and_seen', 'CacheFilter.c',
         '    if (!(flags & FLTFL_INSTANCE_TEARDOWN_VOLUME_DISMOUNT))\n        fc_written', '    '
         'if (TRUE)\n        fc_written'),
    rule('W6 it is unloaded', 'left_before', 'CacheFilter.c', '    fc_leave(&driver.core);\n', ''),
    rule('W6 it is unloaded while it greets', 'left_in_a_greeting', 'CacheFilter.c',
         '    port_leave();\n', ''),
    rule('W6 nothing is filled while it is unloaded', 'left_before', CORE,
         '    fc->all_outside++;\n    note_all(fc);\n', '    note_all(fc);\n'),
    rule('W6 other volumes', 'mounted_and_seen', 'CacheFilter.c',
         '    if (known && !is_fixed(&v))\n',
         '    known = known && is_fixed(&v);\n    if (FALSE)\n'),
    rule('overwrites', 'overwrites', OPENS, '        stream_written(c->stream);\n', ''),
    rule('overwrites as another kind', 'overwrites_as', OPENS,
         '        stream_doubted(c->stream); /* it has', '        ; /* it has'),
    rule('R9 handles that are marked', 'marked_handles', OPS,
         '        return stream_opened_early(o) ? FLT_PREOP_SUCCESS_NO_CALLBACK : pass(d, o);\n',
         '        return FLT_PREOP_SUCCESS_NO_CALLBACK;\n'),
    rule('R9 marks without memory', 'marked_handles', OPS,
         '        return stream_opened_early(o) ? FLT_PREOP_SUCCESS_NO_CALLBACK : pass(d, o);\n',
         '        return (stream_opened_early(o), FLT_PREOP_SUCCESS_NO_CALLBACK);\n'),
    rule('R9 marks before a fill', 'marked_before', OPS,
         ' && !stream_is_early(s, &o)', ''),
    rule('R9 marks without memory before a fill', 'marked_before', OPS,
         ' && !stream_is_locked(s)', ''),
    rule('S3 encrypted in a read', 'encrypted_in_a_read', OPS,
         'return stream_is_judged(s) && !stream_is_early', 'return !stream_is_unwritten(s) && '
         '!stream_is_early'),
    rule('S3 encrypted while it is read', 'encrypted_while_read', OPS,
         'if (c->kind == CONTROL || (c', 'if ((c', OPS,
         '    if (c->context)\n        FltReleaseContext(c->context);\n    free_change(c);\n',
         '    if (c->kind == CONTROL)\n        stream_doubted(c->context->stream);\n'
         '    if (c->context)\n        FltReleaseContext(c->context);\n    free_change(c);\n'),
    rule('S3 encrypted while it is judged', 'encrypted_while_judged', STREAMS,
         's->rules = s->doubts == doubts ? rules : 0;', 's->rules = rules;'),
    rule('control codes that change', 'controls_that_only', RULES, '    50,  /* SET_ZERO_DATA */\n',
         ''),
    rule('sections of virus scanners', 'controls_that_only', RULES,
         '    156, /* SET_PURGE_FAILURE_MODE */\n', ''),
    rule('C9 codes that are not known', 'unknown_controls', RULES, 'FC_CHANGES : FC_UNKNOWN;',
         'FC_CHANGES : FC_READS;'),
    rule('C9 codes that the file system does not know', 'unknown_controls', RULES,
         'return status == 0xC0000002u ||', 'return status == 1 ||'),
    rule('C9 other errors', 'unknown_controls', RULES, 'status == 0xC00000BBu;',
         'status >= 0xC0000000u;'),
    rule('C9 warnings', 'unknown_controls', RULES, 'status == 0xC00000BBu;',
         'status >> 30 == 2;'),
    rule('C9 at once', 'unknown_controls', OPS, 'return KeGetCurrentIrql() < DISPATCH_LEVEL;',
         'return ops_may_ask(d);'),
    rule('C9 at a raised IRQL', 'unknown_controls', OPS,
         'return KeGetCurrentIrql() < DISPATCH_LEVEL;', 'return TRUE;'),
    rule('C9 encrypted', 'unknown_that_encrypts', OPS, '(c->kind == UNKNOWN && may_have)', 'FALSE'),
    rule('C9 what may not wait', 'unknown_without', OPS, 'if (c->asks && e.unknown) {',
         'if (e.unknown) {'),
    rule('B9 times', 'closes_in_an_unknown', MAYBE,
         '    f->maybe++;\n', '', MAYBE, '    f->maybe--;\n', ''),
    rule('B9 reads', 'reads_in_an_unknown', CORE,
         'f->fc->all_outside > 0 || fc_is_maybe_written(f);', 'f->fc->all_outside > 0;'),
    rule('BypassIO', 'controls_that_only', RULES, '    274, /* MANAGE_BYPASS_IO */\n', ''),
    rule('B8 names', 'attributes', OPS,
         'return begin_times(d, o, FLT_PREOP_SYNCHRONIZE, keep);\n    }\n    context',
         'return FLT_PREOP_SUCCESS_NO_CALLBACK;\n    }\n    context'),
    rule('B8 attributes', 'attributes', OPS, '    case FileBasicInformation:\n', ''),
    rule('B8 short names', 'attributes', OPS, '    case FileShortNameInformation:\n', ''),
    rule('B8 ids of objects', 'attributes', RULES, '    48, /* CREATE_OR_GET_OBJECT_ID */\n', ''),
    rule('B8 ids of objects that are set', 'attributes', RULES, '    38, /* SET_OBJECT_ID */\n',
         ''),
    rule('B8 records of the journal', 'attributes', RULES,
         '    59, /* WRITE_USN_CLOSE_RECORD */\n', ''),
    rule('B8 records of the journal are harmless', 'attributes', RULES, '    58,  /*',
         '    59,\n    58,  /*'),
    rule('B8 ids of objects that pend', 'object_ids', OPS,
         'begin_times(d, o, control_with_end(o), keep);',
         'begin_times(d, o, FLT_PREOP_SYNCHRONIZE, keep);'),
    rule('B8 rights', 'attributes', OPS,
         '    { IRP_MJ_SET_SECURITY, 0, pre_rights, post_change, NULL },\n', ''),
    rule('B8 extended attributes', 'attributes', OPS,
         '    { IRP_MJ_SET_EA, 0, pre_rights, post_change, NULL },\n', ''),
    rule('B8 the times are told', 'attributes', CORE,
         '    f->brackets--;\n    f->unsettled = true;\n', '    f->brackets--;\n'),
    rule('B8 the end', 'attributes', CORE, '    end_bracket(w);\n    lock(f->fc);\n',
         '    lock(f->fc);\n'),
    rule('B8 it has ended', 'attributes', CORE,
         '    f->brackets--;\n    f->unsettled = true;\n', '    f->unsettled = true;\n'),
    rule('B8 refused', 'attributes_that_pass', CORE, '    if (w->token)\n        return true;\n',
         '    if (true)\n        return true;\n'),
    rule('B8 what may not wait', 'attributes_that_pass', OPS,
         'if (fc_change_way(&op) != FC_BRACKET || !stream', 'if (!stream'),
    rule('B8 without memory', 'attributes_that_pass', OPS,
         '        c = make_change(context, TIMES);\n    if (c) {',
         '        c = make_change(context, TIMES);\n    if (!c)\n        stream_mapped'
         '(context->stream);\n    if (c) {'),
    rule('B7 times that cannot be had', 'told_without_memory', CORE,
         '    if (known && !is_as_before(f, life, outsides))\n',
         '    if (!known || !is_as_before(f, life, outsides))\n'),
    rule('B7 closes of handles that read', 'told_too_early', OPENS,
         'if (!*c || fc_is_unsettled(', 'if (!*c || FALSE && fc_is_unsettled('),
    rule('B7 readers in a writer\'s close', 'reader_in', OPENS,
         '    if (!close_counts(d, o, &c)) {\n        stream_writer(o, FALSE);',
         '    const BOOLEAN counts = close_counts(d, o, &c);\n\n    stream_writer(o, FALSE);\n'
         '    if (!counts) {\n        ;'),
    rule('B7 closes that tell nothing', 'closes_of_readers', OPENS,
         '    *c = stream_known(o);\n    if (!*c ||',
         '    (void)stream_of(d, o, TRUE, c);\n    if (!*c ||'),
    rule('racy: the clock of the files', 'clock_that_stands', STREAMS,
         '    KeQuerySystemTime(&tick);\n    KeQuerySystemTimePrecise(&now);\n',
         '    KeQuerySystemTimePrecise(&now);\n    tick = now;\n'),
    rule('H2 closes of handles that read', 'deletions', CORE, 'is = f->unsettled || f->gone;',
         'is = f->unsettled;'),
    rule('H2 closes of programs that are killed', 'deletions', OPENS,
         '    fc_gone(&c->stream->file, gone);\n',
         '    if (tells)\n        fc_gone(&c->stream->file, gone);\n'),
    rule('H2 deleted, and read', 'deletions', OPENS, '    fc_gone(&c->stream->file, gone);\n',
         '    fc_gone(&c->stream->file, FALSE);\n'),
    rule('handles that delete', 'deletes', OPENS,
         '(o->FileObject->WriteAccess || o->FileObject->DeleteAccess) &&',
         'o->FileObject->WriteAccess &&'),
    rule('files that are encrypted', 'encrypts', STREAMS, '        s->rules = 0;\n',
         '        (void)0;\n'),
    rule('changes without memory', 'without_memory', OPS,
         'return stream_is_lost(o) ? refuse(d) : FLT', 'return FLT'),
    rule('opens without memory', 'without_memory', OPENS, 'if (emptied && stream_is_lost(o))',
         'if (FALSE)'),
    rule('no contexts', 'no_contexts', STREAMS, 's == STATUS_NOT_SUPPORTED || ', ''),
    rule('mapped before', 'mapped_before', STREAMS,
         '(MmDoesFileHaveUserWritableReferences(', '(FALSE && (void *)('),
    rule('B6 closes', 'closes_with_others', CORE, ' && f->writers == 0 &&', ' &&'),
    rule('B6 opens', 'closes_with_others', CORE, '(has_writer(f) ? CM_RACY_WRITER : 0)', '0u'),
    rule('B6 writers that have not written', 'closes', CORE, 'f->writers > 0 && f->wrote;',
         'f->writers > 0;'),
    rule('B6 programs that are killed', 'closes_with_others', OPENS,
         '    stream_writer(o, FALSE);\n    fc_gone',
         '    if (tells)\n        stream_writer(o, FALSE);\n    fc_gone'),
    rule('B6 handles that were not counted', 'writers_not', CORE, 'if (comes != *counted) {',
         'if (comes ? !*counted : f->writers > 0) {'),
    rule('B6 handles without memory', 'writers_not', STREAMS,
         '    fc_writer(&c->stream->file, h ? &h->counted : &unmarked, comes);\n',
         '    if (h)\n        fc_writer(&c->stream->file, &h->counted, comes);\n'
         '    (void)unmarked;\n'),
    rule('B6 writes beside the close', 'write_during', STREAMS, 'if (comes && h &&\n',
         'if (FALSE && h &&\n'),
    rule('B6 older handles that write', 'writers_not', OPS,
         '    stream_writer(o, TRUE); /* it may be older', '    ; /* it may be older'),
    rule('C6 other names', 'changes_by_another', STREAMS,
         '(fits || (v->by_name && has_other_names(o)));', 'fits;'),
    rule('C6 other kinds', 'changes_as_another_kind', STREAMS,
         '(fits || (v->by_name && has_other_names(o)));', '(v->by_name && has_other_names(o));'),
    rule('C6 other names of other kinds', 'changes_as_another_kind', STREAMS,
         'v->by_name = !fits &&', 'v->by_name = !fits && !is_left_out &&'),
    rule('C6 names without memory', 'renamed_without_memory', STREAMS,
         '        return !stream_is_lost(o);\n    (void)judge',
         '        return TRUE;\n    (void)judge'),
    rule('C6 other names of streams', 'another_name_of', STREAMS,
         'v->by_name = !fits && fc_stream_has_kind(&s);', 'v->by_name = !fits;'),
    rule('C6 syncs', 'changes_by_another', OPS,
         'if (!stream_is_elsewhere(context->stream) &&', 'if ('),
    rule('C6 new names', 'renamed_there', OPS,
         'if (name && !stream_moves(d, o, name, ops_may_query(d)))', 'if (FALSE)'),
    rule('C6 new names without memory', 'renamed_without_memory', OPS,
         'if (name && !stream_moves(d, o, name, ops_may_query(d)))',
         'if (name && (stream_moves(d, o, name, ops_may_query(d)), FALSE))'),
    rule('C6 links', 'renamed_there', OPS, '    case FileLinkInformationEx:\n', ''),
    rule('C6 new names that are not cached', 'renamed_there', STREAMS, 'if (counts && cached)',
         'if (counts)'),
    rule('C6 short names', 'renamed_to_a_short', STREAMS, 'may_ask && !is_short(to) &&',
         'may_ask &&'),
    rule('C6 short names of folders', 'renamed_to_a_short', STREAMS,
         " && name->FileName[n - 1] != '\\\\')", ')'),
    rule('C6 names of what is cached', 'renamed_there', STREAMS, 'if (counts && cached)',
         'if (cached)'),
    rule('ids of what is left out', 'left_out_over', STREAMS,
         '    fc_know(&s->file, o); /*',
         '    if (v.cached || !known)\n        fc_know(&s->file, o); /*'),
    rule('L6 threads of the service', 'connects_in_its', PORT,
         'if (lives && port_is_service())', 'if (FALSE)'),
    rule('W3 memory to tend', 'tends_without', PORT,
         '    if (!NT_SUCCESS(FltQueueGenericWorkItem(driver.tender,',
         '    PFLT_GENERIC_WORKITEM const item = FltAllocateGenericWorkItem();\n\n    if (item)\n'
         '        FltFreeGenericWorkItem(item);\n    if (!item || '
         '!NT_SUCCESS(FltQueueGenericWorkItem(driver.tender,'),
    rule('W3 the item is queued once', 'tends_once', PORT,
         'if (InterlockedExchange(&port.tends, TRUE))', 'if (FALSE)'),
    rule('W3 the item has begun', 'tends_without', PORT,
         '    (void)InterlockedExchange(&port.tends, FALSE);\n    fc_tend', '    fc_tend'),
    rule('W3 the item was not queued', 'tends_without', PORT,
         '        (void)InterlockedExchange(&port.tends, FALSE); /*', '        (void)0; /*'),
    rule('the same rules again', 'left_out_over', PORT, 'if (bytes > 0 && bytes == port.bytes &&',
         'if (FALSE &&'),
    rule('the same rules after others', 'same_rules_again', PORT, '    port.bytes = 0;\n', ''),
    rule('other rules', 'other_rules', STREAMS, 'set = !v->cached || !s->left_out || s->mapped;',
         'set = TRUE;'),
    rule('writes over other rules', 'write_over', STREAMS,
         '            return;\n        stream_mapped(s);\n',
         '            return;\n        stream_written(s);\n        s->left_out = FALSE;\n'),
    rule('left out meanwhile', 'left_out_meanwhile', STREAMS,
         '    if (s->cached || s->elsewhere)\n        s->rules = 0;\n',
         '    s->rules = 0;\n    s->left_out = FALSE;\n', STREAMS,
         '(fits || (v->by_name && has_other_names(o)));', '(v->by_name && has_other_names(o));'),
    rule('transactions commit: opens', 'commits', OPENS,
         '        stream_transacted(c->stream);\n    if (emptied)',
         '        stream_mapped(c->stream);\n    if (emptied)'),
    rule('transactions commit: changes', 'commits', OPS, 'if (op.transacted)', 'if (FALSE)'),
    rule('streams that become content', 'streams_that_become', OPS,
         '        return begin_rename(d, o, keep);\n',
         '        return FLT_PREOP_SUCCESS_NO_CALLBACK;\n'),
    rule('content that becomes a stream', 'content_that_becomes', OPS,
         '    stream_mapped(context->stream);\n    fc_write_begin_outside(&context->stream->file, '
         '&c->write);\n    *keep = c;\n    return FLT_PREOP_SYNCHRONIZE;',
         '    fc_write_begin_outside(&context->stream->file, &c->write);\n    *keep = c;\n'
         '    return FLT_PREOP_SYNCHRONIZE;'),
    rule('renamed streams are known', 'streams_that_become', STREAMS, '    if (c && may_ask)\n',
         '    if (FALSE)\n'),
    rule('names of files', 'streams_that_become', OPS, "name->FileName[0] == ':'", 'TRUE'),
    rule('fast reads', 'reads', OPS, '    if (FLT_IS_FASTIO_OPERATION(d)) {', '    if (FALSE) {'),
    rule('closes of the service', 'service_that_writes_for', OPENS,
         '!ops_passes(d, o) && !port_is_service() && ops_may_ask(d);',
         '!ops_passes(d, o) && ops_may_ask(d);'),
    rule('flushes of the service', 'service_that_writes_for', OPS,
         'ops_passes(d, o) || port_is_service() ||\n        !ops_may_ask(d)',
         'ops_passes(d, o) ||\n        !ops_may_ask(d)'),
    rule('S8 as it lies', 'as_it_lies', OPENS, '    stream_lies(c->stream);\n', ''),
    rule('S8 it gets its reparse point later', 'lies_later', STREAMS,
         's->lies = s->lies || lies;', 's->lies = lies;'),
    rule('S8 handles that do not read', 'lies_and_is_not', OPENS,
         '!o->FileObject->ReadAccess || ', ''),
    rule('S8 files that are left out', 'lies_and_is_left_out', STREAMS,
         '    if (s->cached || s->elsewhere)\n        s->rules = 0;\n', '    s->rules = 0;\n'),
    rule('S8 directories', 'lies_and_is_not_cached', OPENS,
         ' || !o->FileObject->SectionObjectPointer)', ')'),
    rule('S8 without memory', 'lies_without_memory', OPENS, '        volume_lies(o);\n',
         '        (void)0;\n'),
    rule('S8 the volume is noted only if it has to be', 'lies_without_memory', OPENS,
         '    if (!c && stream_is_lost(o))\n', ''),
    rule('S8 as it lies, and not asked', 'opens_inside', STREAMS,
         '(v.reparsed && is_lying(s))', 'FALSE'),
    rule('opens inside others', 'opens_inside', OPENS,
         'if (!stream_of(d, o, ops_may_query(d), &c)) {\n',
         'if (!stream_of(d, o, TRUE, &c)) {\n'),
    rule('programs that are killed in an open', 'killed_in_an_open', OPENS,
         'if (!stream_of(d, o, ops_may_query(d), &c)) {\n',
         'if (!stream_of(d, o, ops_may_ask(d), &c)) {\n'),
    rule('S8 other files', 'as_it_lies', STREAMS, '(v.reparsed && is_lying(s))', 'is_lying(s)'),
    rule('S8 other handles', 'lies_and_is_not', STREAMS, '(v.reparsed && is_lying(s))',
         'v.reparsed'),
    rule('controls that pend', 'controls', OPS,
         '               : FLT_PREOP_SUCCESS_WITH_CALLBACK;\n',
         '               : FLT_PREOP_SYNCHRONIZE;\n'),
    rule('threads that end', 'killed_in_a_write', OPS,
         ' && !PsIsThreadTerminating(PsGetCurrentThread())', ''),
    rule('threads that end in a message', 'killed_programs', PORT,
         '        return FC_STOPPED;\n', '        return FC_GONE;\n'),
    rule('many fills', 'many_fills', OPS, 'InterlockedIncrement(&fills_later) <= FILLS_LATER',
         'InterlockedIncrement(&fills_later) > 0'),
    rule('fills that have ended', 'many_fills', OPS,
         '    fill(context);\n    InterlockedDecrement(&fills_later);\n', '    fill(context);\n'),
    rule('ends inside the file system', 'asynchronous_writes', OPS,
         'DRAINING) && ops_may_ask(d);', 'DRAINING);'),
    rule('ends in the thread of the begin', 'closed_at_once', OPS,
         'return FltIsOperationSynchronous(d) ? FLT_PREOP_SYNCHRONIZE :',
         'return FltIsOperationSynchronous(d) == 9 ? FLT_PREOP_SYNCHRONIZE :'),
    rule('names that cannot be had', 'without_memory', STREAMS, '    if (!known)\n'
         '        return TRUE;\n', '    v.cached = v.cached && known;\n'),
    rule('kinds that cannot be had', 'kinds_without_memory', STREAMS,
         '                                            FileBasicInformation, NULL)))\n'
         '        return FALSE;\n',
         '                                            FileBasicInformation, NULL)))\n'
         '        info.FileAttributes = 0;\n'),
    rule('a mapping ends', 'sections', STREAMS, '    if (s->mapped)\n', '    if (FALSE)\n'),
    rule('C1 paging writes of drivers', 'paging_writes_of_drivers', OPS,
         '(!o->FileObject || stream_has_pages(o))', 'TRUE'),
    rule('C1 they count', 'paging_writes_of_drivers', OPS,
         '        return begin_paging_outside(d, o, keep);\n',
         '        return FLT_PREOP_SUCCESS_NO_CALLBACK;\n'),
    rule('C1 files that are not known, without memory', 'paging_writes_of_files', OPS,
         '        return pass(d, o);\n    c = make_change(context, WRITE);\n    if',
         '        return FLT_PREOP_SUCCESS_NO_CALLBACK;\n'
         '    c = make_change(context, WRITE);\n    if'),
    rule('C1 without memory', 'paging_writes_without_memory', OPS,
         '        stream_mapped(context->stream);\n        FltReleaseContext(context);\n'
         '        return FLT_PREOP_SUCCESS_NO_CALLBACK;\n    }\n    fc_write_begin_outside',
         '        FltReleaseContext(context);\n'
         '        return FLT_PREOP_SUCCESS_NO_CALLBACK;\n    }\n    fc_write_begin_outside'),
    rule('C1 of the file system', 'zeros_of_the_file_system', OPS,
         '        return pass(d, o);\n    c = make_change(context, WRITE);\n    if',
         '        return pass(d, o);\n    c = NULL;\n    if'),
    rule('C1 of the memory manager', 'paging_writes_of_drivers', STREAMS,
         'return has_section(o) || ', 'return '),
    rule('C1 of paging files', 'paging_writes_of_files', STREAMS,
         ' || FsRtlIsPagingFile(o->FileObject);', ';'),
    rule('C1 of volumes', 'paging_writes_of_files', OPS,
         '    if (!is_paging(d) || (o->FileObject->Flags & FO_VOLUME_OPEN))\n',
         '    if (!is_paging(d))\n'),
    rule('C7 writes to the disk', 'lost_after', OPS, 'if (NT_SUCCESS(s) || is_tried_again(s))',
         'if (TRUE)'),
    rule('C7 at once', 'lost_writes', STREAMS, 's) && !stream_is_unwritten(s);', 's);'),
    rule('C7 in memory for a time', 'lost_writes', STREAMS,
         '    if (judge(c->stream, NULL, NULL, FALSE))\n        stream_mapped(c->stream);\n',
         '    stream_written(c->stream);\n    c->stream->unwritten = FALSE;\n'),
    rule('C7 it is forgotten', 'lost_after', STREAMS,
         '    if (judge(c->stream, NULL, NULL, FALSE))\n        stream_mapped(c->stream);\n', ''),
    rule('C7 files that are not cached', 'not_lost', STREAMS,
         '    if (judge(c->stream, NULL, NULL, FALSE))\n', '    if (TRUE)\n'),
    rule('C7 once', 'lost_writes', STREAMS, 'if (InterlockedExchange(&c->stream->unwritten, TRUE))',
         'c->stream->unwritten = TRUE;\n    if (FALSE)'),
    rule('C7 until it is noted', 'lost_after', STREAMS, '    ObReferenceObject(object);\n', '',
         STREAMS, '    ObDereferenceObject(object);\n}\n\n/* From', '}\n\n/* From'),
    rule('C7 syncs', 'lost_before', OPS,
         'NT_SUCCESS(c->status) && !stream_is_unwritten(s));', 'NT_SUCCESS(c->status));'),
    rule('L6 flushes of programs that are killed', 'killed_in_a_flush', OPS,
         '    if (!c->drained)\n        c->status = d',
         '    if (!c->drained && (hold || ops_may_ask(d)))\n        c->status = d'),
    rule('L6 flushes that are drained', 'detached_in_a_flush', OPS,
         '    if (c->drained)\n        fc', '    if (FALSE)\n        fc'),
    rule('C7 later syncs', 'lost_before', OPS, ' && !stream_is_unwritten(context->stream))', ')'),
    rule('C7 locks of the file', 'not_lost', OPS, 's == STATUS_FILE_LOCK_CONFLICT || ', ''),
    rule('C7 media', 'not_lost', OPS, 's == STATUS_VERIFY_REQUIRED ||', 'FALSE ||'),
    rule('C7 other writes', 'not_lost', OPS, 's == STATUS_ENCOUNTERED_WRITE_IN_PROGRESS', 'FALSE'),
    rule('C7 it passes until it is told', 'lost_while', STREAMS,
         'return is_cached(s) && !stream_is_unwritten(s);', 'return is_cached(s);'),
    rule('C8 dismounts', 'dismounts', 'CacheFilter.c',
         'if (flags & FLTFL_INSTANCE_TEARDOWN_VOLUME_DISMOUNT)', 'if (FALSE)'),
    rule('C8 what was only read', 'dismounts', STREAMS,
         'volume_is_going(s->mount) && fc_was_written(&s->file)', 'volume_is_going(s->mount)'),
    rule('C8 what was only read, and is in use', 'mounted_again', VOLUMES,
         '        if (fc_was_written(&s->file))\n', ''),
    rule('C8 what was written, and is in use', 'mounted_again', VOLUMES,
         '            stream_mapped(s);\n', '            (void)s;\n'),
    rule('C8 removals', 'mounted_again', VOLUMES, 'MinorFunction == IRP_MN_SURPRISE_REMOVAL ||',
         'MinorFunction == 255 ||'),
    rule('C8 removals in order', 'mounted_again', VOLUMES,
         ' ||\n        d->Iopb->MinorFunction == IRP_MN_REMOVE_DEVICE)', ')'),
    rule('C8 other messages', 'dismounts_on_their', VOLUMES,
         '    if (d->Iopb->MinorFunction == IRP_MN_SURPRISE_REMOVAL ||',
         '    if (TRUE || d->Iopb->MinorFunction == IRP_MN_SURPRISE_REMOVAL ||'),
    rule('C8 the same device', 'mounted_again', VOLUMES,
         'if (volume_is_gone(old) || is_same_device(old, m))', 'if (volume_is_gone(old))'),
    rule('C8 other devices', 'another_is', VOLUMES,
         'if (volume_is_gone(old) || is_same_device(old, m))', 'if (TRUE)'),
    rule('C8 devices that are not known', 'mounted_again', VOLUMES,
         'a->device_bytes == 0 || b->device_bytes == 0 ||\n', ''),
    rule('C8 it passes', 'mounted_again', STREAMS,
         'ReadAcquire(&s->unwritten) || volume_is_going(s->mount)', 'ReadAcquire(&s->unwritten)'),
    rule('C8 fills', 'removed_before', OPS, 'return stream_is_judged(s) && !stream_is_early',
         'return !stream_is_early'),
    rule('C8 control codes', 'mounted_again', OPS, 'if (function == FC_DISMOUNT_VOLUME) {',
         'if (FALSE) {'),
    rule('C8 control codes for files', 'dismounts_of_files', OPS,
         'if (o->FileObject && !(o->FileObject->Flags & FO_VOLUME_OPEN))\n'
         '            return FLT_PREOP_SUCCESS_NO_CALLBACK; /*', '/*'),
    rule('C8 on its way', 'dismounts_on_their', VOLUMES,
         'return ReadAcquire(&m->dismounts) > 0 || ', 'return '),
    rule('C8 writes', 'writes_in_a_d', OPS, 'T && stream_has_brackets(', 'T && stream_is_judged('),
    rule('C8 times', 'writes_in_a_d', OPS, 'if (stream_has_brackets(', 'if (stream_is_judged('),
    rule('C8 what is gone', 'mounted_again', STREAMS, ' && !volume_is_gone(s->mount);', ';'),
    rule('C7 brackets', 'lost_writes', STREAMS, '!ReadAcquire(&s->unwritten) && ', ''),
    rule('C8 what ends', 'dismounts_on_their', STREAMS, 'going(s->mount) &&', 'gone(s->mount) &&'),
    rule('C8 another device', 'another_is', VOLUMES, 'if (volume_is_gone(', 'if (volume_is_going('),
    rule('C8 refused', 'dismounts_on_their', OPS,
         '(flags & FLTFL_POST_OPERATION_DRAINING) || NT_SUCCESS(d->IoStatus.Status));', 'TRUE);'),
    rule('C8 at a raised IRQL', 'mounted_again', VOLUMES,
         'if (done && KeGetCurrentIrql() >= DISPATCH_LEVEL)', 'if (FALSE)'),
    rule('C8 seen at a raised IRQL', 'mounted_again', VOLUMES,
         '        (void)InterlockedExchange(&m->gone, TRUE); /* before', '        ; /* before'),
    rule('C8 detached before', 'comes_to', VOLUMES,
         '    m->gone = (flags & FLTFL_INSTANCE_SETUP_DETACHED_VOLUME) != 0;\n', ''),
    rule('C8 what was written', 'dismounts', CORE, ' = w->file->written = true;', ' = true;'),
    rule('R9 opens that do not wait', 'oplocks', OPENS,
         'd->IoStatus.Status == STATUS_OPLOCK_BREAK_IN_PROGRESS &&', 'FALSE &&'),
    rule('R9 other handles', 'oplocks', STREAMS, '    h = early ? handle_known(o) : NULL;\n',
         '    if (early)\n        return TRUE;\n    h = NULL;\n'),
    rule('R9 other handles that may write', 'oplocks', STREAMS, '    early = h->early;\n', ''),
    rule('R9 handles without memory', 'oplocks_without', STREAMS,
         '    else\n        c->stream->locked = TRUE;\n', ''),
    rule('R9 handles that are noted already', 'marked_handles', STREAMS,
         '    if (known)\n        return known;\n',
         '    if (known) {\n        FltReleaseContext(known);\n        return NULL;\n    }\n'),
    rule('R9 streams without memory', 'oplocks_without', STREAMS,
         '        return !stream_is_lost(o);\n    h = handle_of',
         '        return TRUE;\n    h = handle_of'),
    rule('R9 opens that are taken back', 'oplocks_without', OPENS,
         '    FltCancelFileOpen(o->Instance, o->FileObject);\n', ''),
    rule('R9 they have emptied it', 'oplocks_without', OPENS,
         '    if (emptied)\n        fc_written_anything(&driver.core);\n}\n', '}\n'),
    rule('R10 handles that are closed', 'closed_handles', OPS,
         'op.closed = o->FileObject->Flags & FO_CLEANUP_COMPLETE;', 'op.closed = FALSE;'),
    rule('disks that are not portable', 'portable', CORE,
         '(f->portable ? CM_ORIGIN_VOLATILE : 0)', 'CM_ORIGIN_VOLATILE'),
    rule('portable disks', 'portable', 'CacheFilter.c',
         '(v.p.DeviceCharacteristics & FILE_PORTABLE_DEVICE) != 0', 'FALSE'),
    rule('locks of all files', 'locks', PORT, '    return ReadAcquire(&port.life) != 0;\n',
         '    FltAcquirePushLockShared(&port.lock);\n    FltReleasePushLock(&port.lock);\n'
         '    return port.life != 0;\n'),
    rule('names that are no Unicode', 'no_unicode', PORT,
         ' !=\n        STATUS_SUCCESS)\n        return FALSE;', ' < 0)\n        return FALSE;'),
    rule('letters of another case', 'letters_of_another', PORT,
         'text[i] = RtlUpcaseUnicodeChar(text[i]);', '(void)text;'),
    rule('names in capital letters', 'letters_of_another', PORT,
         '    to_capitals(to->wide, name->Length);\n', ''),
    rule('rules in capital letters', 'letters_of_another', PORT,
         '    to_capitals(wide, used);\n', ''),
    rule('room for capital letters', 'capitals_that', PORT, '(RULES_MAX / 2 * 3)', 'RULES_MAX'),
    rule('rules that are no UTF-8', 'connects', PORT,
         '    if (s == STATUS_SUCCESS)\n        s = RtlUnicodeToUTF8N',
         '    if (NT_SUCCESS(s))\n        s = RtlUnicodeToUTF8N'),
    rule('rules without memory', 'connects_without', PORT,
         '    NTSTATUS s = STATUS_INSUFFICIENT_RESOURCES;\n    ULONG used',
         '    NTSTATUS s = STATUS_INVALID_PARAMETER;\n    ULONG used'),
    rule('before the first service', 'before_the_first', PORT, '    port.anyone = TRUE;\n', ''),
    rule('the port is closed', 'late_reply', PORT, '    if (close) ', '    if (FALSE) '),
]


# What the storm notices. It cannot see what keeps one block right but not several (B3 versions,
# time), files that pass although they need not (W3 somebody tends, B4), gaps of some instructions
# (W1 a bracket counts), and what another rule makes good: at the end of an outside write nothing is
# cached of its file as long as W2 and the note at its begin hold.
STORM = ['L1 handles of another life', 'W1 brackets of a life', 'W1 refused', 'W2',
         'W3 at the begin', 'W3 not forgotten', 'W3 a service', 'W4 in the set', 'W4 being',
         'W4 all', 'W5 a full set', 'B1 no bracket', 'B3 a part', 'B11 it runs']
STORM_ONLY = [
    rule('B1 no bracket', '', CORE, '    token = ask_bracket(w, kind, off, len);\n',
         '    (void)ask_bracket, token = 1;\n', CORE, '    else\n        end_bracket(w);\n',
         '    (void)end_bracket;\n'),
]


def build_storm(sources, where, build_dir):
    program = os.path.join(where, 'storm')
    tests, service = os.path.join(TOP, 'tests'), os.path.join(TOP, 'examples', 'service')
    include = [sources, os.path.join(TOP, 'include'), service, os.path.join(tests, 'service')]
    status, out = run([os.environ.get('CC', 'cc'), '-O1', '-w', '-D_GNU_SOURCE', '-pthread'] +
                      ['-fshort-wchar', '-DNAMES_OF_WINDOWS'] + ['-I' + d for d in include] +
                      [os.path.join(sources, f) for f in os.listdir(sources)
                       if f.endswith('.c')] + [os.path.join(service, 'folders.c')] +
                      [os.path.join(tests, 'filter', f) for f in os.listdir(
                          os.path.join(tests, 'filter')) if f.endswith('.c')] +
                      [os.path.join(build_dir, lib) for lib in (
                          'tests/service/libplace.a', 'tests/libtest_os.a',
                          'examples/service/libcachemax_client_parts.a', 'src/libcachemax.a')] +
                      ['-o', program], LIMIT)
    if status != 0:
        raise Failure('it does not compile: ' + out[-300:])
    return program


def change(row, where):
    """A copy of the driver with the row's change, and the names of its files that have changed. A
    Failure if the row's text is not there."""
    sources = os.path.join(where, 'driver')
    shutil.rmtree(sources, ignore_errors=True)
    shutil.copytree(DRIVER, sources)
    return sources, edit(sources, row[2])


def judge_storm(row, where, build_dir):
    """Some runs, with more and more operations."""
    sources, _ = change(row, where)
    service = os.path.join(build_dir, 'examples', 'service', 'cachemax-service')
    program = build_storm(sources, where, build_dir)
    for seed in range(1, 5 if row[0] else 2):
        status, out = run([program, service, '--operations', str(40000 * seed), '--troubles',
                           str(10 * seed), '--seed', str(seed)], 10 * LIMIT)
        if status != 0 and 'WRONG' in out:
            return False
    return True


UNIT, SERVICE = os.path.join(TOP, 'tests', 'unit'), os.path.join(TOP, 'examples', 'service')


def c_files(directory, begins=''):
    return [os.path.join(directory, f) for f in sorted(os.listdir(directory))
            if f.startswith(begins) and f.endswith('.c')]


FILTER = ([os.path.join(UNIT, f) for f in ('test_filter.c', 'test_filter_fills.c',
                                           'test_filter_rules.c', 'filter_common.c',
                                           'harness.c')] +
          [os.path.join(DRIVER, f) for f in (RULES, CORE, READS, MAYBE, SET)])
SHELL_FILES = (c_files(UNIT, 'test_shell') + c_files(HERE, 'fltmgr') + c_files(DRIVER) +
               [os.path.join(UNIT, f) for f in ('shell_common.c', 'harness.c')] +
               [os.path.join(SERVICE, f) for f in ('driver_rules.c', 'folders.c', 'os_posix.c')])
INCLUDE = [DRIVER, os.path.join(TOP, 'include'), os.path.join(TOP, 'src'), SERVICE, UNIT]


def compiler(words):
    status, out = run([os.environ.get('CC', 'cc'), '-O0', '-w', '-D_GNU_SOURCE', '-pthread',
                       '-fshort-wchar', '-DNAMES_OF_WINDOWS'] + ['-I' + d for d in INCLUDE] +
                      words, LIMIT)
    if status != 0:
        raise Failure('it does not compile: ' + out[-300:])


def build(files, changed, sources, where):
    """What was not changed is compiled once."""
    objects = []
    for path in files:
        name = os.path.basename(path)
        is_new = name in changed and os.path.dirname(path) == DRIVER
        to = os.path.join(where, name + ('.new.o' if is_new else '.o'))
        if is_new:
            path = os.path.join(sources, name)
        if is_new or not os.path.exists(to):
            compiler(['-c', path, '-o', to])
        objects.append(to)
    program = os.path.join(where, 'test')
    compiler(objects + ['-o', program])
    return program


def judge(row, where):
    name, test, _ = row
    tests = c_files(UNIT, 'test_shell' if row in SHELL else 'test_filter')
    if not any('TEST(%s' % test in open(f, encoding='utf-8').read() for f in tests):
        raise Failure('there is no test ' + test)
    sources, changed = change(row, where)
    for files in (FILTER, SHELL_FILES) if not name else (SHELL_FILES if row in SHELL else FILTER,):
        program = build(files, changed, sources, where)
        status = run([program] + ([test] if test else []), LIMIT)[0]
        if status not in (None, 0, 77):  # slow is not wrong
            return False
    return True


def main():
    a = argparse.ArgumentParser(description='Would the tests of the driver notice it?')
    a.add_argument('--only', default='', metavar='NAME', help='rows whose name contains it')
    a.add_argument('--storm', default='', metavar='BUILD', help='with the storm')
    a.add_argument('--part', default='0/1', metavar='K/N', help='every N-th row, from row K on')
    args = a.parse_args()
    first, step = (int(n) for n in args.part.split('/'))
    only, rows = args.only, MUTANTS + SHELL
    judge_row = judge
    if args.storm:
        rows = [r for r in MUTANTS + STORM_ONLY if r[0].startswith(tuple(STORM))]

        def judge_row(row, where):
            return judge_storm(row, where, args.storm)
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix='cachemax-filter.') as where:
        if not judge_row(('', '', []), where):
            print('FAIL the unchanged code does not pass')
            print('0 passed, 1 failed, 0 skipped')
            return 1
        for k, row in enumerate(rows):
            if only not in row[0]:
                continue
            try:
                if k % step != first:
                    change(row, where)
                    continue
                why = 'nobody noticed' if judge_row(row, where) else ''
            except Failure as e:
                why = str(e)
            print('%s %s%s' % ('FAIL' if why else 'ok', row[0], ': ' + why if why else ''),
                  flush=True)
            passed, failed = passed + (not why), failed + bool(why)
    print('%d passed, %d failed, 0 skipped' % (passed, failed))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
