/* SPDX-License-Identifier: MIT */
/* Doubly linked lists through an element's own fields: `next`, and `pprev`, where the pointer to it stands. A tail queue
 * keeps the place of its last next, too (tail). Who leaves a list has pprev NULL. */
#ifndef BW_LIST_H
#define BW_LIST_H

#define list_push(head, e, next, pprev) \
    do { \
        (e)->next = *(head); \
        (e)->pprev = (head); \
        if ((e)->next) \
            (e)->next->pprev = &(e)->next; \
        *(head) = (e); \
    } while (0)

#define list_remove(e, next, pprev) \
    do { \
        *(e)->pprev = (e)->next; \
        if ((e)->next) \
            (e)->next->pprev = (e)->pprev; \
        (e)->pprev = NULL; \
    } while (0)

#define tailq_add(tail, e, next, pprev) \
    do { \
        (e)->next = NULL; \
        (e)->pprev = *(tail); \
        **(tail) = (e); \
        *(tail) = &(e)->next; \
    } while (0)

#define tailq_remove(tail, e, next, pprev) \
    do { \
        *(e)->pprev = (e)->next; \
        if ((e)->next) \
            (e)->next->pprev = (e)->pprev; \
        else \
            *(tail) = (e)->pprev; \
        (e)->pprev = NULL; \
    } while (0)

#endif
