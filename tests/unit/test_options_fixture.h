/*
 * Options read from an environment of up to three variables.
 */
#ifndef TEST_OPTIONS_FIXTURE_H
#define TEST_OPTIONS_FIXTURE_H

#include "sp_compiler.h"
#include "sp_options.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct sp_options options;
static char error[512];

static inline void setup_defaults(void)
{
	memset(&options, 0xa5, sizeof(options)); /* nothing may be left as it was */
	sp_options_init(&options);
	strcpy(error, "untouched");
}

static inline int parse(const char *one, const char *two, const char *three)
{
	char *environment[] = {(char *)"PATH=/bin", (char *)one, (char *)two,
			       (char *)three, NULL};

	return sp_options_parse(&options, environment, error, sizeof(error));
}

static inline void assert_accepted(const char *variable)
{
	int err = parse(variable, NULL, NULL);

	ck_assert_msg(err == 0, "%s was refused: %s", variable, error);
	ck_assert_str_eq(error, "untouched");
}

static inline void assert_refused(const char *variable, const char *message)
{
	struct sp_options before = options;

	ck_assert_int_eq(parse(variable, NULL, NULL), -EINVAL);
	ck_assert_str_eq(error, message);
	ck_assert_mem_eq(&options, &before, sizeof(options));
}

#endif
