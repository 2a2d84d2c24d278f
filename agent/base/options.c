/*
 * The table of options and their defaults: a new option is one line in each, plus
 * its member in struct sp_options. Parser, help text, man page and README all read
 * this table. Context: signal, for it is constant; invariant: the default_text of
 * each option, given as its value, means what sp_options_init() sets.
 */
#include "sp_options_table.h"

#include "sp_clock.h"
#include "sp_compiler.h"

#define MEMBER(member)                                                                   \
	.offset_bytes = offsetof(struct sp_options, member),                             \
	.size_bytes = sizeof(((struct sp_options *)0)->member)
#define HELP(compact_, environment_, value_, default_, meaning_)                         \
	.help = {compact_, environment_, value_, default_, meaning_}

static const char *const unwinders[] = {
	[SP_UNWINDER_TABLES] = "tables",
	[SP_UNWINDER_LIBUNWIND] = "libunwind",
	NULL,
};

static const char *const allocators[] = {
	[SP_ALLOCATOR_SYSTEM] = "system",
	[SP_ALLOCATOR_JEMALLOC] = "jemalloc",
	NULL,
};

static const char *const span_clocks[] = {
	[SP_SPAN_CPU_OFF] = "off",
	[SP_SPAN_CPU_EXACT] = "exact",
	NULL,
};

