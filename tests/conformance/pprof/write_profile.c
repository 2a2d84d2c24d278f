/*
 * write_profile FOLDER: writes profiles whose stacks lead through functions of this
 * very program, so that readers find its symbols and lines.
 *
 *   cpu    main_loop;work;leaf and others, with labels, generated code, [dropped]
 *   heap   four value types, the default of which is not the last; leaf is dropped
 *   empty  no samples
 *   odd    a path that is not UTF-8, modules at one address, no stack
 *   large  100,000 samples
 *
 *   recorded.cpu, .heap, .peak, .lifetimes, .leaks   from a recording with a heap
 *   later.…                                          of the same process, later
 */
#include "../../unit/test_heap_fixture.h"
#include "memory_view.h"
#include "pprof_once.h"
#include "sp_collector.h"
#include "sp_file_sink.h"

#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM 1
#define PAGE_BYTES UINT64_C(4096)

static volatile int side_effect;

/* Places in these functions stand for what was sampled. */
__attribute__((noinline)) static void leaf(void)
{
	side_effect++;
}

__attribute__((noinline)) static void work(void)
{
	side_effect += 2;
	leaf();
	side_effect += 3;
}

__attribute__((noinline)) static void main_loop(void)
{
	side_effect += 4;
	work();
	side_effect += 5;
}

static struct sp_view_module program;
static char program_path[PATH_MAX];

/* A frame in a function: past its start, as return addresses are. */
static uint64_t frame_in(void (*function)(void))
{
	return sp_frame_make(PROGRAM, (uint64_t)(uintptr_t)function + 4 - program.base);
}

static void find_build_id(const uint8_t *notes, size_t notes_bytes)
{
	for (size_t at = 0; at + sizeof(ElfW(Nhdr)) <= notes_bytes;) {
		const ElfW(Nhdr) *note = (const void *)(notes + at);
		size_t name_bytes = (note->n_namesz + 3U) & ~3U;

		if (note->n_type == NT_GNU_BUILD_ID) {
			program.build_id = notes + at + sizeof(*note) + name_bytes;
			program.build_id_bytes = note->n_descsz;
		}
		at += sizeof(*note) + name_bytes + ((note->n_descsz + 3U) & ~3U);
	}
}

/* The program comes first in the loader's list. */
static int describe_program(struct dl_phdr_info *info, size_t info_bytes, void *context)
{
	(void)info_bytes;
	(void)context;
	program.id = PROGRAM;
	program.is_main = true;
	program.base = info->dlpi_addr;
	program.path = program_path;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uint64_t start = info->dlpi_addr + segment->p_vaddr;

		if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X)) {
			program.text_start = start & ~(PAGE_BYTES - 1);
			program.text_end = (start + segment->p_memsz + PAGE_BYTES - 1) &
					   ~(PAGE_BYTES - 1);
			program.text_file_offset = segment->p_offset & ~(PAGE_BYTES - 1);
		}
		if (segment->p_type == PT_NOTE)
			find_build_id((const uint8_t *)(uintptr_t)start,
				      segment->p_memsz);
	}
	return 1;
}

static int write_view(const struct sp_profile_view *view, int dir_fd, const char *kind)
{
	const struct sp_reporter_ops *reporter = sp_reporter_find("pprof");
	struct sp_file_sink file;
	char name[64];
	int err;

	snprintf(name, sizeof(name), "%s.%s", kind, reporter->extension);
	err = sp_file_sink_open(&file, dir_fd, name);
	if (err)
		return err;
	err = pprof_write_once(view, &file.sink);
	if (err) {
		sp_file_sink_abort(&file);
		return err;
	}
	return sp_file_sink_commit(&file, true);
}

static void begin(struct memory_view *memory)
{
	memory_view_init(memory);
	memory->view.modules = &program;
	memory->view.module_count = 1;
	memory->view.pid = 1 << 30; /* nobody's, so that there is no map of it */
}

