/*
 * The recording: one shared region that holds everything that must outlive the
 * process. It is offsets only, never pointers, so that any process can read it,
 * and little-endian, as the machines it is made for.
 *
 *   offset 0      struct sp_recording_header (one page and more, see below)
 *   then          the sections, each page-aligned, in the order of enum
 *                 sp_section_kind; where each lies, how large its items are and how
 *                 many of them may be touched stands in the header's table
 *
 *   groups        struct sp_group[256]     exact CPU time by thread entry function
 *   slots         struct sp_slot[]         one for each thread
 *   modules       struct sp_module_record[] append-only, index = module id - 1
 *   strings       bytes                    append-only, NUL-terminated
 *   large rings   64 KiB each, small rings 16 KiB each: struct sp_ring, then data
 *   nodes         struct sp_node[]         append-only stack table (a call tree)
 *   cells         struct sp_cell[]         append-only aggregates
 *   heap stacks   uint64_t[]               append-only: struct sp_heap_stack, frames
 *   heap cells    struct sp_heap_cell[]    append-only: sums of one stack and size class
 *   live blocks   struct sp_live_block[]   the live-allocation table
 * (sp_recording_heap.h)
 *
 * The file is as long as all sections at full capacity, but only the first
 * reserved_items of a section have storage behind them. Nobody ever touches an
 * item beyond: a hole in a full tmpfs is SIGBUS.
 *
 * Who writes: hooks and handlers write their thread's slot and ring; heap stacks, the
 * keys of heap cells and live blocks are added by the hook that samples a block.
 * Everything else is written by the one context that holds the consumer lock (the
 * reporter thread, or a handler where there is none), and every change that must be all
 * or nothing goes through the journal, so that a kill between any two
 * instructions neither loses nor doubles a sample.
 */
#ifndef SP_RECORDING_H
#define SP_RECORDING_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_RECORDING_MAGIC "spanprof"
#define SP_RECORDING_VERSION 14U
#define SP_RECORDING_SUFFIX ".spanprof"
#define SP_RECORDING_BYTES_MIN (UINT64_C(1) << 20)
#define SP_RECORDING_BYTES_MAX (UINT64_C(4) << 30)

enum sp_section_kind {
	SP_SECTION_GROUPS,
	SP_SECTION_SLOTS,
	SP_SECTION_MODULES,
	SP_SECTION_STRINGS,
	SP_SECTION_RINGS_LARGE,
	SP_SECTION_RINGS_SMALL,
	SP_SECTION_NODES,
	SP_SECTION_CELLS,
	SP_SECTION_HEAP_STACKS,
	SP_SECTION_HEAP_CELLS,
	SP_SECTION_LIVE_BLOCKS,
	SP_SECTION_SPAN_TEXT,
	SP_SECTION_CALLSITES,
	SP_SECTION_SPAN_PATHS,
	SP_SECTION_LABEL_SETS,
	SP_SECTION_SPANS,
	SP_SECTION_HEAP_BATCHES,
	SP_SECTION_COUNT
};

struct sp_section {
	uint64_t offset; /* from the start of the recording */
	uint64_t item_bytes;
	uint64_t capacity_items;	 /* address space */
	_Atomic uint64_t reserved_items; /* storage: may be touched */
	_Atomic uint64_t used_items;	 /* append-only sections: published */
};

/*
 * What was lost, and why. Monotonic counts; every one reaches the profile. A kind is
 * counted either by the consumer, in journal changes, or by hooks and handlers at any
 * moment: a change stores the sum that it has read and added to.
 */