static const struct sp_option table[] = {
	{HELP("cpu", "SPANPROF_CPU", "", "yes",
	      "The CPU profile: which code the processors spend their time in."),
	 .kind = SP_OPTION_PROFILE, MEMBER(is_cpu_enabled)},
	{HELP("cpu:hz", "SPANPROF_CPU_HZ", "N", "99",
	      "Samples for each second of CPU time of each thread, 1 to 10000. The "
	      "kernel's tick bounds the real rate, often at 250; sample weights make "
	      "up for the difference."),
	 .kind = SP_OPTION_NUMBER, MEMBER(cpu_hz), .minimum = 1, .maximum = 10000},
	{HELP("heap", "SPANPROF_HEAP", "", "yes",
	      "The heap profiles: which code allocated the memory that is in use, that "
	      "was in use at the peak, and how long memory lived."),
	 .kind = SP_OPTION_PROFILE, MEMBER(is_heap_enabled)},
	{HELP("heap:rate", "SPANPROF_HEAP_RATE", "SIZE", "512K",
	      "Mean distance between two samples in allocated bytes, 1 to 1G. 1 "
	      "records every allocation, exactly."),
	 .kind = SP_OPTION_SIZE, MEMBER(heap_rate_bytes), .minimum = 1,
	 .maximum = UINT64_C(1) << 30},
	{HELP("heap:seed", "SPANPROF_HEAP_SEED", "N", "0",
	      "Start of the random numbers that choose the samples: the same one "
	      "samples the same allocations again where threads come in the same "
	      "order. 0 is another one in each process."),
	 .kind = SP_OPTION_NUMBER, MEMBER(heap_seed), .maximum = UINT64_MAX},
	{HELP("leaks", "SPANPROF_LEAKS", "", "no",
	      "At exit, list the stacks that allocated most of the memory still in "
	      "use, and write it as a profile of its own. Needs the heap profile."),
	 .kind = SP_OPTION_SWITCH, MEMBER(wants_leaks)},
	{HELP("spans", "SPANPROF_SPANS", "LIST", "none",
	      "What more is to be known of spans, separated by commas: id (samples "
	      "carry span_id and trace_id), names of library functions whose calls are "
	      "spans, with * for any letters (sqlite3_step, PQ*), or off (no spans at "
	      "all, and no labels of any source)."),
	 .kind = SP_OPTION_LIST, MEMBER(spans)},
	{HELP("sources", "SPANPROF_SOURCES", "LIST", "default",
	      "Where spans and labels come from, separated by commas: sources that are "
	      "wanted besides those that are on by default, and, with - before them, "
	      "those that are not. On by default are api, environment, otel, "
	      "custom-labels, functions and thread-names; process-title is not."),
	 .kind = SP_OPTION_LIST, MEMBER(span_sources)},
	{HELP("span:cpu", "SPANPROF_SPAN_CPU", "NAME", "exact",
	      "CPU time of each span: exact (two readings of a clock for each stay in "
	      "a span) or off (estimated from samples)."),
	 .kind = SP_OPTION_CHOICE, MEMBER(span_cpu), .choices = span_clocks},
	{HELP("span:sampler", "SPANPROF_SPAN_SAMPLER", "NUMBER", "always",
	      "Which outermost spans are followed, with all spans in them: always, or "
	      "the part of them, 0 to 1, chosen at random. The profile of spans stands "
	      "for all of them. That of the process is always followed, and those right "
	      "in it count as outermost."),
	 .kind = SP_OPTION_PROBABILITY, MEMBER(span_probability_millionths)},
	{HELP("span:seed", "SPANPROF_SPAN_SEED", "N", "0",
	      "Start of the random numbers that choose these spans: the same one "
	      "chooses the same spans again where threads come in the same order. 0 is "
	      "another one in each process."),
	 .kind = SP_OPTION_NUMBER, MEMBER(span_seed), .maximum = UINT64_MAX},
	{HELP("track_all", "SPANPROF_TRACK_ALL", "", "yes",
	      "What is known of each span: all that follows, or with no only what is "
	      "named."),
	 .kind = SP_OPTION_SWITCH, MEMBER(is_all_tracked)},
	{HELP("track_cpu", "SPANPROF_TRACK_CPU", "", "auto",
	      "The CPU time of each span. auto, here and below, is what track_all says."),
	 .kind = SP_OPTION_SWITCH, MEMBER(track_cpu), .has_auto = true},
	{HELP("track_wall", "SPANPROF_TRACK_WALL", "", "auto",
	      "The time that each span was entered, and not entered."),
	 .kind = SP_OPTION_SWITCH, MEMBER(track_wall), .has_auto = true},
	{HELP("track_allocations", "SPANPROF_TRACK_ALLOCATIONS", "", "auto",
	      "How often, and how much, each span allocated."),
	 .kind = SP_OPTION_SWITCH, MEMBER(track_allocations), .has_auto = true},
	{HELP("track_heap", "SPANPROF_TRACK_HEAP", "", "auto",
	      "Which memory of each span is in use; a span whose memory is in use is "
	      "then kept when it is closed. Switches track_allocations on."),
	 .kind = SP_OPTION_SWITCH, MEMBER(track_heap), .has_auto = true},
	{HELP("record_labels", "SPANPROF_RECORD_LABELS", "LIST", "none",
	      "Keys of labels, of spans, otel and custom-labels, separated by commas, "
	      "that samples carry; they may tell what a program keeps to itself."),
	 .kind = SP_OPTION_LIST, MEMBER(span_labels)},
	{HELP("max_closed_heap_spans", "SPANPROF_MAX_CLOSED_HEAP_SPANS", "N", "1000",
	      "Closed spans that are kept because memory of theirs is in use."),
	 .kind = SP_OPTION_NUMBER, MEMBER(held_spans_max), .maximum = 262143},
	{HELP("reporter", "SPANPROF_REPORTER", "LIST", "pprof",
	      "What takes the results, separated by commas: pprof (a file of each kind "
	      "of profile, at the end), pyroscope (what spans did, as it goes on, in "
	      "files for servers such as Pyroscope: wall_END.pb.gz, cpu_END.pb.gz and "
	      "memory_END.pb.gz, END being the end of their time in ns since 1970)."),
	 .kind = SP_OPTION_LIST, MEMBER(reporters)},
	{HELP("max_samples", "SPANPROF_MAX_SAMPLES", "N", "1000",
	      "After so many results, reporters that take them as it goes on bring out "
	      "what they have, 1 to 1000000."),
	 .kind = SP_OPTION_NUMBER, MEMBER(samples_max), .minimum = 1, .maximum = 1000000},
	{HELP("heap_snapshot_interval", "SPANPROF_HEAP_SNAPSHOT_INTERVAL", "TIME", "10s",
	      "Such reporters get the memory in use by each span at least so far "
	      "apart, 0 to 1h, and bring out what they have then, too."),
	 .kind = SP_OPTION_DURATION, MEMBER(heap_snapshot_interval_ns),
	 .maximum = 3600 * SP_NS_PER_SECOND},
	{HELP("aggregate_samples", "SPANPROF_AGGREGATE_SAMPLES", "", "yes",
	      "In the files of pyroscope, spans in the same spans and with the same "
	      "labels are one sample."),
	 .kind = SP_OPTION_SWITCH, MEMBER(aggregates_samples)},
	{HELP("allocator", "SPANPROF_ALLOCATOR", "NAME", "system",
	      "What serves the program's heap: system (what serves it without us) or "
	      "jemalloc (our copy, faster for small blocks, another memory layout)."),
	 .kind = SP_OPTION_CHOICE, MEMBER(allocator), .choices = allocators},
	{HELP("depth", "SPANPROF_DEPTH", "N", "512",
	      "Frames kept of a stack, leaf side first, 1 to 1024."),
	 .kind = SP_OPTION_NUMBER, MEMBER(depth_frames_max), .minimum = 1,
	 .maximum = 1024},
	{HELP("unwinder", "SPANPROF_UNWINDER", "NAME", "tables",
	      "What walks stacks outside the signal handler: tables (our own) or "
	      "libunwind."),
	 .kind = SP_OPTION_CHOICE, MEMBER(unwinder), .choices = unwinders},
	{HELP("out", "SPANPROF_OUT", "DIR", ".",
	      "Directory the profiles are written to."),
	 .kind = SP_OPTION_DIRECTORY, MEMBER(out_dir)},
	{HELP("file", "SPANPROF_FILE", "PATTERN", "%e.%p",
	      "Name of a profile, before \".KIND.pb.gz\": %e is the program, %p the "
	      "process id, %t the start time in ns since 1970, %h the host, %% a "
	      "percent sign."),
	 .kind = SP_OPTION_FILE_PATTERN, MEMBER(file_pattern)},
	{HELP("recording-dir", "SPANPROF_RECORDING_DIR", "DIR", "auto",
	      "Directory of the recording while the program runs; made if need be. auto "
	      "is the first that works of $XDG_RUNTIME_DIR, /dev/shm and the directory "
	      "of "
	      "the profiles."),
	 .kind = SP_OPTION_DIRECTORY, MEMBER(recording_dir), .has_auto = true},
	{HELP("recording-size", "SPANPROF_RECORDING_SIZE", "SIZE", "auto",
	      "Most the recording may grow to, 1M to 4G; it takes only what it needs. "
	      "auto is 64M, or 1G for a heap profile with heap:rate of at most 1K."),
	 .kind = SP_OPTION_SIZE, MEMBER(recording_bytes_max),
	 .minimum = UINT64_C(1) << 20, .maximum = UINT64_C(4) << 30, .has_auto = true},
	{HELP("signal", "SPANPROF_SIGNAL", "N", "auto",
	      "Signal of the CPU timers. auto is number 32, which the C library keeps "
	      "out of every program's reach; a real-time signal, 34 to 64, is for "
	      "programs that use number 32 without the C library."),
	 .kind = SP_OPTION_NUMBER, MEMBER(signal_number), .minimum = 34, .maximum = 64,
	 .has_auto = true},
	{HELP("quiet", "SPANPROF_QUIET", "", "no",
	      "Say nothing at exit. Errors are told."),
	 .kind = SP_OPTION_SWITCH, MEMBER(is_quiet)},
	{HELP("verbose", "SPANPROF_VERBOSE", "", "no",
	      "Say more about what is going on."),
	 .kind = SP_OPTION_SWITCH, MEMBER(is_verbose)},
	{HELP("off", "SPANPROF_DISABLE", "", "no",
	      "Do nothing at all: no profile, no thread, no signal, no file."),
	 .kind = SP_OPTION_DISABLE, MEMBER(is_disabled)},
};

