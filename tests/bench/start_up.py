"""What a process costs that does nothing."""

from harness import BARE, Measurements, median_interval, run

# For each of a suite's rounds.
RUNS_A_ROUND = 20


def measure_start_up(chosen, rounds, holds=None):
    variants = [v for v in chosen if not v.prefix and not v.reader]
    found = Measurements().take(["true"], [BARE] + variants, RUNS_A_ROUND * rounds,
                                lambda name, variant: run([name], variant))
    print(f"\nstart-up of true, {RUNS_A_ROUND * rounds} times: ms over bare, median and"
          " 95 % interval")
    for variant in variants:
        texts = []
        for key in (lambda r: r.wall_s * 1e3, lambda r: r.cpu_s * 1e3):
            values = found.differences("true", variant.name, "bare", key)
            if values:
                middle, low, high = median_interval(values)
                texts.append(f"{middle:7.2f} ({low:.2f} to {high:.2f})")
        if texts:
            print(f"{variant.name:18} wall {texts[0]:26} CPU {texts[1]}")
        if holds and variant.name == "spanprof-all":
            holds.at_most("start-up of true, CPU and heap, over bare",
                          found.differences("true", variant.name, "bare",
                                            lambda r: r.wall_s * 1e3), 2, "ms")
    found.print_failures()
