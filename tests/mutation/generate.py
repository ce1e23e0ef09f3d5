# SPDX-License-Identifier: BSD-2-Clause
"""generate.py - all mutants of the library in one copy of its sources.

Mutants are small changes of the code: an operator or a constant becomes another one, a condition
becomes true or false, an operand of && or || is dropped, a function returns 0, a statement is
removed or changes places with the next one. In the copy each of them stands beside the original,
behind a switch (mutant.h), so that one build has them all.

libclang reads the code: it knows where expressions end, and their types. Not made are changes that
make no difference by the rules of C, or that no test is meant to notice:

- in assertions and in what is a constant for the compiler;
- in prefetches, which are hints;
- two statements in exchanged order, one of which calls nothing (atomic accesses are calls): the
  compiler may exchange them as well, or one reads what the other writes;
- a statement that stands alone in an if or in a loop is not removed: its condition becomes false.

A mutant has no line number in its name, so that the name lasts while other code changes: file,
function, kind, change, the text that is changed (its beginning), and a number if one function has
several such places.
"""
import ctypes
import hashlib
import os
import re
import shutil

import clang.cindex as ci

FOLDERS = ('protocol', 'state', 'media')
# Checks of a build of their own, and another way to do what checksum.c does.
NOT = {'state/invariants.c', 'state/invariants.h', 'media/checksum_avx2.c'}
K = ci.CursorKind

OPERATORS = {'<': '<=', '<=': '<', '>': '>=', '>=': '>', '+': '-', '-': '+', '*': '+', '/': '*',
             '%': '/', '<<': '>>', '>>': '<<', '&': '|', '|': '&', '^': '&'}
ASSIGNMENTS = {'+=': '-=', '-=': '+=', '*=': '+=', '/=': '*=', '%=': '/=', '|=': '=', '&=': '=',
               '^=': '=', '<<=': '>>=', '>>=': '<<='}
NUMBER = re.compile(r'(0[xX][0-9a-fA-F]+|\d+)[uUlL]*$')
CALL = re.compile(r'\b(?!sizeof\b|if\b|for\b|while\b|return\b|switch\b)[A-Za-z_]\w*\s*\(')
CHANGES = re.compile(r'\+\+|--|(?<![=!<>])=(?!=)')
HINT = re.compile(r'(\(void\))?\s*(\w*prefetch\w*|static_assert|at_pause)\s*\(|\(void\)\s*\w+\s*;')
COMMENT = re.compile(r'/\*.*?\*/', re.S)
INTEGERS = {ci.TypeKind.BOOL, ci.TypeKind.UCHAR, ci.TypeKind.USHORT, ci.TypeKind.UINT,
            ci.TypeKind.ULONG, ci.TypeKind.ULONGLONG, ci.TypeKind.SCHAR, ci.TypeKind.CHAR_S,
            ci.TypeKind.SHORT, ci.TypeKind.INT, ci.TypeKind.LONG, ci.TypeKind.LONGLONG,
            ci.TypeKind.ENUM}
UNSIGNED = {ci.TypeKind.BOOL, ci.TypeKind.UCHAR, ci.TypeKind.USHORT, ci.TypeKind.UINT,
            ci.TypeKind.ULONG, ci.TypeKind.ULONGLONG}
SHOWN = 60  # characters of a text that are part of a name

ci.conf.lib.clang_getFileLocation.argtypes = [
    ci.SourceLocation, ctypes.POINTER(ctypes.c_void_p)] + [ctypes.POINTER(ctypes.c_uint)] * 3


def offset(location):
    """Where that is spelled in a file: in a macro's arguments, or where a macro is used."""
    f, line, column, at = ctypes.c_void_p(), ctypes.c_uint(), ctypes.c_uint(), ctypes.c_uint()
    ci.conf.lib.clang_getFileLocation(location, ctypes.byref(f), ctypes.byref(line),
                                      ctypes.byref(column), ctypes.byref(at))
    return at.value


