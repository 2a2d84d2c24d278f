/*
 * Unwind data for the handler: .eh_frame and its search table where they lie, or
 * copied for what may be unloaded; a sorted list of functions where the linker left
 * none; .debug_frame from the file for code that has nothing in memory. Context:
 * collector.
 */
#include "modules_frames.h"

#include "sp_compiler.h"
#include "sp_guarded.h"
#include "sp_heap.h"
#include "sp_pages.h"
#include "sp_syscall.h"
#include "unwind_cfa.h"

#include <errno.h>

/* Beyond, a header is damaged rather than large. */
#define DATA_BYTES_MAX (UINT64_C(512) << 20)
#define FDES_MAX 8000000U
/* What a program is made of has an entry for each 100 to 1,000 bytes of code: a file is
 * looked into only where there are fewer. */
#define CODE_BYTES_PER_ENTRY 1024
/* That are read ahead. */
#define CIES_MAX 3U

static void *add_area(struct sp_frames_areas *areas, size_t size_bytes)
{
	void *pages;

	if (areas->count == SP_FRAMES_AREAS_MAX || size_bytes == 0)
		return NULL;
	pages = sp_pages_map(size_bytes);
	if (pages) {
		areas->area[areas->count].pages = pages;
		areas->area[areas->count++].size_bytes = size_bytes;
	}
	return pages;
}

/* Gives back the end of the newest area. */
static void shrink_area(struct sp_frames_areas *areas, size_t size_bytes)
{
	size_t kept_bytes = SP_ROUND_UP(size_bytes, SP_PAGE_BYTES);
	size_t had_bytes;
	char *pages;

	pages = areas->area[areas->count - 1].pages;
	had_bytes = SP_ROUND_UP(areas->area[areas->count - 1].size_bytes, SP_PAGE_BYTES);
	if (kept_bytes == 0 || kept_bytes >= had_bytes)
		return;
	sp_pages_unmap(pages + kept_bytes, had_bytes - kept_bytes);
	areas->area[areas->count - 1].size_bytes = kept_bytes;
}

static void release_from(struct sp_frames_areas *areas, uint32_t first)
{
	for (uint32_t i = first; i < areas->count; i++)
		sp_pages_unmap(areas->area[i].pages, areas->area[i].size_bytes);
	areas->count = first;
}

void sp_frames_release(struct sp_frames_areas *areas)
{
	release_from(areas, 0);
	sp_heap_free(areas->ahead);
	areas->ahead = NULL;
}

/* Copies a piece of the module; *delta leads from its addresses to the copy. 0, -ENOMEM,
 * or -EFAULT when it is not there. */
static int copy_data(struct sp_frames_areas *areas, uint64_t address, uint64_t size_bytes,
		     int64_t *delta)
{
	void *copy;

	if (size_bytes > DATA_BYTES_MAX)
		return -EFAULT;
	copy = add_area(areas, size_bytes);
	if (!copy)
		return -ENOMEM;
	if (!sp_guarded_read(address, copy, size_bytes))
		return -EFAULT;
	*delta = (int64_t)((uint64_t)(uintptr_t)copy - address);
	return 0;
}

/* Where the entries of .eh_frame really end: its segment goes on with other data. */
static uint64_t entries_bytes(const struct sp_unwind_module *module)
{
	uint64_t offset = 0, next, start, end;

	while (sp_cfi_read_entry(module, offset, &next, &start, &end) != SP_CFI_END)
		offset = next;
	/* The terminator is part of it. */
	offset += 4;
	return offset < module->eh_frame_bytes ? offset : module->eh_frame_bytes;
}

static int use_eh_frame(const struct sp_elf_image *image, struct sp_unwind_module *module,
			struct sp_frames_areas *areas)
{
	int err = 0;

	module->hdr_address = image->hdr_address;
	module->hdr_bytes = image->hdr_bytes;
	module->eh_frame_address = image->eh_frame_address;
	module->eh_frame_bytes = image->eh_frame_bytes;
	if (module->is_permanent)
		return 0;
	if (module->hdr_bytes)
		err = copy_data(areas, module->hdr_address, module->hdr_bytes,
				&module->hdr_delta);
	if (!err)
		err = copy_data(areas, module->eh_frame_address, module->eh_frame_bytes,
				&module->eh_frame_delta);
	if (err)
		return err;
	module->eh_frame_bytes = entries_bytes(module);
	shrink_area(areas, module->eh_frame_bytes);
	return 0;
}

