"""Spans: what marking them costs, and how many a second there may be."""

import os
import re

from harness import BARE, Failed, Holds, Measurements, PROGRAMS, Paths, ROOT, Variant, \
    build, median_interval, run

ROUNDS = 16
RATE_ROUNDS = 6
COUNT = 1000000
SPANS_PER_SECOND = 1000000
RATE_SECONDS = 5

# What a turn of each loop of programs/span_loops.c is.
LOOPS = {
    "stays": "enter and exit",
    "scopes": "create, enter, exit and close",
    "calls": "call of a library function",
}
LOOKS = ["no context", "a context", "a context with ids"]


def variants():
    """The spans' own cost: no other profile takes part."""
    common = {"SPANPROF_CPU": "no", "SPANPROF_SPANS": "rand_r"}
    return [
        Variant("wall", Paths.agent(),
                {**common, "SPANPROF_HEAP": "yes", "SPANPROF_SPAN_CPU": "off"},
                leaves="*.spans.pb.gz"),
        Variant("wall-cpu", Paths.agent(),
                {**common, "SPANPROF_HEAP": "yes", "SPANPROF_SPAN_CPU": "exact"},
                leaves="*.spans.pb.gz"),
    ]


class Number:
    """What a program printed, a number or some."""

    def __init__(self, result):
        self.values = [float(word) for word in result.output.split()]
        self.errors = result.errors
        self.lost_samples = result.lost_samples

    @property
    def ns(self):
        return self.values[0]


def interval_text(values):
    middle, low, high = median_interval(values)
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def measure_loops(rounds, chosen, holds):
    found = Measurements().take(
        list(LOOPS), [BARE] + chosen, rounds,
        lambda loop, variant: Number(run([Paths.work("span_loops"), loop, str(COUNT)],
                                         variant)))
    print(f"\n{'ns over bare, median and 95 % interval':34}"
          + "".join(f"{v.name:>26}" for v in chosen))
    for loop, what in LOOPS.items():
        cells = [found.differences(loop, v.name, "bare", lambda r: r.ns) for v in chosen]
        print(f"{what:34}" + "".join(f"{interval_text(c) if c else '-':>26}"
                                     for c in cells))
    found.print_failures()
    found.write_csv(Paths.work("spans.csv"), ["ns"], lambda r: [r.ns])
    holds.at_most("enter and exit, exact wall and allocations",
                  found.differences("stays", "wall", "bare", lambda r: r.ns), 60, "ns")
    holds.at_most("call of a library function as a span, all in",
                  found.differences("calls", "wall", "bare", lambda r: r.ns), 130, "ns")


def measure_looks(rounds, holds):
    """In the handler: at what an OpenTelemetry library says of the thread."""
    found = Measurements().take(["context"], [BARE], rounds,
                                lambda _, v: Number(run([Paths.work("otel_context")], v)))
    print("\nns for the handler's look at otel_thread_ctx_v1, median and 95 % interval")
    for i, what in enumerate(LOOKS):
        values = found.all("context", "bare", lambda r, i=i: r.values[i])
        if values:
            print(f"{what:34}{interval_text(values):>26}")
            if i:
                holds.at_most(f"otel_thread_ctx_v1 in the handler: {what}", values, 20, "ns")
    found.print_failures()


def spans_told(errors):
    """Of the line at the end: how many spans, and all losses it tells of."""
    spans = re.search(r"(\d+) spans,", errors)
    if not spans:
        raise Failed("no spans told of: " + errors)
    return int(spans.group(1)), re.findall(r"[^.;,]*\blost\b[^.;,]*", errors)


def measure_rate(rounds, chosen, holds):
    found = Measurements().take(
        ["rate"], chosen, rounds,
        lambda _, variant: Number(run([Paths.work("span_loops"), "rate",
                                       str(SPANS_PER_SECOND), str(RATE_SECONDS)], variant)))
    print(f"\n{SPANS_PER_SECOND} spans a second by 2 threads, {RATE_SECONDS} s")
    for variant in chosen:
        for result in found.all("rate", variant.name, lambda r: r):
            made, seconds = result.values
            told, losses = spans_told(result.errors)
            print(f"{variant.name:12}{made / seconds / 1e6:7.3f} million/s"
                  f" {made:12.0f} made {told:12} told {'; '.join(losses)}")
        holds.at_least(f"spans at a million a second that are told of, {variant.name}",
                       found.all("rate", variant.name,
                                 lambda r: spans_told(r.errors)[0] / r.values[0]), 1)
    found.print_failures()


def names():
    return ["loops", "looks", "rate"]


def build_programs():
    build([os.path.join(PROGRAMS, "span_loops.c")], Paths.work("span_loops"),
          "-I" + os.path.join(ROOT, "agent"), "-pthread")
    includes = ["-I" + folder for tree in ("agent", "reporters", "tests/unit", "tests/support")
                for folder, _, _ in os.walk(os.path.join(ROOT, tree))]
    build([os.path.join(PROGRAMS, "otel_context.c"),
           *(os.path.join(ROOT, "agent", "spans", name)
             for name in ("span_otel_thread.c", "otel_key_names.c")),
           os.path.join(Paths.build, "libsp_all.a")], Paths.work("otel_context"),
          "-D_GNU_SOURCE", *includes, "-lcheck", "-lsubunit", "-lrt", "-lm", "-lprotobuf-c",
          "-lz", "-liberty", "-pthread", "-ldl")


def run_suite(settings):
    build_programs()
    chosen = settings.choose_variants(variants())
    holds = Holds()
    print("\n=== spans ===")
    if settings.wants("loops"):
        measure_loops(settings.rounds(ROUNDS), chosen, holds)
    if settings.wants("looks"):
        measure_looks(settings.rounds(ROUNDS), holds)
    if settings.wants("rate"):
        measure_rate(settings.rounds(RATE_ROUNDS), chosen, holds)
    holds.print("what is held")
