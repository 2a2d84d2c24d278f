/*
 * The promise to every program: under the agent it is what it is without.
 */
#include "victim.h"

#include <stdio.h>
#include <sys/wait.h>

#define NOT_PERMITTED 77

struct victim *victim_run_both(const struct victim_setup *setup)
{
	struct victim_setup one = *setup;
	struct victim *bare, *agent;

	one.is_bare = true;
	bare = victim_run(&one);
	if (WIFEXITED(bare->status) && WEXITSTATUS(bare->status) == NOT_PERMITTED) {
		printf("%s %s is not permitted here\n", setup->argv[0],
		       setup->argv[1] != NULL ? setup->argv[1] : "");
		victim_free(bare);
		return NULL;
	}
	victim_assert_success(bare);
	one.is_bare = false;
	agent = victim_run(&one);
	victim_assert_same(bare, agent);
	victim_assert_clean(agent);
	victim_free(bare);
	return agent;
}