void sp_options_init(struct sp_options *options)
{
	*options = (struct sp_options){
		.is_cpu_enabled = true,
		.cpu_hz = 99,
		.is_heap_enabled = true,
		.heap_rate_bytes = UINT64_C(512) << 10,
		.span_cpu = SP_SPAN_CPU_EXACT,
		.span_probability_millionths = 1000000,
		.is_all_tracked = true,
		.held_spans_max = 1000,
		.samples_max = 1000,
		.heap_snapshot_interval_ns = 10 * SP_NS_PER_SECOND,
		.aggregates_samples = true,
		.allocator = SP_ALLOCATOR_SYSTEM,
		.depth_frames_max = 512,
		.unwinder = SP_UNWINDER_TABLES,
		.out_dir = ".",
		.file_pattern = "%e.%p",
	};
}

const struct sp_option *sp_options_entry(size_t index)
{
	return index < SP_ARRAY_COUNT(table) ? &table[index] : NULL;
}

const struct sp_option_help *sp_options_help(size_t index)
{
	return index < SP_ARRAY_COUNT(table) ? &table[index].help : NULL;
}

/* FNV-1a: enough to tell settings apart, and the same everywhere. */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size_bytes)
{
	const unsigned char *byte = bytes;

	for (size_t i = 0; i < size_bytes; i++)
		hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
	return hash;
}

uint64_t sp_options_hash(const struct sp_options *options)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	/* Member by member, so that padding and what lies behind the end of a
	 * string don't count. */
	for (size_t i = 0; i < SP_ARRAY_COUNT(table); i++) {
		const char *member = (const char *)options + table[i].offset_bytes;
		size_t size_bytes = table[i].size_bytes;

		if (table[i].kind == SP_OPTION_DIRECTORY ||
		    table[i].kind == SP_OPTION_LIST ||
		    table[i].kind == SP_OPTION_FILE_PATTERN) {
			const char *end = __builtin_memchr(member, '\0', size_bytes);

			if (end != NULL)
				size_bytes = (size_t)(end - member) + 1;
		}
		hash = hash_bytes(hash, member, size_bytes);
	}
	return hash;
}