enum sp_loss {
	SP_LOSS_NO_RING,	/* samples: no ring was free */
	SP_LOSS_RING_FULL,	/* samples: the thread's ring was full */
	SP_LOSS_TABLE_FULL,	/* samples whose stack no longer fitted the tables */
	SP_LOSS_STACK_CUT,	/* samples' stacks cut at the depth limit */
	SP_LOSS_STACK_SHORT,	/* samples' stacks not walked to their root */
	SP_LOSS_NO_SLOT,	/* threads without a slot */
	SP_LOSS_NO_TIMER,	/* threads without a timer (RLIMIT_SIGPENDING) */
	SP_LOSS_GROUP_FULL,	/* threads whose entry function has no group */
	SP_LOSS_NO_SPACE,	/* requests for storage that were refused */
	SP_LOSS_NO_MODULE_ID,	/* modules beyond the table, or too many to follow */
	SP_LOSS_DAMAGED,	/* records that could not be read */
	SP_LOSS_HEAP_STACK,	/* blocks whose stack no longer fitted the tables */
	SP_LOSS_HEAP_CUT,	/* blocks' stacks cut at the depth limit */
	SP_LOSS_HEAP_SHORT,	/* blocks' stacks not walked to their root */
	SP_LOSS_HEAP_UNTRACKED, /* sampled blocks that the live table had no room for */
	SP_LOSS_HEAP_STALE,	/* sampled blocks that left by a way we cannot see */
	SP_LOSS_HEAP_REENTERED, /* blocks of a signal handler that interrupted our hook */
	SP_LOSS_HEAP_LEFT,	/* samples that such a handler jumped out of */
	SP_LOSS_HEAP_NO_THREAD, /* allocations of threads without state of ours */
	SP_LOSS_SPAN_NO_ROOM,	/* spans that were not followed: no room */
	SP_LOSS_SPAN_MISUSE,	/* calls that made no sense, and were healed */
	SP_LOSS_SPAN_EVICTED,	/* closed spans whose memory is no longer followed */
	SP_LOSS_SPAN_LABELS,	/* label sets, or texts of them, beyond their tables */
	SP_LOSS_SPAN_NAMELESS,	/* samples with labels whose keys had no known names */
	SP_LOSS_COUNT
};

/* Whose allocations the hooks meet. */
enum sp_heap_coverage {
	SP_HEAP_COVERS_ALL = 0,
	SP_HEAP_PROGRAM_HAS_OWN, /* the program itself defines malloc(): we meet none */
	SP_HEAP_LIBRARY_FIRST,	 /* so does a library that comes before us */
	/* The program calls nobody's malloc(): it may have one inside, for itself. */
	SP_HEAP_PROGRAM_CALLS_NONE,
	/* It calls its allocator, which we meet, by that one's own names, too. */
	SP_HEAP_OTHER_NAMES,
};

/*
 * Redo log of one atomic change. Filled, then count is stored with release order,
 * then the writes are carried out, then count is set to 0. Whoever opens the
 * recording of a killed process carries out what stands here once more: the
 * values are absolute, so doing it twice changes nothing.
 */
#define SP_JOURNAL_WRITES_MAX 24
struct sp_journal {
	_Atomic uint64_t count;
	struct {
		uint64_t offset; /* of a uint64_t in the recording */
		uint64_t value;
	} writes[SP_JOURNAL_WRITES_MAX];
};

enum sp_recording_state {
	SP_RECORDING_STARTING = 0,
	SP_RECORDING_RUNNING = 1,
	SP_RECORDING_ENDED = 2, /* profiles written; nothing left to recover */
};

/* A longer name of a program is cut. */
#define SP_PROGRAM_NAME_BYTES 64

struct sp_recording_header {
	char magic[8];
	uint32_t layout_version;
	uint32_t header_bytes;
	uint64_t total_bytes;
	_Atomic uint32_t state;
	uint32_t pid;
	uint64_t pid_namespace;	      /* inode of /proc/self/ns/pid */
	uint64_t process_start_ticks; /* field 22 of /proc/self/stat */
	uint64_t boot_id_hash;
	uint64_t start_realtime_ns;
	uint64_t start_monotonic_ns;
	uint64_t start_cycles; /* of the time-stamp counter, at the same moment */
	uint64_t settings_hash;
	uint64_t cpu_period_ns;	  /* 0: this recording has no CPU profile */
	uint8_t exe_build_id[32]; /* of the main program, once it has been looked at */
	uint64_t exe_build_id_bytes;
	char program[SP_PROGRAM_NAME_BYTES]; /* base name, for %e */
	char exe_path[512];
	char command_line[1024]; /* arguments separated by NUL */
	char file_pattern[256];
	char out_dir[1024];

	struct sp_section sections[SP_SECTION_COUNT];

	/* CPU time of earlier images of this process (before exec), which is not shown:
	 * the kernel's clocks go on across exec. */
	uint64_t earlier_cpu_ns, earlier_user_ns, earlier_system_ns;
	uint64_t earlier_thread_cpu_ns; /* part of it: of the one thread that lives on */

