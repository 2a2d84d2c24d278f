"""The heap profile on small loops (programs/heap_pairs.c): ns an operation."""

import statistics

from harness import BARE, Failed, Measurements, Paths, Variant, library, median_interval, \
    null_variant, run

ROUNDS = 30

COSTS = [
    "pair size=16", "pair size=256", "pair size=4096", "pair size=65536",
    "pair size=16 threads=2", "pair size=256 threads=2", "pair size=4096 threads=2",
    "pair size=65536 threads=2",
    "replace", "replace threads=2", "cross size=64", "realloc", "pair size=64 depth=50",
]

UNSAMPLED = [f"pair size={size}" for size in (16, 64, 256, 1024, 4096)] + ["replace"]
# Live samples, and what makes so many: blocks of four times the rate, 98 % of which are
# sampled, at a rate that leaves the loop's own blocks unsampled.
LIVE_SAMPLES = {
    0: (0, "1G"),
    2000: (2040, "64M"),
    20000: (20400, "64M"),
}
LIVE_BLOCK_BYTES = 256 << 20

# 16 times the rate: none of them escapes. The pauses leave time to tidy up, as there
# is in programs.
SAMPLED = "pair size=65536 pause_us=5000"
SAMPLED_RATE_BYTES = 4096
DEPTHS = [10, 20, 50, 100]


class Loop:
    """What heap_pairs printed: ns an operation, of its threads and of its process."""

    def __init__(self, result):
        words = result.output.split()
        if len(words) != 2:
            raise Failed("heap_pairs printed " + " ".join(words))
        self.thread_ns = float(words[0])
        self.process_ns = float(words[1])
        self.lost_samples = result.lost_samples


def loop(text, variant):
    return Loop(run([Paths.work("heap_pairs")] + text.split(), variant))


def of_threads(result):
    return result.thread_ns


def of_process(result):
    return result.process_ns


def spanprof_heap(name, environment=None):
    """The heap profile alone."""
    return Variant(name, Paths.agent(), {"SPANPROF_CPU": "no", **(environment or {})},
                   leaves="*.heap.pb.gz")


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
    found = Measurements()
    for live, (blocks, rate) in LIVE_SAMPLES.items():
        ours = spanprof_heap("spanprof", {"SPANPROF_HEAP_RATE": rate})
        keep = f" live={blocks} live_size={LIVE_BLOCK_BYTES}" if blocks else ""
        found.take([case + keep for case in UNSAMPLED], [null_variant(), ours], rounds, loop)
        for case in UNSAMPLED:
            values = found.differences(case + keep, "spanprof", "null", of_threads)
            holds.at_most(f"unsampled {case}, {live} live samples", values, 3, "ns")
    write(found, "heap_unsampled.csv")


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
