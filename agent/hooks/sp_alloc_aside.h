/*
 * Where nobody wants allocations counted, our functions need not be in the way at all:
 * even to be passed through costs programs that call malloc() often and whose code fills
 * the processor's caches up to 1 % of their time. The loader and the program's modules
 * are made to find what they would find without us, until somebody wants to know.
 */
#ifndef SP_ALLOC_ASIDE_H
#define SP_ALLOC_ASIDE_H

/*
 * Context: init; the hooks pass all through. The names of our allocation functions are
 * withdrawn, and the slots of modules that lead to them lead to the next. What can't be
 * changed goes on through us, which is as right.
 */
void sp_alloc_stand_aside(void);

/*
 * Context: hook, on any thread; system calls, no wait. The reverse, at once: all that
 * calls through slots of modules or asks the loader meets us again when this returns,
 * whichever thread began it. Not so calls through pointers that the program has copied
 * meanwhile. Does nothing where we do not stand aside.
 */
void sp_alloc_come_back(void);

#endif