static int write_cpu(int dir_fd)
{
	static const char *const comments[] = {"made for a test", "second comment"};
	const uint64_t deep[] = {frame_in(leaf), frame_in(work), frame_in(main_loop)};
	const uint64_t shallow[] = {frame_in(work), frame_in(main_loop)};
	const uint64_t jit[] = {sp_frame_make(SP_MODULE_NONE, 0x7f2200001234),
				frame_in(main_loop)};
	const uint64_t dropped[] = {sp_frame_pseudo(SP_PSEUDO_DROPPED)};
	struct memory_view memory;
	struct sp_view_sample *sample;
	int err;

	begin(&memory);
	memory.view.comments = comments;
	memory.view.comment_count = 2;
	sample = memory_view_add(&memory, 100, deep, 3);
	memory_view_label_text(sample, "span_name", "load");
	memory_view_label_number(sample, "size", 4096, "bytes");
	sample = memory_view_add(&memory, 50, deep, 3);
	memory_view_label_text(sample, "span_name", "store");
	memory_view_label_number(sample, "size", 1 << 20, "bytes");
	memory_view_add(&memory, 30, shallow, 2);
	memory_view_add(&memory, 15, jit, 2);
	memory_view_add(&memory, 5, dropped, 1);
	err = write_view(&memory.view, dir_fd, "cpu");
	memory_view_fini(&memory);
	return err;
}

static int write_heap(int dir_fd)
{
	static const struct sp_value_type types[] = {{"alloc_objects", "count"},
						     {"alloc_space", "bytes"},
						     {"inuse_objects", "count"},
						     {"inuse_space", "bytes"}};
	const uint64_t stack[] = {frame_in(leaf), frame_in(main_loop)};
	struct memory_view memory;
	struct sp_view_sample *sample;
	int err;

	begin(&memory);
	memory.view.kind = "heap";
	memcpy(memory.view.value_types, types, sizeof(types));
	memory.view.value_type_count = 4;
	memory.view.period_type = (struct sp_value_type){"space", "bytes"};
	memory.view.period = 524288;
	memory.view.default_value_type = 1;
	memory.view.drop_frames = "le.f|none";
	sample = memory_view_add(&memory, 0, stack, 2);
	sample->values[0] = 20;
	sample->values[1] = 2 << 20;
	sample->values[2] = 10;
	sample->values[3] = 1 << 20;
	err = write_view(&memory.view, dir_fd, "heap");
	memory_view_fini(&memory);
	return err;
}

static int write_empty(int dir_fd)
{
	struct memory_view memory;
	int err;

	begin(&memory);
	err = write_view(&memory.view, dir_fd, "empty");
	memory_view_fini(&memory);
	return err;
}

static int write_odd(int dir_fd)
{
	struct sp_view_module modules[] = {program, program, program};
	const uint64_t first = sp_frame_make(2, 0x1100),
		       second = sp_frame_make(3, 0x1100),
		       outside = sp_frame_make(PROGRAM, 0x7fffffff0000);
	struct memory_view memory;
	struct sp_view_sample *sample;
	int err;

	begin(&memory);
	for (uint16_t i = 1; i < 3; i++) {
		modules[i] = (struct sp_view_module){.id = (uint16_t)(i + 1),
						     .base = 0x7f5500000000,
						     .text_start = 0x7f5500001000,
						     .text_end = 0x7f5500002000,
						     .text_file_offset = 0x1000};
	}
	modules[1].path = "/none/caf\xe9.so";
	modules[2].path = "/none/other.so";
	memory.view.modules = modules;
	memory.view.module_count = 3;
	memory_view_add(&memory, 1, &first, 1);
	memory_view_add(&memory, 2, &second, 1);
	memory_view_add(&memory, 3, &outside, 1);
	sample = memory_view_add(&memory, 4, NULL, 0);
	memory_view_label_text(sample, "thread", "\xff\xfe");
	err = write_view(&memory.view, dir_fd, "odd");
	memory_view_fini(&memory);
	return err;
}

