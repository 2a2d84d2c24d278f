/*
 * The places at which heap_truth allocates: one function each, by every door of the
 * allocator, alone or from inside of the C library. Their numbers and names are what
 * a profile is compared by.
 */
#ifndef HEAP_TRUTH_SITES_H
#define HEAP_TRUTH_SITES_H

#include "burn.h"
#include "heap_oracle.h"

#include <dirent.h>
#include <malloc.h>
#include <regex.h>
#include <search.h>
#include <string.h>

#define SITE_SIZES_MAX 8

struct site {
	unsigned number;
	void *(*allocate)(size_t bytes);
	size_t sizes[SITE_SIZES_MAX]; /* what may be asked for; ends at the count */
	unsigned size_count;
};

struct resite {
	unsigned number;
	void *(*reallocate)(void *old, size_t bytes);
};

/* Of the second opinion, when it is preloaded. */
static void (*oracle_enter)(unsigned site);

static inline void enter_site(unsigned number)
{
	if (oracle_enter != NULL)
		oracle_enter(number);
}

/* Leaving after the call, and a result that somebody needs: no tail call. */
#define SITE(number, expression)                                                         \
	NOINLINE void *site_##number(size_t bytes);                                      \
	void *site_##number(size_t bytes)                                                \
	{                                                                                \
		void *block;                                                             \
                                                                                         \
		(void)bytes;                                                             \
		enter_site(number);                                                      \
		block = (expression);                                                    \
		enter_site(0);                                                           \
		__asm__ volatile("" : "+r"(block));                                      \
		return block;                                                            \
	}

#define RESITE(number, expression)                                                       \
	NOINLINE void *site_##number(void *old, size_t bytes);                           \
	void *site_##number(void *old, size_t bytes)                                     \
	{                                                                                \
		void *block;                                                             \
                                                                                         \
		(void)bytes;                                                             \
		enter_site(number);                                                      \
		block = (expression);                                                    \
		enter_site(0);                                                           \
		__asm__ volatile("" : "+r"(block));                                      \
		return block;                                                            \
	}

static void *by_posix_memalign(size_t alignment, size_t bytes)
{
	void *block;

	return posix_memalign(&block, alignment, bytes) == 0 ? block : NULL;
}

/* A text that takes so many bytes, with its end. */
static char *text_of_bytes(size_t bytes)
{
	static char text[8192];

	if (text[0] == '\0')
		memset(text, 'x', sizeof(text) - 1);
	return text + sizeof(text) - bytes;
}

static NOINLINE void *deep(size_t bytes, int frames)
{
	void *block = frames > 0 ? deep(bytes, frames - 1) : malloc(bytes);

	__asm__ volatile("" : "+r"(block));
	return block;
}

static _Thread_local void *block_of_callback;
static _Thread_local size_t bytes_of_callback;

static int allocate_once(const void *a, const void *b)
{
	if (block_of_callback == NULL)
		block_of_callback = malloc(bytes_of_callback);
	return *(const char *)a - *(const char *)b;
}

/* Called back through frames of the C library. */
static void *from_qsort(size_t bytes)
{
	char letters[] = "ba";

	block_of_callback = NULL;
	bytes_of_callback = bytes;
	qsort(letters, 2, 1, allocate_once);
	return block_of_callback;
}

SITE(1, malloc(bytes))
SITE(2, malloc(bytes))
SITE(3, malloc(bytes))
SITE(4, malloc(bytes))
SITE(5, malloc(bytes))
SITE(6, malloc(bytes))
SITE(7, malloc(bytes))
SITE(8, malloc(bytes))
SITE(9, malloc(bytes))
SITE(10, malloc(bytes))
SITE(11, malloc(bytes))
SITE(12, malloc(bytes))
SITE(13, malloc(bytes))
SITE(14, malloc(bytes))
SITE(15, malloc(bytes))
SITE(16, malloc(bytes))
SITE(17, malloc(bytes))
SITE(18, malloc(bytes))
SITE(19, malloc(bytes))
SITE(20, malloc(bytes))
SITE(21, malloc(bytes))
SITE(22, malloc(bytes))
SITE(23, calloc(1, bytes))
SITE(24, calloc(bytes / 8, 8))
SITE(25, calloc(bytes, 1))
SITE(26, realloc(NULL, bytes))
SITE(27, reallocarray(NULL, bytes / 4, 4))
SITE(28, aligned_alloc(64, bytes))
SITE(29, aligned_alloc(4096, bytes))
SITE(30, memalign(256, bytes))
SITE(31, by_posix_memalign(16, bytes))
SITE(32, by_posix_memalign(65536, bytes))
SITE(33, valloc(bytes))
SITE(34, pvalloc(bytes))
SITE(35, strdup(text_of_bytes(bytes)))
SITE(36, strndup(text_of_bytes(bytes), bytes))
SITE(37, deep(bytes, 30))
SITE(38, from_qsort(bytes))
SITE(39, malloc(bytes))
SITE(40, malloc(bytes))
/* The one that makes the peak, and one that is busy meanwhile. */
SITE(41, malloc(bytes))
SITE(42, malloc(bytes))
/* Old blocks in new sizes. */
RESITE(50, realloc(old, bytes))
RESITE(51, realloc(old, bytes))
RESITE(52, reallocarray(old, bytes, 1))

