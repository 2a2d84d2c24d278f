/*
 * Finds the FDE of an address, by binary search in the table that the linker wrote
 * (.eh_frame_hdr) or that the module tracker sorted, and reads it and its CIE.
 * Context: signal; no system call. The data are the host's and may be damaged: no
 * byte is read outside the published ranges.
 */
#include "unwind_cfi.h"

#include "sp_compiler.h"
#include "unwind_cfa.h"

#define SEARCH_PARTS 8U

static struct sp_cursor section_cursor(const struct sp_unwind_module *module,
				       uint64_t offset)
{
	const uint8_t *data =
		(const uint8_t *)(uintptr_t)(module->eh_frame_address +
					     (uint64_t)module->eh_frame_delta);
	struct sp_cursor cursor = {.delta = module->eh_frame_delta};

	cursor.end = data + module->eh_frame_bytes;
	cursor.at = offset < module->eh_frame_bytes ? data + offset : cursor.end;
	return cursor;
}

/* The header of a CIE or FDE: leaves cursor at the word after the length, ends it
 * with the entry. False at the terminator or when the length is wrong. */
static bool enter_entry(struct sp_cursor *cursor, bool *is_64bit)
{
	uint64_t length_bytes = sp_cursor_unsigned(cursor, 4);

	*is_64bit = length_bytes == UINT32_MAX;
	if (*is_64bit)
		length_bytes = sp_cursor_unsigned(cursor, 8);
	if (cursor->is_bad || length_bytes == 0 || length_bytes > sp_cursor_left(cursor))
		return false;
	cursor->end = cursor->at + length_bytes;
	return true;
}

/* Reads the id word of an entry. True when it is an FDE, and then *cie_offset. */
static bool read_entry_id(const struct sp_unwind_module *module, struct sp_cursor *cursor,
			  bool is_64bit, uint64_t *cie_offset)
{
	uint64_t id_address = sp_cursor_address(cursor);
	uint64_t id;

	if (module->is_debug_frame) {
		id = sp_cursor_unsigned(cursor, is_64bit ? 8 : 4);
		*cie_offset = id;
		return id != (is_64bit ? UINT64_MAX : UINT32_MAX);
	}
	id = sp_cursor_unsigned(cursor, 4);
	*cie_offset = id_address - id - module->eh_frame_address;
	return id != 0;
}

/* The letters of a CIE's augmentation, after its 'z'. */
static bool read_augmentation(struct sp_cursor *cursor, const uint8_t *letters,
			      const uint8_t *letters_end,
			      struct sp_cfi_function *function)
{
	for (const uint8_t *letter = letters; letter < letters_end; letter++) {
		uint8_t encoding;

		switch (*letter) {
		case 'R':
			function->pointer_encoding =
				(uint8_t)sp_cursor_unsigned(cursor, 1);
			break;
		case 'P':
			encoding = (uint8_t)sp_cursor_unsigned(cursor, 1);
			/* Only its size matters: the address may well be indirect. */
			sp_cursor_encoded(cursor, encoding & SP_PE_FORMAT, 0);
			break;
		case 'L':
			sp_cursor_skip(cursor, 1);
			break;
		case 'S':
			function->is_interrupted = true;
			break;
		case 'B':
			break;
		default:
			/* What comes after is unknown, but so far all is well: the
			 * length tells where the program starts. */
			return !cursor->is_bad;
		}
	}
	return !cursor->is_bad;
}

