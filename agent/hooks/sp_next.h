/*
 * The function that an interposer of ours stands in front of: the definition that
 * the program would have got without us. Found by walking the loader's list of
 * objects, never by dlsym(), which takes the loader's lock, may allocate, and whose
 * error path allocates in the middle of an allocator hook.
 */
#ifndef SP_NEXT_H
#define SP_NEXT_H

#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Context: hook, also before our constructor has run. No lock, no allocation,
 * keeps errno. Takes microseconds: cache the result, as SP_NEXT() does.
 * The first definition of name in the objects loaded after ours: the default
 * version if it has one, else the first version kept for old programs. Only
 * objects of the start-up are looked at. NULL when nobody defines it.
 */
void *sp_next_find(const char *name);

/* As sp_next_find(), but only the definition of this version ("GLIBC_2.2.5"). */
void *sp_next_find_version(const char *name, const char *version);

/*
 * As sp_next_find_version(), but the first of all definitions: what an object of the
 * start-up is bound to. version NULL asks for the default.
 */
void *sp_next_find_first(const char *name, const char *version);

/* Context: hook. Does whoever calls a function of that name meet ours? The program, or a
 * library that comes before us, may stand in front of it. */
bool sp_next_is_ours_first(const char *name);

/*
 * As sp_next_find_version(), but behind that object in place of ours; what the loader
 * finds for RTLD_NEXT where an object of the start-up asks. NULL also when it is none.
 */
void *sp_next_find_behind(const struct link_map *object, const char *name,
			  const char *version);

/* Is it an object of the start-up? Context: hook. */
bool sp_next_is_startup(const struct link_map *object);

/*
 * Context: signal. The same within one object; version NULL asks for the default.
 * Reads the object's own tables only, so whoever calls keeps it loaded.
 */
void *sp_next_find_in(const struct link_map *object, const char *name,
		      const char *version);

/* Context: hook. The symbol of that definition, of the default version, in the object's
 * own table. */
const ElfW(Sym) * sp_next_symbol_in(const struct link_map *object, const char *name);

/* Context: hook. The kernel's own object, which no other look-up enters: the function
 * that it has by that name; NULL where it has none or there is no such object. */
void *sp_next_find_in_vdso(const char *name);

/* Context: hook. Does the object ask others for a symbol whose name is wanted? */
bool sp_next_has_import(const struct link_map *object,
			bool (*is_wanted)(const char *name));

/* As sp_next_find(), but the object that defines name. */
const struct link_map *sp_next_find_object(const char *name);

/* Context: hook. The object that this code is part of; NULL if it is not listed. */
const struct link_map *sp_next_own_object(void);

/* Context: hook. The last object of the start-up in the loader's list. */
const struct link_map *sp_next_last_object(void);

/*
 * SP_NEXT(poll)(fds, count, timeout_ms) calls the next poll(). Each place that says
 * SP_NEXT() has a cache of its own: after the first call it costs one load and one
 * branch that is never taken. Two threads that meet in the first call store the
 * same value. NULL when there is no next one: only where the C library may lack it.
 */
#define SP_NEXT(name) SP_NEXT_AS(#name, __typeof__(&(name)))

/* For a name that no header declares: SP_NEXT_AS("__sigaction", the pointer type). */
#define SP_NEXT_AS(name, type)                                                           \
	__extension__({                                                                  \
		static _Atomic(void *) sp_next_cached;                                   \
		/* Relaxed: the code it points to was there before this thread. */       \
		void *sp_next_function =                                                 \
			atomic_load_explicit(&sp_next_cached, memory_order_relaxed);     \
		if (__builtin_expect(sp_next_function == NULL, 0)) {                     \
			sp_next_function = sp_next_find(name);                           \
			atomic_store_explicit(&sp_next_cached, sp_next_function,         \
					      memory_order_relaxed);                     \
		}                                                                        \
		(type) sp_next_function;                                                 \
	})

#endif
