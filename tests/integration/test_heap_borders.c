/*
 * Blocks that cross the border of what the agent can see: allocated by its malloc and
 * freed where it does not look, and the other way round. Programs run as without us,
 * every block being sampled, and what left behind our back is counted.
 */
#include "heap_profile.h"
#include "real_program.h"
#include "victim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A border of heap_borders.c: blocks of ours that it frees and resizes unseen. */
static const struct {
	const char *mode;
	bool is_unseen;
	int times;
} borders[] = {
	{"plain", false, 1},
	{"deepbind", true, 1},
	{"private", true, 2},
};
#define BLOCKS 500

static struct victim *run(const char *mode, bool is_bare)
{
	char plugin[PATH_MAX];
	struct victim_setup setup = {
		.argv = (const char *const[]){"heap_borders", mode, plugin, NULL},
		.environment = (const char *const[]){"SPANPROF_HEAP_RATE=1", NULL},
		.is_bare = is_bare,
	};

	victim_program_path("lib_heap_plugin.so", plugin);
	return victim_run(&setup);
}

START_TEST(border_is_crossed_as_without_us)
{
	const char *mode = borders[_i].mode;
	int64_t blocks = (int64_t)borders[_i].times * BLOCKS;
	struct victim *bare = run(mode, true);
	struct victim *agent = run(mode, false);
	struct heap_profile *profile = heap_profile_of(agent, "heap");
	struct heap_sums first = heap_profile_with(profile, "border_allocate");
	struct heap_sums again = heap_profile_with(profile, "border_again");
	struct heap_sums resized = heap_profile_with(profile, "border_resize");
	double stale = heap_profile_loss(profile, HEAP_LOSS_STALE);

	victim_assert_success(bare);
	victim_assert_same(bare, agent);
	victim_assert_clean(agent);
	ck_assert_int_eq(first.alloc_objects, blocks);
	ck_assert_int_eq(again.alloc_objects, blocks / 2);
	ck_assert_int_eq(again.inuse_objects, 0);
	ck_assert_int_eq(resized.alloc_objects, blocks / 2);
	printf("%s: %lld still said to be in use, %.0f found to be stale\n", mode,
	       (long long)first.inuse_objects, stale);
	if (borders[_i].is_unseen) {
		/* Their addresses came again at once. */
		ck_assert(stale >= (double)blocks / 2 * 0.95);
	} else {
		ck_assert_int_eq(first.inuse_objects, 0);
		ck_assert_int_eq(resized.inuse_objects, blocks / 2 - 1);
		ck_assert(stale == 0);
	}
	heap_profile_free(profile);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

START_TEST(name_space_of_its_own_is_as_without_us)
{
	struct victim *bare = run("dlmopen", true);
	struct victim *agent = run("dlmopen", false);
	struct heap_profile *profile = heap_profile_of(agent, "heap");

	victim_assert_success(bare);
	victim_assert_same(bare, agent);
	victim_assert_clean(agent);
	/* Its allocator is another one, which we are not part of. */
	ck_assert_uint_eq(heap_profile_with(profile, "plugin_work").samples, 0);
	ck_assert_int_eq(heap_profile_with(profile, "border_allocate").alloc_objects, 1);
	heap_profile_free(profile);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

START_TEST(allocator_of_the_program_is_left_alone)
{
	struct victim *bare = victim_run_bare("heap_own");
	struct victim *agent = victim_run_agent("heap_own");

	victim_assert_success(bare);
	victim_assert_same(bare, agent);
	victim_assert_clean(agent);
	victim_free(bare);
	victim_free(agent);
}
END_TEST

static const char *const fence_places[] = {"fence_calloc", "fence_memalign",
					   "fence_aligned_alloc", "fence_posix_memalign",
					   "fence_realloc"};

/* What it calls of itself is none of the program's: each block counts once. */
START_TEST(allocator_that_calls_itself_is_counted_once)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"heap_fence", NULL},
		.environment = (const char *const[]){"SPANPROF_HEAP_RATE=1", NULL},
	};
	struct victim *victim = victim_run_both(&setup);
	struct heap_profile *profile = heap_profile_of(victim, "heap");
	struct heap_account account = heap_profile_account(profile);
	int64_t blocks = victim_number(victim->output, "blocks");
	int64_t kept = victim_number(victim->output, "kept");

	for (size_t i = 0; i < sizeof(fence_places) / sizeof(fence_places[0]); i++)
		heap_profile_assert_site(
			profile, fence_places[i],
			&(struct heap_sums){blocks, blocks * 1000, kept, kept * 1000, 0});
	/* All that there is but for a few of the C library's. */
	ck_assert(account.allocations - 6 * (double)blocks < 10);
	ck_assert(heap_profile_loss(profile, HEAP_LOSS_STALE) == 0);
	heap_profile_free(profile);
	victim_free(victim);
}
END_TEST

/* What Python calls by ctypes is the C library's own malloc and free. */
START_TEST(python_ctypes_is_as_without_us)
{
	struct victim *victim;

	if (!real_program_has_commands(NAMES("python3")))
		return;
	victim = real_program_compare(
		"export SPANPROF_HEAP_RATE=1 PYTHONMALLOC=malloc\n"
		"/usr/bin/python3 -c \"\n"
		"import ctypes\n"
		"c = ctypes.CDLL('libc.so.6')\n"
		"me = ctypes.CDLL(None)\n"
		"for lib in c, me:\n"
		"    for name in 'malloc', 'calloc', 'realloc', 'strdup':\n"
		"        getattr(lib, name).restype = ctypes.c_void_p\n"
		"total = 0\n"
		"for i in range(2000):\n"
		"    for a, b in (c, me), (me, c), (c, c), (me, me):\n"
		"        p = a.malloc(100 + i)\n"
		"        ctypes.memset(p, i & 255, 100 + i)\n"
		"        p = b.realloc(ctypes.c_void_p(p), 200 + i)\n"
		"        total += ctypes.string_at(p, 100 + i).count(bytes([i & 255]))\n"
		"        a.free(ctypes.c_void_p(p))\n"
		"        s = a.strdup(b'x' * (i % 50))\n"
		"        total += len(ctypes.string_at(s))\n"
		"        b.free(ctypes.c_void_p(s))\n"
		"        b.free(ctypes.c_void_p(a.calloc(3, i)))\n"
		"print(total)\"");
	ck_assert_uint_eq(victim_count(victim->profiles, "python3*.heap.pb.gz"), 1);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, border_is_crossed_as_without_us, 0,
			    sizeof(borders) / sizeof(borders[0]));
	tcase_add_test(tcase, name_space_of_its_own_is_as_without_us);
	tcase_add_test(tcase, allocator_of_the_program_is_left_alone);
	tcase_add_test(tcase, allocator_that_calls_itself_is_counted_once);
	tcase_add_test(tcase, python_ctypes_is_as_without_us);
}

int main(void)
{
	return victim_main("heap_borders", add);
}
