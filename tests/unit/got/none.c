/* Imports nothing. */
int call_nothing(void);

int call_nothing(void)
{
	return 7;
}
