/* FUNCTION(number) for 4,096 numbers of three hexadecimal digits. */
#define TIMES16(what, n)                                                                 \
	what(n##0) what(n##1) what(n##2) what(n##3) what(n##4) what(n##5) what(n##6)     \
		what(n##7) what(n##8) what(n##9) what(n##a) what(n##b) what(n##c)        \
			what(n##d) what(n##e) what(n##f)
#define TIMES256(n)                                                                      \
	TIMES16(FUNCTION, n##0)                                                          \
	TIMES16(FUNCTION, n##1)                                                          \
	TIMES16(FUNCTION, n##2)                                                          \
	TIMES16(FUNCTION, n##3)                                                          \
	TIMES16(FUNCTION, n##4)                                                          \
	TIMES16(FUNCTION, n##5)                                                          \
	TIMES16(FUNCTION, n##6)                                                          \
	TIMES16(FUNCTION, n##7)                                                          \
	TIMES16(FUNCTION, n##8)                                                          \
	TIMES16(FUNCTION, n##9)                                                          \
	TIMES16(FUNCTION, n##a)                                                          \
	TIMES16(FUNCTION, n##b)                                                          \
	TIMES16(FUNCTION, n##c)                                                          \
	TIMES16(FUNCTION, n##d) TIMES16(FUNCTION, n##e) TIMES16(FUNCTION, n##f)
TIMES256(0)
TIMES256(1)
TIMES256(2)
TIMES256(3)
TIMES256(4)
TIMES256(5)
TIMES256(6)
TIMES256(7)
TIMES256(8)
TIMES256(9)
TIMES256(a)
TIMES256(b)
TIMES256(c)
TIMES256(d)
TIMES256(e)
TIMES256(f)
