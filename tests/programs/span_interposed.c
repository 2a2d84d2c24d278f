/* span_interposed COUNT: calls a64l() so often, before whose own library another stands
 * (lib_interposer.c). */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1;
	long sum = 0;

	for (int i = 0; i < count; i++) {
		char text[] = "./0";

		text[0] = (char)('0' + i % 10);
		sum += a64l(text);
	}
	printf("%ld\n", sum);
	return 0;
}
