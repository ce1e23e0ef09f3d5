# SPDX-License-Identifier: BSD-2-Clause
#
# cachemax.py - gdb prints the structures of the library as a line each:
#
#   (gdb) source tests/gdb/cachemax.py
#   (gdb) print *cache
#
# Known are struct cm_cache, cm_object (an attached file), cm_stripe, cm_header, cm_bucket, cm_ring
# (with the line of slots on probation), cm_lock, cm_miss (with its tickets) and pointers to cm_file
# (handles). print/r shows the fields. For words that have no type of their own: $cm_cell(WORD),
# $cm_w0(WORD), and $cm_object(HANDLE), the object behind a handle. Sums are not checked here:
# "cachemax dump" does.

import gdb

NO_PLACE = NO_SIZE = 2**64 - 1
LINE_SHOWN = 8  # slots of the line
MISS_NOFILL = 2  # CM_MISS_NOFILL


def n(v):
    return int(v)


def counted(number, one):
    return '%d %s%s' % (number, one, '' if number == 1 else 's')


def lock_text(word):
    return {0: 'free', 1: 'held'}.get(word, 'held, others wait')


def w0_text(w0):
    return '%s, sequence %d' % ('VALID' if w0 >> 31 & 1 else 'not valid', w0 & 0x7fffff)


def cell_text(cell):
    if cell == 0:
        return 'empty'
    slot = (cell & 2**34 - 1) - 1
    return 'slot %s, tag %06x' % (slot if slot >= 0 else 'none', cell >> 42)


def cache(v):
    text = '%s: %s, %d slots, %s, epoch %d' % (
        v['name'].string(), ('normal', 'freeze', 'bypass')[n(v['mode']) % 3],
        n(v['media']['geo']['slots']), counted(n(v['media']['geo']['stripes']), 'stripe'),
        n(v['super']['now']['epoch']))
    text += ', next incarnation %d, frontier %d, pinned %d' % (
        n(v['super']['next_incarnation']), n(v['policy']['ring']['frontier']), n(v['pinned']))
    for flag in 'readonly', 'emptied', 'broken', 'failing', 'older', 'suspect':
        if n(v[flag]):
            text += ', ' + flag
    return text


def obj(v):
    place, size = n(v['place']), n(v['size'])
    text = 'file %016x%016x: incarnation %d, %s, %s, %s' % (
        n(v['id']['hi']), n(v['id']['lo']), n(v['incarnation']),
        'size unknown' if size == NO_SIZE else '%d bytes' % size,
        'no record' if place == NO_PLACE else 'record %d' % place, counted(n(v['refs']), 'ref'))
    text += ', ticket %d, %s' % (n(v['ticket']), counted(n(v['open_brackets']), 'bracket'))
    if n(v['regions']['dirty']):
        text += ', dirty'
    for flag in 'bypassed', 'want', 'disowned', 'stale':
        if n(v[flag]):
            text += ', ' + flag
    return text


def stripe(v):
    return 'lock %s, ticket %d, %s' % (lock_text(n(v['lock']['word'])), n(v['ticket']),
                                       counted(n(v['intents']), 'intent'))


def header(v):
    key = n(v['block_valid'])
    return '%s, incarnation %d, block %d, %d bytes' % (
        w0_text(n(v['w0'])), n(v['incarnation']), key >> 13, key & 8191)


def bucket(v):
    cells = [n(v['cell'][i]) for i in range(8)]
    return '; '.join('%d: %s' % (i, cell_text(c)) for i, c in enumerate(cells) if c) or 'empty'


def line(v):
    size, first, count = (n(v['line_' + k]) for k in ('max', 'first', 'count'))
    for i in range(min(count, LINE_SHOWN)):
        at = (first + i) % size * 5
        yield sum(n(v['line'][at + b]) << 8 * b for b in range(5)) >> 2


def ring(v):
    slots, end = n(v['slots']), n(v['end'])  # from end on slots are left alone
    text = 'hand %d (slot %d), frontier %d of %d, on probation %d of %d, free %d' % (
        n(v['hand']), n(v['hand']) % end if end else 0, n(v['frontier']), slots,
        n(v['on_probation']), n(v['probation']), n(v['free_count']))
    text += ', line of %d:' % n(v['line_count'])
    text += ''.join(' %d' % s for s in line(v))
    return text + (' ...' if n(v['line_count']) > LINE_SHOWN else '')


def miss(v):
    offset, length = n(v['offset']), n(v['len'])
    if length == 0:
        return 'nothing is missing'
    first, last = offset // 4096, (offset + length - 1) // 4096
    groups = (last >> 6) - (first >> 6) + 1
    o = v['opaque']
    return 'blocks %d to %d: file %d, incarnation %d, file ticket %d, stripe tickets%s%s' % (
        first, last, n(o[0]), n(v['incarnation']), n(o[1]),
        ''.join(' %d' % n(o[3 + i]) for i in range(min(groups, o.type.range()[1] - 2))),
        ', NOFILL' if n(v['flags']) & MISS_NOFILL else '')


def handle_parts(v):
    return n(v) & 2**48 - 1, n(v) >> 48


def handle(v):
    address, generation = handle_parts(v)
    return 'generation %d of object %#x' % (generation, address) if address else '0x0'


TEXTS = {
    'cm_cache': cache, 'cm_object': obj, 'cm_stripe': stripe, 'cm_header': header,
    'cm_bucket': bucket, 'cm_ring': ring, 'cm_miss': miss,
    'cm_lock': lambda v: lock_text(n(v['word'])),
}


class Printer:
    def __init__(self, value, text):
        self.value, self.text = value, text

    def to_string(self):
        return self.text(self.value)


def look_up(value):
    t = value.type.strip_typedefs()
    if t.code == gdb.TYPE_CODE_PTR and t.target().unqualified().strip_typedefs().tag == 'cm_file':
        return Printer(value, handle)
    text = TEXTS.get(t.unqualified().tag) if t.code == gdb.TYPE_CODE_STRUCT else None
    return Printer(value, text) if text else None


class Cell(gdb.Function):
    '''$cm_cell(WORD): what a cell of the index says.'''

    def __init__(self):
        super().__init__('cm_cell')

    def invoke(self, word):
        return cell_text(n(word) & 2**64 - 1)


class W0(gdb.Function):
    '''$cm_w0(WORD): what the first word of a header says.'''

    def __init__(self):
        super().__init__('cm_w0')

    def invoke(self, word):
        return w0_text(n(word) & 2**64 - 1)


class Object(gdb.Function):
    '''$cm_object(HANDLE): the object behind what cm_file_open() gave out.'''

    def __init__(self):
        super().__init__('cm_object')

    def invoke(self, file):
        at = gdb.lookup_type('struct cm_object').pointer()
        return gdb.Value(handle_parts(file)[0]).cast(at)


gdb.pretty_printers.append(look_up)
Cell(), W0(), Object()
