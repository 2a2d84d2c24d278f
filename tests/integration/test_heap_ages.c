/*
 * What became of blocks, where every block is sampled: how many were freed, and how
 * soon, by whom, and what is left, to the block.
 */
#include "heap_profile.h"
#include "victim.h"

/* As the victim has them. */
#define BLOCKS (4 * 1000)
#define CHAIN 10
#define WHILE_NS 50e6
/* Sum of the sizes of a chain, all but the first block. */
#define CHAIN_BYTES (10 * CHAIN + 1000 * CHAIN * (CHAIN + 1) / 2)

static struct victim *run(void)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"heap_ages", NULL},
		.environment = (const char *const[]){"SPANPROF_HEAP_RATE=1",
						     "SPANPROF_LEAKS=1", NULL},
	};
	struct victim *victim = victim_run_both(&setup);

	ck_assert_ptr_nonnull(victim);
	return victim;
}

static const struct {
	const char *site;
	int64_t freed, freed_bytes, crossing, inuse, inuse_bytes;
} sites[] = {
	{"age_short", BLOCKS, BLOCKS * 100, 0, 0, 0},
	{"age_long", BLOCKS, BLOCKS * 200, 0, 0, 0},
	{"age_crossing", BLOCKS, BLOCKS * 300, BLOCKS, 0, 0},
	{"age_chain_begin", BLOCKS, BLOCKS * 10, 0, 0, 0},
	{"age_chain_link", BLOCKS *CHAIN - BLOCKS / 4,
	 (int64_t)BLOCKS *CHAIN_BYTES - (int64_t)BLOCKS / 4 * (10 + 1000 * CHAIN), 0,
	 BLOCKS / 4, (int64_t)BLOCKS / 4 * (10 + 1000 * CHAIN)},
	{"age_kept", 0, 0, 0, BLOCKS, BLOCKS * 400},
};

START_TEST(fates_are_told_to_the_block)
{
	struct victim *victim = run();
	struct heap_profile *heap = heap_profile_of(victim, "heap");
	struct heap_profile *lifetimes = heap_profile_of(victim, "lifetimes");
	struct heap_profile *leaks = heap_profile_of(victim, "leaks");

	for (size_t i = 0; i < sizeof(sites) / sizeof(sites[0]); i++) {
		const char *site = sites[i].site;
		const struct heap_sums expected = {
			.alloc_objects = sites[i].freed + sites[i].inuse,
			.alloc_bytes = sites[i].freed_bytes + sites[i].inuse_bytes,
			.inuse_objects = sites[i].inuse,
			.inuse_bytes = sites[i].inuse_bytes,
		};

		ck_assert_int_eq(heap_profile_column(lifetimes, site, "freed_objects"),
				 sites[i].freed);
		ck_assert_int_eq(heap_profile_column(lifetimes, site, "freed_space"),
				 sites[i].freed_bytes);
		ck_assert_int_eq(
			heap_profile_column(lifetimes, site, "cross_thread_objects"),
			sites[i].crossing);
		heap_profile_assert_site(heap, site, &expected);
		ck_assert_int_eq(heap_profile_with(leaks, site).inuse_bytes,
				 sites[i].inuse_bytes);
	}
	heap_profile_free(heap);
	heap_profile_free(lifetimes);
	heap_profile_free(leaks);
	victim_free(victim);
}
END_TEST

/* A thread may be kept waiting at any moment, so few of the short-lived are not. */
START_TEST(ages_are_told)
{
	struct victim *victim = run();
	struct heap_profile *profile = heap_profile_of(victim, "lifetimes");
	double age_ns =
		(double)heap_profile_column(profile, "age_long", "total_age") / BLOCKS;

	ck_assert_int_ge(heap_profile_column(profile, "age_short", "short_lived_objects"),
			 BLOCKS * 99 / 100);
	ck_assert_int_eq(heap_profile_column(profile, "age_long", "short_lived_objects"),
			 0);
	ck_assert_int_eq(
		heap_profile_column(profile, "age_crossing", "short_lived_space"), 0);
	ck_assert_msg(age_ns >= WHILE_NS * 0.999, "%.0f ns", age_ns);
	heap_profile_free(profile);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, fates_are_told_to_the_block);
	tcase_add_test(tcase, ages_are_told);
}

int main(void)
{
	return victim_main("heap_ages", add);
}