static SP_NOINLINE bool read_cie(const struct sp_unwind_module *module, uint64_t offset,
				 struct sp_cfi_function *function,
				 bool *has_augmentation_data)
{
	struct sp_cursor cursor = section_cursor(module, offset);
	const uint8_t *letters;
	uint64_t version, ra_reg, code_align, ignored;
	int64_t data_align;
	bool is_64bit;

	if (!enter_entry(&cursor, &is_64bit) ||
	    read_entry_id(module, &cursor, is_64bit, &ignored))
		return false;
	version = sp_cursor_unsigned(&cursor, 1);
	if (version != 1 && version != 3 && version != 4)
		return false;
	letters = cursor.at;
	while (sp_cursor_left(&cursor) && *cursor.at)
		cursor.at++;
	sp_cursor_skip(&cursor, 1);
	if (cursor.is_bad)
		return false;
	if (version == 4 && sp_cursor_unsigned(&cursor, 2) != 8)
		return false; /* address size 8, segment size 0 */
	code_align = sp_cursor_uleb(&cursor);
	data_align = sp_cursor_sleb(&cursor);
	ra_reg = version == 1 ? sp_cursor_unsigned(&cursor, 1) : sp_cursor_uleb(&cursor);
	if (cursor.is_bad || ra_reg != SP_DWARF_RA || code_align > INT16_MAX ||
	    data_align != (int16_t)data_align)
		return false;
	function->initial = NULL;
	function->code_align = (int16_t)code_align;
	function->data_align = (int16_t)data_align;
	*has_augmentation_data = *letters == 'z';
	function->pointer_encoding = SP_PE_ABSPTR;
	function->is_interrupted = false;
	if (*has_augmentation_data) {
		uint64_t length_bytes = sp_cursor_uleb(&cursor);
		struct sp_cursor data = cursor;

		sp_cursor_skip(&cursor, length_bytes);
		if (cursor.is_bad)
			return false;
		data.end = cursor.at;
		letters++;
		if (!read_augmentation(&data, letters,
				       letters + strlen((const char *)letters), function))
			return false;
	} else if (*letters) {
		return false;
	}
	function->cie_ops = cursor.at;
	function->cie_ops_end = cursor.end;
	return true;
}

/* The same by what was read ahead. */
static inline bool take_cie(const struct sp_unwind_module *module, uint64_t offset,
			    struct sp_cfi_function *function, bool *has_augmentation_data)
{
	for (uint32_t i = 0; i < module->cie_count; i++) {
		const struct sp_unwind_cie *cie = &module->cies[i];

		if (cie->offset != offset)
			continue;
		function->initial = &cie->initial;
		function->code_align = cie->code_align;
		function->data_align = cie->data_align;
		function->pointer_encoding = cie->pointer_encoding;
		function->is_interrupted = cie->is_interrupted;
		*has_augmentation_data = cie->has_augmentation_data;
		return true;
	}
	return false;
}

/* The rest of an FDE, whose CIE is known. */
SP_SAMPLING static bool read_rest(const struct sp_unwind_module *module,
				  struct sp_cursor *cursor, bool has_augmentation_data,
				  struct sp_cfi_function *function)
{
	function->delta = module->eh_frame_delta;
	function->pointer_bias = module->is_debug_frame ? module->base : 0;
	function->start = sp_cursor_encoded(cursor, function->pointer_encoding, 0) +
			  function->pointer_bias;
	function->end =
		function->start +
		sp_cursor_encoded(cursor, function->pointer_encoding & SP_PE_FORMAT, 0);
	if (has_augmentation_data)
		sp_cursor_skip(cursor, sp_cursor_uleb(cursor));
	function->ops = cursor->at;
	function->ops_end = cursor->end;
	return !cursor->is_bad;
}

/* Reads the FDE whose length word has been entered and whose id has been read. In line,
 * as stack is short: no CIE is read on top of it. */
static inline bool read_fde(const struct sp_unwind_module *module,
			    struct sp_cursor *cursor, uint64_t cie_offset,
			    struct sp_cfi_function *function)
{
	bool has_augmentation_data;

	return cie_offset < module->eh_frame_bytes &&
	       (take_cie(module, cie_offset, function, &has_augmentation_data) ||
		read_cie(module, cie_offset, function, &has_augmentation_data)) &&
	       read_rest(module, cursor, has_augmentation_data, function);
}

