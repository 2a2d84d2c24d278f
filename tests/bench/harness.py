"""What the suites of scripts/bench share: variants, runs, intervals, tables.

A variant is a way to run a program: bare, or under some profiler. A run is one
finished process tree with its CPU time, user and system, of the whole tree.
"""

import concurrent.futures
import contextlib
import copy
import csv
import ctypes
import glob
import gzip
import math
import os
import random
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = os.path.join(ROOT, "tests", "bench", "programs")
# Nothing that is measured takes this long: what does hangs, and is ended.
TIMEOUT_S = 300


class Paths:
    """Where things are built; set once by scripts/bench."""

    build = os.path.join(ROOT, "build")

    @classmethod
    def work(cls, *names):
        return os.path.join(cls.build, "bench", *names)

    @classmethod
    def agent(cls):
        return os.path.join(cls.build, "agent", "libspanprof.so")


class Failed(Exception):
    """A program that ended badly, or not as it does without a profiler."""


class Variant:
    """A way to run a program. In the values of environment {folder} is the folder of
    the run. every: takes part in one round of so many. reader: a shell pipeline
    for the other end of {folder}/fifo, which the profiler writes to; it stays outside the
    program's tree. leaves: the file, as a glob, without which it did not profile.
    processor: the only one that the program may use."""

    def __init__(self, name, preload=None, environment=None, prefix=(), every=1,
                 reader=None, leaves=None):
        self.name = name
        self.preload = preload
        self.environment = environment or {}
        self.prefix = list(prefix)
        self.every = every
        self.reader = reader
        self.leaves = leaves
        self.processor = None

    def on(self, processor):
        variant = copy.copy(self)
        variant.processor = processor
        return variant


BARE = Variant("bare")


def null_variant():
    return Variant("null", Paths.work("libnull.so"))


def library(name):
    """The newest of the libraries called so, or None."""
    found = sorted(glob.glob(f"/usr/lib/*/{name}"))
    return found[-1] if found else None


class Run:
    """One finished process tree."""

    def __init__(self, cpu_s, wall_s, reader_cpu_s, output, errors, lost_samples,
                 own_percent):
        self.cpu_s = cpu_s
        self.wall_s = wall_s
        self.reader_cpu_s = reader_cpu_s  # None: it failed
        self.output = output
        self.errors = errors
        self.lost_samples = lost_samples
        self.own_percent = own_percent  # None: no CPU profile of ours


class Process:
    """A running program. Its folder gets what it prints, and its profiles."""

    def __init__(self, argv, variant, folder, environment=None):
        # Not quiet: the line at the end tells of losses.
        values = dict(os.environ, LC_ALL="C", SPANPROF_OUT=folder)
        # None of the variants may profit from a colder or warmer environment.
        values.pop("LD_PRELOAD", None)
        values.update(environment or {})
        values.update({k: v.format(folder=folder) for k, v in variant.environment.items()})
        if variant.preload:
            values["LD_PRELOAD"] = variant.preload
        self.name = argv[0]
        self.variant = variant
        self.folder = folder
        self.reader = None
        if variant.reader:
            fifo = self.path("fifo")
            os.mkfifo(fifo)
            # Whatever becomes of the reader, the program can write to the end.
            command = f"set -o pipefail; {{ {variant.reader}; }} || {{ cat; exit 1; }}"
            with open(self.path("reader-errors"), "wb") as errors:
                self.reader = subprocess.Popen(["bash", "-c", f"({command}) < {fifo}"],
                                               stdout=subprocess.DEVNULL, stderr=errors,
                                               start_new_session=True)
        prefix = [word.format(folder=folder) for word in variant.prefix]
        with open(self.path("output"), "wb") as output, \
                open(self.path("errors"), "wb") as errors, on_processor(variant.processor):
            self.started = time.monotonic()
            self.process = subprocess.Popen(prefix + argv, env=values, cwd=folder,
                                            stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=errors)

    def path(self, name):
        return os.path.join(self.folder, name)

    def text(self, name):
        with open(self.path(name), encoding="utf-8", errors="replace") as file:
            return file.read()

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, 9)

    def finish(self):
        """Waits; raises Failed if the program failed, or if we did not profile it."""
        alarm = threading.Timer(TIMEOUT_S, self.kill)
        alarm.start()
        try:
            _, status, usage = os.wait4(self.process.pid, 0)
        finally:
            alarm.cancel()
        wall_s = time.monotonic() - self.started
        reader_cpu_s = self.finish_reader()
        self.process.returncode = os.waitstatus_to_exitcode(status)
        errors = self.text("errors")
        if self.process.returncode != 0:
            raise Failed(f"{self.name} ended with status {self.process.returncode}: "
                         + errors[-200:].strip())
        if self.variant.leaves and not glob.glob(self.path(self.variant.leaves)):
            raise Failed(f"{self.name} left no {self.variant.leaves}")
        lost = sum(int(count) for count in re.findall(r"(\d+) samples lost", errors))
        return Run(usage.ru_utime + usage.ru_stime, wall_s, reader_cpu_s,
                   self.text("output"), errors, lost, self.own_percent())

    def own_percent(self):
        """Of the program's CPU time: what the profiler says that it took itself, by the
        largest CPU profile; None without one."""
        profiles = []
        for path in glob.glob(self.path("*.cpu.pb.gz")):
            with gzip.open(path) as file:
                profiles.append(file.read())
        if not profiles:
            return None
        found = re.search(rb"agent thread ([0-9.]+) % .*signal handler ([0-9.]+) %",
                          max(profiles, key=len))
        return float(found[1]) + float(found[2]) if found else None

    def finish_reader(self):
        """Its CPU time, or None if it failed."""
        if not self.reader:
            return 0.0
        # It never ends if nobody opened the other end.
        alarm = threading.Timer(TIMEOUT_S, os.killpg, (self.reader.pid, 9))
        alarm.start()
        try:
            _, status, usage = os.wait4(self.reader.pid, 0)
        finally:
            alarm.cancel()
        self.reader.returncode = os.waitstatus_to_exitcode(status)
        return None if status else usage.ru_utime + usage.ru_stime


