/*
 * Reads SPANPROF and SPANPROF_* from an environment block, before main and without
 * allocating: everything is copied from the environment straight into the options.
 * A wrong option is told in one line, with the nearest valid one, and leaves the
 * program unprofiled rather than profiled otherwise than asked. Context: init;
 * invariant: the caller's options change only when all of it was right.
 */
#include "sp_compiler.h"
#include "sp_options_table.h"
#include "sp_options_value.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COMPACT_NAME "SPANPROF"
#define PREFIX "SPANPROF_"
#define PREFIX_BYTES (sizeof(PREFIX) - 1)
/* How much of a wrong word is repeated. */
#define SHOWN_BYTES_MAX 64
#define SEEN_OPTIONS_MAX 64

struct parser {
	struct sp_options options;
	bool is_profile_named; /* by the compact string */
	bool is_failed;
	char *error;
	size_t error_bytes;
};

/* Where a value was found, for messages. */
struct place {
	const struct sp_option *option;
	bool is_compact;
};

/* The option nearest to a wrong word so far. */
struct guess {
	const struct sp_option_help *help;
	unsigned int distance;
};

/* The first mistake is told; later ones may follow from it. */
static SP_PRINTF(2, 3) void fail(struct parser *parser, const char *format, ...)
{
	static const char consequence[] = "; the program runs unprofiled";
	va_list arguments;
	size_t used_bytes;

	if (parser->is_failed)
		return;
	parser->is_failed = true;
	if (parser->error_bytes == 0)
		return;
	va_start(arguments, format);
	vsnprintf(parser->error, parser->error_bytes, format, arguments);
	va_end(arguments);
	used_bytes = strlen(parser->error);
	snprintf(parser->error + used_bytes, parser->error_bytes - used_bytes, "%s",
		 consequence);
}

static int shown(size_t text_bytes)
{
	return (int)(text_bytes < SHOWN_BYTES_MAX ? text_bytes : SHOWN_BYTES_MAX);
}

static void fail_value(struct parser *parser, const struct place *place,
		       const char *value, const char *format, ...) SP_PRINTF(4, 5);

static void fail_value(struct parser *parser, const struct place *place,
		       const char *value, const char *format, ...)
{
	const struct sp_option_help *help = &place->option->help;
	char problem[192];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(problem, sizeof(problem), format, arguments);
	va_end(arguments);
	fail(parser, "%s%s: \"%.*s\" %s",
	     place->is_compact ? help->compact : help->environment,
	     place->is_compact ? " in " COMPACT_NAME : "", shown(strlen(value)), value,
	     problem);
}

/* The part that people remember: "hz" of "cpu:hz". */
static const char *last_part(const char *name)
{
	const char *colon = strrchr(name, ':');

	return colon != NULL ? colon + 1 : name;
}

static unsigned int distance_to(const char *word, size_t word_bytes, const char *name)
{
	return sp_word_distance(word, word_bytes, name, strlen(name));
}

static void try_name(struct guess *guess, const struct sp_option_help *help,
		     unsigned int distance)
{
	if (guess->help == NULL || distance < guess->distance) {
		guess->help = help;
		guess->distance = distance;
	}
}

/*
 * The option that was probably meant; of equally near ones the first in the table.
 * A last part counts only if it is nearly right: everything is near to "hz".
 */
static const struct sp_option_help *find_nearest(const char *word, size_t word_bytes)
{
	const char *colon = memchr(word, ':', word_bytes);
	size_t profile_bytes = colon != NULL ? (size_t)(colon - word) : word_bytes;
	struct guess guess = {NULL, 0};
	const struct sp_option_help *help;
	unsigned int distance;

	for (size_t i = 0; (help = sp_options_help(i)) != NULL; i++) {
		try_name(&guess, help, distance_to(word, word_bytes, help->compact));
		try_name(&guess, help,
			 distance_to(word, word_bytes, help->environment + PREFIX_BYTES));
		distance = distance_to(word, word_bytes, last_part(help->compact));
		if (distance <= 1)
			try_name(&guess, help, distance);
		/* Of "gpu:rate" the profile is wrong, to begin with. */
		distance = distance_to(word, profile_bytes, help->compact);
		if (profile_bytes < word_bytes && distance > 0 &&
		    sp_options_entry(i)->kind == SP_OPTION_PROFILE)
			try_name(&guess, help, distance + 1);
	}
	return guess.help;
}

/* Nobody remembers which of the two signs it was. */
static bool is_same_name(const char *name, const char *word, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		char letter = word[i] == '-' ? '_' : word[i];

		if ((name[i] == '-' ? '_' : name[i]) != letter)
			return false;
	}
	return true;
}

