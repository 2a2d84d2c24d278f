/*
 * Little of everything: address space, file size, signals, processes, files,
 * tmpfs. The program runs as without us; what can't be recorded is said, not
 * suffered.
 */
#include "cpu_profile.h"
#include "victim.h"

#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct limit {
	const char *name;
	__rlimit_resource_t resource;
	rlim_t value;
	bool needs_nobody; /* root is exempt from it */
	bool is_profile_owed;
};

static const struct limit limits[] = {
	{"address space of 64 MiB", RLIMIT_AS, 64 << 20, false, false},
	{"address space of 256 MiB", RLIMIT_AS, 256 << 20, false, true},
	{"no core and files up to 4 KiB", RLIMIT_FSIZE, 4096, false, false},
	{"files up to 0 bytes", RLIMIT_FSIZE, 0, false, false},
	{"no pending signal", RLIMIT_SIGPENDING, 0, true, true},
	{"two pending signals", RLIMIT_SIGPENDING, 2, true, true},
	{"no further process", RLIMIT_NPROC, 1, true, false},
	{"only the three files", RLIMIT_NOFILE, 3, false, false},
	{"no locked memory", RLIMIT_MEMLOCK, 0, true, true},
	{"no stack beyond 64 KiB", RLIMIT_STACK, 65536, false, true},
	{"data of 16 MiB", RLIMIT_DATA, 16 << 20, false, true},
	{"data of 3 MiB", RLIMIT_DATA, 3 << 20, false, false},
	{"data of 512 KiB", RLIMIT_DATA, 512 << 10, false, false},
};

static void set_limit(void *context)
{
	const struct limit *limit = context;
	struct rlimit value = {.rlim_cur = limit->value, .rlim_max = limit->value};

	if (limit->needs_nobody &&
	    (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0))
		_exit(77);
	if (setrlimit(limit->resource, &value) != 0)
		_exit(77);
}

/* Programs that only main can run in: threads may be what is short. */
START_TEST(limited_program_runs_as_without_us)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"busy", "300", NULL},
		.is_bare = true,
		.before_exec = set_limit,
		.context = (void *)(uintptr_t)&limits[_i],
	};
	struct victim *bare = victim_run(&setup);
	struct victim *agent;
	struct cpu_profile *profile;
	char path[PATH_MAX];

	if (bare->status != 0) {
		printf("%s: not even without us\n", limits[_i].name);
		victim_free(bare);
		return;
	}
	setup.is_bare = false;
	agent = victim_run(&setup);
	printf("%s: %s\n", limits[_i].name, agent->agent_lines);
	victim_assert_same(bare, agent);
	/* Something was said, be it where the profile is. */
	ck_assert_msg(*agent->agent_lines != '\0', "%s: nothing said", limits[_i].name);
	if (limits[_i].is_profile_owed) {
		profile = cpu_profile_read(victim_profile(agent, 0, path));
		ck_assert_msg(cpu_profile_total_ns(profile) > 250000000,
			      "%s: total %lld ns", limits[_i].name,
			      (long long)cpu_profile_total_ns(profile));
		cpu_profile_free(profile);
	}
	victim_free(bare);
	victim_free(agent);
}
END_TEST

static void limit_data(void *context)
{
	const struct rlimit limit = {.rlim_cur = 20 << 20, .rlim_max = 20 << 20};

	(void)context;
	if (setrlimit(RLIMIT_DATA, &limit) != 0)
		_exit(77);
}

/* The program and a child of its have no memory left when they end. Each says where what
 * it recorded is. */
