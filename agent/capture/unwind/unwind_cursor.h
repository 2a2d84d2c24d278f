/*
 * Reading DWARF out of a bounded range. Once a read would leave the range, or an
 * encoding is unknown, the cursor is bad and everything it reads is 0. Context
 * of everything here: signal.
 */
#ifndef UNWIND_CURSOR_H
#define UNWIND_CURSOR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* DW_EH_PE_*: how a pointer is written. */
#define SP_PE_FORMAT 0x0f
#define SP_PE_ABSPTR 0x00
#define SP_PE_ULEB128 0x01
#define SP_PE_UDATA2 0x02
#define SP_PE_UDATA4 0x03
#define SP_PE_UDATA8 0x04
#define SP_PE_SLEB128 0x09
#define SP_PE_SDATA2 0x0a
#define SP_PE_SDATA4 0x0b
#define SP_PE_SDATA8 0x0c
#define SP_PE_BASE 0x70
#define SP_PE_PCREL 0x10
#define SP_PE_DATAREL 0x30
#define SP_PE_INDIRECT 0x80
#define SP_PE_OMIT 0xff

struct sp_cursor {
	const uint8_t *at, *end;
	int64_t delta; /* at - delta is the host's address of that byte */
	bool is_bad;
};

static inline uint64_t sp_cursor_left(const struct sp_cursor *cursor)
{
	return (uint64_t)(cursor->end - cursor->at);
}

static inline void sp_cursor_fail(struct sp_cursor *cursor)
{
	cursor->is_bad = true;
	cursor->at = cursor->end;
}

static inline uint64_t sp_cursor_address(const struct sp_cursor *cursor)
{
	return (uint64_t)(uintptr_t)cursor->at - (uint64_t)cursor->delta;
}

static inline void sp_cursor_skip(struct sp_cursor *cursor, uint64_t count_bytes)
{
	if (count_bytes > sp_cursor_left(cursor))
		sp_cursor_fail(cursor);
	else
		cursor->at += count_bytes;
}

/* Little-endian, of 1, 2, 4 or 8 bytes. */
static inline uint64_t sp_cursor_unsigned(struct sp_cursor *cursor,
					  unsigned int size_bytes)
{
	uint64_t value = 0;

	if (size_bytes > sp_cursor_left(cursor)) {
		sp_cursor_fail(cursor);
		return 0;
	}
	for (unsigned int i = 0; i < size_bytes; i++)
		value |= (uint64_t)cursor->at[i] << (8 * i);
	cursor->at += size_bytes;
	return value;
}

static inline int64_t sp_cursor_signed(struct sp_cursor *cursor, unsigned int size_bytes)
{
	unsigned int shift = 64 - 8 * size_bytes;

	return (int64_t)(sp_cursor_unsigned(cursor, size_bytes) << shift) >> shift;
}

static inline uint64_t sp_cursor_uleb(struct sp_cursor *cursor)
{
	uint64_t value = 0;

	for (unsigned int shift = 0; cursor->at < cursor->end && shift < 64; shift += 7) {
		uint8_t byte = *cursor->at++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
	sp_cursor_fail(cursor);
	return 0;
}

static inline int64_t sp_cursor_sleb(struct sp_cursor *cursor)
{
	uint64_t value = 0;

	for (unsigned int shift = 0; cursor->at < cursor->end && shift < 64; shift += 7) {
		uint8_t byte = *cursor->at++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte & 0x80)
			continue;
		if ((byte & 0x40) && shift + 7 < 64)
			value |= ~UINT64_C(0) << (shift + 7);
		return (int64_t)value;
	}
	sp_cursor_fail(cursor);
	return 0;
}

/* A pointer written with a DW_EH_PE_* encoding; data_base is what "data relative"
 * means here. Indirect ones are of no use to us and fail. */
static inline uint64_t sp_cursor_encoded(struct sp_cursor *cursor, uint8_t encoding,
					 uint64_t data_base)
{
	uint64_t base, value;

	switch (encoding & (SP_PE_BASE | SP_PE_INDIRECT)) {
	case 0:
		base = 0;
		break;
	case SP_PE_PCREL:
		base = sp_cursor_address(cursor);
		break;
	case SP_PE_DATAREL:
		base = data_base;
		break;
	default:
		sp_cursor_fail(cursor);
		return 0;
	}
	switch (encoding & SP_PE_FORMAT) {
	case SP_PE_ABSPTR:
	case SP_PE_UDATA8:
	case SP_PE_SDATA8:
		value = sp_cursor_unsigned(cursor, 8);
		break;
	case SP_PE_UDATA2:
		value = sp_cursor_unsigned(cursor, 2);
		break;
	case SP_PE_UDATA4:
		value = sp_cursor_unsigned(cursor, 4);
		break;
	case SP_PE_SDATA2:
		value = (uint64_t)sp_cursor_signed(cursor, 2);
		break;
	case SP_PE_SDATA4:
		value = (uint64_t)sp_cursor_signed(cursor, 4);
		break;
	case SP_PE_ULEB128:
		value = sp_cursor_uleb(cursor);
		break;
	case SP_PE_SLEB128:
		value = (uint64_t)sp_cursor_sleb(cursor);
		break;
	default:
		sp_cursor_fail(cursor);
		return 0;
	}
	return base + value;
}

#endif
