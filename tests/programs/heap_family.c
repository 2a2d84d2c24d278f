/*
 * heap_family: what each function of the allocator's family promises, one line for
 * each case; no line depends on where blocks lie. Under "limited" the address space
 * is so small that allocations fail; under "other" another allocator serves it, which
 * need not have pvalloc and cfree.
 */
#include "burn.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Never known to the compiler, which would warn of them. */
static volatile size_t none = 0, huge = (size_t)PTRDIFF_MAX + 1, most = SIZE_MAX;
static volatile size_t half = SIZE_MAX / 2, two_to_32 = 1UL << 32, two_to_63 = 1UL << 63;
/* Where there are addresses for it, but not so much memory. */
static volatile size_t two_to_38 = 1UL << 38, two_to_40 = 1UL << 40;
/* After these fail, the old block is used on. */
static void *(*volatile resize)(void *, size_t) = realloc;
static void *(*volatile resize_array)(void *, size_t, size_t) = reallocarray;
static char untouched;
static bool is_other;

/* Seen, not assumed from the function's attributes. */
static bool is_aligned(const void *block, size_t alignment)
{
	__asm__ volatile("" : "+r"(block));
	return ((uintptr_t)block & (alignment - 1)) == 0;
}

/* A block that is there can be written to its end, and kept till it is freed. */
static void say(const char *what, void *block, size_t bytes)
{
	printf("%s: %s", what, block != NULL ? "block" : "NULL");
	if (block != NULL) {
		memset(block, 0x5a, bytes);
		printf(", usable %d, aligned %d", malloc_usable_size(block) >= bytes,
		       is_aligned(block, _Alignof(max_align_t)));
	} else {
		printf(", errno %d", errno);
	}
	printf("\n");
	free(block);
	errno = 0;
}

static void try_nothing(void)
{
	void *block = NULL;
	int error;

	say("malloc(0)", malloc(none), 0);
	say("calloc(0, 0)", calloc(none, none), 0);
	say("calloc(0, 8)", calloc(none, 8), 0);
	say("calloc(8, 0)", calloc(8, none), 0);
	say("realloc(NULL, 0)", realloc(NULL, none), 0);
	say("reallocarray(NULL, 0, 8)", reallocarray(NULL, none, 8), 0);
	say("aligned_alloc(64, 0)", aligned_alloc(64, none), 0);
	say("memalign(64, 0)", memalign(64, none), 0);
	say("valloc(0)", valloc(none), 0);
	if (!is_other)
		say("pvalloc(0)", pvalloc(none), 0);
	error = posix_memalign(&block, 64, none);
	printf("posix_memalign(64, 0): %d\n", error);
	say("posix_memalign(64, 0)", block, 0);
	free(NULL);
	printf("malloc_usable_size(NULL): %zu\n", malloc_usable_size(NULL));
}

static void try_too_much(void)
{
	void *block = &untouched;

	errno = 0;
	say("malloc(PTRDIFF_MAX + 1)", malloc(huge), 0);
	say("malloc(SIZE_MAX)", malloc(most), 0);
	say("malloc(PTRDIFF_MAX)", malloc(huge - 1), 0);
	say("malloc(2^40)", malloc(two_to_40), 0);
	say("calloc(2^40, 1)", calloc(two_to_40, 1), 0);
	say("realloc(NULL, 2^40)", realloc(NULL, two_to_40), 0);
	say("memalign(64, 2^40)", memalign(64, two_to_40), 0);
	say("memalign(2^38, 64)", memalign(two_to_38, 64), 0);
	say("calloc(SIZE_MAX / 2, 3)", calloc(half, 3), 0);
	say("calloc(2^32, 2^32)", calloc(two_to_32, two_to_32), 0);
	say("calloc(1, SIZE_MAX)", calloc(1, most), 0);
	say("realloc(NULL, SIZE_MAX)", realloc(NULL, most), 0);
	say("reallocarray(NULL, SIZE_MAX / 2, 3)", reallocarray(NULL, half, 3), 0);
	say("reallocarray(NULL, 2^32, 2^32)", reallocarray(NULL, two_to_32, two_to_32),
	    0);
	say("aligned_alloc(64, SIZE_MAX)", aligned_alloc(64, most), 0);
	say("memalign(64, SIZE_MAX)", memalign(64, most), 0);
	say("memalign(SIZE_MAX, 64)", memalign(most, 64), 0);
	say("memalign(2^63, 64)", memalign(two_to_63, 64), 0);
	say("valloc(SIZE_MAX)", valloc(most), 0);
	if (!is_other)
		say("pvalloc(SIZE_MAX)", pvalloc(most), 0);
	errno = 77;
	printf("posix_memalign too large: %d", posix_memalign(&block, 64, most));
	printf(", untouched %d, errno %d\n", block == &untouched, errno);
}