START_TEST(no_data_left_at_the_end_is_said)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"/usr/bin/python3", "-c",
					      "import os\n"
					      "kept = []\n"
					      "try:\n"
					      "    while True:\n"
					      "        kept.append(bytearray(100000))\n"
					      "except MemoryError:\n"
					      "    print('full', flush=True)\n"
					      "child = os.fork()\n"
					      "if not child: os._exit(0)\n"
					      "os.waitpid(child, 0)\n"
					      "os._exit(0)\n",
					      NULL},
		.environment = (const char *const[]){"SPANPROF_HEAP_RATE=1", NULL},
		.before_exec = limit_data,
	};
	struct victim *victim = victim_run(&setup);
	int lines = 0;

	victim_assert_success(victim);
	ck_assert_str_eq(victim->output, "full\n");
	for (const char *at = victim->agent_lines; (at = strstr(at, "spanprof[")); at++)
		lines += strstr(at, ": wrote ") != NULL ||
			 strstr(at, "spanprof recover takes them from ") != NULL;
	ck_assert_msg(lines >= 2, "%s", victim->agent_lines);
	victim_free(victim);
}
END_TEST

/*
 * The limit comes while they run, and is what they need without us and not much more: the
 * large block then lies where addresses of ours were. Its child works, and its exec fails
 * late.
 */
static const char limits_itself[] =
	"import os, resource, time\n"
	"def burn():\n"
	"    until = time.process_time() + 0.3\n"
	"    while time.process_time() < until: sum(range(1000))\n"
	"burn()\n"
	"resource.setrlimit(resource.RLIMIT_AS, (%s << 20,) * 2)\n"
	"block = bytearray(b'x') * (100 << 20)\n"
	"kept = [str(i) * 10 for i in range(100000)]\n"
	"child = os.fork()\n"
	"burn()\n"
	"assert block.count(b'x') == 100 << 20\n"
	"if not child: raise SystemExit(7)\n"
	"print(os.waitpid(child, 0)[1] >> 8)\n"
	"file = os.memfd_create('no program')\n"
	"os.write(file, b'none')\n"
	"try: os.execv('/proc/self/fd/%%d' %% file, ['none'])\n"
	"except OSError as e: print(e.errno)\n"
	"print(len(kept), block.count(b'x'))\n";

static const struct {
	const char *mib;     /* that the program allows itself */
	const char *setting; /* of ours, or NULL */
} own_limits[] = {{"200", NULL}, {"260", "SPANPROF_HEAP_RATE=1"}};

START_TEST(program_that_limits_its_addresses_has_them)
{
	char script[2 * sizeof(limits_itself)];
	const struct victim_setup setup = {
		.argv = (const char *const[]){"/usr/bin/python3", "-c", script, NULL},
		.environment = (const char *const[]){own_limits[_i].setting, NULL},
	};
	struct victim *victim;
	struct victim_files files;

	snprintf(script, sizeof(script), limits_itself, own_limits[_i].mib);
	victim = victim_run_both(&setup);
	ck_assert_ptr_nonnull(victim);
	ck_assert_str_eq(victim->output, "7\n8\n100000 104857600\n");
	/* The parent's, and the child's. */
	victim_list(victim->profiles, "*.cpu.pb.gz", &files);
	ck_assert_uint_eq(files.count, 2);
	for (size_t i = 0; i < files.count; i++) {
		struct cpu_profile *profile = cpu_profile_read(files.paths[i]);

		ck_assert_int_gt(cpu_profile_total_ns(profile), 250000000);
		cpu_profile_free(profile);
	}
	victim_files_free(&files);
	victim_free(victim);
}
END_TEST

START_TEST(shell_that_limits_its_addresses_goes_on)
{
	const struct victim_setup setup = {
		.argv = (const char *const[]){"/bin/bash", "-c",
					      "ulimit -v 100000; x=$(echo a)\n"
					      "for i in {1..20000}; do x+=$i; done\n"
					      "(echo ${#x}); echo $x | md5sum",
					      NULL},
	};
	struct victim *victim = victim_run_both(&setup);

	ck_assert_ptr_nonnull(victim);
	ck_assert_uint_ge(victim_count(victim->profiles, "bash.*.cpu.pb.gz"), 1);
	victim_free(victim);
}
END_TEST

