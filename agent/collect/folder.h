/*
 * The entries of a folder, by system calls that are no cancellation points and leave
 * errno alone, with no memory from a heap.
 */
#ifndef SP_FOLDER_H
#define SP_FOLDER_H

#include <stdbool.h>

/* Context: collector; 4 KiB of stack. True ends the walk. folder is a descriptor of it,
 * as long as that walk lasts. */
typedef bool (*sp_folder_visit)(void *context, int folder, const char *name);

/* 0 when all have been visited, 1 when visit() ended it, or -errno: not all of them were
 * seen. */
int sp_folder_walk(const char *path, sp_folder_visit visit, void *context);

#endif
