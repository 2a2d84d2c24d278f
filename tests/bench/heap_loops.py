"""The heap profile on small loops (programs/heap_pairs.c): ns an operation."""

import statistics

from harness import BARE, Failed, Measurements, Paths, Variant, library, median_interval, \
    null_variant, run

ROUNDS = 24

COSTS = [
    "pair size=16", "pair size=256", "pair size=4096", "pair size=65536",
    "pair size=16 threads=2", "pair size=256 threads=2", "pair size=4096 threads=2",
    "pair size=65536 threads=2",
    "replace", "replace threads=2", "cross size=64", "realloc", "pair size=64 depth=50",
]

# One process runs them all, after its live samples.
UNSAMPLED = [f"pair size={size}" for size in (16, 64, 256, 1024, 4096)] + [
    "replace size=64 blocks=2000"]
# Live samples, and what makes so many: blocks of four times the rate, 98 % of which are
# sampled, at a rate that leaves the loop's own blocks unsampled.
LIVE_SAMPLES = {
    0: "live=0",
    2000: f"live=2040 live_size={256 << 20} settle_ms=300",
    20000: f"live=20400 live_size={256 << 20} settle_ms=300",
}
LIVE_RATE = "64M"

# 16 times the rate: none of them escapes. The pauses leave time to tidy up, as there
# is in programs.
SAMPLED = "pair size=65536 pause_us=5000"
SAMPLED_RATE_BYTES = 4096
DEPTHS = [10, 20, 50, 100]


class Loop:
    """What heap_pairs printed of one mode: ns an operation."""

    def __init__(self, line, lost_samples=0):
        words = line.split()
        if len(words) != 2:
            raise Failed("heap_pairs printed " + line)
        self.thread_ns = float(words[0])   # CPU time of the loop's threads
        self.process_ns = float(words[1])  # and of the whole process
        self.lost_samples = lost_samples


class Loops:
    """What it printed of several."""

    def __init__(self, result):
        self.loops = [Loop(line) for line in result.output.splitlines()]
        self.lost_samples = result.lost_samples


def run_loops(text, variant):
    return run([Paths.work("heap_pairs")] + text.split(), variant)


def loop(text, variant):
    result = run_loops(text, variant)
    return Loop(result.output, result.lost_samples)


def of_threads(result):
    return result.thread_ns


def of_process(result):
    return result.process_ns


def spanprof_heap(name, environment=None, every=1):
    """The heap profile alone."""
    return Variant(name, Paths.agent(), {"SPANPROF_CPU": "no", **(environment or {})},
                   every=every, leaves="*.heap.pb.gz")


def interval_text(values, digits=2):
    middle, low, high = median_interval(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def write(found, name):
    found.print_failures()
    found.write_csv(Paths.work(name), ["thread_ns", "process_ns"],
                    lambda r: [r.thread_ns, r.process_ns])


def measure_costs(rounds, chosen, holds):
    """All variants at their defaults, sampled blocks included."""
    found = Measurements().take(COSTS, [BARE] + chosen, rounds, loop)
    print("\nns an operation: bare and null; the others over null, median and 95 % interval")
    for case in COSTS:
        for name in ("bare", "null"):
            values = found.all(case, name, of_threads)
            if values:
                print(f"{case:28}{name:20}{interval_text(values)}")
        for variant in chosen:
            values = found.differences(case, variant.name, "null", of_threads)
            if values and variant.name != "null":
                print(f"{case:28}{variant.name:20}{interval_text(values):>28}")
    print_cost_table(found, chosen)
    write(found, "heap_pairs.csv")
    for case in COSTS:
        if case.startswith("pair") and "depth" not in case:
            holds.at_most(f"{case}: allocator=jemalloc over bare",
                          found.ratios(case, "spanprof-jemalloc", "bare", of_threads), 0.8)


def print_cost_table(found, chosen):
    names = ["bare"] + [v.name for v in chosen]
    print("\nns an operation, medians")
    print(f"{'':28}" + "".join(f"{name:>18}" for name in names))
    for case in COSTS:
        cells = [found.all(case, name, of_threads) for name in names]
        print(f"{case:28}" + "".join(f"{statistics.median(cell):18.1f}" if cell
                                     else f"{'-':>18}" for cell in cells))


def measure_unsampled(rounds, holds):
    """What a pair costs that is not sampled, while others are live."""
    lines = {f"{live} live": f"{keep} " + " , ".join(UNSAMPLED)
             for live, keep in LIVE_SAMPLES.items()}
    ours = spanprof_heap("spanprof", {"SPANPROF_HEAP_RATE": LIVE_RATE})
    found = Measurements().take(list(lines), [null_variant(), ours], rounds,
                                lambda what, v: Loops(run_loops(lines[what], v)))
    for what in lines:
        for i, case in enumerate(UNSAMPLED):
            def case_ns(result, i=i):
                return result.loops[i].thread_ns
            holds.at_most(f"unsampled {case}, {what}",
                          found.differences(what, "spanprof", "null", case_ns), 3, "ns")
    found.print_failures()
    found.write_csv(Paths.work("heap_unsampled.csv"), UNSAMPLED,
                    lambda r: [l.thread_ns for l in r.loops])


def sampling_variants():
    """[(without sampling, with)]: each allocator is its own base."""
    rate = str(SAMPLED_RATE_BYTES)
    pairs = [(null_variant(), spanprof_heap("spanprof", {"SPANPROF_HEAP_RATE": rate}))]
    tcmalloc, jemalloc = library("libtcmalloc.so.4"), library("libjemalloc.so.2")
    if tcmalloc:
        pairs.append((Variant("tcmalloc", tcmalloc, {"TCMALLOC_SAMPLE_PARAMETER": "0"}),
                      Variant("gperftools", tcmalloc, {"TCMALLOC_SAMPLE_PARAMETER": rate})))
    if jemalloc:
        shift = SAMPLED_RATE_BYTES.bit_length() - 1
        pairs.append((Variant("jemalloc-plain", jemalloc, {"MALLOC_CONF": "prof:false"}),
                      Variant("jemalloc", jemalloc,
                              {"MALLOC_CONF": f"prof:true,lg_prof_sample:{shift},"
                                              "prof_accum:false"})))
    return pairs


def measure_samples(rounds, holds):
    pairs = sampling_variants()
    cases = {depth: f"{SAMPLED} depth={depth}" for depth in DEPTHS}
    found = Measurements().take(list(cases.values()), [v for pair in pairs for v in pair],
                                rounds, loop)
    print("\nus a sample over the same allocator without sampling (allocated and freed):"
          " median and 95 % interval")
    print(f"{'frames':8}{'variant':14}{'of the thread':28}{'of the process':28}")
    for depth, case in cases.items():
        for base, sampling in pairs:
            columns = [found.differences(case, sampling.name, base.name, key)
                       for key in (of_threads, of_process)]
            if columns[0]:
                texts = [interval_text([ns / 1e3 for ns in column]) for column in columns]
                print(f"{depth:<8}{sampling.name:14}{texts[0]:28}{texts[1]:28}")
    write(found, "heap_samples.csv")
    holds.at_most("a sample at 50 frames",
                  [ns / 1e3 for ns in found.differences(cases[50], "spanprof", "null",
                                                        of_threads)], 1.5, "us")


def measure_loops(settings, chosen, holds):
    rounds = settings.rounds(ROUNDS)
    if settings.wants("pairs"):
        measure_costs(rounds, chosen, holds)
    if settings.wants("unsampled"):
        measure_unsampled(rounds, holds)
    if settings.wants("samples"):
        measure_samples(rounds, holds)