/* A user whom nobody else's timers count against. */
static void allow_one_pending_signal(void *context)
{
	const struct rlimit one = {.rlim_cur = 1, .rlim_max = 1};
	unsigned user = 70000 + (unsigned)getpid();

	(void)context;
	if (setgroups(0, NULL) != 0 || setgid(user) != 0 || setuid(user) != 0 ||
	    setrlimit(RLIMIT_SIGPENDING, &one) != 0)
		_exit(77);
}

START_TEST(one_pending_signal_is_enough_for_main)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"busy", "300", NULL},
		.before_exec = allow_one_pending_signal,
	};
	struct victim *victim = victim_run(&setup);
	struct cpu_profile *profile;
	char path[PATH_MAX];

	if (WIFEXITED(victim->status) && WEXITSTATUS(victim->status) == 77)
		return;
	victim_assert_success(victim);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	ck_assert_int_gt(cpu_profile_with_ns(profile, "burn"), 250000000);
	ck_assert(!cpu_profile_has_comment(profile, "no timer"));
	ck_assert_ptr_null(strstr(victim->agent_lines, "no timer"));
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

/* Threads that get no timer show up as time without samples. */
START_TEST(threads_without_timer_are_counted)
{
	static const struct limit limit = {"", RLIMIT_SIGPENDING, 4, true, true};
	struct victim_setup setup = {
		.argv = (const char *const[]){"threads", "16", "100", NULL},
		.before_exec = set_limit,
		.context = (void *)(uintptr_t)&limit,
	};
	struct victim *victim = victim_run(&setup);
	struct cpu_profile *profile;
	char path[PATH_MAX];
	double total_ns, self_ns;

	if (WIFEXITED(victim->status) && WEXITSTATUS(victim->status) == 77)
		return;
	victim_assert_success(victim);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	total_ns = (double)cpu_profile_total_ns(profile);
	self_ns = (double)victim_number(victim->output, "self_cpu_ns");
	ck_assert_msg(total_ns > 0.98 * self_ns && total_ns < 1.02 * self_ns + 30e6,
		      "total %.0f ns, getrusage %.0f ns", total_ns, self_ns);
	ck_assert(cpu_profile_has_comment(profile, "no timer"));
	ck_assert_ptr_nonnull(
		strstr(victim->agent_lines, " threads had no timer (ulimit -i)"));
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

/* The stacks of two threads, one of which is at its end, take 16 MiB of it. */
START_TEST(limited_data_suffices_for_the_programs_threads)
{
	static const struct limit limit = {"", RLIMIT_DATA, 24000 << 10, false, true};
	struct victim_setup setup = {
		.argv = (const char *const[]){"threads", "4", "100", "1", NULL},
		.before_exec = set_limit,
		.context = (void *)(uintptr_t)&limit,
	};
	struct victim *victim = victim_run(&setup);
	struct cpu_profile *profile;
	char path[PATH_MAX];

	victim_assert_success(victim);
	victim_assert_clean(victim);
	ck_assert_ptr_null(strstr(victim->agent_lines, "cannot"));
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	ck_assert_int_gt(cpu_profile_with_ns(profile, "thread_entry"), 300000000);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

/* Of our addresses only what is in use is memory, then as well. */
START_TEST(locked_memory_has_nothing_of_ours_unused)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"locked", NULL},
		.environment = (const char *const[]){"SPANPROF_HEAP_RATE=1", NULL},
	};
	struct victim *victim = victim_run(&setup);

	if (WIFEXITED(victim->status) && WEXITSTATUS(victim->status) == 77) {
		printf("no locking is permitted here\n");
		victim_free(victim);
		return;
	}
	victim_assert_success(victim);
	victim_assert_clean(victim);
	ck_assert_int_lt(victim_number(victim->output, "resident_kib"), 64 << 10);
	ck_assert_uint_eq(victim_count(victim->profiles, "locked.*.cpu.pb.gz"), 1);
	victim_free(victim);
}
END_TEST

struct place {
	const char *recording; /* SPANPROF_RECORDING_DIR, or NULL */
	const char *out;       /* SPANPROF_OUT, or NULL for the usual */
	bool is_profile_owed;
	bool is_recording_lost;
	bool is_recording_elsewhere;
	const char *why_not; /* no profile can be written there; NULL: not checked */
};