static int write_large(int dir_fd)
{
	uint64_t text_bytes = program.text_end - program.text_start, random = 1;
	struct memory_view memory;
	int err;

	begin(&memory);
	for (uint32_t i = 0; i < 100000; i++) {
		uint64_t frames[20];

		for (int j = 0; j < 20; j++) {
			random = random * UINT64_C(6364136223846793005) +
				 1442695040888963407;
			frames[j] = sp_frame_make(PROGRAM,
						  program.text_start - program.base +
							  (random >> 33) % text_bytes);
		}
		memory_view_add(&memory, 1, frames, 20);
	}
	err = write_view(&memory.view, dir_fd, "large");
	memory_view_fini(&memory);
	return err;
}

static void add_cell(struct sp_recording *recording, void (*leaf_function)(void),
		     uint64_t size_bytes, bool is_freed)
{
	const struct test_block block = {.cell = test_heap_add_cell(recording),
					 .size_bytes = size_bytes,
					 .age_cycles = TEST_CYCLES_PER_SECOND / 2048};
	struct sp_heap_cell *cell = test_heap_cell(recording, block.cell);
	struct sp_heap_stack *stack =
		sp_recording_item(recording, SP_SECTION_HEAP_STACKS, cell->stack);

	stack->frame_count = 2;
	stack->frames[0] = frame_in(leaf_function);
	stack->frames[1] = frame_in(main_loop);
	cell->size_class_bytes = size_bytes;
	if (is_freed)
		test_heap_freed(test_heap_entry(recording, block.cell), &block);
	else
		test_heap_live(test_heap_entry(recording, block.cell), &block, 0x1000);
}

static int write_recording(struct sp_recording *recording, int dir_fd, const char *name)
{
	struct sp_write_summary summary;

	memset(&summary, 0, sizeof(summary));
	snprintf(recording->header->file_pattern, sizeof(recording->header->file_pattern),
		 "%s", name);
	sp_collector_write(recording, dir_fd, true, &summary);
	return sp_write_summary_error(&summary);
}

static int write_recorded(int dir_fd)
{
	struct sp_module_record module = {
		.base = program.base,
		.text_start = program.text_start,
		.text_end = program.text_end,
		.text_file_offset = program.text_file_offset,
		.build_id_bytes = program.build_id_bytes,
		.flags = SP_MODULE_FLAG_MAIN,
	};
	struct sp_recording recording;
	int err = test_recording_make(&recording, "/proc/nonexistent",
				      SP_RECORDING_BYTES_MIN * 8);

	if (err)
		return err;
	memcpy(module.build_id, program.build_id, program.build_id_bytes);
	sp_recording_add_module(&recording, &module, program_path);
	test_heap_begin(&recording);
	recording.header->heap_rate_bytes = 1;
	err = test_drain(&recording);
	add_cell(&recording, leaf, 3 << 20, false);
	add_cell(&recording, work, 1 << 20, false);
	add_cell(&recording, work, 64, true);
	if (!err)
		err = write_recording(&recording, dir_fd, "recorded");
	add_cell(&recording, leaf, 2 << 20, false);
	add_cell(&recording, work, 1 << 20, true);
	if (!err)
		err = write_recording(&recording, dir_fd, "later");
	sp_recording_detach(&recording);
	return err;
}

int main(int argc, char **argv)
{
	static int (*const writers[])(int) = {write_cpu, write_heap,  write_empty,
					      write_odd, write_large, write_recorded};
	int dir_fd;

	main_loop();
	if (argc != 2 || sp_directory_open(argv[1], &dir_fd) != 0 ||
	    readlink("/proc/self/exe", program_path, sizeof(program_path) - 1) < 0)
		return 2;
	dl_iterate_phdr(describe_program, NULL);
	for (size_t i = 0; i < sizeof(writers) / sizeof(writers[0]); i++) {
		int err = writers[i](dir_fd);

		if (err) {
			fprintf(stderr, "write_profile: profile %zu: %s\n", i,
				strerror(-err));
			return 1;
		}
	}
	return 0;
}