static const struct sp_option *find_compact(const char *name, size_t name_bytes,
					    size_t *index)
{
	const struct sp_option *option;

	for (*index = 0; (option = sp_options_entry(*index)) != NULL; ++*index) {
		if (strlen(option->help.compact) == name_bytes &&
		    is_same_name(option->help.compact, name, name_bytes))
			break;
	}
	return option;
}

static const struct sp_option *find_environment(const char *name, size_t name_bytes,
						size_t *index)
{
	const struct sp_option *option;

	for (*index = 0; (option = sp_options_entry(*index)) != NULL; ++*index) {
		if (strlen(option->help.environment) == name_bytes &&
		    memcmp(option->help.environment, name, name_bytes) == 0)
			break;
	}
	return option;
}

static void *member_of(struct parser *parser, const struct sp_option *option)
{
	return (char *)&parser->options + option->offset_bytes;
}

static void store_number(struct parser *parser, const struct sp_option *option,
			 uint64_t number)
{
	/* Little-endian: the low bytes come first. The table's maximum fits. */
	memcpy(member_of(parser, option), &number, option->size_bytes);
}

static void set_switch(struct parser *parser, const struct place *place,
		       const char *value)
{
	bool is_set;

	if (place->option->has_auto && strcmp(value, "auto") == 0)
		store_number(parser, place->option, SP_SWITCH_AUTO);
	else if (sp_value_switch(value, &is_set) != 0)
		fail_value(parser, place, value, "is neither yes nor no%s",
			   place->option->has_auto ? " nor auto" : "");
	else if (place->option->has_auto)
		store_number(parser, place->option,
			     is_set ? SP_SWITCH_YES : SP_SWITCH_NO);
	else
		store_number(parser, place->option, is_set);
}

static const char *describe_number(enum sp_option_kind kind)
{
	if (kind == SP_OPTION_SIZE)
		return "size in bytes, such as 64M,";
	if (kind == SP_OPTION_DURATION)
		return "duration, such as 250ms,";
	return "number";
}

/* A bound as the user would write it: in the largest unit without a rest. */
static void format_bound(char *text, size_t text_bytes, enum sp_option_kind kind,
			 uint64_t bound)
{
	static const char *const size_units[] = {"", "K", "M", "G"};
	static const char *const duration_units[] = {"ns", "us", "ms", "s"};
	uint64_t step = kind == SP_OPTION_SIZE ? 1024 : 1000;
	const char *unit = "";

	for (size_t i = 0; kind != SP_OPTION_NUMBER && i < 4; i++) {
		unit = kind == SP_OPTION_SIZE ? size_units[i] : duration_units[i];
		if (i == 3 || bound == 0 || bound % step != 0)
			break;
		bound /= step;
	}
	snprintf(text, text_bytes, "%llu%s", (unsigned long long)bound, unit);
}

static void set_number(struct parser *parser, const struct place *place,
		       const char *value)
{
	const struct sp_option *option = place->option;
	const char *or_auto = option->has_auto ? " or auto" : "";
	char minimum[32], maximum[32];
	uint64_t number = 0;
	int err;

	if (option->has_auto && strcmp(value, "auto") == 0) {
		store_number(parser, option, 0);
		return;
	}
	if (option->kind == SP_OPTION_SIZE)
		err = sp_value_size(value, &number);
	else if (option->kind == SP_OPTION_DURATION)
		err = sp_value_duration(value, &number);
	else
		err = sp_value_number(value, &number);

	format_bound(minimum, sizeof(minimum), option->kind, option->minimum);
	format_bound(maximum, sizeof(maximum), option->kind, option->maximum);
	if (err == -EINVAL)
		fail_value(parser, place, value, "is not a %s from %s to %s%s",
			   describe_number(option->kind), minimum, maximum, or_auto);
	else if (err == -ERANGE || number < option->minimum || number > option->maximum)
		fail_value(parser, place, value,
			   "is not from %s to %s%s (the nearest is %s)", minimum, maximum,
			   or_auto, number < option->minimum ? minimum : maximum);
	else
		store_number(parser, option, number);
}

static void set_choice(struct parser *parser, const struct place *place,
		       const char *value)
{
	const char *const *choices = place->option->choices;
	size_t nearest = 0;

	for (size_t i = 0; choices[i] != NULL; i++) {
		if (strcmp(value, choices[i]) == 0) {
			store_number(parser, place->option, i);
			return;
		}
		if (distance_to(value, strlen(value), choices[i]) <
		    distance_to(value, strlen(value), choices[nearest]))
			nearest = i;
	}
	fail_value(parser, place, value, "is unknown (did you mean \"%s\"?)",
		   choices[nearest]);
}

