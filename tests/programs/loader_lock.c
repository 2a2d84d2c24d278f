/*
 * loader_lock FOLDER SECONDS: one thread sleeps again and again inside a
 * dl_iterate_phdr callback, which holds the loader's lock; another opens and
 * closes the libraries churn_*.so of FOLDER, calling what they do; two more just
 * burn, and never wait for anything. Tells how far each came, and how often those two
 * waited nevertheless: an agent that waits for the lock stops them.
 */
#include "burn.h"

#include <dlfcn.h>
#include <glob.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

static atomic_bool is_over;
static _Atomic int64_t rounds_sleeper, rounds_churn, rounds_burner, waits_burner;
static glob_t libraries;

NOINLINE void *burner_entry(void *unused);
NOINLINE void *churn_entry(void *unused);
NOINLINE void *sleeper_entry(void *unused);

static int sleep_with_lock(struct dl_phdr_info *info, size_t bytes, void *unused)
{
	(void)info, (void)bytes, (void)unused;
	burn(2 * NS_PER_MS);
	nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL);
	return 1;
}

void *sleeper_entry(void *unused)
{
	while (!is_over) {
		dl_iterate_phdr(sleep_with_lock, NULL);
		rounds_sleeper++;
		burn(NS_PER_MS);
		nanosleep(&(struct timespec){.tv_nsec = 5 * NS_PER_MS}, NULL);
	}
	return unused;
}

void *churn_entry(void *unused)
{
	while (!is_over) {
		for (size_t i = 0; i < libraries.gl_pathc && !is_over; i++) {
			void *library = dlopen(libraries.gl_pathv[i], RTLD_NOW);
			int64_t (*work)(int64_t);

			if (library == NULL) {
				fprintf(stderr, "%s\n", dlerror());
				_exit(4);
			}
			*(void **)&work = dlsym(library, "churn_work");
			work(3 * NS_PER_MS);
			dlclose(library);
			rounds_churn++;
		}
	}
	return unused;
}

void *burner_entry(void *unused)
{
	struct rusage usage;

	while (!is_over) {
		burn(NS_PER_MS);
		rounds_burner++;
	}
	getrusage(RUSAGE_THREAD, &usage);
	waits_burner += usage.ru_nvcsw;
	return unused;
}

int main(int argc, char **argv)
{
	int64_t seconds = number_argument(argc, argv, 2, 3);
	pthread_t ids[4];
	char pattern[4096];

	snprintf(pattern, sizeof(pattern), "%s/churn_*.so", argc > 1 ? argv[1] : ".");
	if (glob(pattern, 0, NULL, &libraries) != 0)
		return 3;
	pthread_create(&ids[0], NULL, sleeper_entry, NULL);
	pthread_create(&ids[1], NULL, churn_entry, NULL);
	pthread_create(&ids[2], NULL, burner_entry, NULL);
	pthread_create(&ids[3], NULL, burner_entry, NULL);
	sleep((unsigned)seconds);
	is_over = true;
	for (int i = 0; i < 4; i++)
		pthread_join(ids[i], NULL);
	tell("rounds_sleeper", rounds_sleeper);
	tell("rounds_churn", rounds_churn);
	tell("rounds_burner", rounds_burner);
	tell("waits_burner", waits_burner);
	tell("self_cpu_ns", process_cpu_ns());
	return 0;
}
