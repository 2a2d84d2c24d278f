/* 32,768 pointers to 4,096 functions of another module, eight tables of them. */
#define FUNCTION(number) int provided_##number(void);
#include "many.h"
#undef FUNCTION

#define FUNCTION(number) provided_##number,
int (*const many_pointers[8][4096])(void) = {
	{
#include "many.h"
	},
	{
#include "many.h"
	},
	{
#include "many.h"
	},
	{
#include "many.h"
	},
	{
#include "many.h"
	},
	{
#include "many.h"
	},
	{
#include "many.h"
	},
	{
#include "many.h"
	},
};
