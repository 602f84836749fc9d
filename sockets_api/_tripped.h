/* SPDX-License-Identifier: MIT */
#ifndef BW_TRIPPED_H
#define BW_TRIPPED_H

int signal_tripped(void); /* any thread, with or without the GIL */

#endif
