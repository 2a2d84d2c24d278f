"""The heap profile: its cost on real programs, beside other heap profilers."""

import os
import statistics

from harness import BARE, Failed, Holds, PROGRAMS, Paths, Variant, build, build_null, \
    library, median_interval, null_variant, run
from heap_loops import measure_loops, spanprof_heap
from real_programs import heap_programs, measure_programs, write_heap_inputs
from start_up import measure_start_up

ROUNDS = 12
# What is compared, and what is slow, takes part in fewer rounds than what is held.
PEERS_EVERY = 2
SLOW_EVERY = 4
HEAPTRACK_INTERPRET = "/usr/lib/heaptrack/libexec/heaptrack_interpret"
# On what cc1plus writes it grows until the machine has nothing left.
INTERPRET = f"(ulimit -v {4 << 20}; exec {HEAPTRACK_INTERPRET})"


def variants():
    """What is there of them, and a line for each that is not."""
    chosen = [null_variant(), spanprof_heap("spanprof"),
              Variant("spanprof-all", Paths.agent(), every=PEERS_EVERY,
                      leaves="*.heap.pb.gz")]
    missing = []
    with_jemalloc = spanprof_heap("spanprof-jemalloc", {"SPANPROF_ALLOCATOR": "jemalloc"},
                                  PEERS_EVERY)
    if usable_bytes(with_jemalloc) != usable_bytes(BARE):
        chosen.append(with_jemalloc)
    else:
        missing.append("spanprof-jemalloc: the option changes no block's size, so the"
                       " program's allocator still serves it")
    tcmalloc = library("libtcmalloc.so.4")
    if tcmalloc:
        chosen.append(Variant("gperftools", tcmalloc,
                              {"TCMALLOC_SAMPLE_PARAMETER": "524288"}, every=PEERS_EVERY))
    else:
        missing.append("gperftools: no libtcmalloc.so.4")
    jemalloc = library("libjemalloc.so.2")
    if jemalloc:
        chosen.append(Variant("jemalloc", jemalloc,
                              {"MALLOC_CONF": "prof:true,lg_prof_sample:19,prof_accum:false,"
                                              "prof_prefix:{folder}/jeprof"},
                              every=PEERS_EVERY))
    else:
        missing.append("jemalloc: no libjemalloc.so.2")
    chosen.append(spanprof_heap("spanprof-rate1", {"SPANPROF_HEAP_RATE": "1"}, SLOW_EVERY))
    heaptrack = "/usr/lib/heaptrack/libheaptrack_preload.so"
    if os.path.exists(heaptrack) and os.path.exists(HEAPTRACK_INTERPRET):
        chosen.append(Variant("heaptrack", heaptrack,
                              {"DUMP_HEAPTRACK_OUTPUT": "{folder}/fifo"}, every=SLOW_EVERY,
                              reader=INTERPRET + " | gzip -c"))
    else:
        missing.append("heaptrack: no " + heaptrack)
    return chosen, missing


def usable_bytes(variant):
    """Of a block of 100 bytes: tells allocators apart."""
    try:
        return int(run([Paths.work("heap_pairs"), "usable"], variant).output)
    except Failed:
        return None


def cpu(result):
    return result.cpu_s


def cpu_with_reader(result):
    return None if result.reader_cpu_s is None else result.cpu_s + result.reader_cpu_s


def print_dead_readers(found, programs):
    for program in programs:
        if None in found.all(program.name, "heaptrack", lambda r: r.reader_cpu_s):
            print(f"heaptrack's interpreter failed on what {program.name} wrote; the numbers"
                  " are of its recording alone")


def print_table(found, programs, chosen):
    """CPU over bare, medians: the rows are programs."""
    names = [v.name for v in chosen]
    print("\nCPU time over bare, medians")
    print(f"{'':14}{'bare, s':>9}" + "".join(f"{name:>18}" for name in names))
    for program in programs:
        bare = found.all(program.name, "bare", cpu)
        if not bare:
            continue
        cells = [found.ratios(program.name, name, "bare", cpu) for name in names]
        print(f"{program.name:14}{statistics.median(bare):9.3f}"
              + "".join(f"{statistics.median(cell):18.3f}" if cell else f"{'-':>18}"
                        for cell in cells))