bool sp_cfi_find_table(struct sp_unwind_module *module)
{
	uint64_t start = module->hdr_address + (uint64_t)module->hdr_delta;
	const uint8_t *data = (const uint8_t *)(uintptr_t)start;
	struct sp_cursor cursor = {
		.at = data,
		.end = (const uint8_t *)(uintptr_t)(start + module->hdr_bytes),
		.delta = module->hdr_delta};
	uint8_t count_encoding;
	uint64_t entries;

	if (module->hdr_bytes < 4 || data[0] != 1)
		return false;
	count_encoding = data[2];
	if (data[3] != (SP_PE_DATAREL | SP_PE_SDATA4) || count_encoding == SP_PE_OMIT)
		return false;
	sp_cursor_skip(&cursor, 4);
	sp_cursor_encoded(&cursor, data[1], module->hdr_address);
	entries = sp_cursor_encoded(&cursor, count_encoding, module->hdr_address);
	if (cursor.is_bad || entries == 0 ||
	    entries > sp_cursor_left(&cursor) / SP_CFI_TABLE_ENTRY_BYTES ||
	    entries > UINT32_MAX)
		return false;
	module->table = cursor.at;
	module->table_count = (uint32_t)entries;
	return true;
}

static int32_t word_at(const uint8_t *words, uint32_t number)
{
	int32_t value;

	memcpy(&value, words + (size_t)number * sizeof(value), sizeof(value));
	return value;
}

int32_t sp_cfi_table_start(const struct sp_unwind_module *module, uint32_t entry)
{
	return word_at(module->table, 2 * entry);
}

/* What a search comes to: an entry, and which addresses lead to it. */
struct found_fde {
	uint64_t offset;
	uint64_t first, next; /* that it starts with, and that the next one does */
};

/*
 * The last of count words, stride apart, that is not above value; the first one is not.
 * After what the program did meanwhile nothing of them is in the processor's caches:
 * seven are asked for at once, which takes hardly longer than one.
 */
SP_SAMPLING SP_NOINLINE static uint32_t
search_words(const uint8_t *words, uint32_t stride, uint32_t count, int64_t value)
{
	uint32_t low = 0;

	while (count > SEARCH_PARTS) {
		uint32_t part = count / SEARCH_PARTS;
		uint32_t parts = 0;

		for (uint32_t i = 1; i < SEARCH_PARTS; i++)
			parts += word_at(words, stride * (low + i * part)) <= value;
		low += parts * part;
		count = parts == SEARCH_PARTS - 1 ? count - parts * part : part;
	}
	while (count > 1) {
		uint32_t half = count / 2;

		if (word_at(words, stride * (low + half)) <= value)
			low += half;
		count -= half;
	}
	return low;
}

static uint64_t table_address(const struct sp_unwind_module *module, uint32_t word)
{
	return module->hdr_address + (uint64_t)(int64_t)word_at(module->table, word);
}

/* The last entry of .eh_frame_hdr that starts at or before. */
static bool search_table(const struct sp_unwind_module *module, uint64_t address,
			 struct found_fde *found)
{
	int64_t relative = (int64_t)(address - module->hdr_address);
	uint32_t low = 0, count = module->table_count;

	if (module->table_index) {
		if (relative < module->table_index[0])
			return false;
		low = SP_UNWIND_INDEX_STEP *
		      search_words((const uint8_t *)module->table_index, 1,
				   (count + SP_UNWIND_INDEX_STEP - 1) /
					   SP_UNWIND_INDEX_STEP,
				   relative);
		count -= low;
		if (count > SP_UNWIND_INDEX_STEP)
			count = SP_UNWIND_INDEX_STEP;
	} else if (count == 0 || relative < word_at(module->table, 0)) {
		return false;
	}
	low += search_words(module->table + (size_t)low * SP_CFI_TABLE_ENTRY_BYTES, 2,
			    count, relative);
	found->offset = table_address(module, 2 * low + 1) - module->eh_frame_address;
	found->first = table_address(module, 2 * low);
	found->next = low + 1 < module->table_count ? table_address(module, 2 * low + 2)
						    : UINT64_MAX;
	return true;
}

static bool search_fdes(const struct sp_unwind_module *module, uint64_t address,
			struct found_fde *found)
{
	const struct sp_unwind_fde *fdes = module->fdes;
	uint64_t offset = address - module->base;
	uint32_t count = module->fde_count;

	if (count == 0 || offset < fdes[0].start_offset)
		return false;
	while (count > 1) {
		uint32_t half = count / 2;

		if (fdes[half].start_offset <= offset)
			fdes += half;
		count -= half;
	}
	found->offset = fdes->fde_offset;
	found->first = module->base + fdes->start_offset;
	found->next = fdes + 1 < module->fdes + module->fde_count
			      ? module->base + fdes[1].start_offset
			      : UINT64_MAX;
	return true;
}

