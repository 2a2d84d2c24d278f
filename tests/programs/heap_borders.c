/*
 * heap_borders MODE: blocks that cross the border of what whoever hooks malloc and free
 * can see, in both directions.
 *
 *   plain     a plugin that is bound like everybody
 *   deepbind  one that prefers its own C library: RTLD_DEEPBIND
 *   dlmopen   one in a name space, with a C library, of its own
 *   private   the C library's functions by their private names, and by dlsym
 *
 * Tells how many blocks went behind our back and how many were kept.
 */
#include "burn.h"

#include <dlfcn.h>
#include <string.h>

#define BLOCKS 500
#define BLOCK_BYTES 200

extern void *__libc_malloc(size_t bytes);
extern void *__libc_realloc(void *block, size_t bytes);
extern void __libc_free(void *block);

struct doors {
	void *(*allocate)(size_t bytes);
	void *(*resize)(void *block, size_t bytes);
	void (*free_block)(void *block);
};

NOINLINE void *border_allocate(size_t bytes);
NOINLINE void *border_again(size_t bytes);
NOINLINE void *border_resize(void *block, size_t bytes);

void *border_allocate(size_t bytes)
{
	void *block = malloc(bytes);

	__asm__ volatile("" : "+r"(block));
	return block;
}

void *border_again(size_t bytes)
{
	void *block = malloc(bytes);

	__asm__ volatile("" : "+r"(block));
	return block;
}

void *border_resize(void *block, size_t bytes)
{
	block = realloc(block, bytes);
	__asm__ volatile("" : "+r"(block));
	return block;
}

static size_t check_and_count(const unsigned char *block, int value, size_t bytes)
{
	size_t right = 0;

	for (size_t i = 0; i < bytes; i++)
		right += block[i] == (unsigned char)value;
	return right;
}

/* Ours go out there to their end, and their addresses come again. */
static void cross_outwards(const struct doors *other)
{
	static void *blocks[BLOCKS];
	size_t right = 0;

	for (int i = 0; i < BLOCKS; i++) {
		blocks[i] = border_allocate(BLOCK_BYTES);
		memset(blocks[i], i, BLOCK_BYTES);
	}
	for (int i = 0; i < BLOCKS; i += 2)
		other->free_block(blocks[i]);
	for (int i = 0; i < BLOCKS; i += 2)
		blocks[i] = border_again(BLOCK_BYTES);
	for (int i = 1; i < BLOCKS; i += 2)
		right += check_and_count(blocks[i], i, BLOCK_BYTES);
	/* Resized out there, in place or not. */
	for (int i = 1; i < BLOCKS; i += 2) {
		blocks[i] = other->resize(blocks[i], 3 * BLOCK_BYTES);
		right += check_and_count(blocks[i], i, BLOCK_BYTES);
	}
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	printf("outwards: %zu bytes right\n", right);
}

static void cross_inwards(const struct doors *other)
{
	static void *blocks[BLOCKS];
	size_t right = 0;

	for (int i = 0; i < BLOCKS; i++) {
		blocks[i] = other->allocate(BLOCK_BYTES);
		memset(blocks[i], i, BLOCK_BYTES);
	}
	for (int i = 0; i < BLOCKS; i += 2)
		free(blocks[i]);
	for (int i = 1; i < BLOCKS; i += 2) {
		blocks[i] = border_resize(blocks[i], 5 * BLOCK_BYTES);
		right += check_and_count(blocks[i], i, BLOCK_BYTES);
	}
	/* Kept for the end; one is given back out there. */
	other->free_block(blocks[1]);
	printf("inwards: %zu bytes right\n", right);
}

static int find_doors(void *library, struct doors *doors)
{
	if (library == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		return -1;
	}
	*(void **)&doors->allocate = dlsym(library, "plugin_allocate");
	*(void **)&doors->resize = dlsym(library, "plugin_resize");
	*(void **)&doors->free_block = dlsym(library, "plugin_free");
	return doors->free_block != NULL ? 0 : -1;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "plain";
	const char *plugin = argc > 2 ? argv[2] : "./lib_heap_plugin.so";
	struct doors doors;
	void *library;

	if (strcmp(mode, "dlmopen") == 0) {
		int (*work)(void);

		library = dlmopen(LM_ID_NEWLM, plugin, RTLD_NOW);
		if (library == NULL)
			return 3;
		*(void **)&work = dlsym(library, "plugin_work");
		printf("work in its own name space: %d\n", work());
		free(border_allocate(BLOCK_BYTES));
		printf("and again: %d\n", work());
		/* Closing gives its C library's memory back too. */
		dlclose(library);
		return 0;
	}
	if (strcmp(mode, "private") == 0) {
		doors = (struct doors){__libc_malloc, __libc_realloc, __libc_free};
		cross_outwards(&doors);
		cross_inwards(&doors);
		library = dlopen("libc.so.6", RTLD_NOW);
		*(void **)&doors.allocate = dlsym(library, "malloc");
		*(void **)&doors.resize = dlsym(library, "realloc");
		*(void **)&doors.free_block = dlsym(library, "free");
	} else if (find_doors(dlopen(plugin, strcmp(mode, "deepbind") == 0
						     ? RTLD_NOW | RTLD_DEEPBIND
						     : RTLD_NOW),
			      &doors) != 0) {
		return 3;
	}
	cross_outwards(&doors);
	cross_inwards(&doors);
	return 0;
}
