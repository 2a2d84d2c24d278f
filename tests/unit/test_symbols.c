/*
 * Names of real files against what nm lists: an address in the middle of a symbol
 * gets a name that nm has for it, an address outside of all symbols gets none.
 */
#include "sp_symbols.h"

#include "sp_elf_file.h"
#include "sp_heap.h"
#include "symbols_fixture.h"

#include <stdbool.h>
#include <sys/auxv.h>

#define LISTED_MAX 60000

struct listed {
	uint64_t start, size_bytes;
	char *name;
};

static struct listed *listed;
static size_t listed_count;

static void setup(void)
{
	symbols_setup("program", false);
	listed = calloc(LISTED_MAX, sizeof(*listed));
	listed_count = 0;
}

static void teardown(void)
{
	for (size_t i = 0; i < listed_count; i++)
		free(listed[i].name);
	free(listed);
	symbols_teardown();
}

static bool has_tool(const char *tool)
{
	char command[128];

	snprintf(command, sizeof(command), "command -v %s >/dev/null", tool);
	return system(command) == 0;
}

/* Adds what nm lists as code with a size: "start size type name". */
static void list(const char *options, const char *path)
{
	char command[512], line[8192];
	FILE *output;

	snprintf(command, sizeof(command), "nm -S %s %s 2>/dev/null", options, path);
	output = popen(command, "r");
	ck_assert_ptr_nonnull(output);
	while (fgets(line, sizeof(line), output) && listed_count < LISTED_MAX) {
		unsigned long start, size_bytes;
		char type, name[8000];

		if (sscanf(line, "%lx %lx %c %7999s", &start, &size_bytes, &type, name) !=
			    4 ||
		    !strchr("tTwWi", type))
			continue;
		name[1 + strcspn(name + 1, "@")] = '\0';
		listed[listed_count++] = (struct listed){start, size_bytes, strdup(name)};
	}
	pclose(output);
}

static bool is_listed(uint64_t offset, const char *name)
{
	for (size_t i = 0; i < listed_count; i++)
		if (offset >= listed[i].start &&
		    offset - listed[i].start < listed[i].size_bytes &&
		    (!name || strcmp(listed[i].name, name) == 0))
			return true;
	return false;
}

static int compare_queries(const void *a, const void *b)
{
	uint64_t left = ((const struct sp_symbol_query *)a)->offset;
	uint64_t right = ((const struct sp_symbol_query *)b)->offset;

	return left < right ? -1 : left > right;
}

/* In and around every stride-th symbol: its start, middle, last byte, the byte after. */
static size_t choose_addresses(struct sp_symbol_query *queries)
{
	size_t stride = listed_count / 500 + 1, count = 0;

	for (size_t i = 0; i < listed_count; i += stride) {
		uint64_t start = listed[i].start, size_bytes = listed[i].size_bytes;

		queries[count++].offset = start;
		queries[count++].offset = start + size_bytes / 2;
		queries[count++].offset = start + size_bytes - 1;
		queries[count++].offset = start + size_bytes;
	}
	qsort(queries, count, sizeof(*queries), compare_queries);
	return count;
}

/* Code only: nm's weak symbols may be data. */
static void drop_data(const char *path)
{
	struct sp_elf_file file;
	size_t kept = 0;

	ck_assert_int_eq(sp_elf_open(&file, path), 0);
	for (size_t i = 0; i < listed_count; i++) {
		if (sp_elf_code_around(&file, listed[i].start))
			listed[kept++] = listed[i];
		else
			free(listed[i].name);
	}
	listed_count = kept;
	sp_elf_close(&file);
}

static void check_file(const char *path, const char *debug_root)
{
	struct sp_view_module module = {.id = 1, .path = path};
	struct sp_symbol_query *queries;
	size_t count;

	drop_data(path);
	ck_assert_uint_gt(listed_count, 0);
	queries = calloc(4 * listed_count, sizeof(*queries));
	count = choose_addresses(queries);
	sp_symbols_set_places(symbols, debug_root, NULL);
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, queries, count), 0);
	for (size_t i = 0; i < count; i++) {
		const struct sp_symbol_query *query = &queries[i];

		/* Outside of all sizes only a symbol without one may give its name. */
		if (is_listed(query->offset, NULL))
			ck_assert_msg(is_listed(query->offset, query->system_name),
				      "%s 0x%lx: %s", path, query->offset,
				      query->system_name);
		else
			ck_assert_msg(strstr(query->name, "+0x") ||
					      !is_listed(query->start_offset, NULL),
				      "%s 0x%lx: %s", path, query->offset, query->name);
	}
	free(queries);
}

static const char *const programs[] = {
	"/usr/bin/redis-server", "/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/python3",
	"/usr/bin/bash", "/proc/self/exe",
	/* many C++ names, with the oddities of a large library */
	"/usr/lib/x86_64-linux-gnu/libstdc++.so.6"};