def one_line(text):
    return ' '.join(COMMENT.sub(' ', text).split())


class Mutant:
    """One change. `name` lasts; the number is one of this generation."""

    def __init__(self, file, function, kind, change, text, line):
        self.file, self.function, self.kind, self.change = file, function, kind, change
        self.text, self.line = one_line(text), line
        if len(self.text) > SHOWN:
            self.text = self.text[:SHOWN - 3].rstrip() + '...'
        self.number = self.index = 0

    @property
    def name(self):
        return '\t'.join((self.file, self.function, self.kind, self.change, self.text,
                          str(self.index)))

    @property
    def key(self):
        return hashlib.sha1(self.name.encode()).hexdigest()[:8]

    @property
    def shown(self):
        """A line of the lists, which compare it: the key alone says nothing to a reader."""
        what = self.kind if self.kind == self.change else self.kind + ' ' + self.change
        shown = '%s %s:%s %s: %s' % (self.key, self.file, self.function, what, self.text)
        return shown[:98].rstrip()


class Edit:
    """A place in a file: what stands there becomes make(what stands there), for these mutants."""

    def __init__(self, start, end, make, mutants):
        self.start, self.end, self.make, self.mutants = start, end, make, mutants


class Statement:
    """An expression or a jump that stands as a statement, with its semicolon."""

    def __init__(self, start, end, text):
        self.start, self.end, self.text = start, end, text
        self.removed = self.before = self.after = None  # mutants