static void try_alignments(void)
{
	static const size_t wrong[] = {0, 1, 4, 7, 24, 100};
	void *block = &untouched;
	int error;

	for (size_t alignment = 1; alignment <= 1 << 22; alignment *= 2) {
		void *by_memalign = memalign(alignment, 100);
		void *by_aligned = aligned_alloc(alignment, 3 * alignment);
		void *by_posix = NULL;

		error = posix_memalign(&by_posix, alignment, 100);
		printf("alignment %zu: %d %d, %d %d %d\n", alignment,
		       is_aligned(by_memalign, alignment),
		       is_aligned(by_aligned, alignment), error, by_posix != NULL,
		       is_aligned(by_posix, alignment));
		free(by_memalign);
		free(by_aligned);
		free(by_posix);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		errno = 77;
		error = posix_memalign(&block, wrong[i], 100);
		printf("posix_memalign(%zu): %d, untouched %d, errno %d\n", wrong[i],
		       error, block == &untouched, errno);
	}
	/* What is no power of two becomes one here. */
	block = memalign(none + 48, 100);
	printf("memalign(48): %d\n", is_aligned(block, 64));
	free(block);
	block = valloc(100);
	printf("valloc: %d\n", is_aligned(block, 4096));
	free(block);
	if (is_other)
		return;
	block = pvalloc(100);
	printf("pvalloc: %d %d\n", is_aligned(block, 4096),
	       malloc_usable_size(block) >= 4096);
	free(block);
}

static int try_one_errno(int before, size_t bytes)
{
	void *block, *other;
	int changes = 0;

	errno = before;
	block = malloc(bytes);
	changes += errno != before;
	block = realloc(block, bytes * 2 + 1);
	changes += errno != before;
	other = calloc(1, bytes);
	changes += errno != before;
	free(block);
	changes += errno != before;
	if (posix_memalign(&block, 64, bytes) != 0)
		exit(4);
	changes += errno != before;
	free(block);
	free(other);
	free(NULL);
	changes += errno != before;
	return changes;
}

/* Large ones are mapped: giving them back is a system call. */
static void try_errno(void)
{
	static const size_t sizes[] = {0,      1,      100,	5000,
				       100000, 600000, 5000000, 40000000};
	static const int befores[] = {0, 1, ENOMEM, 77, -3, 123456};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int changes = 0;

		for (size_t j = 0; j < sizeof(befores) / sizeof(befores[0]); j++)
			for (int k = 0; k < (sizes[i] > 1000000 ? 2 : 20); k++)
				changes += try_one_errno(befores[j], sizes[i]);
		printf("errno with %zu bytes: changed %d times\n", sizes[i], changes);
	}
}

static void fill(unsigned char *block, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		block[i] = (unsigned char)(i * 31 + i / 4096);
}

static bool is_filled(const unsigned char *block, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (block[i] != (unsigned char)(i * 31 + i / 4096))
			return false;
	return true;
}

static void try_resizing(void)
{
	static const size_t sizes[] = {1,      24,     25,	100,	  4000,	   4001,
				       60000,  200000, 1000000, 20000000, 8000000, 300000,
				       150000, 5000,   4990,	16,	  1};
	unsigned char *block = NULL;
	size_t before = 0;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t kept = before < sizes[i] ? before : sizes[i];

		block = i % 2 ? reallocarray(block, sizes[i], 1)
			      : realloc(block, sizes[i]);
		printf("realloc %zu to %zu: %d\n", before, sizes[i],
		       block != NULL && is_filled(block, kept));
		fill(block, sizes[i]);
		before = sizes[i];
	}
	errno = 77;
	printf("realloc(block, 0): %d", realloc(block, none) == NULL);
	printf(", errno %d\n", errno);
	block = malloc(100);
	printf("reallocarray(block, 0, 8): %d\n", reallocarray(block, none, 8) == NULL);
}

/* A block that could not be resized is as it was, and lives on. */
static void try_failed_resizing(void)
{
	static const size_t sizes[] = {10, 1000, 100000, 1000000};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned char *block = malloc(sizes[i]);

		fill(block, sizes[i]);
		errno = 0;
		printf("realloc of %zu too large: %d", sizes[i],
		       resize(block, huge) == NULL);
		printf(", errno %d", errno);
		errno = 0;
		printf(", %d", resize_array(block, half, 3) == NULL);
		printf(", errno %d, kept %d\n", errno, is_filled(block, sizes[i]));
		block = realloc(block, sizes[i] * 2);
		printf("then larger: %d\n", block != NULL && is_filled(block, sizes[i]));
		free(block);
	}
}

static void try_zeroing(void)
{
	static const size_t sizes[] = {8, 100, 3000, 70000, 500000};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned char *block = malloc(sizes[i]);
		size_t set = 0;

		memset(block, 0xff, sizes[i]);
		__asm__ volatile("" : : "r"(block) : "memory");
		free(block);
		block = calloc(sizes[i] / 2, 2);
		for (size_t j = 0; j < sizes[i]; j++)
			set += block[j] != 0;
		printf("calloc of %zu: %zu bytes are not 0\n", sizes[i], set);
		free(block);
	}
}

