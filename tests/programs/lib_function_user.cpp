/* Another library that uses lib_functions, and knows of it by the program only. */
#include "lib_functions.h"

long user_constant(void)
{
	return fn_constant;
}

long (*user_none(void))(void)
{
	return fn_none;
}