class Source:
    """One file with its mutants."""

    def __init__(self, top, name):
        self.name = name
        path = os.path.join(top, 'src', name)
        with open(path, encoding='ascii') as f:
            self.text = f.read()
        self.edits, self.mutants, self.function = [], [], ''
        self.functions = {}  # what each was
        unit = ci.Index.create().parse(path, args=[
            '-x', 'c', '-std=gnu11', '-D_GNU_SOURCE', '-DNDEBUG', '-I' + os.path.join(top, 'src'),
            '-I' + os.path.join(top, 'include')])
        wrong = [str(d) for d in unit.diagnostics if d.severity >= ci.Diagnostic.Error]
        if wrong:
            raise ValueError('libclang cannot read %s: %s' % (name, wrong[0]))
        for c in unit.cursor.get_children():
            if (c.kind == K.FUNCTION_DECL and c.is_definition() and c.location.file and
                    c.location.file.name == path and 'prefetch' not in c.spelling):
                self.function = c.spelling
                self.functions[c.spelling] = hashlib.sha1(self.of(c).encode()).hexdigest()[:8]
                self.returns = c.result_type.get_canonical().kind
                body = list(c.get_children())[-1]
                self.last = self.last_of(body)
                self.block(body)

    # ---- places ----

    def range(self, c):
        start, end = offset(c.extent.start), offset(c.extent.end)
        name = re.compile(r'(?<!\w)[A-Za-z_]\w*').match(self.text, end)
        if name:  # a macro in a macro's argument, of which libclang says the beginning
            end = name.end()
            if self.text[end] == '(':
                end = self.closing(end) + 1
        return start, end

    def closing(self, at):
        depth = 0
        for i in range(at, len(self.text)):
            depth += {'(': 1, ')': -1}.get(self.text[i], 0)
            if depth == 0:
                return i
        raise ValueError('%s: a parenthesis is not closed' % self.name)

    def of(self, c):
        start, end = self.range(c)
        return self.text[start:end]

    def operator(self, kids):
        """What stands between two operands, if that is in the file and not in a macro."""
        left, right = self.range(kids[0]), self.range(kids[1])
        between = COMMENT.sub(' ', self.text[left[1]:right[0]]).strip() if left[1] <= right[0] \
            else ''
        return between if re.fullmatch(r'[-+*/%<>=!&|^]{1,3}', between) else None

    def add(self, kind, change, text, start):
        m = Mutant(self.name, self.function, kind, change, text,
                   self.text.count('\n', 0, start) + 1)
        self.mutants.append(m)
        return m

    def edit(self, start, end, make, *mutants):
        self.edits.append(Edit(start, end, make, mutants))

    def last_of(self, body):
        kids = list(body.get_children())
        return self.range(kids[-1])[0] if kids else -1

    # ---- statements ----

    def statement(self, c):
        start, end = self.range(c)
        rest = re.match(r'(?:\s|/\*.*?\*/)*;', self.text[end:], re.S)
        if not rest or '#' in self.text[start:end]:
            return None
        end += rest.end()
        text = self.text[start:end]
        if HINT.match(text) or text.startswith('assert'):
            return None
        return Statement(start, end, text)

    def block(self, body):
        """The statements of a block, which stand beside one another."""
        row = []
        for c in body.get_children():
            s = None
            if c.kind.is_expression():
                s = self.statement(c)
                if s:
                    self.removal(s)
                if s and row and row[-1]:
                    self.exchange(row[-1], s)
            row.append(s)
        for s in row:
            if s and (s.removed or s.before or s.after):
                self.edit(s.start, s.end, self.maker(s), s.removed, s.before, s.after)
        for c, s in zip(body.get_children(), row):
            self.visit(c)

    def removal(self, s):
        s.removed = self.add('removed', 'removed', s.text, s.start)

    def exchange(self, a, b):
        texts = [COMMENT.sub(' ', x.text) for x in (a, b)]
        if all(CALL.search(t) for t in texts) and texts[0].split() != texts[1].split():
            a.after = b.before = self.add('swapped', 'swapped', a.text, a.start)
            a.next = b.text

    def maker(self, s):
        def make(inner):
            ways = []
            if s.removed and s.removed.number:
                ways.append('!CM_MUTANT(%d)' % s.removed.number)
            if s.before and s.before.number:
                ways.append('cm_mutant != %d' % s.before.number)
            first = 'if (CM_MUTANT(%d)) { %s } ' % (s.after.number, one_line(s.next)) \
                if s.after and s.after.number else ''
            then = 'if (%s) ' % ' && '.join(ways) if ways else ''
            return '{ %s%s%s }' % (first, then, inner)
        return make

    def alone(self, c, counts=True):
        """The body of an if or of a loop."""
        if c.kind == K.COMPOUND_STMT:
            kids = list(c.get_children())
            if len(kids) == 1 and not counts and kids[0].kind.is_expression():
                self.visit(kids[0])
            else:
                self.block(c)
            return
        if c.kind.is_expression() and counts:
            s = self.statement(c)
            if s:
                self.removal(s)
                self.edit(s.start, s.end, self.maker(s), s.removed, s.before, s.after)
        self.visit(c, counts)

    def jump(self, c, counts):
        start = self.range(c)[0]
        s = self.statement(c)
        if s and counts and (start != self.last and c.kind != K.BREAK_STMT or
                             c.kind == K.RETURN_STMT and self.returns == ci.TypeKind.VOID):
            if not (self.returns == ci.TypeKind.VOID and start == self.last):
                self.removal(s)
                self.edit(s.start, s.end, self.maker(s), s.removed, s.before, s.after)

    def condition_range(self, c):
        """In the parentheses behind if or while."""
        begin = self.text.index('(', self.range(c)[0])
        return begin + 1, self.closing(begin)

    def condition(self, start, end, ways, kind='condition'):
        text = self.text[start:end]
        if not text.strip() or NUMBER.match(text.strip()) or text.strip() == 'true':
            return
        made = [(w, self.add(kind, 'to ' + w, text, start)) for w in ways]

        def make(inner):
            inner = '!!(%s)' % inner
            for way, m in [w for w in made if w[1].number]:
                inner = 'cm_mutant_%s(%d, %s)' % (way, m.number, inner)
            return inner
        self.edit(start, end, make, *[m for _, m in made])

    # ---- expressions ----

    def pure(self, text):
        text = COMMENT.sub(' ', text)
        return not CALL.search(text) and not CHANGES.search(text)

    def other(self, c, kind, change, new):
        """An expression that becomes another one."""
        start, end = self.range(c)
        m = self.add(kind, change, self.text[start:end], start)
        new = one_line(new)
        if self.pure(new) and self.pure(self.text[start:end]):
            self.edit(start, end, lambda inner: 'CM_MUTANT_EITHER(%d, (%s), (%s))'
                      % (m.number, inner, new), m)
        else:
            self.edit(start, end, lambda inner: '(CM_MUTANT(%d) ? (%s) : (%s))'
                      % (m.number, new, inner), m)

    def negate(self, c):
        start, end = self.range(c)
        m = self.add('operator', 'negated', self.text[start:end], start)
        self.edit(start, end, lambda inner: '(CM_MUTANT(%d) != !!(%s))' % (m.number, inner), m)

    def binary(self, c, kids, logical):
        sign = self.operator(kids)
        if sign is None:
            return
        left, right = kids
        if sign in ('&&', '||'):
            for k in kids:
                inside = list(k.get_children())
                if k is left and k.kind == K.BINARY_OPERATOR and len(inside) == 2 and (
                        self.operator(inside) == sign):
                    continue  # a chain: its operands are dropped one by one
                self.drop(k, c, sign)
        elif sign in ('==', '!='):
            if not logical:
                self.negate(c)
        elif sign in OPERATORS:
            pointers = [k.type.get_canonical().kind in (ci.TypeKind.POINTER,
                                                        ci.TypeKind.CONSTANTARRAY) for k in kids]
            if all(pointers) and sign not in ('<', '<=', '>', '>='):
                return
            if pointers[1] and sign == '+':
                return
            if sign == '>' and NUMBER.match(self.of(right)) and int(
                    self.of(right).rstrip('uUlL'), 0) == 0 and self.is_unsigned(left):
                return  # always true: a condition that becomes true
            new = self.text[self.range(c)[0]:self.range(left)[1]] + ' ' + OPERATORS[sign] + ' ' + \
                self.text[self.range(right)[0]:self.range(c)[1]]
            self.other(c, 'operator', '%s to %s' % (sign, OPERATORS[sign]), new)

    def is_unsigned(self, c):
        while c.kind == K.UNEXPOSED_EXPR and len(list(c.get_children())) == 1:
            c = list(c.get_children())[0]
        return c.type.get_canonical().kind in UNSIGNED

    def drop(self, k, whole, sign):
        start, end = self.range(k)
        m = self.add('dropped', 'from ' + sign, self.text[start:end], start)
        way = 'true' if sign == '&&' else 'false'
        self.edit(start, end, lambda inner: 'cm_mutant_%s(%d, !!(%s))' % (way, m.number, inner), m)

    def unary(self, c, kids, logical):
        text = self.of(c)
        if text.startswith(('++', '--')) or text.endswith(('++', '--')):
            at = 0 if text[:2] in ('++', '--') else len(text) - 2
            sign = text[at:at + 2]
            new = '--' if sign == '++' else '++'
            self.other(c, 'operator', '%s to %s' % (sign, new), text[:at] + new + text[at + 2:])
        elif text.startswith('!') and self.range(kids[0])[0] > self.range(c)[0]:
            if not logical:
                self.negate(c)
        elif text[0] in '~-' and self.range(kids[0])[0] > self.range(c)[0]:
            if not NUMBER.match(text[1:]):
                self.other(c, 'operator', '%s dropped' % text[0], text[1:])

    def literal(self, c, parent):
        start, end = self.range(c)
        text = self.text[start:end]
        if text in ('true', 'false'):
            m = self.add('constant', 'true to false' if text == 'true' else 'false to true',
                         self.around(start), start)
            self.edit(start, end, lambda inner: '(CM_MUTANT(%d) ? %d : %s)'
                      % (m.number, text == 'false', text), m)
        elif NUMBER.match(text):
            zero = int(text.rstrip('uUlL'), 0) == 0
            if zero and parent.kind == K.INIT_LIST_EXPR:
                return
            for sign in '+' if zero else '+-':
                m = self.add('constant', '%s to %s %s 1' % (text, text, sign), self.around(start),
                             start)
                self.edit(start, end, lambda inner, m=m, sign=sign: '(CM_MUTANT(%d) ? %s %s 1 : %s)'
                          % (m.number, text, sign, inner), m)

    def around(self, start):
        """The line in which a constant stands: the constant alone says nothing."""
        return self.text[self.text.rindex('\n', 0, start) + 1:self.text.index('\n', start)]

    def returned(self, c, value):
        start, end = self.range(value)
        text = self.text[start:end]
        if text in ('true', 'false', 'NULL') or NUMBER.match(text):
            return
        if self.returns == ci.TypeKind.BOOL:
            m = self.add('returned', 'negated', text, start)
            self.edit(start, end, lambda inner: '(CM_MUTANT(%d) != !!(%s))' % (m.number, inner),
                      m)
        elif self.returns in INTEGERS or self.returns == ci.TypeKind.POINTER:
            m = self.add('returned', '0', text, start)
            if self.returns == ci.TypeKind.POINTER:
                self.edit(start, end, lambda inner: 'CM_MUTANT_ZERO(%d, (%s))'
                          % (m.number, inner), m)
            else:  # a member may be a bit field
                self.edit(start, end, lambda inner: 'CM_MUTANT_ZERO(%d, (%s) + 0)'
                          % (m.number, inner), m)

    # ---- the walk ----

    def visit(self, c, counts=True, logical=False, parent=None):
        kids = list(c.get_children())
        k = c.kind
        if k == K.COMPOUND_STMT:
            return self.block(c)
        if k == K.IF_STMT:
            self.condition(*self.condition_range(c), ('true', 'false'))
            self.visit(kids[0], logical=True)
            self.alone(kids[1], counts=len(kids) > 2)
            for other in kids[2:]:
                self.alone(other)
            return None
        if k == K.WHILE_STMT:
            self.condition(*self.condition_range(c), ('false',))
            self.visit(kids[0], logical=True)
            return self.alone(kids[1], counts=False)
        if k == K.FOR_STMT:
            return self.loop(c, kids)
        if k == K.DO_STMT:
            self.alone(kids[0])
            return self.visit(kids[1], logical=True)
        if k in (K.CASE_STMT, K.DEFAULT_STMT, K.LABEL_STMT):
            return self.alone(kids[-1])
        if k == K.RETURN_STMT:
            self.jump(c, counts)
            if kids:
                self.returned(c, kids[0])
        elif k in (K.CONTINUE_STMT, K.BREAK_STMT):
            self.jump(c, counts)
        elif k in (K.CXX_UNARY_EXPR, K.StmtExpr, K.STATIC_ASSERT if hasattr(K, 'STATIC_ASSERT')
                   else K.StmtExpr, K.ENUM_DECL, K.STRUCT_DECL):
            return None
        elif k == K.VAR_DECL:
            return self.variable(c, kids)
        return self.expression(c, kids, logical, parent)

    def expression(self, c, kids, logical, parent):
        k = c.kind
        if HINT.match(self.of(c)) or self.of(c).startswith('_mm_'):  # some take constants only
            return
        inside = False
        if k == K.BINARY_OPERATOR and len(kids) == 2:
            self.binary(c, kids, logical)
            inside = self.operator(kids) in ('&&', '||')
        elif k == K.COMPOUND_ASSIGNMENT_OPERATOR:
            sign = self.operator(kids)
            if sign in ASSIGNMENTS:
                start, end = self.range(c)
                new = self.text[start:self.range(kids[0])[1]] + ' ' + ASSIGNMENTS[sign] + ' ' + \
                    self.text[self.range(kids[1])[0]:end]
                self.other(c, 'operator', '%s to %s' % (sign, ASSIGNMENTS[sign]), new)
        elif k == K.UNARY_OPERATOR and kids:
            self.unary(c, kids, logical)
            inside = logical and self.of(c).startswith('!')
        elif k == K.CONDITIONAL_OPERATOR and len(kids) == 3:
            start, end = self.range(kids[0])
            if re.match(r'(?:\s|/\*.*?\*/)*\?', self.text[end:], re.S):
                self.condition(start, end, ('true', 'false'))
        elif k == K.INTEGER_LITERAL:
            self.literal(c, parent)
        through = k in (K.PAREN_EXPR, K.UNEXPOSED_EXPR) and logical
        for n, kid in enumerate(kids):
            self.visit(kid, logical=inside or through or (
                k == K.CONDITIONAL_OPERATOR and n == 0),
                parent=parent if k == K.UNEXPOSED_EXPR else c)

    def variable(self, c, kids):
        if c.storage_class == ci.StorageClass.STATIC:
            return
        start, end = self.range(c)
        equals = self.text.find('=', start, end)
        for kid in kids:
            if equals >= 0 and self.range(kid)[0] > equals and kid.kind != K.TYPE_REF:
                self.visit(kid, parent=c)

    def loop(self, c, kids):
        start = self.text.index('(', self.range(c)[0])
        marks = [at for at in range(start, self.closing(start)) if self.text[at] == ';']
        self.condition(marks[0] + 1, marks[1], ('false',))
        for kid in kids[:-1]:
            a = self.range(kid)[0]
            self.visit(kid, logical=marks[0] < a < marks[1])
        self.alone(kids[-1], counts=False)

    # ---- the result ----

    def render(self):
        edits = sorted(enumerate(self.edits), key=lambda p: (p[1].start, -p[1].end, p[0]))
        text, _ = self.piece([e for _, e in edits], 0, 0, len(self.text))
        return text

    def piece(self, edits, i, start, end):
        """The text from start to end, with the edits from the i-th on that lie in it."""
        out, at = [], start
        while i < len(edits) and edits[i].start < end:
            e = edits[i]
            if e.end > end or e.start < at:
                raise ValueError('%s: two changes overlap: %r' % (self.name,
                                                                  self.text[e.start:e.end]))
            out.append(self.text[at:e.start])
            inner, i = self.piece(edits, i + 1, e.start, e.end)
            out.append(e.make(inner) if any(m and m.number for m in e.mutants) else inner)
            at = e.end
        out.append(self.text[at:end])
        return ''.join(out), i