	/* Exact process totals, last read by the reporter thread. */
	_Atomic uint64_t process_cpu_ns;
	_Atomic uint64_t process_user_ns;
	_Atomic uint64_t process_system_ns;
	_Atomic uint64_t agent_cpu_ns; /* the reporter thread */
	_Atomic uint64_t last_update_monotonic_ns;
	_Atomic uint64_t cycles_per_second;    /* for *_cycles */
	_Atomic uint64_t ended_handler_cycles; /* of threads that are gone */
	_Atomic uint64_t ended_samples;
	/* Exact heap counters of threads that are gone, see struct sp_slot. */
	_Atomic uint64_t ended_heap_allocations, ended_heap_frees, ended_heap_bytes;
	_Atomic uint64_t ended_heap_variance; /* a double */
	_Atomic uint64_t ended_heap_cost_cycles;

	_Atomic uint64_t losses[SP_LOSS_COUNT];
	_Atomic uint64_t are_clocks_final; /* read after the last sample was drained */

	/* Heap. A mean sampling distance of 0: this recording has no heap profile. */
	uint64_t heap_rate_bytes;
	_Atomic int64_t heap_live_bytes; /* estimated */
	_Atomic uint64_t heap_mark;	 /* the most they were: sp_heap_mark_bytes() */
	_Atomic uint64_t heap_held_at;	 /* cycles, see sp_heap_is_held(); 0: not now */
	/* Exact counters of threads without a slot. */
	_Atomic uint64_t orphan_heap_allocations, orphan_heap_frees, orphan_heap_bytes;
	_Atomic uint64_t orphan_heap_variance; /* a double */
	_Atomic uint64_t orphan_heap_cost_cycles;
	_Atomic uint64_t heap_coverage; /* enum sp_heap_coverage */
	/* Calls that failed and were not counted; of those before them some may be. */
	_Atomic uint64_t heap_failures;
	/* And of constructors that ran before ours. */
	uint64_t early_heap_allocations, early_heap_frees, early_heap_bytes;
	/* Resident anonymous memory of the process, the kernel's number, last read. */
	_Atomic uint64_t anonymous_bytes;

	/* Spans: their clock's ticks, and the part of root spans that is followed. */
	_Atomic uint64_t span_ticks_per_second;
	_Atomic uint64_t span_last_ticks;     /* at the consumer's last pass */
	uint64_t span_probability_millionths; /* 0: this recording has no spans */
	uint64_t has_exact_span_cpu;

	uint64_t storage_bytes_max;	/* SPANPROF_RECORDING_SIZE */
	_Atomic uint64_t storage_bytes; /* taken so far */

	/* Lock-free stacks of free rings: tag << 32 | (ring index + 1). */
	_Atomic uint64_t free_rings[2]; /* large, small */
	_Atomic uint64_t free_ring_count;
	_Atomic uint64_t live_slots;

	/* Thread id of the context that drains; taken by compare-and-swap, never
	 * waited for. */
	_Atomic uint32_t consumer;
	uint32_t span_untracked; /* SP_UNTRACKED_*: what is not told of spans */
	/* By hooks and handlers: sources of spans that met something, a bit for each of
	 * enum sp_span_source. */
	_Atomic uint32_t found_sources;
	uint32_t is_fork_child; /* the process began as a copy of another */

	struct sp_journal journal;
};

/*
 * Threads with the same entry function. Samples of a group are scaled to the
 * group's exact CPU time when a profile is written.
 */
#define SP_GROUPS 256U
#define SP_GROUP_UNKNOWN 0U /* threads nobody saw start */
/* In place of the entry function's address, of threads of the process that the kernel
 * made for its own work (io_uring's, vhost's): they never run the program's code. */
#define SP_ENTRY_KERNEL_WORKER UINT64_C(1)
struct sp_group {
	_Atomic uint64_t entry_address; /* claims the entry; 0 = free */
	_Atomic uint64_t entry_frame;	/* sp_frame.h; set by the consumer */
	_Atomic uint64_t ended_cpu_ns;	/* exact, of threads that are gone */
	_Atomic uint64_t ended_threads;
	uint64_t unused[4];
};

enum sp_slot_state {
	SP_SLOT_FREE = 0,
	SP_SLOT_CLAIMED, /* its thread is being born */
	SP_SLOT_LIVE,
	SP_SLOT_ENDED,	 /* cpu_ns is final; the consumer takes it from here */
	SP_SLOT_RETIRED, /* its sums are the group's; about to be free */
};

/*
 * One thread. FREE -> CLAIMED by whoever creates the thread (or by the reporter
 * for a thread found by listing), -> LIVE by the thread, -> ENDED at its end,
 * -> RETIRED by the consumer, in one change with the sums it takes over, -> FREE when
 * that change is over: a journal that is carried out once more must never meet
 * the slot's next thread.
 */