SYS_SCHED_SETATTR = 314  # x86-64


class Turns:
    """How long programs that share a processor have it; set once by scripts/bench."""

    length_ns = 0


def ask_for_turns(length_ns):
    """How long this thread, and what it starts, runs at a time before another may; 0: as
    usual. Kernels before Linux 6.12 take no notice."""
    # struct sched_attr (sched_setattr(2)): its size, ..., sched_runtime, ...
    attributes = struct.pack("=IIQiIQQQII", 56, 0, 0, os.getpriority(os.PRIO_PROCESS, 0), 0,
                             length_ns, 0, 0, 0, 0)
    ctypes.CDLL(None).syscall(SYS_SCHED_SETATTR, 0, attributes, 0)


@contextlib.contextmanager
def on_processor(number):
    """What this thread starts within may only use that one, in turns with others."""
    if number is None:
        yield
        return
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {number})
    if Turns.length_ns:
        ask_for_turns(Turns.length_ns)
    try:
        yield
    finally:
        if Turns.length_ns:
            ask_for_turns(0)
        os.sched_setaffinity(0, usual)


def run(argv, variant, environment=None):
    """Runs argv to its end."""
    with tempfile.TemporaryDirectory(dir=Paths.work()) as folder:
        return Process(argv, variant, folder, environment).finish()


def build(sources, output, *flags):
    subprocess.run(["gcc", "-std=gnu17", "-O2", "-g", *sources, "-o", output,
                    *flags], check=True)


def build_null():
    build([os.path.join(PROGRAMS, "null_interposer.c")], Paths.work("libnull.so"), "-shared",
          "-fPIC")


# --- rounds ---

def print_progress(what, number, rounds):
    print(f"\r{what}: round {number + 1} of {rounds} ",
          end="\n" if number + 1 == rounds else "", file=sys.stderr, flush=True)


# Many times what a program's turn on the processor takes.
APART_S = 0.3