static void set_probability(struct parser *parser, const struct place *place,
			    const char *value)
{
	uint64_t millionths;

	if (sp_value_probability(value, &millionths) != 0)
		fail_value(parser, place, value,
			   "is neither always nor a number from 0 to 1");
	else
		store_number(parser, place->option, millionths);
}

static void set_list(struct parser *parser, const struct place *place, const char *value)
{
	char *list = member_of(parser, place->option);

	if (strcmp(value, place->option->help.default_text) == 0)
		value = "";
	if (sp_options_list_make(value, list, place->option->size_bytes) != 0)
		fail_value(parser, place, value, "is too long: at most %zu bytes",
			   place->option->size_bytes - 1);
}

static void set_text(struct parser *parser, const struct place *place, const char *value)
{
	const struct sp_option *option = place->option;
	size_t value_bytes = strlen(value);

	if (option->has_auto && strcmp(value, "auto") == 0)
		value_bytes = 0;
	if (value_bytes >= option->size_bytes)
		fail_value(parser, place, value, "is too long: %zu bytes, at most %zu",
			   value_bytes, option->size_bytes - 1);
	else {
		memcpy(member_of(parser, option), value, value_bytes);
		((char *)member_of(parser, option))[value_bytes] = '\0';
	}
}

/* Tells now what sp_options_file_name() would only find at the end of the program. */
static void set_file_pattern(struct parser *parser, const struct place *place,
			     const char *value)
{
	for (const char *next = value; *next != '\0'; next++) {
		if (*next == '/') {
			fail_value(parser, place, value,
				   "must not contain a slash (the directory is %s)",
				   place->is_compact ? "out=DIR" : "SPANPROF_OUT");
			return;
		}
		if (*next == '%' && (*++next == '\0' || strchr("epth%", *next) == NULL)) {
			fail_value(parser, place, value,
				   "has a %% that is not one of %%e %%p %%t %%h %%%%");
			return;
		}
	}
	set_text(parser, place, value);
}

static void set_value(struct parser *parser, const struct place *place, const char *value)
{
	switch (place->option->kind) {
	case SP_OPTION_DISABLE:
	case SP_OPTION_PROFILE:
	case SP_OPTION_SWITCH:
		set_switch(parser, place, value);
		break;
	case SP_OPTION_NUMBER:
	case SP_OPTION_SIZE:
	case SP_OPTION_DURATION:
		set_number(parser, place, value);
		break;
	case SP_OPTION_CHOICE:
		set_choice(parser, place, value);
		break;
	case SP_OPTION_PROBABILITY:
		set_probability(parser, place, value);
		break;
	case SP_OPTION_LIST:
		set_list(parser, place, value);
		break;
	case SP_OPTION_DIRECTORY:
		set_text(parser, place, value);
		break;
	case SP_OPTION_FILE_PATTERN:
		set_file_pattern(parser, place, value);
		break;
	}
}

static void enable_profiles(struct parser *parser, bool is_enabled)
{
	const struct sp_option *option;

	for (size_t i = 0; (option = sp_options_entry(i)) != NULL; i++) {
		if (option->kind == SP_OPTION_PROFILE)
			memcpy(member_of(parser, option), &is_enabled,
			       sizeof(is_enabled));
	}
}

/* "cpu" and "cpu:hz=199" name the profile cpu; "cpu=no" names none. */
static void name_profile(struct parser *parser, const struct sp_option *option,
			 const char *value)
{
	const char *name = option->help.compact;
	const struct sp_option *profile;
	bool is_enabled = true;
	size_t index;

	profile = find_compact(name, strcspn(name, ":"), &index);
	if (profile == NULL || profile->kind != SP_OPTION_PROFILE)
		return;
	if (profile == option &&
	    (sp_value_switch(value, &is_enabled) != 0 || !is_enabled))
		return;
	if (!parser->is_profile_named)
		enable_profiles(parser, false);
	parser->is_profile_named = true;
	memcpy(member_of(parser, profile), &is_enabled, sizeof(is_enabled));
}

/*
 * Copies a value up to its comma, without its backslashes, and returns where it
 * ended. *is_whole tells whether it fitted and did not end in a lone backslash.
 */
static const char *copy_value(const char *text, char *value, size_t value_bytes,
			      bool *is_whole)
{
	size_t used_bytes = 0;

	*is_whole = true;
	for (; *text != '\0' && *text != ','; text++) {
		if (*text == '\\' && *++text == '\0') {
			*is_whole = false;
			break;
		}
		if (used_bytes + 1 < value_bytes)
			value[used_bytes++] = *text;
		else
			*is_whole = false;
	}
	value[used_bytes] = '\0';
	return text;
}

