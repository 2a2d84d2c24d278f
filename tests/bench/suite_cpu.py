"""The CPU profile: its cost on real programs, and of start-up."""

import os
import shutil
import statistics
import subprocess
import tempfile

from harness import BARE, Holds, Paths, ROOT, Variant, build, build_null, library, \
    median_interval, null_variant
from real_programs import cpu_programs, measure_programs, write_cpu_inputs
from start_up import measure_start_up

ROUNDS = 10


def perf_works():
    if shutil.which("perf") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(["perf", "record", "-q", "-F", "99", "-g", "-o",
                               os.path.join(folder, "perf.data"), "--", "true"],
                              capture_output=True).returncode == 0


def variants():
    """What is there of them, and a line for each that is not."""
    chosen = [null_variant(), Variant("spanprof", Paths.agent(), {"SPANPROF_HEAP": "no"},
                                        leaves="*.cpu.pb.gz")]
    missing = []
    gperftools = library("libprofiler.so.0")
    if gperftools:
        chosen.append(Variant("gperftools", gperftools,
                              {"CPUPROFILE": "{folder}/gperftools.prof",
                               "CPUPROFILE_FREQUENCY": "99"}))
    else:
        missing.append("gperftools: no libprofiler.so.0")
    if perf_works():
        chosen.append(Variant("perf", prefix=["perf", "record", "-q", "-F", "99", "-g", "-o",
                                              "{folder}/perf.data", "--"]))
    else:
        missing.append("perf: perf record does not work here")
    return chosen, missing


def cpu(result):
    return result.cpu_s


def print_ratios(found, apart, programs, chosen):
    print(f"\n{'program':12} {'variant':14} {'CPU / bare':>10} {'95 % interval':>19}"
          f" {'wall / bare':>12}")
    for program in programs:
        for variant in chosen:
            ratios = found.ratios(program, variant.name, "bare", cpu)
            if not ratios:
                continue
            walls = apart.ratios(program, variant.name, "bare", lambda r: r.wall_s)
            print(f"{program:12} {variant.name:14} {interval_cell(ratios)}"
                  f" {statistics.median(walls):12.4f}")
    for variant in chosen:
        means = found.geometric_means(programs, variant.name, "bare", cpu)
        if means:
            print(f"{'all':12} {variant.name:14} {interval_cell(means)}   (geometric mean)")
    print("(under 6 rounds the interval is the whole range)")


def interval_cell(ratios):
    middle, low, high = median_interval(ratios)
    return f"{middle:10.4f} {low:9.4f} to {high:6.4f}"


def hold_programs(found, programs, holds):
    for program in programs:
        holds.at_most(f"{program}: CPU profile, over bare",
                      found.ratios(program, "spanprof", "bare", cpu), 1.01)
    holds.at_most("geometric mean: CPU profile, over bare",
                  found.geometric_means(programs, "spanprof", "bare", cpu), 1.01)
    holds.at_most("geometric mean: CPU profile, over null",
                  found.geometric_means(programs, "spanprof", "null", cpu), 1.01)
    for program in programs:
        holds.at_most(f"{program}: the profiler's own account of its CPU time",
                      [p for p in found.all(program, "spanprof", lambda r: r.own_percent)
                       if p is not None], 0.5, "%")


def run_micro_benchmarks():
    """tests/bench/bench_*.c print their own tables."""
    includes = ["-I" + folder for tree in ("agent", "proto", "reporters", "tests/support")
                for folder, _, _ in os.walk(os.path.join(ROOT, tree))]
    folder = os.path.join(ROOT, "tests", "bench")
    for name in sorted(n[:-2] for n in os.listdir(folder)
                       if n.startswith("bench_") and n.endswith(".c")):
        program = Paths.work(name)
        build([os.path.join(folder, name + ".c"), os.path.join(Paths.build, "libsp_all.a")],
              program, "-D_GNU_SOURCE", *includes, "-I" + os.path.join(Paths.build, "proto"),
              "-lprotobuf-c", "-lz", "-liberty", "-pthread", "-ldl")
        print(f"\n{name}", flush=True)
        subprocess.run([program], stdin=subprocess.DEVNULL)


def names():
    return [program.name for program in cpu_programs()] + ["start-up", "stacks"]


def run_suite(settings):
    write_cpu_inputs()
    build_null()
    chosen, missing = variants()
    chosen = settings.choose_variants(chosen)
    print("\n=== the CPU profile at its defaults ===")
    for line in missing:
        print(f"left out: {line}")
    programs = {p.name: p for p in settings.choose(cpu_programs())}
    rounds = settings.rounds(ROUNDS)
    found, apart = measure_programs(programs, [BARE] + chosen, rounds)
    holds = Holds()
    if programs:
        print_ratios(found, apart, programs, chosen)
        found.print_failures()
        hold_programs(found, programs, holds)
    if settings.wants("start-up"):
        measure_start_up(chosen, rounds, holds)
    if settings.wants("stacks"):
        run_micro_benchmarks()
    holds.print("what is held")
    found.write_csv(Paths.work("cpu.csv"), ["cpu_s"], lambda r: [r.cpu_s])
    apart.write_csv(Paths.work("cpu_wall.csv"), ["cpu_s", "wall_s"],
                    lambda r: [r.cpu_s, r.wall_s])
