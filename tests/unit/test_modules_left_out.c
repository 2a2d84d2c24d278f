/* Modules that cannot be followed as others are. */
#include "run_suite.h"
#include "unwind_fixture.h"

#include <check.h>
#include <dlfcn.h>
#include <link.h>

/* As many as there is room for, besides those of this program. */
#define MAPPED 16384U
#define ROOM 16384U
#define STRIDE_BYTES ((size_t)64 << 10)

static struct announced announced;
static struct sp_modules *modules;
static char library[64];

static void setup(void)
{
	announced.count = 0;
	modules = sp_modules_create(announce, &announced);
	ck_assert_ptr_nonnull(modules);
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	snprintf(library, sizeof(library), "/tmp/sp_test_modules_left_out_%d.so",
		 (int)getpid());
}

static void teardown(void)
{
	unlink(library);
	sp_modules_destroy(modules);
}

struct unwind_data {
	uint64_t base, address;
};

static int find_unwind_data(struct dl_phdr_info *info, size_t size_bytes, void *context)
{
	struct unwind_data *data = context;

	(void)size_bytes;
	for (int i = 0; i < info->dlpi_phnum && info->dlpi_addr == data->base; i++)
		if (info->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME)
			data->address = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
	return data->address != 0;
}

START_TEST(library_whose_unwind_data_cannot_be_read_keeps_its_name)
{
	const struct sp_unwind_module *module;
	struct unwind_data data = {0};
	uint64_t function;
	void *handle;

	ck_assert(compile_library("int f(int (*call)(int)) { return call(1) + 1; }\n",
				  "-O1", library));
	handle = dlopen(library, RTLD_NOW);
	ck_assert_ptr_nonnull(handle);
	data.base = ((struct link_map *)handle)->l_addr;
	dl_iterate_phdr(find_unwind_data, &data);
	ck_assert_uint_ne(data.address, 0);
	ck_assert_int_eq(mprotect((void *)(uintptr_t)(data.address & ~UINT64_C(4095)),
				  4096, PROT_NONE),
			 0);
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	function = (uint64_t)(uintptr_t)dlsym(handle, "f");
	module = sp_unwind_find_module(snapshot(), function);
	ck_assert_ptr_nonnull(module);
	ck_assert_uint_eq(module->eh_frame_bytes, 0);
	ck_assert_str_eq(announced.path[module->id - 1], library);
	dlclose(handle);
}
END_TEST

/* Text and headers in the first page, so that one mapping is a module. */
static void map_modules(char *place)
{
	int fd;

	ck_assert(compile_library(
		"int f(int n) { return n + 1; }\n",
		"-O1 -nostdlib -fno-asynchronous-unwind-tables -Wl,-z,noseparate-code",
		library));
	fd = open(library, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	for (size_t i = 0; i < MAPPED; i++)
		ck_assert_ptr_ne(mmap(place + i * STRIDE_BYTES, 4096,
				      PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd,
				      0),
				 MAP_FAILED);
	close(fd);
}

START_TEST(modules_that_are_too_many_are_counted_once)
{
	uint32_t before = snapshot()->count;
	char *place = mmap(NULL, MAPPED * STRIDE_BYTES, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ck_assert_ptr_ne(place, MAP_FAILED);
	ck_assert_uint_eq(sp_modules_take_left_out(modules), 0);
	map_modules(place);
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	ck_assert_uint_eq(snapshot()->count, ROOM);
	ck_assert_uint_eq(sp_modules_take_left_out(modules), before + MAPPED - ROOM);
	ck_assert_int_eq(sp_modules_refresh(modules), 0);
	ck_assert_uint_eq(sp_modules_take_left_out(modules), 0);
	munmap(place, MAPPED * STRIDE_BYTES);
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("left_out");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, library_whose_unwind_data_cannot_be_read_keeps_its_name);
	tcase_add_test(tc, modules_that_are_too_many_are_counted_once);
	return run_suite("modules_left_out", tc);
}
