#ifndef SP_START_OPTIONS_H
#define SP_START_OPTIONS_H

#include <stdbool.h>

/* Context: init. Reads the environment's options into sp_agent.options and begins the
 * log. False, and the reason told if it is a mistake, when nothing is to be profiled. */
bool sp_start_options_read(void);

#endif