def names(top):
    return sorted(os.path.join(d, f) for d in FOLDERS
                  for f in os.listdir(os.path.join(top, 'src', d))
                  if f.endswith(('.c', '.h')) and os.path.join(d, f) not in NOT)


def read(top):
    """All files with their mutants, which have numbers and different names: one of each line, the
    one whose key is the least. A second one of the same line rarely says more than the first."""
    sources = [Source(top, n) for n in names(top)]
    number, seen = 0, {}
    for s in sources:
        lines = {}
        for m in s.mutants:
            same = m.name
            seen[same] = m.index = seen.get(same, 0) + 1
            lines.setdefault(m.line, []).append(m)
        s.mutants = [min(row, key=lambda m: m.key) for row in lines.values()]
        for m in s.mutants:
            number += 1
            m.number = number
    return sources


def write(top, sources, to):
    """The copy of src/, all mutants in it."""
    shutil.copytree(os.path.join(top, 'src'), to, ignore=shutil.ignore_patterns('tool'))
    here = os.path.dirname(os.path.abspath(__file__))
    for s in sources:
        with open(os.path.join(to, s.name), 'w', encoding='ascii') as f:
            f.write(s.render())
    for n in ('mutant.c', 'mutant.h'):
        shutil.copy(os.path.join(here, n), os.path.join(to, n))
    with open(os.path.join(to, 'mutant_number.h'), 'w', encoding='ascii') as f:
        f.write('#define CM_MUTANTS %du\n' % max(m.number for s in sources for m in s.mutants))
