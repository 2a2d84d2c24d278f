/*
 * Allocates by operator new in all its forms and, linked to jemalloc, by mallocx() and
 * its family: in each function named use_* BLOCKS blocks of so many bytes, of which
 * half are given back by the form that belongs to it.
 *
 *   alloc_extended            all of it
 *   alloc_extended PLUGIN     in a library that is opened, for two seconds
 */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <thread>

#include <dlfcn.h>
#include <time.h>

#define BLOCKS 100
#define BYTES 192
#define USE extern "C" __attribute__((noinline, used)) void

extern "C" {
void *mallocx(size_t bytes, int flags) __attribute__((weak));
void *rallocx(void *block, size_t bytes, int flags) __attribute__((weak));
size_t xallocx(void *block, size_t bytes, size_t extra, int flags) __attribute__((weak));
size_t sallocx(const void *block, int flags) __attribute__((weak));
void dallocx(void *block, int flags) __attribute__((weak));
void sdallocx(void *block, size_t bytes, int flags) __attribute__((weak));
}

static void *blocks[BLOCKS];
static const std::align_val_t alignment{64};

/* take and give are expressions of block and BYTES. */
#define PAIR(name, take, give)                                                           \
	USE use_##name()                                                                 \
	{                                                                                \
		for (int i = 0; i < BLOCKS; i++) {                                       \
			void *block = take;                                              \
			memset(block, i, BYTES);                                         \
			blocks[i] = block;                                               \
		}                                                                        \
		for (int i = 0; i < BLOCKS / 2; i++) {                                   \
			void *block = blocks[i];                                         \
			give;                                                            \
		}                                                                        \
	}

PAIR(new, operator new(BYTES), operator delete(block))
PAIR(new_sized, operator new(BYTES), operator delete(block, (size_t)BYTES))
PAIR(new_nothrow, operator new(BYTES, std::nothrow), operator delete(block, std::nothrow))
PAIR(new_aligned, operator new(BYTES, alignment), operator delete(block, alignment))
PAIR(new_aligned_sized, operator new(BYTES, alignment),
			operator delete(block, (size_t)BYTES, alignment))
PAIR(new_aligned_nothrow, operator new(BYTES, alignment, std::nothrow),
			  operator delete(block, alignment, std::nothrow))
PAIR(array, operator new[](BYTES), operator delete[](block))
PAIR(array_sized, operator new[](BYTES), operator delete[](block, (size_t)BYTES))
PAIR(array_nothrow, operator new[](BYTES, std::nothrow),
		    operator delete[](block, std::nothrow))
PAIR(array_aligned, operator new[](BYTES, alignment), operator delete[](block, alignment))
PAIR(array_aligned_sized, operator new[](BYTES, alignment),
			  operator delete[](block, (size_t)BYTES, alignment))
PAIR(array_aligned_nothrow, operator new[](BYTES, alignment, std::nothrow),
			    operator delete[](block, alignment, std::nothrow))
PAIR(malloc, malloc(BYTES), free(block))
PAIR(new_free, operator new(BYTES), free(block))
PAIR(malloc_delete, malloc(BYTES), operator delete(block))
PAIR(mallocx, mallocx(BYTES, 0), dallocx(block, 0))
PAIR(mallocx_sized, mallocx(BYTES, 0), sdallocx(block, BYTES, 0))
PAIR(mallocx_free, mallocx(BYTES, 0), free(block))

/* Pointers to the functions, as containers with allocators of their own keep them. */
static void *(*volatile take_pointer)(size_t) = operator new;
static void (*volatile give_pointer)(void *) = operator delete;
PAIR(pointers, take_pointer(BYTES), give_pointer(block))

/* Allocated in libstdc++. */
USE use_string()
{
	for (int i = 0; i < BLOCKS; i++) {
		auto *text = new (blocks) std::string; /* placed, not allocated */

		text->reserve(BYTES - 1);
		if (i % 2 == 0)
			text->~basic_string();
	}
}