/* SP_RULE_EMPTY: function and found are set. Else the rule, which is the same for no
 * other address. */
SP_SAMPLING SP_NOINLINE static uint64_t
find_function(const struct sp_unwind_module *module, uint64_t address,
	      struct found_fde *found, struct sp_cfi_function *function)
{
	struct sp_cursor cursor;
	uint64_t cie_offset;
	bool is_64bit;

	if (module->fdes ? !search_fdes(module, address, found)
			 : !search_table(module, address, found))
		return SP_RULE_NONE;
	if (found->offset >= module->eh_frame_bytes)
		return SP_RULE_BAD;
	cursor = section_cursor(module, found->offset);
	if (!enter_entry(&cursor, &is_64bit) ||
	    !read_entry_id(module, &cursor, is_64bit, &cie_offset) ||
	    !read_fde(module, &cursor, cie_offset, function))
		return SP_RULE_BAD;
	return address < function->start || address >= function->end ? SP_RULE_NONE
								     : SP_RULE_EMPTY;
}

bool sp_cfi_read_ahead(const struct sp_unwind_module *module, uint32_t entry,
		       struct sp_unwind_cie *cie)
{
	uint64_t offset = table_address(module, 2 * entry + 1) - module->eh_frame_address;
	struct sp_cursor cursor = section_cursor(module, offset);
	struct sp_cfi_function function = {.delta = module->eh_frame_delta};
	bool is_64bit;

	*cie = (struct sp_unwind_cie){0};
	if (!enter_entry(&cursor, &is_64bit) ||
	    !read_entry_id(module, &cursor, is_64bit, &cie->offset) ||
	    cie->offset >= module->eh_frame_bytes ||
	    !read_cie(module, cie->offset, &function, &cie->has_augmentation_data) ||
	    !sp_cfa_run_cie(&function, &cie->initial))
		return false;
	cie->code_align = function.code_align;
	cie->data_align = function.data_align;
	cie->pointer_encoding = function.pointer_encoding;
	cie->is_interrupted = function.is_interrupted;
	return true;
}

SP_SAMPLING SP_NOINLINE uint64_t sp_cfi_find_rule(const struct sp_unwind_module *module,
						  uint64_t address,
						  struct sp_cfi_row *row)
{
	struct sp_cfi_function function;
	struct sp_cfa_state state;
	struct found_fde found;
	uint64_t rule = find_function(module, address, &found, &function);

	*row = (struct sp_cfi_row){address, address + 1};
	if (sp_unlikely(rule == SP_RULE_NONE) && module->debug_frame)
		rule = find_function(module->debug_frame, address, &found, &function);
	if (rule != SP_RULE_EMPTY)
		return rule;
	if (!sp_cfa_run(&function, address, &state, row))
		return SP_RULE_BAD;
	/* Entries may claim what leads to others (hand-written ones, damaged ones), and a
	 * table that is out of order leads anywhere. */
	if (row->start < found.first)
		row->start = found.first;
	if (row->end > found.next)
		row->end = found.next;
	/* An expression may ask for the pc. */
	if (state.is_cfa_expression || row->start > address || row->end <= address)
		*row = (struct sp_cfi_row){address, address + 1};
	return sp_cfa_pack(&function, &state, address);
}

enum sp_cfi_entry sp_cfi_read_entry(const struct sp_unwind_module *module,
				    uint64_t offset, uint64_t *next_offset,
				    uint64_t *start, uint64_t *end)
{
	struct sp_cursor cursor = section_cursor(module, offset);
	struct sp_cfi_function function;
	uint64_t cie_offset;
	bool is_64bit;

	if (!enter_entry(&cursor, &is_64bit))
		return SP_CFI_END;
	*next_offset = (uint64_t)(uintptr_t)cursor.end -
		       (uint64_t)module->eh_frame_delta - module->eh_frame_address;
	if (!read_entry_id(module, &cursor, is_64bit, &cie_offset) ||
	    !read_fde(module, &cursor, cie_offset, &function) ||
	    function.start >= function.end)
		return SP_CFI_OTHER;
	*start = function.start;
	*end = function.end;
	return SP_CFI_FUNCTION;
}