def print_intervals(found, apart, programs, chosen):
    print(f"\n{'program':14}{'variant':20}{'CPU / bare':>10}   {'95 % interval':18}"
          f"{'CPU / null':>10}   {'95 % interval':18}{'wall / bare':>11}")
    for program in programs:
        for variant in chosen:
            over_bare = found.ratios(program.name, variant.name, "bare", cpu)
            over_null = found.ratios(program.name, variant.name, "null", cpu)
            walls = apart.ratios(program.name, variant.name, "bare", lambda r: r.wall_s)
            if not over_bare:
                continue
            line = f"{program.name:14}{variant.name:20}" + ratio_cell(over_bare)
            line += ratio_cell(over_null) if over_null else " " * 31
            print(line + f"{statistics.median(walls):11.4f}")


def ratio_cell(values):
    middle, low, high = median_interval(values)
    return f"{middle:10.4f}   {f'{low:.4f} to {high:.4f}':18}"


def hold_programs(found, programs, holds):
    names = [program.name for program in programs]
    for program in programs:
        holds.at_most(f"{program.name}: heap, over null",
                      found.ratios(program.name, "spanprof", "null", cpu), 1.01)
    holds.at_most("geometric mean: heap, over null",
                  found.geometric_means(names, "spanprof", "null", cpu), 1.01)
    holds.at_most("geometric mean: heap, over bare",
                  found.geometric_means(names, "spanprof", "bare", cpu), 1.02)
    holds.at_most("geometric mean: CPU and heap, over bare",
                  found.geometric_means(names, "spanprof-all", "bare", cpu), 1.02)
    for program in programs:
        ours = found.pairs(program.name, "spanprof-rate1", "bare", cpu)
        for what, key in (("heaptrack", cpu_with_reader), ("its recording alone", cpu)):
            theirs = found.pairs(program.name, "heaptrack", "bare", key)
            holds.at_least(f"{program.name}: added CPU, {what} over rate 1",
                           [(theirs[n][0] - theirs[n][1]) / (ours[n][0] - ours[n][1])
                            for n in theirs if n in ours and ours[n][0] > ours[n][1]], 3)


def measure_heap_programs(settings, chosen, holds):
    programs = settings.choose(heap_programs())
    if not programs:
        return
    fixed = [p.name for p in programs if not p.is_position_independent]
    print("non-PIE: " + (" ".join(fixed) or "none"), flush=True)
    by_name = {p.name: p for p in programs}
    found, apart = measure_programs(by_name, [BARE] + chosen, settings.rounds(ROUNDS))
    print_intervals(found, apart, programs, chosen)
    print_table(found, programs, chosen)
    found.print_failures()
    print_dead_readers(found, programs)
    hold_programs(found, programs, holds)
    found.write_csv(Paths.work("heap_programs.csv"), ["cpu_s", "reader_cpu_s"],
                    lambda r: [r.cpu_s, r.reader_cpu_s])
    apart.write_csv(Paths.work("heap_wall.csv"), ["cpu_s", "wall_s"],
                    lambda r: [r.cpu_s, r.wall_s])


def names():
    return [program.name for program in heap_programs()] + [
        "pairs", "unsampled", "samples", "start-up"]


def run_suite(settings):
    write_heap_inputs()
    build_null()
    build([os.path.join(PROGRAMS, "heap_pairs.c")], Paths.work("heap_pairs"),
          "-fno-builtin-malloc", "-pthread")
    chosen, missing = variants()
    chosen = settings.choose_variants(chosen)
    holds = Holds()
    print("\n=== the heap profile at its defaults ===")
    for line in missing:
        print(f"left out: {line}")
    measure_loops(settings, chosen, holds)
    measure_heap_programs(settings, chosen, holds)
    if settings.wants("start-up"):
        measure_start_up(chosen, settings.rounds(ROUNDS), holds)
    holds.print("what is held")