START_TEST(names_are_those_that_nm_lists)
{
	char path[256];

	if (access(programs[_i], R_OK) != 0 || !realpath(programs[_i], path) ||
	    !has_tool("nm"))
		return;
	list("", path);
	list("-D", path);
	check_file(path, scratch);
}
END_TEST

START_TEST(names_of_the_c_library_come_from_its_debug_file)
{
	const char *path = "/lib/x86_64-linux-gnu/libc.so.6";
	char debug[256] = "/usr/lib/debug/.build-id/";
	struct sp_elf_file file;

	if (!has_tool("nm") || sp_elf_open(&file, path) != 0)
		return;
	for (uint32_t i = 0; i < file.build_id_bytes; i++)
		sprintf(debug + strlen(debug), i == 1 ? "/%02x" : "%02x",
			file.build_id[i]);
	strcat(debug, ".debug");
	sp_elf_close(&file);
	if (access(debug, R_OK) != 0)
		return;
	list("", debug);
	list("-D", path);
	check_file(path, "/usr/lib/debug");
}
END_TEST

static const char cpp_source[] =
	"namespace outer { namespace { int hidden(int v) { return v * 3; } }\n"
	"template <typename T, int N> struct Box { T items[N];\n"
	"  __attribute__((noinline)) T sum(int n) const { T s = 0;\n"
	"    for (int i = 0; i < n; i++) s += items[i]; return s; } };\n"
	"struct Shape { Shape(); virtual ~Shape(); virtual int area() const; int side; "
	"};\n"
	"Shape::Shape() : side(3) {}\n"
	"__attribute__((noinline)) Shape::~Shape() { asm volatile(\"\"); }\n"
	"__attribute__((noinline)) int Shape::area() const { if (side > 100) throw side; "
	"return side * side; }\n"
	"int operator+(const Shape &a, const Shape &b) { return a.side + b.side + "
	"hidden(2); }\n"
	"}\n"
	"int main(int argc, char **) { outer::Box<long, 8> b{}; outer::Shape s;\n"
	"  auto f = [&](int x) __attribute__((noinline)) { return x + s.area(); };\n"
	"  return (int)b.sum(argc) + f(argc) + (s + s); }\n";

/* path of a C++ program built in the scratch directory, or NULL without a compiler. */
static const char *build_cpp(const char *options)
{
	static char path[256];
	char command[1024];

	snprintf(path, sizeof(path), "%s/shapes", scratch);
	write_file(in_scratch("shapes.cpp"), cpp_source, sizeof(cpp_source) - 1);
	snprintf(command, sizeof(command),
		 "c++ -std=c++17 -O1 -g0 %s -o %s %s/shapes.cpp", options, path, scratch);
	if (!has_tool("c++") || !has_tool("nm"))
		return NULL;
	ck_assert_int_eq(system(command), 0);
	return path;
}

static const char *const builds[] = {"", "-no-pie", "-Wl,--gc-sections",
				     "-Wl,--hash-style=sysv -rdynamic"};

START_TEST(names_of_a_cpp_program_are_those_that_nm_lists)
{
	const char *path = build_cpp(builds[_i]);

	if (!path)
		return;
	list("", path);
	list("-D", path);
	check_file(path, scratch);
}
END_TEST

START_TEST(cpp_names_are_readable_without_parameters)
{
	static const struct {
		const char *mangled, *readable;
	} wanted[] = {
		{"_ZNK5outer3BoxIlLi8EE3sumEi", "outer::Box<long, 8>::sum"},
		{"_ZNK5outer5Shape4areaEv", "outer::Shape::area"},
		{"_ZN5outerplERKNS_5ShapeES2_", "outer::operator+"},
		{"main", "main"},
	};
	const char *path = build_cpp("");
	struct sp_view_module module = {.id = 1, .path = path};
	size_t found = 0;

	if (!path)
		return;
	list("", path);
	for (size_t i = 0; i < listed_count; i++) {
		struct sp_symbol_query query = {.offset = listed[i].start};

		ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
		for (size_t j = 0; j < sizeof(wanted) / sizeof(wanted[0]); j++) {
			if (strcmp(wanted[j].mangled, query.system_name) != 0)
				continue;
			ck_assert_str_eq(query.name, wanted[j].readable);
			found++;
		}
	}
	ck_assert_uint_eq(found, 4);
}
END_TEST

START_TEST(stripped_program_is_named_by_function_starts)
{
	const char *path = build_cpp("-s");
	struct sp_view_module module = {.id = 1, .path = path};
	char command[600], full[256], expected[64];
	size_t checked = 0;

	if (!path)
		return;
	/* The same program with symbols tells where its functions are. */
	snprintf(full, sizeof(full), "%s/full", scratch);
	snprintf(command, sizeof(command), "c++ -std=c++17 -O1 -g0 -o %s %s/shapes.cpp",
		 full, scratch);
	ck_assert_int_eq(system(command), 0);
	list("", full);
	for (size_t i = 0; i < listed_count; i++) {
		/* The program's own, not those of the start files. */
		if (strcmp(listed[i].name, "main") != 0 && listed[i].name[1] != 'Z')
			continue;
		for (uint64_t at = 0; at < listed[i].size_bytes; at++) {
			struct sp_symbol_query query = {.offset = listed[i].start + at};

			ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1),
					 0);
			snprintf(expected, sizeof(expected), "shapes+0x%lx",
				 listed[i].start);
			ck_assert_str_eq(query.name, expected);
			ck_assert_uint_eq(query.start_offset, listed[i].start);
		}
		checked++;
	}
	ck_assert_uint_ge(checked, 5);
}
END_TEST

