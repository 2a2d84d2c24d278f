/*
 * Appends to a block of the C library's heap.
 */
#include "memory_sink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int write_to_memory(struct sp_sink *sink, const void *data, size_t size_bytes)
{
	struct memory_sink *memory = (struct memory_sink *)sink;
	uint8_t *grown;

	memory->writes++;
	if (memory->failing_write > 0 && memory->writes >= memory->failing_write)
		return memory->error;
	grown = realloc(memory->data, memory->size_bytes + size_bytes);
	if (!grown)
		return -ENOMEM;
	memcpy(grown + memory->size_bytes, data, size_bytes);
	memory->data = grown;
	memory->size_bytes += size_bytes;
	return 0;
}

void memory_sink_init(struct memory_sink *sink)
{
	memset(sink, 0, sizeof(*sink));
	sink->sink.write = write_to_memory;
}

void memory_sink_empty(struct memory_sink *sink)
{
	memory_sink_fini(sink);
	sink->size_bytes = 0;
	sink->writes = 0;
}

void memory_sink_fini(struct memory_sink *sink)
{
	free(sink->data);
	sink->data = NULL;
}
