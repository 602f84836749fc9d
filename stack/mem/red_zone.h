/* SPDX-License-Identifier: MIT */
/* For AddressSanitizer, which sees the arena as one piece: unreadable bytes between its parts, and chunks that
 * are unreadable while they are free. Elsewhere there is nothing of it. */
#ifndef BW_RED_ZONE_H
#define BW_RED_ZONE_H

#ifdef __has_feature
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
enum { RED_ZONE = 64 };
#define red_zone_close(at, bytes) __asan_poison_memory_region(at, bytes)
#define red_zone_open(at, bytes) __asan_unpoison_memory_region(at, bytes)
#else
enum { RED_ZONE = 0 };
#define red_zone_close(at, bytes) ((void)(at))
#define red_zone_open(at, bytes) ((void)(at))
#endif

#endif
