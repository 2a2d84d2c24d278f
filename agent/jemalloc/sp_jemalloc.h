/*
 * What is used of the private jemalloc: Debian's archive, its public names with our
 * prefix (CMakeLists.txt). It is the heap of the agent, or of the program where that
 * has SPANPROF_ALLOCATOR=jemalloc.
 */
#ifndef SP_JEMALLOC_H
#define SP_JEMALLOC_H

#include <stddef.h>

/* Context: hook where jemalloc serves the program, else collector. */
void *sp_je_malloc(size_t size_bytes);
void *sp_je_calloc(size_t count, size_t size_bytes);
void *sp_je_realloc(void *ptr, size_t size_bytes);
void *sp_je_memalign(size_t alignment_bytes, size_t size_bytes);
void sp_je_free(void *ptr);
size_t sp_je_malloc_usable_size(void *ptr);
/* How large a block of that size would be. */
size_t sp_je_nallocx(size_t size_bytes, int flags);

/* Read at jemalloc's first call; until then it may be exchanged. */
extern const char *sp_je_malloc_conf_2_conf_harder;

#define SP_JEMALLOC_CONF_ALWAYS                                                          \
	"abort_conf:false,abort:false,background_thread:false,prof:false,prof_active:"   \
	"false,stats_print:false,junk:false,zero:false,confirm_conf:false,"              \
	"muzzy_decay_ms:0,"

/* For the agent. */
#define SP_JEMALLOC_CONF_OWN                                                             \
	SP_JEMALLOC_CONF_ALWAYS "narenas:1,tcache:false,dirty_decay_ms:1000,thp:never"

/*
 * For the program. Threads keep blocks of up to 64 KiB at hand, fewer large ones than
 * usual to make up for it (sp_block_cache.h has one of larger ones), and tidy up after
 * each MiB. No memory comes from brk(), which would lie outside of our addresses.
 */
#define SP_JEMALLOC_CONF_PROGRAM                                                         \
	SP_JEMALLOC_CONF_ALWAYS "dss:disabled,retain:true,tcache_max:65536,"             \
				"tcache_nslots_large:4,tcache_gc_incr_bytes:1048576"

#endif