START_TEST(program_entry_written_in_assembly_has_its_name)
{
	const char *path = build_cpp("");
	struct sp_view_module module = {.id = 1, .path = path};
	struct sp_symbol_query query = {0};
	char command[512];
	unsigned long start = 0;
	FILE *output;

	if (!path)
		return;
	snprintf(command, sizeof(command), "nm %s | grep ' _start$'", path);
	output = popen(command, "r");
	ck_assert_int_eq(fscanf(output, "%lx", &start), 1);
	pclose(output);
	query.offset = start + 4;
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "_start");
}
END_TEST

START_TEST(name_does_not_depend_on_what_else_is_asked)
{
	const char *path = "/lib/x86_64-linux-gnu/libc.so.6";
	struct sp_view_module module = {.id = 1, .path = path};
	struct sp_symbol_query together[200];
	struct sp_elf_file file;

	if (sp_elf_open(&file, path) != 0)
		return;
	for (size_t i = 0; i < 200; i++)
		together[i].offset = file.code[0].start + i * 6271;
	sp_elf_close(&file);
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, together, 200), 0);
	for (size_t i = 0; i < 200; i++) {
		struct sp_symbol_query alone = {.offset = together[i].offset};

		ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &alone, 1), 0);
		ck_assert_ptr_eq(alone.name, together[i].name);
		ck_assert_uint_eq(alone.start_offset, together[i].start_offset);
	}
}
END_TEST

/* The offset of a function that every vDSO has. */
static uint64_t find_in_vdso(const char *name, uint64_t address)
{
	struct sp_elf_file file;
	uint64_t value = 0;

	ck_assert_int_eq(sp_elf_open_memory(&file, address, 8192), 0);
	for (uint64_t i = 1; i < file.dynsym.symbol_count && !value; i++) {
		char found[64];
		Elf64_Sym symbol;

		ck_assert_int_eq(
			sp_elf_read(&file,
				    file.dynsym.symbols_offset + i * sizeof(symbol),
				    &symbol, sizeof(symbol)),
			sizeof(symbol));
		if (sp_elf_read_name(&file, &file.dynsym, symbol.st_name, found,
				     sizeof(found)) &&
		    strcmp(found, name) == 0)
			value = symbol.st_value;
	}
	sp_elf_close(&file);
	return value;
}

START_TEST(vdso_of_this_process_is_read_from_memory)
{
	uint64_t address = getauxval(AT_SYSINFO_EHDR);
	struct sp_view_module module = {.id = 1,
					.is_vdso = true,
					.base = address,
					.text_start = address,
					.text_end = address + 8192,
					.path = "[vdso]"};
	struct sp_symbol_query query = {0};

	if (address == 0)
		return;
	query.offset = find_in_vdso("__vdso_clock_gettime", address);
	ck_assert_uint_ne(query.offset, 0);
	query.offset++;
	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	/* "clock_gettime" is a weak alias of it */
	ck_assert_str_eq(query.name, "__vdso_clock_gettime");
}
END_TEST

START_TEST(vdso_of_an_unknown_process_gives_offsets)
{
	uint64_t address = getauxval(AT_SYSINFO_EHDR);
	struct sp_view_module module = {
		.id = 1, .is_vdso = true, .base = address + 4096, .path = "[vdso]"};
	struct sp_symbol_query query = {.offset = 0xfff0};

	ck_assert_int_eq(sp_symbols_resolve(symbols, &module, &query, 1), 0);
	ck_assert_str_eq(query.name, "[vdso]+0xfff0");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("symbols");
	TCase *tc = tcase_create("real files");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, names_are_those_that_nm_lists, 0,
			    (int)(sizeof(programs) / sizeof(programs[0])));
	tcase_add_test(tc, names_of_the_c_library_come_from_its_debug_file);
	tcase_add_loop_test(tc, names_of_a_cpp_program_are_those_that_nm_lists, 0,
			    (int)(sizeof(builds) / sizeof(builds[0])));
	tcase_add_test(tc, cpp_names_are_readable_without_parameters);
	tcase_add_test(tc, stripped_program_is_named_by_function_starts);
	tcase_add_test(tc, program_entry_written_in_assembly_has_its_name);
	tcase_add_test(tc, name_does_not_depend_on_what_else_is_asked);
	tcase_add_test(tc, vdso_of_this_process_is_read_from_memory);
	tcase_add_test(tc, vdso_of_an_unknown_process_gives_offsets);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