#define KIB 1024U
#define MIB (1024U * 1024U)

static const struct site all_sites[] = {
	{1, site_1, {1}, 1},
	{2, site_2, {16}, 1},
	{3, site_3, {24}, 1},
	{4, site_4, {40}, 1},
	{5, site_5, {64}, 1},
	{6, site_6, {100}, 1},
	{7, site_7, {128}, 1},
	{8, site_8, {256}, 1},
	{9, site_9, {1000}, 1},
	{10, site_10, {2 * KIB}, 1},
	{11, site_11, {4 * KIB}, 1},
	{12, site_12, {5000}, 1},
	{13, site_13, {16 * KIB}, 1},
	{14, site_14, {64 * KIB}, 1},
	{15, site_15, {100000}, 1},
	{16, site_16, {128 * KIB}, 1},
	{17, site_17, {256 * KIB}, 1},
	{18, site_18, {MIB}, 1},
	{19, site_19, {3000000}, 1},
	{20, site_20, {8 * MIB}, 1},
	{21, site_21, {0}, 1},
	{22, site_22, {16, 32, 512, 3000, 40000}, 5},
	{23, site_23, {48}, 1},
	{24, site_24, {4 * KIB, 200 * KIB}, 2},
	{25, site_25, {300, 70000}, 2},
	{26, site_26, {200}, 1},
	{27, site_27, {400, 40000}, 2},
	{28, site_28, {64, 192, 6400}, 3},
	{29, site_29, {4 * KIB, 64 * KIB}, 2},
	{30, site_30, {100, 700}, 2},
	{31, site_31, {32, 333}, 2},
	{32, site_32, {64 * KIB, 100000}, 2},
	{33, site_33, {10, 5000}, 2},
	{34, site_34, {4 * KIB, 12 * KIB}, 2},
	{35, site_35, {2, 20, 2000}, 3},
	{36, site_36, {5, 500}, 2},
	{37, site_37, {80}, 1},
	{38, site_38, {72}, 1},
	{39, site_39, {600, 6000, 60000, 600000}, 4},
	{40, site_40, {1 * MIB, 2 * MIB, 4 * MIB}, 3},
};

static const struct resite all_resites[] = {{50, site_50}, {51, site_51}, {52, site_52}};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/*
 * Whose sizes are the C library's own affair: only the second opinion knows them.
 * What they give back stays in use.
 */
SITE(70, fopen("/dev/null", "r"))

static char *use_asprintf(size_t bytes)
{
	char *text;

	return asprintf(&text, "%*d", (int)bytes, 7) > 0 ? text : NULL;
}

static char *use_getline(size_t bytes)
{
	FILE *file = fmemopen(text_of_bytes(bytes), bytes, "r");
	char *line = NULL;
	size_t line_bytes = 0;

	if (file == NULL || getline(&line, &line_bytes, file) < 0)
		return NULL;
	fclose(file);
	return line;
}

static char *use_memstream(size_t bytes)
{
	char *text = NULL;
	size_t text_bytes;
	FILE *file = open_memstream(&text, &text_bytes);

	if (file == NULL)
		return NULL;
	for (size_t i = 0; i < bytes; i++)
		fputc('m', file);
	fclose(file);
	return text;
}

static void *use_scandir(size_t bytes)
{
	struct dirent **entries = NULL;
	int count = scandir("/", &entries, NULL, alphasort);

	(void)bytes;
	for (int i = 1; i < count; i++)
		free(entries[i]);
	return entries;
}

static regex_t *use_regcomp(size_t bytes)
{
	static regex_t expressions[16];
	regex_t *expression = &expressions[bytes % 16];

	return regcomp(expression, "(a|b)*c+[0-9]{2,5}$", REG_EXTENDED) == 0 ? expression
									     : NULL;
}

static int compare_pointers(const void *a, const void *b)
{
	return (a > b) - (a < b);
}

static void *use_tsearch(size_t bytes)
{
	static void *root;

	return tsearch(text_of_bytes(bytes % 4096 + 1), &root, compare_pointers);
}

SITE(71, use_asprintf(bytes))
SITE(72, use_getline(bytes))
SITE(73, use_memstream(bytes))
SITE(74, use_scandir(bytes))
SITE(75, getcwd(NULL, 0))
SITE(76, realpath("/usr/../usr/bin/.", NULL))
SITE(77, use_regcomp(bytes))
SITE(78, use_tsearch(bytes))

static const struct site library_sites[] = {
	{70, site_70, {0}, 1},
	{71, site_71, {10, 99, 100, 101, 250, 1000, 5000}, 7},
	{72, site_72, {10, 119, 121, 1000, 8000}, 5},
	{73, site_73, {1, 5000, 100000}, 3},
	{74, site_74, {0}, 1},
	{75, site_75, {0}, 1},
	{76, site_76, {0}, 1},
	{77, site_77, {1, 2, 3, 4, 5}, 5},
	{78, site_78, {1, 2, 3, 4, 5, 6, 7, 8}, 8},
};

#endif