static void sift_down(struct sp_unwind_fde *fdes, uint32_t root, uint32_t count)
{
	struct sp_unwind_fde moved = fdes[root];

	for (uint32_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
		if (child + 1 < count &&
		    fdes[child + 1].start_offset > fdes[child].start_offset)
			child++;
		if (fdes[child].start_offset <= moved.start_offset)
			break;
		fdes[root] = fdes[child];
		root = child;
	}
	fdes[root] = moved;
}

/* Heapsort: in place, no recursion, no bad case. */
static void sort_fdes(struct sp_unwind_fde *fdes, uint32_t count)
{
	for (uint32_t root = count / 2; root-- > 0;)
		sift_down(fdes, root, count);
	for (uint32_t last = count; last-- > 1;) {
		struct sp_unwind_fde swap = fdes[0];

		fdes[0] = fdes[last];
		fdes[last] = swap;
		sift_down(fdes, 0, last);
	}
}

/* Goes over all functions; fills fdes unless NULL. */
static uint32_t list_functions(const struct sp_unwind_module *module,
			       struct sp_unwind_fde *fdes, uint32_t capacity)
{
	uint64_t offset = 0, next, start, end;
	enum sp_cfi_entry entry;
	uint32_t count = 0;

	while ((entry = sp_cfi_read_entry(module, offset, &next, &start, &end)) !=
		       SP_CFI_END &&
	       count < capacity) {
		/* A function that the linker dropped starts at 0. */
		if (entry == SP_CFI_FUNCTION && start >= module->start &&
		    start < module->end && start - module->base <= UINT32_MAX &&
		    offset <= UINT32_MAX) {
			if (fdes)
				fdes[count] = (struct sp_unwind_fde){
					.start_offset = (uint32_t)(start - module->base),
					.fde_offset = (uint32_t)offset};
			count++;
		}
		offset = next;
	}
	return count;
}

static int build_table(struct sp_unwind_module *module, struct sp_frames_areas *areas)
{
	uint32_t count = list_functions(module, NULL, FDES_MAX);
	struct sp_unwind_fde *fdes;

	if (count == 0) {
		module->eh_frame_bytes = 0;
		return 0;
	}
	fdes = add_area(areas, count * sizeof(*fdes));
	if (!fdes)
		return -ENOMEM;
	count = list_functions(module, fdes, count);
	sort_fdes(fdes, count);
	module->fdes = fdes;
	module->fde_count = count;
	return 0;
}

/* 0 also where there is none. */
static int use_debug_frame(int fd, struct sp_unwind_module *module,
			   struct sp_frames_areas *areas)
{
	struct sp_elf_section section;
	void *copy;

	if (!sp_elf_find_section(fd, ".debug_frame", &section) ||
	    section.size_bytes == 0 || section.size_bytes > DATA_BYTES_MAX)
		return 0;
	copy = add_area(areas, section.size_bytes);
	if (!copy)
		return -ENOMEM;
	if (!sp_elf_read_file(fd, section.file_offset, copy, section.size_bytes))
		return -EFAULT;
	module->is_debug_frame = true;
	module->eh_frame_address = (uint64_t)(uintptr_t)copy;
	module->eh_frame_bytes = section.size_bytes;
	return 0;
}

/* Unwind data that only the section headers of the file lead to. */
static int use_file(const struct sp_elf_image *image, const char *path,
		    struct sp_unwind_module *module, struct sp_frames_areas *areas)
{
	struct sp_elf_section section;
	struct sp_elf_image in_memory = *image;
	int err = 0;
	int fd = sp_elf_open_file(path, image);

	if (fd < 0)
		return 0;
	/* A lone terminator, which is 4 bytes, is no data. */
	if (sp_elf_find_section(fd, ".eh_frame", &section) && section.address &&
	    section.size_bytes > 4) {
		in_memory.hdr_bytes = 0;
		in_memory.eh_frame_address = image->base + section.address;
		in_memory.eh_frame_bytes = section.size_bytes;
		if (in_memory.eh_frame_address >= module->start &&
		    in_memory.eh_frame_address < module->end &&
		    section.size_bytes <= module->end - in_memory.eh_frame_address)
			err = use_eh_frame(&in_memory, module, areas);
	} else {
		err = use_debug_frame(fd, module, areas);
	}
	sp_syscall1(SYS_close, fd);
	return err;
}

