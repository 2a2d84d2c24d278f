/*
 * shares CPU_MS: four functions take 40, 30, 20 and 10 % of the CPU in bursts of
 * 30 to 70 ms, in random order, so that no rhythm of theirs meets that of the
 * sampling. Tells the CPU each of them really used.
 */
#include "burn.h"

NOINLINE int64_t share_40(int64_t cpu_ns);
NOINLINE int64_t share_30(int64_t cpu_ns);
NOINLINE int64_t share_20(int64_t cpu_ns);
NOINLINE int64_t share_10(int64_t cpu_ns);

int64_t share_40(int64_t cpu_ns)
{
	return burn_here(cpu_ns);
}

int64_t share_30(int64_t cpu_ns)
{
	return burn_here(cpu_ns);
}

int64_t share_20(int64_t cpu_ns)
{
	return burn_here(cpu_ns);
}

int64_t share_10(int64_t cpu_ns)
{
	return burn_here(cpu_ns);
}

int main(int argc, char **argv)
{
	int64_t left_ns = number_argument(argc, argv, 1, 5000) * NS_PER_MS;
	int64_t used_ns[4] = {0};

	srandom((unsigned)clock_ns(CLOCK_MONOTONIC));
	while (left_ns > 0) {
		int64_t burst_ns = (30 + random() % 41) * NS_PER_MS;
		long draw = random() % 10;

		if (draw < 4)
			used_ns[0] += share_40(burst_ns);
		else if (draw < 7)
			used_ns[1] += share_30(burst_ns);
		else if (draw < 9)
			used_ns[2] += share_20(burst_ns);
		else
			used_ns[3] += share_10(burst_ns);
		left_ns -= burst_ns;
	}
	tell("share_40", used_ns[0]);
	tell("share_30", used_ns[1]);
	tell("share_20", used_ns[2]);
	tell("share_10", used_ns[3]);
	tell("self_cpu_ns", process_cpu_ns());
	return 0;
}
