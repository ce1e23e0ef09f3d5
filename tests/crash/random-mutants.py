#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""random-mutants.py - changes the library at random, and lists what no test noticed.

  random-mutants.py [--seed S] [--number N] [--files F,F...] [--jobs N] [--log FILE [--resume]]
                    [--tests quick|all] [--again FILE [--draws N,N...]] [--source DIR]
  random-mutants.py --list [--seed S] [--number N] [--files F,F...]

Every mutant is one change of one place in src/: an operator or a constant becomes another one, a
statement is removed or changes places with the next one, a condition is inverted or made constant,
an atomic access loses its order, arguments change places, a function returns early. A change that
does not compile, or does not change the object code, is not counted. The tests run cheapest first,
but those of the changed file before all others, until one of them notices: it fails, dies, or hangs
(takes far longer than on the unchanged code). The same seed, number, files and source make the same
mutants.

--log writes a JSON object for each mutant. --resume continues a log that was begun with the same
settings. --again judges the survivors of a log once more, on the present code: use it to try a new
test (--draws: only these of them). --list shows the draws, and compiles nothing. --tests quick
leaves out the slow tests, for a first look; then --again with all tests says what really survives.

Every survivor is a missing test, or a line to explain in docs/notes/random-mutants.md. Exit status:
0 no survivors, 1 some, 2 wrong usage, or a test that fails on the unchanged code.
"""
import argparse
import concurrent.futures
import difflib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import mutants  # noqa: E402
from mutation import Failure, end_all, run  # noqa: E402

# The unit programs that test a file best, then all others. By default the keys are the files that
# are changed.
UNITS = {
    'protocol/bracket.c': 'file block',
    'protocol/evict.c': 'pin block',
    'state/ended.c': 'ended',
    'state/file.c': 'file record block',
    'protocol/fill.c': 'probation block flight',
    'api/flight.c': 'request',
    'api/read_ahead.c': 'flight',
    'api/read_through.c': 'flight',
    'api/request.c': 'request',
    'protocol/forget.c': 'block probation',
    'api/read_fast.h': 'block',
    'protocol/fill_buffered.c': 'probation',
    'media/index.c': 'index block',
    'media/index.h': 'block index',
    'protocol/lookup.c': 'block pin probation',
    'protocol/fill_ticket.c': 'block',
    'state/pin.h': 'pin',
    'state/probation_buffer.c': 'probation',
    'state/shared.c': 'shared',
    'state/told.c': 'shared',
    'state/told.h': 'shared',
    'protocol/publish.c': 'block pin',
    'api/read_range.c': 'block api',
    'api/read_many.c': 'block api',
    'api/warm_room.c': 'warm',
    'api/warm_verify.c': 'warm',
    'api/read_blocks.c': 'block',
    'api/read_elsewhere.c': 'block probation',
    'state/copy_choice.c': 'copy_choice',
    'state/fill_choice.c': 'copy_choice',
    'media/file_table.c': 'record file',
    'media/name_table.c': 'files format',
    'api/inner.c': 'objects',
    'objects/bucket.h': 'objects',
    'objects/change.c': 'objects',
    'objects/entries.c': 'objects',
    'objects/find.c': 'objects',
    'objects/values.c': 'objects',
    'policy/ring.c': 'ring',
    'media/seal.c': 'seal',
    'media/slot.c': 'block',
    'protocol/steps.c': 'block pin',
    'state/stripe.h': 'block',
    'media/super_boots.c': 'super',
    'media/super_room.c': 'room',
    'media/super_session.c': 'super',
    'media/superblock.c': 'super',
}
PROTOCOL = sorted(UNITS)
PROGRAMS = ('record probation block ring pin super file curve flight format check ghost api memo '
            'index wear').split()
QUICK = {'unit ' + u for u in 'record probation block ring pin super file format ghost'.split()}
QUICK |= {'model 96 1'}
HANG = 15  # a test hangs after so many times its time on the unchanged code


def tests_for(name, which):
    units = ['unit ' + u for u in UNITS.get(name, '').split() + PROGRAMS]
    tests = list(dict.fromkeys(units))
    own = {'unit ' + u for u in UNITS.get(name, '').split()}
    tests += ['crash ' + s for s in mutants.SEQUENCES]
    tests += ['model 96 1', 'model 64 2', 'model 300 3', 'turns victim', 'turns leaving',
              'turns absent', 'schedules 1 20000', 'race 2', 'race 2 24',
              'crash --states 60000 --length 1 --seed 6']
    sequences = {'crash ' + s for s in mutants.SEQUENCES}
    return [t for t in tests if which == 'all' or t in QUICK | sequences | own]


# ---- Reading C -------------------------------------------------------------------------------

TOKEN = re.compile(r'''
    (?P<skip>/\*.*?\*/|//[^\n]*|^[ \t]*\#(?:\\\n|[^\n])*|\s+)
  | (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
  | (?P<name>[A-Za-z_]\w*)
  | (?P<number>(?:0[xX][0-9a-fA-F]+|\d+)\w*)
  | (?P<sign><<=|>>=|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.(){}\[\]])
''', re.X | re.S | re.M)
CONTROL = {'if', 'for', 'while', 'switch'}
JUMP = {'return', 'break', 'continue', 'goto', 'case', 'default', 'else', 'do'} | CONTROL


class Token:
    def __init__(self, kind, text, start):
        self.kind, self.text, self.start, self.end = kind, text, start, start + len(text)


def tokens_of(text):
    found, at = [], 0
    while at < len(text):
        m = TOKEN.match(text, at)
        if not m:
            raise ValueError('no C at %d: %r' % (at, text[at:at + 20]))
        if m.lastgroup != 'skip':
            found.append(Token(m.lastgroup, m.group(), at))
        at = m.end()
    return found


def closing(tok, i):
    """The token that closes the bracket at i."""
    depth = 0
    for j in range(i, len(tok)):
        if tok[j].text in ('(', '[', '{'):
            depth += 1
        elif tok[j].text in (')', ']', '}'):
            depth -= 1
            if depth == 0:
                return j
    raise ValueError('a bracket is not closed')


def bodies(tok):
    """Of each function: what it returns, first token after its {, its }."""
    found, i, begin = [], 0, 0
    while i < len(tok):
        t = tok[i].text
        if t == '{':
            end = closing(tok, i)
            if i and tok[i - 1].text == ')':
                words = [x.text for x in tok[begin:i]]
                head = words[:words.index('(') - 1] if '(' in words else words
                found.append((' '.join(w for w in head if w not in ('static', 'inline')), i + 1,
                              end))
            i = end
            begin = i + 1
        elif t == ';':
            begin = i + 1
        i += 1
    return found


class Statement:
    def __init__(self, first, last, kind):
        self.first, self.last, self.kind = first, last, kind  # kind: plain, declaration, jump


def is_declaration(tok, i):
    words = [t.text for t in tok[i:i + 4]]
    if words[0] in ('const', 'struct', 'enum', 'static', 'unsigned', 'static_assert', 'uint8_t'):
        return True
    if tok[i].kind == 'name' and tok[i + 1].kind == 'name':
        return True
    return (tok[i].kind == 'name' and words[1] == '*' and tok[i + 2].kind == 'name'
            and words[3] in ('=', ';', ',', '['))


def statements(tok, begin, end):
    """Blocks of one function body: lists of statements that stand beside one another."""
    blocks, stack, i = [], [[]], begin
    alone = False  # the only statement of an if, for, while, else
    while i < end:
        t = tok[i].text
        if t == '{':
            stack.append([])
            i += 1
        elif t == '}':
            blocks.append(stack.pop())
            i += 1
        elif t in CONTROL:
            stack[-1].append(Statement(i, i, 'jump'))
            i = closing(tok, i + 1) + 1
            alone = True
            continue
        elif t in ('else', 'do'):
            i += 1
            alone = True
            continue
        elif t in ('case', 'default'):
            while tok[i].text != ':':
                i += 1
            i += 1
        else:
            last = i
            while tok[last].text != ';':
                last = closing(tok, last) + 1 if tok[last].text in ('(', '[', '{') else last + 1
            kind = 'jump' if t in JUMP else 'declaration' if is_declaration(tok, i) else 'plain'
            s = Statement(i, last, kind)
            if alone:
                blocks.append([s])
            else:
                stack[-1].append(s)
            i = last + 1
        alone = False
    return blocks + stack


# ---- Changes ---------------------------------------------------------------------------------

OTHER = {'<': ('<=', '>='), '<=': ('<', '>'), '>': ('>=', '<='), '>=': ('>', '<'),
         '==': ('!=',), '!=': ('==',), '+': ('-',), '-': ('+',), '&&': ('||',), '||': ('&&',),
         '&': ('|',), '|': ('&',), '<<': ('>>',), '>>': ('<<',),
         '+=': ('-=',), '-=': ('+=',), '|=': ('&=', '='), '&=': ('|=', '='),
         '++': ('--',), '--': ('++',), '*': ('/',), '/': ('*',), '%': ('/',)}
WEAKER = [(re.compile(r'at_(load|store)_(acquire|release|seq_cst)$'), r'at_\1_relaxed'),
          (re.compile(r'at_(add)_(acq_rel|seq_cst)$'), r'at_\1_relaxed'),
          (re.compile(r'at_(or)_(acq_rel)$'), r'at_\1_relaxed'),
          (re.compile(r'at_cas_seq_cst$'), 'at_cas_acq_rel')]


class Source:
    """One file, and every change of it as (kind, start, end, new text)."""

    def __init__(self, path):
        with open(path, encoding='utf-8') as f:
            self.text = f.read()
        self.tok = tokens_of(self.text)
        self.changes = {}
        for returns, begin, end in bodies(self.tok):
            self.asserted = set()
            for i in range(begin, end):
                if self.tok[i].text in ('assert', 'static_assert', 'TEST'):
                    self.asserted |= set(range(i, closing(self.tok, i + 1) + 1))
            self.tokens(begin, end)
            self.calls(begin, end)
            for block in statements(self.tok, begin, end):
                self.block(block, returns)

    def add(self, kind, start, end, new):
        lines = self.text.count('\n', start, end) - new.count('\n')
        assert lines >= 0
        self.changes.setdefault(kind, []).append((start, end, new + '\n' * lines))

    def of(self, first, last):
        return self.text[self.tok[first].start:self.tok[last].end]

    def tokens(self, begin, end):
        for i in range(begin, end):
            t = self.tok[i]
            before = self.tok[i - 1]
            if i in self.asserted:
                continue
            if t.kind == 'sign' and t.text in OTHER:
                two = (before.kind in ('name', 'number') and before.text != 'return'
                       or before.text in (')', ']'))
                if two or t.text in ('++', '--', '&&', '||'):
                    for new in OTHER[t.text]:
                        self.add('operator', t.start, t.end, new)
            elif t.kind == 'number':
                for sign in ('+', '-'):
                    self.add('constant', t.start, t.end, '(%s %s 1)' % (t.text, sign))
            elif t.kind == 'name':
                for weak, new in WEAKER:
                    if weak.match(t.text):
                        self.add('order', t.start, t.end, weak.sub(new, t.text))
                if t.text in ('if', 'while') and self.tok[i + 1].text == '(':
                    last = closing(self.tok, i + 1)
                    c = self.of(i + 1, last)
                    start, stop = self.tok[i + 1].start, self.tok[last].end
                    self.add('condition', start, stop, '(!%s)' % c)
                    self.add('condition', start, stop, '(%s && 0)' % c)
                    if t.text == 'if':
                        self.add('condition', start, stop, '(%s || 1)' % c)

    def calls(self, begin, end):
        for i in range(begin, end - 1):
            if self.tok[i].kind != 'name' or self.tok[i].text in JUMP:
                continue
            if self.tok[i + 1].text != '(' or i in self.asserted:
                continue
            last = closing(self.tok, i + 1)
            first, parts, j = i + 2, [], i + 2
            while j <= last:
                if j == last or self.tok[j].text == ',':
                    if j > first:
                        parts.append((self.tok[first].start, self.tok[j - 1].end))
                    first = j + 1
                j = closing(self.tok, j) + 1 if self.tok[j].text in ('(', '[', '{') else j + 1
            for a, b in zip(parts, parts[1:]):
                new = self.text[b[0]:b[1]] + self.text[a[1]:b[0]] + self.text[a[0]:a[1]]
                if self.text[a[0]:a[1]] != self.text[b[0]:b[1]]:
                    self.add('arguments', a[0], b[1], new)

    def block(self, block, returns):
        for s in block:
            start, end = self.tok[s.first].start, self.tok[s.last].end
            if s.first in self.asserted:
                continue
            if s.kind == 'plain':
                fence = self.tok[s.first].text.startswith('at_fence')
                self.add('order' if fence else 'removed', start, end, ';')
            if self.tok[s.first].text == 'continue':
                self.add('removed', start, end, ';')
            if s.kind != 'declaration':
                for v in {'void': [''], 'bool': ['true', 'false']}.get(returns, ['0']):
                    self.add('return', start, start, ('return %s; ' % v).replace(' ;', ';'))
        for a, b in zip(block, block[1:]):
            if a.kind == b.kind == 'plain' and not {a.first, b.first} & self.asserted:
                between = self.text[self.tok[a.last].end:self.tok[b.first].start]
                new = self.of(b.first, b.last) + between + self.of(a.first, a.last)
                self.add('swapped', self.tok[a.first].start, self.tok[b.last].end, new)

    def edit(self, start, end, new):
        """Whole lines, and as many around them as make the old text unique."""
        text = self.text
        first, last = text.rfind('\n', 0, start) + 1, text.find('\n', end)
        last = len(text) if last < 0 else last
        changed = lambda: text[first:start] + new + text[end:last]
        while text.count(text[first:last]) != 1:
            first = text.rfind('\n', 0, max(0, first - 1)) + 1
            if text.count(text[first:last]) != 1:
                last = text.find('\n', last + 1)
                last = len(text) if last < 0 else last
        return text[first:last], changed()

    def line(self, start):
        return self.text.count('\n', 0, start) + 1


# How often each kind is drawn. The weights keep the many operators from crowding out the rest.
WEIGHTS = {'operator': 4, 'constant': 2, 'removed': 5, 'swapped': 3, 'condition': 5, 'order': 3,
           'arguments': 1, 'return': 2}


class Draws:
    """The mutants of a seed, in their order, none twice."""

    def __init__(self, source, files, seed):
        self.rng = random.Random(seed)
        self.sources = {f: Source(os.path.join(source, f)) for f in files}
        self.left = {}
        for name in files:
            for kind, changes in self.sources[name].changes.items():
                self.left.setdefault(kind, []).extend((name,) + c for c in changes)
        for kind in self.left:
            self.rng.shuffle(self.left[kind])

    def next(self):
        """kind, file, line, edit; None when there are no more."""
        while True:
            kinds = [k for k in WEIGHTS if self.left.get(k)]
            if not kinds:
                return None
            kind = self.rng.choices(kinds, [WEIGHTS[k] for k in kinds])[0]
            name, start, end, new = self.left[kind].pop()
            s = self.sources[name]
            old, now = s.edit(start, end, new)
            if old != now:  # an empty statement cannot be removed
                return {'kind': kind, 'file': name, 'line': s.line(start), 'old': old, 'new': now}


# ---- Judging ---------------------------------------------------------------------------------


class Judge:
    def __init__(self, builder, which, pool):
        self.builder, self.which, self.limits = builder, which, {}
        self.lock = threading.Lock()
        tests = sorted({t for f in PROTOCOL for t in tests_for(f, which)})
        self.prepare(tests, pool)

    def prepare(self, tests, pool):
        programs = sorted({mutants.program_of(t) for t in tests})
        self.builder.prepare(programs, pool)
        directory = os.path.join(self.builder.scratch, 'sound')
        os.mkdir(directory)
        for p in programs:
            self.builder.link(p, {}, directory)
        wrong = []

        def one(test):
            start = time.time()
            said = self.say(test, {}, directory, 600)
            self.limits[test] = max(20, HANG * (time.time() - start))
            if said:
                wrong.append('%s: %s' % (test, said))
        list(pool.map(one, tests))
        if wrong:
            raise Failure('\n'.join('fails on the unchanged code: ' + w for w in wrong))

    def say(self, test, objects, directory, limit, mutant=None):
        """What a test says about the mutant; None: nothing."""
        program = self.builder.link(mutants.program_of(test), objects, directory, mutant)
        status, text = run(mutants.command_of(test, program), limit, cwd=directory)
        if status is None:
            return 'hangs'
        return None if status in (0, 77) else mutants.complaint(text)

    def same(self, objects):
        for name, path in objects.items():
            plain = os.path.join(self.builder.objects, 'plain-' + mutants.object_of(name))
            with self.lock:
                if not os.path.exists(plain):  # compiled as the mutant's
                    self.builder.compile(os.path.join(self.builder.source, name), plain,
                                         self.builder.source, mutants.QUICKLY)
            with open(path, 'rb') as a, open(plain, 'rb') as b:
                if a.read() != b.read():
                    return False
        return True

    def __call__(self, draw):
        """The draw with what became of it: skipped, by and said, or neither."""
        start, result = time.time(), dict(draw)
        directory = tempfile.mkdtemp(dir=self.builder.scratch)
        m = mutants.Mutant('', '', '', [(draw['file'], draw['old'], draw['new'])])
        try:
            objects = self.builder.change(m, directory)
            if self.same(objects):
                result['skipped'] = 'same object code'
            else:
                for test in tests_for(draw['file'], self.which):
                    said = self.say(test, objects, directory, self.limits[test], m)
                    if said:
                        result.update(by=test, said=said)
                        break
        except Failure as e:
            result['skipped'] = str(e).splitlines()[0][:160]
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        result['seconds'] = round(time.time() - start, 1)
        return result


# ---- The run ---------------------------------------------------------------------------------


class Log:
    """One JSON object a line; the first says what was asked for."""

    def __init__(self, path, settings, resume):
        self.path, self.lock, self.done = path, threading.Lock(), {}
        if path and resume and os.path.exists(path):
            with open(path, encoding='utf-8') as f:
                lines = [json.loads(line) for line in f if line.endswith('\n')]
            if not lines or lines[0] != settings:
                raise Failure('%s was begun with other settings: %s' % (path, lines[:1]))
            self.done = {r['draw']: r for r in lines[1:]}
            with open(path, 'w', encoding='utf-8') as f:  # drops a line that was cut short
                f.writelines(json.dumps(x) + '\n' for x in lines)
        elif path:
            with open(path, 'w', encoding='utf-8') as f:
                f.write(json.dumps(settings) + '\n')

    def add(self, result):
        self.done[result['draw']] = result
        if self.path:
            with self.lock, open(self.path, 'a', encoding='utf-8') as f:
                f.write(json.dumps(result) + '\n')


def diff(r):
    lines = difflib.unified_diff(r['old'].splitlines(), r['new'].splitlines(), lineterm='', n=1)
    return '\n'.join('    ' + line for line in list(lines)[3:])


def one_line(r):
    what = (r.get('skipped') and 'skipped: ' + r['skipped']
            or r.get('by') and '%s (%s)' % (r['by'], r['said']) or 'SURVIVED')
    return '%d %s:%d %s | %s | %.1f' % (r['draw'], r['file'], r['line'], r['kind'], what,
                                        r['seconds'])


def run_all(o, judge, log, pool):
    """Draws until so many mutants were made; the results in their order."""
    draws, results, made = Draws(o.source, o.files, o.seed), [], 0

    def one(draw):
        old = log.done.get(draw['draw'])
        if old:
            return old
        r = judge(draw)
        log.add(r)
        if 'skipped' not in r:
            print(one_line(r), flush=True)
        return r
    while made < o.number:
        some = []
        for _ in range(o.number - made):  # at most as many as are still needed
            d = draws.next()
            if d is None:
                break
            some.append(dict(d, draw=len(results) + len(some)))
        if not some:
            break
        results += list(pool.map(one, some))
        made = sum('skipped' not in r for r in results)
    return results


def run_again(o, judge, log, pool):
    with open(o.again, encoding='utf-8') as f:
        old = [json.loads(line) for line in f][1:]

    def one(r):
        r = judge({k: r[k] for k in ('draw', 'kind', 'file', 'line', 'old', 'new')})
        log.add(r)
        print(one_line(r), flush=True)
        return r
    latest = {r['draw']: r for r in old}.values()
    return list(pool.map(one, [r for r in latest if 'skipped' not in r and 'by' not in r and
                               (not o.draws or str(r['draw']) in o.draws.split(','))]))


def show_draws(o):
    draws = Draws(o.source, o.files, o.seed)
    for n in range(o.number):
        d = draws.next()
        if d is None:
            break
        if draws.sources[d['file']].text.count(d['old']) != 1 or d['old'] == d['new']:
            print('FAILED draw %d: no edit of one place' % n)
            return 1
        print('%d %s:%d %s\n%s' % (n, d['file'], d['line'], d['kind'], diff(d)))
    return 0


def options():
    a = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--seed', type=int, default=1)
    a.add_argument('--number', type=int, default=100, metavar='N')
    a.add_argument('--files', default=','.join(PROTOCOL), metavar='F,F',
                   help='of src/; default: the protocol')
    a.add_argument('--jobs', type=int, default=os.cpu_count() or 1, metavar='N')
    a.add_argument('--log', metavar='FILE')
    a.add_argument('--resume', action='store_true')
    a.add_argument('--tests', choices=('quick', 'all'), default='all')
    a.add_argument('--again', metavar='FILE', help='the survivors of that log')
    a.add_argument('--draws', default='', metavar='N,N', help='of --again')
    a.add_argument('--list', action='store_true', help='show the draws')
    a.add_argument('--source', default=os.path.join(mutants.TOP, 'src'), help='the library (src/)')
    o = a.parse_args()
    o.files = sorted(set(o.files.split(',')))
    o.source = os.path.abspath(o.source)
    missing = [f for f in o.files if not os.path.exists(os.path.join(o.source, f))]
    if missing or o.again and not os.path.exists(o.again) or o.resume and not o.log:
        a.error('no such file: ' + ', '.join(missing or [str(o.again)])
                if missing or o.again else '--resume needs --log')
    return o


def main():
    o = options()
    if o.list:
        return show_draws(o)
    scratch = tempfile.mkdtemp(prefix='cachemax-random-mutants.')
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: (end_all(), shutil.rmtree(scratch, ignore_errors=True),
                                       os._exit(2)))
    os.environ['TMPDIR'] = scratch  # a mutant that dies leaves its files behind
    settings = {'seed': o.seed, 'number': o.number, 'files': o.files, 'tests': o.tests,
                'again': o.again or ''}
    try:
        log = Log(o.log, settings, o.resume)
        with concurrent.futures.ThreadPoolExecutor(o.jobs) as pool:
            judge = Judge(mutants.Builder(o.source, scratch), o.tests, pool)
            results = (run_again if o.again else run_all)(o, judge, log, pool)
    except Failure as e:
        print('random-mutants: %s' % e)
        return 2
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    made = [r for r in results if 'skipped' not in r]
    left = [r for r in made if 'by' not in r]
    for r in left:
        print('SURVIVED %d %s:%d %s\n%s' % (r['draw'], r['file'], r['line'], r['kind'], diff(r)))
    print('random mutants: seed %d, %d made, %d noticed, %d survived, %d draws not counted' % (
        o.seed, len(made), len(made) - len(left), len(left), len(results) - len(made)))
    return 1 if left else 0


if __name__ == '__main__':
    sys.exit(main())