/* One "NAME" or "NAME=VALUE". Returns where it ended. */
static const char *parse_item(struct parser *parser, const char *item)
{
	size_t name_bytes = strcspn(item, "=,"), index;
	struct place place = {find_compact(item, name_bytes, &index), true};
	bool has_value = item[name_bytes] == '=', is_whole = true;
	const char *end = item + name_bytes;
	const struct sp_option_help *help;
	char value[PATH_MAX] = "yes";

	if (has_value)
		end = copy_value(end + 1, value, sizeof(value), &is_whole);
	if (place.option == NULL) {
		fail(parser,
		     "unknown option \"%.*s\" in " COMPACT_NAME " (did you mean \"%s\"?)",
		     shown(name_bytes), item, find_nearest(item, name_bytes)->compact);
		return end;
	}
	help = &place.option->help;
	if (!is_whole) {
		fail_value(parser, &place, value,
			   "is longer than %d bytes or ends in a lone backslash",
			   PATH_MAX - 1);
	} else if (value[0] == '\0' || (!has_value && help->value[0] != '\0')) {
		fail(parser, "%s in " COMPACT_NAME " needs a value, as in %s=%s",
		     help->compact, help->compact, help->default_text);
	} else {
		name_profile(parser, place.option, value);
		set_value(parser, &place, value);
	}
	return end;
}

static void parse_compact(struct parser *parser, const char *text)
{
	/* Goes on after a mistake: "off" may come yet. */
	for (;;) {
		text += strspn(text, " \t,");
		if (*text == '\0')
			return;
		text = parse_item(parser, text);
	}
}

/* One "SPANPROF_NAME=value". */
static void parse_variable(struct parser *parser, const char *variable, bool *is_seen)
{
	size_t name_bytes = strcspn(variable, "="), index;
	struct place place = {find_environment(variable, name_bytes, &index), false};
	const char *value = variable + name_bytes;

	if (place.option == NULL) {
		fail(parser, "unknown variable %.*s (did you mean %s?)",
		     shown(name_bytes), variable,
		     find_nearest(variable + PREFIX_BYTES, name_bytes - PREFIX_BYTES)
			     ->environment);
		return;
	}
	if (index < SEEN_OPTIONS_MAX) {
		if (is_seen[index])
			return;
		is_seen[index] = true;
	}
	if (value[0] == '=' && value[1] != '\0')
		set_value(parser, &place, value + 1);
}

/* What auto means depends on other options, so that it is found out last. */
static void choose_recording_size(struct sp_options *options)
{
	bool is_dense = options->is_heap_enabled &&
			options->heap_rate_bytes <= SP_HEAP_RATE_DENSE_BYTES;

	if (options->recording_bytes_max == 0)
		options->recording_bytes_max =
			is_dense ? SP_RECORDING_BYTES_DENSE : SP_RECORDING_BYTES_DEFAULT;
}

static void choose_switch(enum sp_switch *chosen, bool is_on)
{
	if (*chosen == SP_SWITCH_AUTO)
		*chosen = is_on ? SP_SWITCH_YES : SP_SWITCH_NO;
}

static void choose_tracks(struct sp_options *options)
{
	bool is_on = options->is_all_tracked;

	choose_switch(&options->track_cpu, is_on);
	choose_switch(&options->track_wall, is_on);
	choose_switch(&options->track_allocations, is_on);
	choose_switch(&options->track_heap, is_on);
	if (options->track_heap == SP_SWITCH_YES)
		options->track_allocations = SP_SWITCH_YES;
}

int sp_options_parse(struct sp_options *options, char *const *environment, char *error,
		     size_t error_bytes)
{
	struct parser parser = {
		.options = *options, .error = error, .error_bytes = error_bytes};
	bool is_seen[SEEN_OPTIONS_MAX] = {false};
	size_t i;

	for (i = 0; environment[i] != NULL; i++) {
		if (strncmp(environment[i], COMPACT_NAME "=", sizeof(COMPACT_NAME)) ==
		    0) {
			parse_compact(&parser, environment[i] + sizeof(COMPACT_NAME));
			break;
		}
	}
	for (i = 0; environment[i] != NULL; i++) {
		if (strncmp(environment[i], PREFIX, PREFIX_BYTES) == 0)
			parse_variable(&parser, environment[i], is_seen);
	}

	if (parser.options.is_disabled)
		enable_profiles(&parser, false);
	else if (parser.is_failed)
		return -EINVAL;
	choose_recording_size(&parser.options);
	choose_tracks(&parser.options);
	*options = parser.options;
	return 0;
}
