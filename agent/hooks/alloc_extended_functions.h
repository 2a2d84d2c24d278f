/*
 * FUNCTION(kind, name, symbol) for each function that hooks_alloc_extended.c stands in
 * front of. The operators are named as compilers write them: nw new, na new[], dl
 * delete, da delete[]; m stands for a size.
 */
// clang-format off
FUNCTION(allocate, mallocx, "mallocx")
FUNCTION(allocate, new_plain, "_Znwm")
FUNCTION(allocate, new_nothrow, "_ZnwmRKSt9nothrow_t")
FUNCTION(allocate, new_aligned, "_ZnwmSt11align_val_t")
FUNCTION(allocate, new_aligned_nothrow, "_ZnwmSt11align_val_tRKSt9nothrow_t")
FUNCTION(allocate, new_array, "_Znam")
FUNCTION(allocate, new_array_nothrow, "_ZnamRKSt9nothrow_t")
FUNCTION(allocate, new_array_aligned, "_ZnamSt11align_val_t")
FUNCTION(allocate, new_array_aligned_nothrow, "_ZnamSt11align_val_tRKSt9nothrow_t")
FUNCTION(give_back, dallocx, "dallocx")
FUNCTION(give_back, sdallocx, "sdallocx")
FUNCTION(give_back, free_sized, "free_sized")
FUNCTION(give_back, free_aligned_sized, "free_aligned_sized")
FUNCTION(give_back, delete_plain, "_ZdlPv")
FUNCTION(give_back, delete_nothrow, "_ZdlPvRKSt9nothrow_t")
FUNCTION(give_back, delete_sized, "_ZdlPvm")
FUNCTION(give_back, delete_aligned, "_ZdlPvSt11align_val_t")
FUNCTION(give_back, delete_sized_aligned, "_ZdlPvmSt11align_val_t")
FUNCTION(give_back, delete_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t")
FUNCTION(give_back, delete_array, "_ZdaPv")
FUNCTION(give_back, delete_array_nothrow, "_ZdaPvRKSt9nothrow_t")
FUNCTION(give_back, delete_array_sized, "_ZdaPvm")
FUNCTION(give_back, delete_array_aligned, "_ZdaPvSt11align_val_t")
FUNCTION(give_back, delete_array_sized_aligned, "_ZdaPvmSt11align_val_t")
FUNCTION(give_back, delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t")
FUNCTION(resize, rallocx, "rallocx")
FUNCTION(resize, xallocx, "xallocx")
// clang-format on