struct sp_slot {
	_Atomic uint32_t state;
	_Atomic uint32_t tid;
	_Atomic uint32_t group;
	_Atomic uint32_t ring;	     /* sp_ring_id: 0 = none */
	_Atomic uint32_t generation; /* grows at each claim: tells stale signals */
	_Atomic int32_t timer;	     /* kernel timer id, -1 = none */
	_Atomic uint64_t cpu_ns;     /* exact, as last read; final when ENDED */
	_Atomic uint64_t stack_low, stack_high; /* 0 = not known yet */
	/* Written by the handler on this thread. */
	_Atomic uint64_t samples;
	_Atomic uint64_t lost_samples, lost_periods;
	_Atomic uint64_t handler_cycles;
	/* Written by the consumer. */
	_Atomic uint64_t absorbed_lost_samples, absorbed_lost_periods;
	_Atomic uint64_t listed; /* listing round in which its thread was last seen */
	/* What the creator hands to the new thread. */
	_Atomic uint64_t start_routine, start_argument;
	_Atomic uint32_t start_flags;
	char name[16];
	/* Exact, by hooks on this thread and the reporter thread; they only grow. */
	_Atomic uint64_t heap_allocations, heap_frees, heap_bytes;
	_Atomic uint64_t heap_variance; /* a double: of the estimate of heap_bytes */
	_Atomic uint32_t label_set;	/* by hooks on this thread: of its next sample */
	/* By hooks and the handler on this thread: names that its samples carry (of the
	 * thread, title of the process), how many changes of names were seen before the
	 * first was read, when each was, and a label set without and with them. */
	_Atomic uint32_t sample_names_changes;
	_Atomic uint32_t sample_names[2];
	_Atomic uint64_t sample_names_cycles[2], sample_label_sets;
	/* By the same: the clock of spans when the thread did something last. */
	_Atomic uint64_t span_seen_ticks;
	/* As heap_allocations, but an estimate: what samples of blocks and their ends
	 * took of the thread's time. */
	_Atomic uint64_t heap_cost_cycles;
	uint64_t unused[3];
};
_Static_assert(sizeof(struct sp_slot) == 256, "slot size is part of the layout");

struct sp_module_record {
	uint64_t base, text_start, text_end, text_file_offset;
	uint64_t path; /* offset in strings */
	uint8_t build_id[32];
	uint32_t build_id_bytes;
	uint32_t flags;	      /* SP_MODULE_FLAG_* */
	uint64_t fingerprint; /* sp_elf_fingerprint(); 0: not known */
	uint64_t unused[4];
};
_Static_assert(sizeof(struct sp_module_record) == 120,
	       "module size is part of the layout");
#define SP_MODULE_FLAG_MAIN 1U
#define SP_MODULE_FLAG_VDSO 2U
#define SP_MODULE_FLAG_AGENT 4U

/*
 * A ring of records. Positions grow for ever; the byte at position p lies at
 * data[p % capacity]. Records never wrap: a PAD record fills the end.
 *
 * Two producers share it: the hook and the signal handler that may interrupt
 * it, both on the thread that owns the ring. Space is reserved by
 * compare-and-swap on head, so whichever is interrupted retries after the other;
 * a record counts from the moment its first word is stored (release). The
 * consumer stops at a first word of 0, and zeroes what it has consumed before
 * it moves tail, so that unwritten space always reads 0.
 */
#define SP_RING_LARGE_BYTES 65536U
#define SP_RING_SMALL_BYTES 16384U
struct sp_ring {
	_Atomic uint64_t head;
	_Atomic uint64_t tail;
	_Atomic uint32_t next_free;	 /* ring index + 1 */
	_Atomic uint32_t capacity_bytes; /* always that of its kind */
	/* Position + 1 of a record that makes no sense and was counted; the consumer
	 * goes no further. */
	_Atomic uint64_t damaged_at;
	uint64_t unused[4];
	unsigned char data[];
};
_Static_assert(sizeof(struct sp_ring) == 64, "ring header is part of the layout");

enum sp_record_type {
	SP_RECORD_PAD = 1,
	SP_RECORD_CPU,	    /* struct sp_cpu_record, frames */
	SP_RECORD_DEFERRED, /* struct sp_cpu_record, struct sp_deferred_stack, bytes */
};