static const struct place places[] = {
	{"/nonexistent/folder", NULL, true, false, false, NULL},
	{"/proc/self", NULL, true, false, true, NULL},
	{"/dev/null", NULL, true, false, true, NULL},
	{NULL, "/nonexistent/folder", false, false, false, NULL},
	{NULL, "/proc", false, false, false, NULL},
	{"/proc/none", "/proc", false, true, false, "No such file or directory"},
	{"/nonexistent/folder", "/nonexistent/folder", false, false, false, NULL},
	{"/dev/null", "/dev/null", false, true, false, "Not a directory"},
};

START_TEST(impossible_places_are_said_and_harmless)
{
	char recording[128], out[128];
	const char *environment[3] = {NULL};
	size_t count = 0;
	struct victim_setup setup = {
		.argv = (const char *const[]){"busy", "300", NULL},
		.environment = environment,
	};
	struct victim *bare = victim_run_bare("busy", "300");
	struct victim *agent;
	struct cpu_profile *profile;
	char path[PATH_MAX];

	if (places[_i].recording != NULL) {
		snprintf(recording, sizeof(recording), "SPANPROF_RECORDING_DIR=%s",
			 places[_i].recording);
		environment[count++] = recording;
	}
	if (places[_i].out != NULL) {
		snprintf(out, sizeof(out), "SPANPROF_OUT=%s", places[_i].out);
		environment[count++] = out;
	}
	agent = victim_run(&setup);
	victim_assert_same(bare, agent);
	ck_assert_msg(strstr(agent->agent_lines, "spanprof[") != NULL,
		      "nothing was said");
	if (places[_i].is_recording_lost) {
		snprintf(path, sizeof(path), "takes the recording (tried %s, %s)",
			 places[_i].recording, places[_i].out);
		ck_assert_msg(strstr(agent->agent_lines, path) != NULL, "%s",
			      agent->agent_lines);
	}
	snprintf(path, sizeof(path), "cannot use recording-dir %s: ",
		 places[_i].recording ? places[_i].recording : "");
	if (places[_i].is_recording_elsewhere) {
		ck_assert_msg(strstr(agent->agent_lines, path) != NULL, "%s",
			      agent->agent_lines);
		snprintf(path, sizeof(path), "the recording is in %s", agent->profiles);
		ck_assert_msg(strstr(agent->agent_lines, path) != NULL, "%s",
			      agent->agent_lines);
	}
	if (places[_i].why_not) {
		snprintf(path, sizeof(path), " to %s: %s; the recording is lost",
			 places[_i].out, places[_i].why_not);
		ck_assert_msg(strstr(agent->agent_lines, path) != NULL, "%s",
			      agent->agent_lines);
	}
	if (places[_i].is_profile_owed) {
		profile = cpu_profile_read(victim_profile(agent, 0, path));
		ck_assert(cpu_profile_total_ns(profile) > 250000000);
		cpu_profile_free(profile);
	}
	victim_free(bare);
	victim_free(agent);
}
END_TEST

/* Mounts a tmpfs of so many KiB on the folder, in a name space of the victim's own. */
struct small_tmpfs {
	const char *options;
	unsigned fill_kib;
};

static void mount_over_recordings(void *context)
{
	const struct small_tmpfs *tmpfs = context;
	const char *folder = "/dev/shm";
	char block[1024] = {1};
	FILE *file;

	if (unshare(CLONE_NEWNS) != 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("none", folder, "tmpfs", 0, tmpfs->options) != 0)
		_exit(77);
	if (tmpfs->fill_kib == 0)
		return;
	file = fopen("/dev/shm/filler", "w");
	for (unsigned i = 0; i < tmpfs->fill_kib; i++)
		fwrite(block, sizeof(block), 1, file);
	fclose(file);
}

