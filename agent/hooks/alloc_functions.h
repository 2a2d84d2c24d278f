/*
 * FUNCTION(result, name, parameters, arguments) for each allocation function of the C
 * library that goes on to the next of its name.
 */
// clang-format off
FUNCTION(void *, malloc, (size_t size_bytes), (size_bytes))
FUNCTION(void, free, (void *ptr), (ptr))
FUNCTION(void *, calloc, (size_t count, size_t size_bytes), (count, size_bytes))
FUNCTION(void *, realloc, (void *ptr, size_t size_bytes), (ptr, size_bytes))
FUNCTION(void *, memalign, (size_t alignment_bytes, size_t size_bytes), (alignment_bytes, size_bytes))
FUNCTION(void *, aligned_alloc, (size_t alignment_bytes, size_t size_bytes), (alignment_bytes, size_bytes))
FUNCTION(int, posix_memalign, (void **ptr, size_t alignment_bytes, size_t size_bytes), (ptr, alignment_bytes, size_bytes))
FUNCTION(void *, valloc, (size_t size_bytes), (size_bytes))
FUNCTION(void *, pvalloc, (size_t size_bytes), (size_bytes))
FUNCTION(size_t, malloc_usable_size, (void *ptr), (ptr))
// clang-format on
