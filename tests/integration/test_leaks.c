/*
 * What a program forgot is listed at its end, by whoever allocated it, and only if
 * somebody asked.
 */
#include "heap_profile.h"
#include "victim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As the victim has them. */
#define LARGE_BYTES (5 << 20)
#define THREAD_BYTES (2 << 20)
#define SMALL_BYTES ((1000 - 5) * 100)

static struct victim *run_with(const char *heap_rate)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"leaks", NULL},
		.environment = (const char *const[]){"SPANPROF_LEAKS=1", heap_rate, NULL},
	};
	struct victim *victim = victim_run(&setup), *bare = victim_run_bare("leaks");

	victim_assert_same(bare, victim);
	victim_assert_clean(victim);
	victim_free(bare);
	return victim;
}

/* Where a line of the list begins that holds both texts; NULL if there is none. */
static const char *find_line(const struct victim *victim, const char *one,
			     const char *other)
{
	const char *line = victim->agent_lines;

	for (; *line != '\0'; line += strcspn(line, "\n") + 1) {
		size_t line_bytes = strcspn(line, "\n");
		const char *found = strstr(line, one);
		const char *other_found = strstr(line, other);

		if (strstr(line, "]: leaks: ") && found && other_found &&
		    found < line + line_bytes && other_found < line + line_bytes)
			return line;
		if (line[line_bytes] == '\0')
			break;
	}
	return NULL;
}

START_TEST(all_of_it_is_listed_where_every_block_is_recorded)
{
	struct victim *victim = run_with("SPANPROF_HEAP_RATE=1");
	const char *large =
		find_line(victim, "5.0 MiB in 5 blocks: ", "leak_large < main");
	const char *thread = find_line(victim, "2.0 MiB in 1 block: ", "leak_in_thread");
	const char *small =
		find_line(victim, "97.2 KiB in 995 blocks: ", "leak_small < main");
	struct heap_profile *profile = heap_profile_of(victim, "leaks");

	ck_assert_msg(large && thread && small, "said: %s", victim->agent_lines);
	ck_assert_msg(large < thread && thread < small, "said: %s", victim->agent_lines);
	ck_assert_ptr_nonnull(
		find_line(victim, " still in use (exact), from ", "7.1 MiB"));
	ck_assert_ptr_null(find_line(victim, "free_again", ""));
	ck_assert_ptr_nonnull(strstr(victim->agent_lines, "leaks}.pb.gz: "));
	ck_assert_int_eq(heap_profile_with(profile, "leak_large").inuse_bytes,
			 LARGE_BYTES);
	ck_assert_int_eq(heap_profile_with(profile, "leak_in_thread").inuse_bytes,
			 THREAD_BYTES);
	ck_assert_int_eq(heap_profile_with(profile, "leak_small").inuse_bytes,
			 SMALL_BYTES);
	ck_assert_int_eq(heap_profile_with(profile, "free_again").inuse_bytes, 0);
	heap_profile_free(profile);
	victim_free(victim);
}
END_TEST

START_TEST(large_ones_are_listed_where_blocks_are_sampled)
{
	struct victim *victim = run_with("SPANPROF_HEAP_RATE=64K");

	ck_assert_msg(find_line(victim, " MiB in ", "leak_large < main") != NULL,
		      "said: %s", victim->agent_lines);
	ck_assert_msg(find_line(victim, "still in use (estimate)", " MiB in ") != NULL,
		      "said: %s", victim->agent_lines);
	victim_free(victim);
}
END_TEST

START_TEST(nobody_who_did_not_ask_is_told)
{
	struct victim *victim = victim_run_agent("leaks");

	victim_assert_success(victim);
	ck_assert_ptr_null(strstr(victim->agent_lines, "]: leaks: "));
	ck_assert_uint_eq(victim_count(victim->profiles, "*.leaks.pb.gz"), 0);
	ck_assert_uint_eq(victim_count(victim->profiles, "*.heap.pb.gz"), 1);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, all_of_it_is_listed_where_every_block_is_recorded);
	tcase_add_test(tcase, large_ones_are_listed_where_blocks_are_sampled);
	tcase_add_test(tcase, nobody_who_did_not_ask_is_told);
}

int main(void)
{
	return victim_main("leaks", add);
}