/* Blocks that another thread gives back. */
USE use_thread()
{
	for (void *&block : blocks)
		block = operator new(BYTES);
	std::thread([] {
		for (int i = 0; i < BLOCKS / 2; i++)
			operator delete(blocks[i]);
	}).join();
}

USE use_nothing()
{
	operator delete(nullptr);
	operator delete[](nullptr, std::nothrow);
}

/* Each block is resized twice, so it counts three times. */
USE use_rallocx()
{
	for (int i = 0; i < BLOCKS; i++) {
		void *block = mallocx(BYTES, 0);

		block = rallocx(block, 5 * BYTES, 0);
		block = rallocx(block, 2 * BYTES, 0);
		if (i % 2 == 0)
			dallocx(block, 0);
	}
}

/* Each large block shrinks once, where it is; the second time it is as asked. */
USE use_xallocx()
{
	size_t large = size_t(1) << 20;
	int shrunk = 0;

	for (int i = 0; i < BLOCKS; i++) {
		void *block = mallocx(large, 0);
		size_t before = sallocx(block, 0);

		shrunk += xallocx(block, large / 2, 0, 0) != before;
		xallocx(block, large / 2, 0, 0);
		if (i % 2 == 0)
			dallocx(block, 0);
	}
	printf("shrunk=%d\n", shrunk);
}

static int handler_calls;

static void handler()
{
	if (++handler_calls == 3)
		throw std::bad_alloc();
}

template <typename Allocate> static void expect_exception(Allocate allocate)
{
	try {
		blocks[0] = allocate();
		printf("got too much\n");
	} catch (const std::bad_alloc &error) {
		if (strcmp(error.what(), "std::bad_alloc") != 0)
			printf("%s\n", error.what());
	}
}

/* Nothing is allocated; exceptions pass through whoever stands in between. */
USE use_too_much()
{
	static volatile size_t too_much = PTRDIFF_MAX - 4096;

	for (int i = 0; i < BLOCKS; i++) {
		expect_exception([] { return operator new(too_much); });
		expect_exception([] { return operator new[](too_much); });
		expect_exception([] { return operator new(too_much, alignment); });
		expect_exception([] { return operator new[](too_much, alignment); });
		if (operator new(too_much, std::nothrow) != nullptr ||
		    operator new[](too_much, std::nothrow) != nullptr ||
		    operator new(too_much, alignment, std::nothrow) != nullptr ||
		    operator new[](too_much, alignment, std::nothrow) != nullptr)
			printf("got too much\n");
	}
	std::set_new_handler(handler);
	try {
		blocks[0] = operator new(too_much);
	} catch (const std::bad_alloc &) {
		printf("handler called %d times\n", handler_calls);
	}
	std::set_new_handler(nullptr);
}

static int run_plugin(const char *path)
{
	void *plugin = dlopen(path, RTLD_NOW);
	auto work = plugin ? (void (*)())dlsym(plugin, "plugin_work") : nullptr;

	if (work == nullptr) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	for (int i = 0; i < 20; i++) {
		struct timespec pause = {0, 100000000};

		work();
		nanosleep(&pause, nullptr);
	}
	dlclose(plugin);
	printf("plugin closed\n");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return run_plugin(argv[1]);
	use_new();
	use_new_sized();
	use_new_nothrow();
	use_new_aligned();
	use_new_aligned_sized();
	use_new_aligned_nothrow();
	use_array();
	use_array_sized();
	use_array_nothrow();
	use_array_aligned();
	use_array_aligned_sized();
	use_array_aligned_nothrow();
	use_malloc();
	use_new_free();
	use_malloc_delete();
	use_pointers();
	use_string();
	use_thread();
	use_nothing();
#ifndef ABORTS_WITHOUT_MEMORY
	use_too_much();
#endif
	printf("mallocx is %s\n", mallocx ? "there" : "not there");
	if (mallocx == nullptr)
		return 0;
	use_mallocx();
	use_mallocx_sized();
	use_mallocx_free();
	use_rallocx();
	use_xallocx();
	return 0;
}
