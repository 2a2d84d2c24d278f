/*
 * Has thread-local storage of its own: heap_info opens many copies.
 */
int *thread_local_value(void);

static _Thread_local int value = 17;

int *thread_local_value(void)
{
	return &value;
}