/* What spares walks pages and work: see struct sp_unwind_module. */
struct ahead {
	struct sp_unwind_cie cies[CIES_MAX];
	int32_t table_index[];
};

static bool is_known_cie(const struct sp_unwind_module *module, uint64_t offset)
{
	for (uint32_t i = 0; i < module->cie_count; i++)
		if (module->cies[i].offset == offset)
			return true;
	return false;
}

/* The linker leaves few: those of some functions here and there are most functions'. */
static void read_cies(struct sp_unwind_module *module, struct sp_unwind_cie *cies)
{
	module->cies = cies;
	for (uint32_t i = 0; i < CIES_MAX; i++) {
		uint64_t entry =
			(uint64_t)module->table_count * (2 * i + 1) / (2 * CIES_MAX);
		struct sp_unwind_cie *cie = &cies[module->cie_count];

		if (sp_cfi_read_ahead(module, (uint32_t)entry, cie) &&
		    !is_known_cie(module, cie->offset))
			module->cie_count++;
	}
}

/* Without memory walks take longer. */
static void read_ahead(struct sp_unwind_module *module, struct sp_frames_areas *areas)
{
	uint32_t count =
		(module->table_count + SP_UNWIND_INDEX_STEP - 1) / SP_UNWIND_INDEX_STEP;
	struct ahead *ahead;
	char *memory;

	memory = sp_heap_alloc(_Alignof(struct ahead) + sizeof(*ahead) +
			       count * sizeof(ahead->table_index[0]));
	areas->ahead = memory;
	if (!memory)
		return;
	/* The heap's blocks lie anywhere on a line. */
	memory += -(uintptr_t)memory % _Alignof(struct ahead);
	ahead = (struct ahead *)(void *)memory;
	read_cies(module, ahead->cies);
	if (count < 2)
		return;
	for (uint32_t i = 0; i < count; i++)
		ahead->table_index[i] =
			sp_cfi_table_start(module, i * SP_UNWIND_INDEX_STEP);
	module->table_index = ahead->table_index;
}

static int prepare(const struct sp_elf_image *image, const char *path,
		   struct sp_unwind_module *module, struct sp_frames_areas *areas)
{
	int err = image->eh_frame_bytes ? use_eh_frame(image, module, areas)
					: use_file(image, path, module, areas);

	if (err || module->eh_frame_bytes == 0)
		return err;
	if (sp_cfi_find_table(module)) {
		read_ahead(module, areas);
		return 0;
	}
	module->hdr_bytes = 0;
	return build_table(module, areas);
}

static bool has_few_entries(const struct sp_unwind_module *module)
{
	uint64_t code_bytes = module->text_end - module->text_start;
	uint32_t count = module->fdes ? module->fde_count : module->table_count;

	return count <= code_bytes / CODE_BYTES_PER_ENTRY;
}

/* What a compiler leaves that is told to put none into memory (-g, without
 * -fasynchronous-unwind-tables); start-up files have theirs there all the same. */
static void add_debug_frame(const struct sp_elf_image *image, const char *path,
			    struct sp_unwind_module *module,
			    struct sp_frames_areas *areas)
{
	uint32_t areas_before = areas->count;
	struct sp_unwind_module *behind;
	int err = -ENOMEM;
	int fd = sp_elf_open_file(path, image);

	if (fd < 0)
		return;
	behind = add_area(areas, sizeof(*behind));
	if (behind) {
		behind->start = module->start;
		behind->end = module->end;
		behind->base = module->base;
		err = use_debug_frame(fd, behind, areas);
	}
	sp_syscall1(SYS_close, fd);
	if (!err && behind->eh_frame_bytes)
		err = build_table(behind, areas);
	if (!err && behind->fdes)
		module->debug_frame = behind;
	else
		release_from(areas, areas_before);
}

int sp_frames_prepare(const struct sp_elf_image *image, const char *path,
		      struct sp_unwind_module *module, struct sp_frames_areas *areas)
{
	int err;

	areas->count = 0;
	areas->ahead = NULL;
	err = prepare(image, path, module, areas);
	if (!err && !module->is_debug_frame && has_few_entries(module))
		add_debug_frame(image, path, module, areas);
	if (err) {
		sp_frames_release(areas);
		module->hdr_bytes = 0;
		module->eh_frame_bytes = 0;
		module->is_debug_frame = false;
	}
	return err;
}