/* First word: size_bytes << 8 | type; 0 while it is not committed. Sizes are
 * multiples of 8. */
struct sp_record {
	_Atomic uint32_t size_and_type;
};

enum sp_cpu_mode {
	SP_MODE_USER = 0,
	SP_MODE_KERNEL = 1,
};

struct sp_cpu_record {
	struct sp_record record;
	uint32_t weight_periods; /* 1 + overruns */
	uint16_t frame_count;
	uint8_t mode;
	uint8_t end; /* enum sp_unwind_end */
	uint32_t label_set;
	uint64_t frames[]; /* sp_frame.h, leaf first */
};

/* What the walk needs when it must wait for unwind data: registers by DWARF
 * number and a copy of the stack from the stack pointer upwards. */
struct sp_deferred_stack {
	uint64_t registers[17];
	uint64_t stack_address;
	uint64_t stack_bytes;
	uint64_t closes; /* of libraries by then: sp_unwind_closes */
	unsigned char stack[];
};

/* A node of the call tree: its path to the root is a stack, root side first.
 * parent < own index always; node 0 is the empty stack. */
struct sp_node {
	uint64_t frame;
	uint32_t parent;
	uint32_t depth_frames;
};

enum sp_cell_kind {
	SP_CELL_CPU = 1, /* values: samples, periods */
};

#define SP_CELL_VALUES 4
struct sp_cell {
	uint32_t node;
	uint16_t kind;
	uint16_t mode;
	uint32_t group;
	uint32_t labels; /* 0 = none */
	_Atomic uint64_t values[SP_CELL_VALUES];
};
_Static_assert(sizeof(struct sp_cell) == 48, "cell size is part of the layout");

/* Context: signal. For words that nobody writes at this moment. */
static inline uint64_t sp_atomic_value(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

/* A recording mapped into this process, by its writer or by a reader. */
struct sp_recording {
	struct sp_recording_header *header; /* NULL: none */
	uint64_t mapped_bytes;
	bool is_file; /* else anonymous: does not outlive the process */
	/* fallocate() would take large pages; touching takes small ones. */
	bool has_large_pages;
	bool is_in_memory;   /* the file is: no first touch of a page waits */
	char path[PATH_MAX]; /* "" when anonymous */
	int wanted_error;    /* why the wanted directory did not take it; 0: it did */
	uint64_t device, inode;
	_Atomic uint64_t refused_ns; /* when the kernel last had no storage; 0: never */
	/* Where each section was to end that was refused last; 0: none was. */
	_Atomic uint64_t refused_ends[SP_SECTION_COUNT];
	_Atomic uint32_t takers; /* of storage, at this moment */
	/* What a section may come to where its further addresses were given back; 0: its
	 * capacity. */
	_Atomic uint64_t items_max[SP_SECTION_COUNT];
};

/* Context: signal. */
static inline void *sp_recording_at(const struct sp_recording *recording, uint64_t offset)
{
	return (unsigned char *)recording->header + offset;
}

/* Context: signal. Item of a section; index must be below reserved_items. */
static inline void *sp_recording_item(const struct sp_recording *recording,
				      enum sp_section_kind kind, uint64_t index)
{
	const struct sp_section *section = &recording->header->sections[kind];

	return sp_recording_at(recording, section->offset + index * section->item_bytes);
}

/* Context: signal. What a section may come to in this process. */
static inline uint64_t sp_recording_items_max(const struct sp_recording *recording,
					      enum sp_section_kind kind)
{
	uint64_t items_max = atomic_load(&recording->items_max[kind]);

	return items_max ? items_max : recording->header->sections[kind].capacity_items;
}

static inline uint64_t sp_recording_reserved(const struct sp_recording *recording,
					     enum sp_section_kind kind)
{
	/* Pairs with the release in sp_recording_reserve(): storage is there first. */
	return atomic_load_explicit(&recording->header->sections[kind].reserved_items,
				    memory_order_acquire);
}

static inline uint64_t sp_recording_used(const struct sp_recording *recording,
					 enum sp_section_kind kind)
{
	return atomic_load_explicit(&recording->header->sections[kind].used_items,
				    memory_order_acquire);
}

static inline void sp_recording_count(const struct sp_recording *recording,
				      enum sp_loss loss, uint64_t count)
{
	/* Relaxed: a statistic nothing else is ordered by. */
	atomic_fetch_add_explicit(&recording->header->losses[loss], count,
				  memory_order_relaxed);
}

#endif
