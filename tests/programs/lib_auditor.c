/*
 * An auditing library (LD_AUDIT) that looks at nothing, but wants to know of each
 * binding.
 */
#include <link.h>

unsigned int la_version(unsigned int version)
{
	return version;
}

unsigned int la_objopen(struct link_map *map, Lmid_t namespace_id, uintptr_t *cookie)
{
	(void)map;
	(void)namespace_id;
	(void)cookie;
	return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}
