/*
 * Patterns of SPANPROF_SPANS that no function has met, for the line at exit: most of them
 * are misspelt.
 */
#ifndef SP_FUNCTION_UNMET_H
#define SP_FUNCTION_UNMET_H

#include "sp_text.h"

/* Context: init, once. patterns stays where it is. */
void sp_function_unmet_begin(const char *patterns);

/* Context: hook. A module calls a function of that name, or it was looked up. */
void sp_function_note_met(const char *name);

/* Context: collector, while the program is at work. */
void sp_function_unmet_look(void);

#endif