static void try_cfree(void)
{
	void (*by_version)(void *) =
		(void (*)(void *))dlvsym(RTLD_DEFAULT, "cfree", "GLIBC_2.2.5");
	void (*without)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "cfree");

	printf("cfree: %d %d\n", by_version != NULL, without != NULL);
	if (by_version != NULL) {
		by_version(malloc(100));
		by_version(NULL);
	}
	if (without != NULL)
		without(malloc(100));
}

/* Names of other allocators and of later standards: nobody has them here. */
static void try_foreign_names(void)
{
	static const char *const names[] = {
		"mallocx",   "rallocx", "dallocx",    "sdallocx",  "nallocx",
		"je_malloc", "mallctl", "free_sized", "tc_malloc", "free_aligned_sized",
		"mi_malloc", "_Znwm",	"_ZdlPv",     "_ZdlPvm",   "malloc_size",
		"zmalloc",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		printf("%s: %d\n", names[i], dlsym(RTLD_DEFAULT, names[i]) != NULL);
}

static int count_entries(struct dirent **entries, int count)
{
	int is_dot_there = 0;

	for (int i = 0; i < count; i++) {
		is_dot_there += strcmp(entries[i]->d_name, ".") == 0;
		free(entries[i]);
	}
	free(entries);
	return is_dot_there;
}

/* What the C library allocated for its caller, who frees or resizes it. */
static void try_the_library(void)
{
	char *text = NULL, *line = NULL, *folder;
	size_t text_bytes, line_bytes = 0;
	struct dirent **entries = NULL;
	FILE *file;
	int count;

	file = open_memstream(&text, &text_bytes);
	for (int i = 0; i < 5000; i++)
		fprintf(file, "line %d\n", i);
	fclose(file);
	printf("open_memstream: %zu\n", text_bytes);
	file = fmemopen(text, text_bytes, "r");
	for (int i = 0; i < 3 && getline(&line, &line_bytes, file) > 0; i++)
		printf("getline: %s", line);
	printf("getdelim: %zd\n", getdelim(&line, &line_bytes, '\0', file));
	fclose(file);
	free(text);
	line = realloc(line, 10);
	free(line);
	if (asprintf(&text, "%0*d", 3000, 7) != 3000)
		exit(4);
	printf("asprintf: %zu\n", strlen(text));
	text = realloc(text, 4000);
	folder = strdup(text);
	printf("strdup: %zu\n", strlen(folder));
	free(folder);
	free(text);
	folder = getcwd(NULL, 0);
	printf("getcwd: %d\n", folder != NULL);
	free(folder);
	folder = realpath("/usr/../usr/bin", NULL);
	printf("realpath: %s\n", folder);
	free(folder);
	count = scandir("/", &entries, NULL, alphasort);
	printf("scandir: %d\n", count_entries(entries, count));
	setenv("HEAP_FAMILY", "some text", 1);
	unsetenv("HEAP_FAMILY");
}

/*
 * In an address space with little left, everything fails as it should and works
 * again afterwards.
 */
static void try_limits(void)
{
	static void *blocks[4096];
	int count = 0, refused = 0;
	void *block;

	errno = 0;
	while (count < 4096 && (blocks[count] = malloc(1 << 20)) != NULL)
		count++;
	printf("malloc: failed %d, errno %d\n", count < 4096, errno);
	errno = 0;
	refused += calloc(1 << 10, 1 << 16) == NULL && errno == ENOMEM;
	errno = 0;
	refused += memalign(1 << 16, 1 << 26) == NULL && errno == ENOMEM;
	errno = 0;
	refused += posix_memalign(&block, 64, 1 << 26) == ENOMEM;
	memset(blocks[0], 7, 1 << 20);
	errno = 0;
	refused += resize(blocks[0], 1 << 26) == NULL && errno == ENOMEM;
	printf("refused: %d, kept %d\n", refused, ((char *)blocks[0])[1000000]);
	while (count > 0)
		free(blocks[--count]);
	for (int i = 0; i < 1000; i++)
		count += (blocks[i] = malloc(100)) != NULL;
	for (int i = 0; i < 1000; i++)
		free(blocks[i]);
	printf("small ones afterwards: %d\n", count);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "limited") == 0) {
		try_limits();
		return 0;
	}
	is_other = argc > 1 && strcmp(argv[1], "other") == 0;
	try_nothing();
	try_too_much();
	try_alignments();
	try_errno();
	try_resizing();
	try_failed_resizing();
	try_zeroing();
	if (!is_other)
		try_cfree();
	try_foreign_names();
	try_the_library();
	return 0;
}