class Measurements:
    """values[what, variant, round] and what went wrong; in those before, too: what failed
    there is not run again."""

    def __init__(self, before=None):
        self.values = {}
        self.failures = before.failures if before else {}
        self.lost_samples = before.lost_samples if before else {}

    def take(self, whats, variants, rounds, measure):
        """measure(what, variant) in rounds, the variants in random order one after the
        other, so that what the machine does at the time hits all alike. Round 0 of a
        program is like any other."""
        for what in whats:
            for number in range(rounds):
                for variant in self.choose(what, variants, number):
                    self.keep(what, variant, number, lambda v=variant: measure(what, v))
                print_progress(what, number, rounds)
        return self

    def take_together(self, whats, variants, rounds, measure):
        """As take(), but the variants of a round run at the same time and share one
        processor, the kernel changing between them every few milliseconds: what the
        machine does then hits all alike, however short it is. Says nothing of wall time.
        They begin apart: two that go in step find in the processor's caches what the other
        has just used, which of g++ is up to 1.5 %, and the third that does not, finds
        less."""
        processor = max(os.sched_getaffinity(0))

        def measure_apart(what, variant):
            time.sleep(random.uniform(0, APART_S))
            return measure(what, variant.on(processor))

        for what in whats:
            for number in range(rounds):
                chosen = self.choose(what, variants, number)
                with concurrent.futures.ThreadPoolExecutor(max(len(chosen), 1)) as pool:
                    runs = [(variant, pool.submit(measure_apart, what, variant))
                            for variant in chosen]
                for variant, result in runs:
                    self.keep(what, variant, number, result.result)
                print_progress(what, number, rounds)
        return self

    def choose(self, what, variants, number):
        """Those that take part in the round, in random order."""
        return [variant for variant in random.sample(variants, len(variants))
                if number % variant.every == 0 and (what, variant.name) not in self.failures]

    def keep(self, what, variant, number, measure):
        try:
            result = measure()
        except Failed as failure:
            self.failures[what, variant.name] = str(failure)
            return
        self.values[what, variant.name, number] = result
        if result.lost_samples:
            self.lost_samples.setdefault((what, variant.name), []).append(
                result.lost_samples)

    def pairs(self, what, variant, base, key):
        """{round: (value, base's value)} of the rounds that have both."""
        found = {number: (key(value), key(self.values[what, base, number]))
                 for (w, v, number), value in self.values.items()
                 if (w, v) == (what, variant) and (what, base, number) in self.values}
        return {number: pair for number, pair in found.items() if None not in pair}

    def all(self, what, variant, key):
        return [key(value) for (w, v, _), value in self.values.items()
                if (w, v) == (what, variant)]

    def ratios(self, what, variant, base, key):
        return [a / b for a, b in self.pairs(what, variant, base, key).values()]

    def differences(self, what, variant, base, key):
        return [a - b for a, b in self.pairs(what, variant, base, key).values()]

    def geometric_means(self, whats, variant, base, key):
        """Of the ratios, over all whats: one for each round that has all of them."""
        rounds = [self.pairs(what, variant, base, key) for what in whats]
        common = set.intersection(*(set(pairs) for pairs in rounds)) if rounds else set()
        return [statistics.geometric_mean(pairs[number][0] / pairs[number][1]
                                          for pairs in rounds) for number in common]

    def print_failures(self):
        for (what, variant), message in self.failures.items():
            print(f"FAILED: {what} under {variant}: {message}")
        for (what, variant), counts in self.lost_samples.items():
            print(f"{what} under {variant} lost samples in {len(counts)} rounds: "
                  f"{max(counts)} at most")

    def write_csv(self, path, header, row):
        """row(value) gives the columns after what, variant and round."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["what", "variant", "round"] + header)
            for (what, variant, number), value in self.values.items():
                writer.writerow([what, variant, number] + row(value))
        print(f"raw numbers: {path}")


# With fewer values their whole range covers the median less often than that.
ROUNDS_FOR_INTERVAL = 6


def median_interval(values):
    """Median and its 95 % interval by order statistics; the whole range when the
    values are too few for 95 %."""
    ordered = sorted(values)
    count = len(ordered)
    low = 0
    coverage_missing = 2 * 0.5 ** count
    while low + 1 < count // 2:
        more = coverage_missing + 2 * math.comb(count, low + 1) * 0.5 ** count
        if more > 0.05:
            break
        coverage_missing = more
        low += 1
    return statistics.median(ordered), ordered[low], ordered[count - 1 - low]


# --- what the numbers are held against ---

class Holds:
    """Measured intervals and their bounds, for one table at the end."""

    def __init__(self):
        self.rows = []

    def at_most(self, what, values, bound, unit=""):
        self.add(what, values, bound, unit, "<=", lambda low, high: (high <= bound,
                                                                     low > bound))

    def at_least(self, what, values, bound, unit=""):
        self.add(what, values, bound, unit, ">=", lambda low, high: (low >= bound,
                                                                     high < bound))

    def add(self, what, values, bound, unit, sign, judge):
        if not values:
            return
        middle, low, high = median_interval(values)
        is_held, is_missed = judge(low, high)
        verdict = "held" if is_held else "MISSED" if is_missed else "open"
        self.rows.append((what, f"{middle:.3f} ({low:.3f} to {high:.3f}) {unit}",
                          f"{sign} {bound} {unit}", len(values),
                          verdict if len(values) >= ROUNDS_FOR_INTERVAL else verdict + "?"))

    def print(self, title):
        if not self.rows:
            return
        print(f"\n{title:56} {'median, 95 % interval':34} {'bound':11} rounds")
        for what, value, bound, rounds, verdict in self.rows:
            print(f"{what:56} {value:34} {bound:12} {rounds:5} {verdict}")
        print(f"(open: the bound lies in the interval; ?: under {ROUNDS_FOR_INTERVAL} rounds,"
              " the interval is the whole range)")