static const struct small_tmpfs tmpfs_sizes[] = {
	{"size=4k", 4},
	{"size=64k", 0},
	{"size=512k", 0},
	{"size=2m", 0},
	{"size=8m", 0},
	{"size=64m", 65536},
	{"size=1m,nr_inodes=1", 0},
	{"size=16m,mode=0555", 0},
};

START_TEST(full_tmpfs_before_the_start_is_survived)
{
	struct victim_setup setup = {
		.argv = (const char *const[]){"threads", "8", "60", NULL},
		.environment = (const char *const[]){"XDG_RUNTIME_DIR", NULL},
		.before_exec = mount_over_recordings,
		.context = (void *)(uintptr_t)&tmpfs_sizes[_i],
	};
	struct victim *victim = victim_run(&setup);
	struct cpu_profile *profile;
	char path[PATH_MAX];

	if (WIFEXITED(victim->status) && WEXITSTATUS(victim->status) == 77) {
		printf("no mount is permitted here\n");
		return;
	}
	printf("%s: %s\n", tmpfs_sizes[_i].options, victim->agent_lines);
	victim_assert_success(victim);
	profile = cpu_profile_read(victim_profile(victim, 0, path));
	ck_assert((double)cpu_profile_total_ns(profile) > 0.9 * 480e6);
	cpu_profile_free(profile);
	victim_free(victim);
}
END_TEST

/* A neighbour takes all that is left of the tmpfs while the program is at work. */
START_TEST(tmpfs_that_fills_during_the_run_is_survived)
{
	char script[2 * PATH_MAX], program[PATH_MAX];
	struct victim_setup setup = {
		.argv = (const char *const[]){"unshare", "-m", "sh", "-c", script, NULL},
		.environment = (const char *const[]){"XDG_RUNTIME_DIR",
						     "SPANPROF_CPU_HZ=1000", NULL},
		/* The shell's and mount's own recordings would be mounted over. */
		.is_agent_preloaded_by_caller = true,
	};
	struct victim *victim;

	snprintf(script, sizeof(script),
		 "mount -t tmpfs -o size=6m none /dev/shm || exit 77\n"
		 "(sleep 0.4; dd if=/dev/zero of=/dev/shm/filler bs=4k "
		 "2>/dev/null) &\n"
		 "LD_PRELOAD=%s %s 300 8 20; status=$?\nwait; exit $status",
		 victim_agent_path(), victim_program_path("threads", program));
	victim = victim_run(&setup);
	if (WIFEXITED(victim->status) &&
	    (WEXITSTATUS(victim->status) == 77 || WEXITSTATUS(victim->status) == 1)) {
		printf("no mount is permitted here: %s\n", victim->errors);
		return;
	}
	victim_assert_success(victim);
	ck_assert_uint_ge(victim_count(victim->profiles, "threads.*.cpu.pb.gz"), 1);
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_loop_test(tcase, limited_program_runs_as_without_us, 0,
			    sizeof(limits) / sizeof(limits[0]));
	tcase_add_test(tcase, no_data_left_at_the_end_is_said);
	tcase_add_loop_test(tcase, program_that_limits_its_addresses_has_them, 0,
			    sizeof(own_limits) / sizeof(own_limits[0]));
	tcase_add_test(tcase, shell_that_limits_its_addresses_goes_on);
	tcase_add_test(tcase, one_pending_signal_is_enough_for_main);
	tcase_add_test(tcase, threads_without_timer_are_counted);
	tcase_add_test(tcase, limited_data_suffices_for_the_programs_threads);
	tcase_add_test(tcase, locked_memory_has_nothing_of_ours_unused);
	tcase_add_loop_test(tcase, impossible_places_are_said_and_harmless, 0,
			    sizeof(places) / sizeof(places[0]));
	tcase_add_loop_test(tcase, full_tmpfs_before_the_start_is_survived, 0,
			    sizeof(tmpfs_sizes) / sizeof(tmpfs_sizes[0]));
	tcase_add_test(tcase, tmpfs_that_fills_during_the_run_is_survived);
}

int main(void)
{
	return victim_main("limits", add);
}
